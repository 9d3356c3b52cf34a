"""Checks of a model's samples and likelihoods against the plug-in contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.api import FIELDS, Notes, Piece
from bench.errors import DataError, PluginError, TrialError
from bench.music.codec import NoteCodec
from bench.music.notes import COLUMNS, check_columns
from bench.plugins.header import Plugin
from bench.storage.samples import Target

#: Tolerance for onsets, seconds: some models compute them in float32 or in MIDI ticks.
ONSET_TOLERANCE = 1e-3

#: Least length of a prompt that can't begin anything else by chance. Notes.
TELLING = 8

#: How many times as long as real continuations, or as short, generated ones are that are told to be in another unit of time.
OTHER_SPAN = 30


def check_fingerprint(plugin: Plugin, given: object) -> str:
    """Refuse an identity of music or weights that is no text, such as the None of a forgotten `return`: it would never change.

    Raises
    ------
    PluginError
        Names the plug-in's file.
    """
    if not isinstance(given, str) or not given:
        said = "an empty text" if given == "" else f"a {type(given).__name__}"
        raise PluginError(f"{plugin.path}: fingerprint() returned {said}; it must be a text that changes with the files.")
    return given


def begins_again(notes: Notes, prompt: Notes) -> bool:
    """Whether a continuation begins with the pitches of its prompt, at least :data:`TELLING`, as far as it goes."""
    size = min(len(notes), len(prompt))
    return size >= TELLING and np.array_equal(notes.pitch[:size], prompt.pitch[:size])


def stretch(parts: Sequence[Notes], targets: Sequence[Target]) -> float:
    """Compute how many times as long as their targets continuations are, from their first onset to their last: the median.

    1 where no two notes of a target, or of any continuation, are apart.
    """
    own, real = ([float(np.ptp(notes.onset)) for notes in music] for music in (parts, [target.target for target in targets]))
    return float(np.median([one / other for one, other in zip(own, real, strict=True) if one and other] or [1.0]))


def check_samples(parts: object, targets: Sequence[Target], n_notes: int, takes_prompt: bool) -> None:
    """Refuse anything but one valid Notes of exactly `n_notes` notes per prompt, none before its prompt's last onset.

    Raises
    ------
    TrialError
        Names the piece and the counts.
    """
    if not isinstance(parts, list | tuple) or len(parts) != len(targets):
        result = f"{len(parts)} continuations" if isinstance(parts, list | tuple) else f"a {type(parts).__name__}"
        raise TrialError(
            f"generate() returned {result} for {len(targets)} prompts; it must return a list of one Notes per prompt."
        )
    for target, notes in zip(targets, parts, strict=True):
        if not isinstance(notes, Notes):
            raise TrialError(f"generate() returned a {type(notes).__name__} for piece {target.piece.id!r}; it must be Notes.")
        try:
            check_columns(*(getattr(notes, name) for name in COLUMNS))
        except DataError as error:  # the arrays were changed after the Notes were made
            raise TrialError(f"generate() for piece {target.piece.id!r}: {error.message}") from error
        if len(notes) != n_notes:
            raise TrialError(f"generate() returned {len(notes)} notes for piece {target.piece.id!r}; {n_notes} were asked for.")
        if takes_prompt and len(target.prompt) and notes.onset[0] < target.prompt.onset[-1] - ONSET_TOLERANCE:
            raise TrialError(
                f"generate() for piece {target.piece.id!r} begins at {notes.onset[0]:.3f} s, before the prompt's last onset "
                f"({target.prompt.onset[-1]:.3f} s): onsets of a continuation count from the beginning of the piece."
            )


def check_likelihood(parts: Sequence[Any], pieces: Sequence[Piece], unit: str = "note", codec: NoteCodec | None = None) -> None:
    """Refuse log probabilities of the wrong shape, above 0, not finite or all of them 0; a TrialError names the piece or field.

    Parameters
    ----------
    parts : sequence of array_like
        For each piece, shape (notes, 4); for a `unit` other than notes, (predictions,), where a piece may have none.
    pieces : sequence of Piece
    unit : {"note", "frame", "event"}
    codec : NoteCodec, optional
        Whose classes they are over; None if nobody knows which notes are of one class of time or duration.
    """
    if len(parts) != len(pieces):
        raise TrialError(f"log_likelihood() returned {len(parts)} arrays for {len(pieces)} pieces.")
    for piece, part in zip(pieces, parts, strict=True):
        shape = np.shape(part)
        if unit == "note" and shape != (expected := (len(piece.notes), len(FIELDS))):
            raise TrialError(f"log_likelihood() has shape {shape} for piece {piece.id!r}; expected {expected}.")
        if unit != "note" and len(shape) != 1:
            raise TrialError(f"log_likelihood() has shape {shape} for piece {piece.id!r}; expected one number for each {unit}.")
        if np.iscomplexobj(part):
            raise TrialError(f"log_likelihood() for piece {piece.id!r} is complex.")
        if np.size(part) and not (np.isfinite(part).all() and np.max(part) <= 1e-4 and np.min(part) > -1e9):
            raise TrialError(
                f"log_likelihood() for piece {piece.id!r} runs from {np.min(part):g} to {np.max(part):g} nats; "
                "log probabilities of classes are finite and at most 0."
            )
    if parts and not any(map(np.size, parts)):
        raise TrialError(f"log_likelihood() predicts no {unit} of any held-out piece.")
    if unit != "note":
        if not any(map(np.any, parts)):
            raise TrialError(f"log_likelihood() gives every {unit} of the held-out pieces probability 1.")
        return
    begun = [piece.notes.pitch[0] for piece in pieces if len(piece.notes)]
    if len(set(begun)) > 1 and not any(np.any(part[0]) for part in parts if len(part)):
        raise TrialError(
            "log_likelihood() gives the first note of every held-out piece probability 1, and they differ.",
            "Predict it from nothing, such as a symbol of the start: a piece's first note counts too.",
        )
    certain = [i for i in range(len(FIELDS)) if not any(np.any(part[:, i]) for part in parts)]
    if not certain:
        return
    codes = np.concatenate([(codec or NoteCodec()).encode(piece.notes) for piece in pieces])
    known = {"pitch", "velocity", *(["time", "duration"] if codec else [])}
    if left := [i for i in certain if FIELDS[i] in known and len(np.unique(codes[:, i])) > 1]:
        raise TrialError(
            f"log_likelihood() gives every {FIELDS[left[0]]} of the held-out pieces probability 1, and they differ.",
            f"Its column {left[0]} is 0 throughout: fill it, or declare LIKELIHOOD = None.",
        )

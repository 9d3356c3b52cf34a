"""How a file of another system begins: with its prompt, with the prompt in another key, with something near it, or with neither.

Only pitches are compared: another system may have changed tempo, velocities and the grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.music.notes import Notes

#: ``prompt``: its pitches in its order. ``transposed``: the same, all moved by one interval. ``near``: nearly its pitches, in
#: another order. ``other``: none of these.
Start = Literal["prompt", "transposed", "near", "other"]

#: What a user says of the files. ``auto``: each is looked at. ``included``: all begin with it. ``absent``: none does.
PromptRule = Literal["auto", "included", "absent"]

#: Share of the prompt's pitches, order ignored, from which a file that doesn't begin with the prompt looks as if it should.
NEARLY = 0.9
#: Notes from which on a prompt at the start of a file is no accident.
TELLING = 8
#: Keys that MIDI has.
KEYS = 128


@dataclass(frozen=True)
class Opening:
    """The first notes of a file beside its prompt.

    Parameters
    ----------
    start : Start
    rest : Notes or None
        What follows the prompt, where its pitches are there in its order, in whatever key; else None.
    remark : str
        What looks odd about it; empty for ``prompt`` and ``other``.
    """

    start: Start
    rest: Notes | None = None
    remark: str = ""


def opening(notes: Notes, prompt: Notes) -> Opening:
    """How `notes` begin.

    The continuation may strike lower keys on the very onset of the prompt's last chord, and so stand before them.

    Parameters
    ----------
    notes, prompt : Notes
        As they come back from a file; both sorted by (onset, pitch).
    """
    size = len(prompt)
    if size == 0 or len(notes) < size:
        return Opening("other")
    if (rest := _after(notes, prompt)) is not None:
        return Opening("prompt", rest)
    # Of fewer notes any melody may be a transposition of any other.
    shift = int(notes.pitch[0]) - int(prompt.pitch[0]) if size >= TELLING else 0
    if shift and (moved := _transposed(prompt, shift)) is not None and (rest := _after(notes, moved)) is not None:
        way = "up" if shift > 0 else "down"
        semitones = "semitone" if abs(shift) == 1 else "semitones"
        return Opening("transposed", rest, f"its first {size} notes are the prompt's, {abs(shift)} {semitones} {way}")
    same = sum((Counter(notes.pitch[:size].tolist()) & Counter(prompt.pitch.tolist())).values())
    if same < NEARLY * size:
        return Opening("other")
    return Opening("near", None, f"its first {size} notes are nearly the prompt's ({same} pitches), but not in its order")


def continuation(notes: Notes, prompt: Notes, rule: PromptRule) -> tuple[Notes, Opening, bool]:
    """What counts of `notes`, how they begin, whether a prompt was cut off.

    Parameters
    ----------
    notes, prompt : Notes
        As for :func:`opening`.
    rule : PromptRule
        ``auto`` cuts the prompt off where its pitches are there in its order and its key. ``included`` also cuts it off in
        another key, and takes as many notes as it has where it is not recognised. ``absent`` cuts nothing.
    """
    found = opening(notes, prompt)
    if rule == "absent":  # the user knows that a likeness is none
        return notes, Opening(found.start, found.rest), False
    if found.rest is not None and (rule == "included" or found.start == "prompt"):
        said = f"{found.remark}: cut off" if found.remark else ""
        return found.rest, Opening(found.start, found.rest, said), True
    if rule == "included":
        size = len(prompt)
        said = f"its first {size} notes are not the prompt's as they stand: cut off all the same"
        return notes[size:], Opening(found.start, None, said if size else ""), bool(size)
    return notes, Opening(found.start, found.rest, f"{found.remark}: all count" if found.remark else ""), False


def whose(notes: Notes, prompts: Sequence[Notes]) -> int | None:
    """The first of the prompts, of those long enough to tell, that the notes begin with; None if there is none."""
    return next((i for i, p in enumerate(prompts) if len(p) >= TELLING and opening(notes, p).start == "prompt"), None)


def _transposed(prompt: Notes, by: int) -> Notes | None:
    """The prompt, `by` semitones up; None if a note would have no key."""
    pitch = prompt.pitch.astype(np.int64) + by
    if pitch.min() < 0 or pitch.max() >= KEYS:
        return None
    return Notes.from_columns(prompt.onset, prompt.duration, pitch, prompt.velocity)


def _after(notes: Notes, prompt: Notes) -> Notes | None:
    """The notes after the prompt, others of its last onset included; None if they don't begin with it."""
    size = len(prompt)
    if np.array_equal(notes.pitch[:size], prompt.pitch):
        return notes[size:]
    before = int(np.searchsorted(prompt.onset, prompt.onset[-1]))
    if not np.array_equal(notes.pitch[:before], prompt.pitch[:before]):
        return None
    end = int(np.searchsorted(notes.onset, notes.onset[before], side="right"))
    keep = np.arange(len(notes)) >= before
    for pitch in prompt.pitch[before:]:
        there = np.flatnonzero(keep[:end] & (notes.pitch[:end] == pitch))
        if not len(there):
            return None
        keep[there[0]] = False
    return Notes(notes.onset[keep], notes.duration[keep], notes.pitch[keep], notes.velocity[keep])

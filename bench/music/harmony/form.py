"""Sections: a melody is generated, split into A and B, and rearranged, with B transposed.

The paper's form is A + A + B + A with A = 120 notes and B = 60 notes a minor third higher: 180 notes are generated, the piece has
420. A section ends when its last note has ended; the next begins there. Without a form the melody stays unchanged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.music.harmony.settings import Form
from bench.music.notes import Notes

#: Semitones.
OCTAVE = 12


class Layout(NamedTuple):
    """Origin of each note of a piece.

    Parameters
    ----------
    source : ndarray of int, shape (n,)
        Its index in the generated melody.
    shift : ndarray of int, shape (n,)
        Semitones by which it is transposed.
    section : ndarray of int, shape (n,)
        Its section, counted from 0.
    """

    source: NDArray[np.int64]
    shift: NDArray[np.int64]
    section: NDArray[np.int64]


def layout(form: Form | None, notes: int) -> Layout:
    """Lay out the first `notes` notes of a piece, at most as many as the form's sections hold."""
    if form is None:
        return Layout(np.arange(notes), np.zeros(notes, np.int64), np.zeros(notes, np.int64))
    places = {"A": (0, form.a), "B": (form.a, form.b)}
    parts, left = [np.arange(0)], notes
    for start, size in map(places.__getitem__, form.sections):
        if not left:
            break
        parts.append(np.arange(start, start + min(size, left)))  # no more than are asked for, however long a section may be
        left -= len(parts[-1])
    source = np.concatenate(parts)
    section = np.repeat(np.arange(len(parts) - 1), [len(part) for part in parts[1:]])
    return Layout(source, np.where(source >= form.a, form.transpose, 0), section)


def transposed(notes: Notes, semitones: int) -> Notes:
    """Transpose notes; one that leaves MIDI's range is moved back by an octave, which keeps its pitch class."""
    pitch = notes.pitch.astype(np.int64) + semitones
    pitch = np.where(pitch > 127, pitch - OCTAVE, np.where(pitch < 0, pitch + OCTAVE, pitch))
    return Notes.from_columns(notes.onset, notes.duration, pitch, notes.velocity)


def form_piece(melody: Notes, form: Form | None) -> Notes:
    """Assemble the complete piece, from the melody's first onset on.

    Parameters
    ----------
    melody : Notes
        Of `form.written` notes.
    form : Form, optional
    """
    if form is None:
        return melody
    sections = {"A": melody[: form.a], "B": melody[form.a : form.a + form.b]}
    parts, at = [], float(melody.onset[0])
    for name in form.sections:
        section = sections[name]
        part = section.shifted(at - float(section.onset[0]))
        parts.append(transposed(part, form.transpose) if name == "B" else part)
        at = end_of(part)
    return Notes.concatenate(parts)


def end_of(notes: Notes) -> float:
    """Time at which the last of at least one note ends, seconds."""
    return float((notes.onset + notes.duration).max())

"""The chords of a plan as notes, each held from the first melody note over it to the first over the next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.music.harmony.form import Layout, end_of
from bench.music.harmony.plan import CLASSES, Plan
from bench.music.notes import Notes

#: Lowest pitch of a chord's bass, which lies in the octave from this C up: below most melodies.
BASS = 48
#: Velocity of every chord: softer than the melody.
VELOCITY = 50


def voiced(chord: Sequence[int], shift: int = 0) -> list[int]:
    """Pitches of a chord in close position: its bass in the octave above C3, each further tone next above the one before.

    Parameters
    ----------
    chord : sequence of int
        Pitch classes, the bass first.
    shift : int
        Semitones by which every tone is transposed first.
    """
    pitches = [BASS + (chord[0] + shift) % CLASSES]
    for tone in chord[1:]:
        pitches.append(pitches[-1] + ((tone + shift) - pitches[-1]) % CLASSES)
    return pitches


def accompaniment(piece: Notes, plan: Plan, where: Layout) -> Notes:
    """Make the chords under a piece.

    Parameters
    ----------
    piece : Notes
        n notes.
    plan : Plan
    where : Layout
        Of these n notes. A chord begins with each section and at each chord change within one.

    Returns
    -------
    Notes
        Without chords of no length: those whose melody notes all begin together with the next chord's first.
    """
    if not len(piece):
        return piece
    places = np.stack([where.section, where.source // plan.notes_per_chord])
    first = np.concatenate([[0], 1 + np.flatnonzero((np.diff(places) != 0).any(0))])
    chords = plan.chord_at(where.source[first])
    ends = [*piece.onset[first[1:]].tolist(), end_of(piece)]
    onset, duration, pitch = [], [], []
    for at, chord, end in zip(first, chords, ends, strict=True):
        start = float(piece.onset[at])
        if end > start:
            tones = voiced(plan.chords[chord], int(where.shift[at]))
            onset += [start] * len(tones)
            duration += [end - start] * len(tones)
            pitch += tones
    return Notes.from_columns(onset, duration, pitch, np.full(len(pitch), VELOCITY))

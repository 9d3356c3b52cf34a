"""Keys and chords, by music21, which is imported inside the functions: few trials need it, and its import is slow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.errors import TrialError
from bench.music.harmony.plan import CLASSES, Plan
from bench.music.harmony.settings import Harmony
from bench.music.notes import Notes

#: Total duration of the pitch classes from which a key is estimated, quarters: only their shares count.
LENGTH = 48.0


def find_key(parts: Sequence[Notes]) -> str:
    """Estimate the key of some music: ``C major``, ``B- minor`` (music21 writes a flat as -).

    Krumhansl and Schmuckler's algorithm: the total duration of each pitch class is correlated with the profile of every key. The
    order of notes is irrelevant, so music21 is given one note for each pitch class.

    Raises
    ------
    TrialError
        If there is no note.
    """
    from music21 import note, stream

    sounding = np.zeros(CLASSES)
    for notes in parts:
        sounding += np.bincount(notes.pitch % CLASSES, weights=notes.duration, minlength=CLASSES)
    if not sounding.any():
        raise TrialError("There is no note to find a key by.", "Name the key in the row's harmony: `key: C major`.")
    music: Any = stream.Stream()
    for pitch_class, length in enumerate(sounding / sounding.sum() * LENGTH):
        if length > 0:
            music.append(note.Note(60 + pitch_class, quarterLength=float(length)))
    key = music.analyze("krumhansl")
    return f"{key.tonic.name} {key.mode}"


def make_plan(key: str, harmony: Harmony) -> Plan:
    """Make the plan of a progression in a key.

    Parameters
    ----------
    key : str
        ``C major``, ``Bb minor`` or, as music21 writes it, ``B- minor``.
    harmony : Harmony
        Gives the progression for the key's mode, and the notes under each chord.
    """
    from music21 import key as keys

    tonic, mode = key.split()
    tonality = keys.Key(tonic[0] + tonic[1:].replace("b", "-"), mode)
    numerals = harmony.chords(mode)
    chords = [_classes(_chord(numeral, tonality)) for numeral in numerals]
    scale = tuple(sorted({p.pitchClass for p in tonality.pitches}))
    return Plan(
        f"{tonality.tonic.name.replace('-', '♭').replace('#', '♯')} {mode}", scale, tuple(chords), harmony.notes_per_chord
    )


def _chord(numeral: str, tonality: Any) -> Sequence[Any]:
    """Pitches of a roman numeral, in the key of the degree behind its slash if it has one: ``bVII/V`` in C minor is F A C."""
    from music21 import key as keys

    own, _, degree = numeral.partition("/")
    if degree:
        applied = _roman(degree, tonality)
        minor = applied.semitonesFromChordStep(3) == 3
        tonality = keys.Key(applied.root().name, "minor" if minor else "major")
    return tuple(_roman(own, tonality).pitches)


def _roman(numeral: str, tonality: Any) -> Any:
    """Read a numeral without a slash. In minor the flats of III, VI and VII, and the sharps of vi and vii, are courtesy.

    ``VII`` and ``bVII`` are written for one chord, B♭ in C minor; music21's default lowers the second by another semitone, and it
    has no choice for the third degree.
    """
    from music21 import roman

    if tonality.mode == "minor":
        numeral = re.sub("^b(?=(?:III|iii))", "", numeral)
    courtesy = roman.Minor67Default.CAUTIONARY
    return roman.RomanNumeral(numeral, tonality, sixthMinor=courtesy, seventhMinor=courtesy)


def _classes(pitches: Sequence[Any]) -> tuple[int, ...]:
    """Pitch classes of a chord, each once, from its bass up."""
    return tuple(dict.fromkeys(int(p.pitchClass) for p in pitches))

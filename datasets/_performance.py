"""Performance of a written four-part score by a small subset of the KTH rules.

Sources
-------
Friberg, Bresin & Sundberg (2006), "Overview of the KTH rule system for musical performance", Advances in Cognitive
Psychology 2(2-3): phrase arch, high-loud and final ritard. The metrical accent is not in that paper's table; it follows
Drake & Palmer (1993), "Accent structures in music performance", Music Perception 10(3). Melody lead: Goebl (2001),
"Melody lead in piano performance: expressive device or artifact?", JASA 110(1).

Each rule is a pure function. The rules combine: tempo factors multiply, sound levels add in dB. The shapes are the papers',
the amounts (the constants below) are this project's, chosen within the ranges that those papers report. No human played
these pieces: a model that learns their velocities and timings learns the rules.

The random parts are small and seeded: the piece's tempo, one timing deviation for each onset (so that the notes of a chord keep
their order), one level deviation for each note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import entropy

from bench.api import Notes

Floats = NDArray[np.float64]

#: Tempos, quarter notes a minute; one is drawn for each piece.
TEMPI = (58.0, 66.0, 74.0, 84.0)
#: Phrase arch: share of the tempo lost at a phrase's ends, dB lost there, and where the arch is highest.
ARCH_TEMPO, ARCH_LEVEL, ARCH_TURN = 0.16, 4.0, 0.6
#: Final ritard: quarter notes that it lasts, tempo at its end as a share of the tempo before, and its curvature.
RITARD_QUARTERS, RITARD_END, RITARD_CURVATURE = 4.0, 0.55, 2.0
#: Level of a note on the first beat of a bar, on its middle beat, on another beat, between beats, dB.
ACCENTS = (1.5, 0.75, 0.0, -1.5)
#: Seconds by which the melody precedes the other voices, and dB by which it is louder.
LEAD, MELODY_LEVEL = 0.025, 2.5
#: Sounding share of a note's written length.
LEGATO = 0.94
#: Velocity of 0 dB, and velocity steps for each dB: close to a Disklavier's (Goebl & Bresin 2003, JASA 114(4)).
MEZZO_FORTE, VELOCITIES_PER_DB = 66.0, 3.0
#: Standard deviations of the random parts: timing of an onset, seconds; velocity of a note.
TIMING_JITTER, VELOCITY_JITTER = 0.006, 1.5


@dataclass(frozen=True)
class Score:
    """Score as columns of equal length n.

    Parameters
    ----------
    onset, duration : ndarray of float64, shape (n,)
        Quarter notes from the beginning.
    pitch : ndarray of int64, shape (n,)
    voice : ndarray of int64, shape (n,)
        0 is the melody.
    accent : ndarray of int64, shape (n,)
        Metrical position: 0 first beat of a bar, 1 its middle beat, 2 another beat, 3 between beats.
    phrase_ends : ndarray of float64, shape (p,)
        Ends of the phrases, quarter notes, ascending; the last is the end of the piece.
    """

    onset: Floats
    duration: Floats
    pitch: NDArray[np.int64]
    voice: NDArray[np.int64]
    accent: NDArray[np.int64]
    phrase_ends: Floats


def phrase_position(at: Floats, ends: Floats) -> Floats:
    """Position of each time in its phrase: 0 at its beginning, 1 at its end."""
    starts = np.concatenate([[0.0], ends[:-1]])
    phrase = np.clip(np.searchsorted(ends, at, side="right"), 0, len(ends) - 1)
    position: Floats = (at - starts[phrase]) / np.maximum(ends[phrase] - starts[phrase], 1e-9)
    return np.clip(position, 0.0, 1.0)


def phrase_arch(position: Floats, turn: float = ARCH_TURN) -> Floats:
    """Height of the phrase arch, 0 at both ends and 1 at `turn`: two half parabolas.

    ``1 - ((turn - x) / turn)**2`` before the turn, ``1 - ((x - turn) / (1 - turn))**2`` after. "Arch-like tempo and sound
    level changes" of phrases, slow and soft at both ends (Friberg et al. 2006, "Phrase arch").
    """
    away = np.where(position < turn, (turn - position) / turn, (position - turn) / (1 - turn))
    height: Floats = 1.0 - away**2
    return height


def arch_tempo(position: Floats, amount: float = ARCH_TEMPO) -> Floats:
    """Tempo factor of the phrase arch: ``1 - amount * (1 - arch)``."""
    return 1.0 - amount * (1.0 - phrase_arch(position))


def arch_level(position: Floats, amount: float = ARCH_LEVEL) -> Floats:
    """Sound level of the phrase arch, dB: ``-amount * (1 - arch)``."""
    return -amount * (1.0 - phrase_arch(position))


def high_loud(pitch: NDArray[np.int64]) -> Floats:
    """Sound level by pitch, dB: ``(pitch - 60) / 4``, "the higher the pitch, the louder" (3 dB an octave)."""
    return (pitch - 60) / 4.0


def metrical_accent(accent: NDArray[np.int64], levels: Sequence[float] = ACCENTS) -> Floats:
    """Sound level by metrical position, dB."""
    return np.asarray(levels, np.float64)[accent]


def final_ritard(
    at: Floats,
    end: float,
    quarters: float = RITARD_QUARTERS,
    last: float = RITARD_END,
    curvature: float = RITARD_CURVATURE,
) -> Floats:
    """Tempo factor of the final ritard: ``(1 + (last**q - 1) * x)**(1/q)``, x from 0 at its beginning to 1 at the end.

    A runner's stop (Friberg & Sundberg 1999, JASA 105(3)): speed as a power function of the score position.
    """
    x = np.clip((at - (end - quarters)) / quarters, 0.0, 1.0)
    factor: Floats = (1.0 + (last**curvature - 1.0) * x) ** (1.0 / curvature)
    return factor


def melody_lead(voice: NDArray[np.int64], has_melody: NDArray[np.bool_], lead: float = LEAD) -> Floats:
    """Delay of each note, seconds: where the melody has a note too, the other voices follow `lead` after it."""
    return np.where((voice > 0) & has_melody, lead, 0.0)


def clock(score: Score, tempo: float, step: float = 0.125) -> tuple[Floats, Floats]:
    """Map score position to performed time: a grid of quarter notes, and the second at which each is reached.

    The tempo curve is integrated in steps of `step` quarter notes, each at the tempo of its middle.
    """
    end = float(score.phrase_ends[-1])
    grid = np.arange(0.0, end + step, step)
    middle = grid[:-1] + step / 2
    factor = arch_tempo(phrase_position(middle, score.phrase_ends)) * final_ritard(middle, end)
    return grid, np.concatenate([[0.0], np.cumsum(step * 60.0 / (tempo * factor))])


def mean_velocity(score: Score) -> Floats:
    """Velocity of each note by the rules, before jitter and rounding. Shape (n,)."""
    position = phrase_position(score.onset, score.phrase_ends)
    level = high_loud(score.pitch) + metrical_accent(score.accent) + arch_level(position) + MELODY_LEVEL * (score.voice == 0)
    velocity: Floats = MEZZO_FORTE + VELOCITIES_PER_DB * level
    return velocity


def velocity_noise(score: Score) -> Floats:
    """Entropy of each performed note's velocity, given the score: bits, shape (number of notes performed,).

    The jitter of a note depends on nothing else, so no model of the performance can expect to need fewer bits.
    """
    edges = np.concatenate([[-np.inf], np.arange(1.5, 127.0), [np.inf]])  # a velocity is the nearest number from 1 to 127
    below = ndtr((edges - mean_velocity(_one_note_a_key(score))[:, None]) / VELOCITY_JITTER)
    bits: Floats = entropy(np.diff(below, axis=1), base=2, axis=1)
    return bits


def perform(score: Score, rng: np.random.Generator) -> Notes:
    """Perform a score by the rules, with jitter from `rng`.

    Two voices on one key become one note (the longer), and a repeated key ends the note before.
    """
    score = _one_note_a_key(score)
    grid, seconds = clock(score, float(rng.choice(TEMPI)))
    onset, release = (np.interp(x, grid, seconds) for x in (score.onset, score.onset + score.duration))
    events, event = np.unique(score.onset, return_inverse=True)
    has_melody = np.zeros(len(events), np.bool_)
    has_melody[event[score.voice == 0]] = True
    jitter = np.clip(rng.normal(0.0, TIMING_JITTER, len(events)), -0.01, 0.01)
    played = np.maximum(onset + jitter[event] + melody_lead(score.voice, has_melody[event]) + 0.02, 0.0)
    velocity = mean_velocity(score) + rng.normal(0.0, VELOCITY_JITTER, len(score.onset))
    duration = np.maximum((release - onset) * LEGATO, 0.03)
    return _struck_again(Notes.from_columns(played, duration, score.pitch, np.clip(np.rint(velocity), 1, 127).astype(np.int64)))


def _one_note_a_key(score: Score) -> Score:
    order = np.lexsort((-score.duration, score.pitch, score.onset))
    onset, pitch = score.onset[order], score.pitch[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(onset) != 0) | (np.diff(pitch) != 0)
    keep = order[first]
    return Score(
        onset=score.onset[keep],
        duration=score.duration[keep],
        pitch=score.pitch[keep],
        voice=score.voice[keep],
        accent=score.accent[keep],
        phrase_ends=score.phrase_ends,
    )


def _struck_again(notes: Notes) -> Notes:
    """End each note, at the latest, where the same key is struck again."""
    order = np.lexsort((notes.onset, notes.pitch))
    onset, pitch = notes.onset[order], notes.pitch[order]
    duration = notes.duration[order].copy()
    same = np.flatnonzero(np.diff(pitch) == 0)
    duration[same] = np.minimum(duration[same], LEGATO * (onset[same + 1] - onset[same]))
    return Notes.from_columns(onset, duration, pitch, notes.velocity[order])

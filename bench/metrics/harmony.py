"""Harmony: how many notes fit a plan of chords, which Algorithm 2 is meant to raise.

A plan assigns a chord to each note, see :mod:`bench.music.harmony`. A constrained row is measured against the plan that it
followed, section by section; a row without a constraint against the same plan from one chord to the next, though it never saw
it, so that the two can be compared.
"""

from __future__ import annotations

import numpy as np

from bench.metrics.metric import Metric, Undefined, Value
from bench.music.harmony.form import Layout
from bench.music.harmony.plan import CLASSES, Plan
from bench.music.notes import Notes

SOURCE = "this suite, for Algorithm 2 of Mon 2025"

METRICS = (
    Metric(
        "chord_tones",
        "Chord tones",
        "%",
        None,
        "Share of a sample's notes whose pitch class is in the chord that the plan has under them. Notes are counted by onset, "
        "then pitch, not as the model wrote those of one onset: where the plan goes on to its next chord among these, a plan "
        "that was kept may have less than 100 %.",
        SOURCE,
        1,
        group="harmony",
        tolerance="off",
        floor=1.0,
    ),
    Metric(
        "scale_tones",
        "Scale tones",
        "%",
        None,
        "Share of a sample's notes whose pitch class is in the plan's key or in the chord under them: all that the constraint "
        "doesn't call non-harmonic.",
        SOURCE,
        1,
        group="harmony",
        tolerance="off",
        floor=1.0,
    ),
)


def evaluate(generated: Notes, plan: Plan | Undefined, where: Layout | None = None) -> dict[str, Value]:
    """Compute both shares of one sample, percent.

    Parameters
    ----------
    generated : Notes
        n notes.
    plan : Plan or Undefined
        Undefined with the reason why there is none.
    where : Layout, optional
        The plan's note for each of these, shape (n,), and how far they were transposed; by default the first n.

    Examples
    --------
    >>> evaluate(Notes.from_columns([], [], [], []), Undefined("no row is constrained"))["chord_tones"]
    Undefined(reason='no row is constrained')
    """
    if isinstance(plan, Undefined) or not len(generated):
        reason = plan if isinstance(plan, Undefined) else Undefined("no notes to compare")
        return dict.fromkeys((m.name for m in METRICS), reason)
    source = np.arange(len(generated)) if where is None else where.source
    shift = 0 if where is None else where.shift
    classes = (generated.pitch.astype(np.int64) - shift) % CLASSES
    in_chord = plan.chord_tones[plan.chord_at(source), classes]
    return {
        "chord_tones": 100 * float(in_chord.mean()),
        "scale_tones": 100 * float((in_chord | plan.scale_tones[classes]).mean()),
    }

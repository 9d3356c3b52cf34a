"""Originality: how much of a sample is copied, verbatim, from the training pieces or from its prompt.

The worker, which has the training pieces, measures it (:mod:`bench.metrics.copying` says how) and stores it in the trial's
outcome. Only the order of exact pitches counts. People borrow and repeat themselves too, so each column has a second one with
the same figure of the held-out piece's own target: far above it is copying, far below it is music like none that was learned
from. The reference row `real` is an excerpt of a training piece: it shows what a full copy looks like.
"""

from __future__ import annotations

from bench.errors import DataError
from bench.metrics.copying import PATTERN
from bench.metrics.metric import Metric, Undefined, Value
from bench.storage.records import Copying, Originality

SOURCE = "this suite"

METRICS = (
    Metric(
        "copied_run",
        "Longest copied run",
        "notes",
        None,
        "Most consecutive notes of a sample whose pitches stand consecutively in one training piece.",
        SOURCE,
        1,
        group="originality",
        tolerance=4,
        floor=1.0,
        counterpart="copied_run_real",
    ),
    Metric(
        "copied_run_real",
        "Longest copied run, real",
        "notes",
        None,
        "The longest copied run of what really follows the prompt: what held-out music shares with the training pieces.",
        SOURCE,
        1,
        group="originality",
        tolerance="off",
        floor=1.0,
    ),
    Metric(
        "known_patterns",
        "Known patterns",
        "%",
        None,
        f"Share of a sample's windows of {PATTERN} consecutive pitches that stand in a training piece.",
        SOURCE,
        1,
        group="originality",
        tolerance=5,
        floor=1.0,
        counterpart="known_patterns_real",
    ),
    Metric(
        "known_patterns_real",
        "Known patterns, real",
        "%",
        None,
        "The known patterns of what really follows the prompt.",
        SOURCE,
        1,
        group="originality",
        tolerance="off",
        floor=1.0,
    ),
    Metric(
        "copied_from_prompt",
        "Longest run from the prompt",
        "notes",
        None,
        "Most consecutive notes of a sample whose pitches stand consecutively in its prompt.",
        SOURCE,
        1,
        group="originality",
        tolerance=4,
        floor=1.0,
        counterpart="copied_from_prompt_real",
    ),
    Metric(
        "copied_from_prompt_real",
        "Longest run from the prompt, real",
        "notes",
        None,
        "The longest run from the prompt of what really follows it: how real music repeats itself.",
        SOURCE,
        1,
        group="originality",
        tolerance="off",
        floor=1.0,
    ),
)

_NOT_MEASURED = Undefined("originality was not measured: the trial was run by an older version")
_NO_PROMPT = Undefined("there is no prompt that it could copy")
_TOO_SHORT = Undefined(f"fewer than {PATTERN} notes")


def evaluate(stored: Originality | None, sample: int, piece: int) -> dict[str, Value]:
    """Every metric of this module from what a trial's outcome stored as ``originality``.

    Parameters
    ----------
    stored : Originality or None
        As made by :func:`bench.metrics.copying.measure_trial`; None for an outcome that has none.
    sample : int
        Index among all samples in the order of (piece, sample).
    piece : int
        Index of the held-out piece.

    Raises
    ------
    DataError
        If it says nothing of that sample or piece.
    """
    if stored is None:
        return {metric.name: _NOT_MEASURED for metric in METRICS}
    try:
        made, real = _values(stored.samples, sample), _values(stored.targets, piece)
    except IndexError as error:
        raise DataError(f"the outcome's originality says nothing of sample {sample} and piece {piece}") from error
    return made | {f"{name}_real": value for name, value in real.items()}


def _values(stored: Copying, index: int) -> dict[str, Value]:
    run, prompt = stored.longest_training_run[index], stored.longest_prompt_run[index]
    known = stored.known_patterns[index]
    return {
        "copied_run": float(run),
        "copied_from_prompt": _NO_PROMPT if prompt is None else float(prompt),
        "known_patterns": _TOO_SHORT if known is None else 100 * float(known),
    }

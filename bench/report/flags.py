"""Flags: what a number alone would hide. Each has a rule over the row's own figures and one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.report.histories import best_entry, histories, score_name
from bench.scoring.grid_search import SCORES
from bench.scoring.table import REAL, Row
from bench.storage.outcome import MOST_SHARE, Epoch

#: Length of a verbatim run, in notes, that is no accident whatever real music shares.
LONG_COPY = 16

#: What the last evaluation gained on the best before it, above which a training had not levelled off: validation bits, or this
#: share of another validation score.
GAIN, GAIN_SHARE = 0.05, 0.02

#: A training has diverged if its last validation is worse than its best by so many bits (another score: so many times as high),
#: or if its last loss, or norm of its critic's gradient, is so many times its lowest, in size, and the highest of all.
LOST_BITS, LOST_TIMES, GROWN_TIMES = 1.0, 2.0, 10.0

#: An adversarial training has diverged if its critic's mean score of real windows is at last so far from that of generated ones:
#: odds of 4.5 to 1 that it tells them apart. Of 25 trainings of GANs on the chorales at several settings, 23 ended between 0.08
#: and 0.54; the other two, at 2.0 and 2.4, ended with a validation distance of three and four times their best.
GAP = 1.5

#: Name of the flag of a pretrained model.
PRETRAINED = "may have seen the test pieces"

#: What tells, beside the validation score, how a training goes.
_WATCHED = ("loss", "critic_gap", "gradient_norm")

#: Name of the flag of a row over other classes.
CLASSES = "bits over other classes"

#: Name of the flag of a row that was given what it should predict.
TARGET = "the true continuation"

#: The validation score that has limits of its own.
BITS = "validation_bits"


@dataclass(frozen=True)
class Flag:
    """A warning on a row.

    Parameters
    ----------
    name : str
        As the table shows it.
    meaning : str
        One sentence for the reader.
    raised : callable
        Takes the row and its defined values by metric.
    """

    name: str
    meaning: str
    raised: Callable[[Row, Mapping[str, float]], bool]


def _below(metric: str, limit: float) -> Callable[[Row, Mapping[str, float]], bool]:
    return lambda row, values: metric in values and values[metric] < limit


def _begins_oddly(row: Row, values: Mapping[str, float]) -> bool:
    """Whether a file of an external system begins with what may be its prompt."""
    return any(trial.result.prompt and trial.result.prompt.odd for trial in row.done)


def still_improving(history: Sequence[Epoch]) -> bool:
    """Whether the last evaluation is the best by more than :data:`GAIN` bits, or :data:`GAIN_SHARE` of another score.

    Examples
    --------
    >>> still_improving([{"validation_bits": bits} for bits in (9.0, 8.0, 7.9)])
    True
    >>> still_improving([{"validation_bits": bits} for bits in (9.0, 8.0, 7.98)])
    False
    >>> still_improving([{"validation_distance": distance} for distance in (0.4, 0.2, 0.19)])
    True
    """
    name, values = _validation(history)
    if len(values) < 2 or not _finite(history):
        return False
    best = min(values[:-1])
    return best - values[-1] > (GAIN if name == BITS else GAIN_SHARE * abs(best))


def diverged(history: Sequence[Epoch]) -> bool:
    """Whether a training ended far from its best, or its critic far ahead: see :data:`LOST_BITS` and :data:`GAP`.

    A value that is no finite number has diverged too.

    Examples
    --------
    >>> diverged([{"validation_bits": bits} for bits in (9.0, 8.0, 9.5)])
    True
    >>> diverged([{"validation_bits": bits, "loss": loss} for bits, loss in ((9.0, 5.0), (8.0, 4.0), (9.5, 3.0))])  # it overfits
    False
    >>> diverged([{"loss": loss} for loss in (1.0, -3.0, 40.0)])
    True
    >>> diverged([{"loss": loss} for loss in (1.0, 5.0, 2.0)])
    False
    >>> diverged([{"loss": loss, "validation_loss": loss} for loss in (0.02, -0.1, -0.25)])
    False
    >>> diverged([{"critic_gap": gap} for gap in (0.5, 1.2, 2.4)])
    True
    >>> diverged([{"validation_bits": bits} for bits in (9.0, 8.0, None)])
    True
    """
    name, values = _validation(history)
    losses, gaps, norms = (_logged(history, logged) for logged in _WATCHED)
    if not _finite(history):
        return True
    lost = bool(values) and values[-1] - min(values) > (LOST_BITS if name == BITS else (LOST_TIMES - 1) * abs(min(values)))
    if lost and not _overfits(history, name):
        return True
    return _grown(losses) or _grown(norms) or (bool(gaps) and abs(gaps[-1]) > GAP)


def best_early(history: Sequence[Epoch]) -> bool:
    """Whether the best evaluation is in the first half: the rest of the budget bought nothing.

    Examples
    --------
    >>> best_early([{"epoch": i + 1, "validation_bits": bits} for i, bits in enumerate((9.0, 8.0, 8.5, 9.0))])
    True
    >>> best_early([{"epoch": i + 1, "validation_bits": bits} for i, bits in enumerate((9.0, 8.5, 8.0, 8.1))])
    False
    """
    numbers = [entry["epoch"] for entry in history]
    best = best_entry(history)
    return best is not None and len(numbers) > 3 and numbers.index(best) + 1 <= len(numbers) / 2


def _grown(values: Sequence[float]) -> bool:
    """Whether the last value is the largest in size, by far, and above the first: a loss may well fall below 0."""
    sizes = [abs(value) for value in values]
    return bool(sizes) and sizes[-1] == max(sizes) > GROWN_TIMES * min(sizes) and values[-1] > values[0]


def _overfits(history: Sequence[Epoch], name: str) -> bool:
    """Whether the training loss fell on behind the best validation: what grew is the distance between the two."""
    both = [entry for entry in history if name in entry and "loss" in entry]
    if name != BITS or not both:  # an adversarial loss says nothing of it
        return False
    best, last = min(both, key=lambda entry: entry[name]), both[-1]
    return bool(last["loss"] < best["loss"] and last[name] < LOST_TIMES * best[name])


def _validation(history: Sequence[Epoch]) -> tuple[str, list[float]]:
    """Name and values of the score that a training validated by."""
    name = score_name(history)
    return name, _logged(history, name)


def _finite(history: Sequence[Epoch]) -> bool:
    """Whether all that tells how a training goes are numbers."""
    return all(math.isfinite(value) for name in (score_name(history), *_WATCHED) for value in _logged(history, name))


def _logged(history: Sequence[Epoch], name: str) -> list[float]:
    """Values of that name. What no JSON number is was stored as null: NaN, or an infinity."""
    return [math.nan if entry[name] is None else entry[name] for entry in history if name in entry]


def _any_training(rule: Callable[[Sequence[Epoch]], bool]) -> Callable[[Row, Mapping[str, float]], bool]:
    return lambda row, values: row.kind == "model" and any(rule(h.entries) for trial in row.done for h in histories(trial))


def _repeats_a_training(row: Row, values: Mapping[str, float]) -> bool:
    """Whether two seeds logged the same, in two evaluations or more: a row that counts logs one, and may be the same."""
    trainings = [[h.entries for h in histories(trial) if _finite(h.entries)] for trial in row.done if row.kind == "model"]
    names = ("fold", "loss", *SCORES)
    several = [each for each in trainings if each and min(map(len, each)) > 1]
    logged = [tuple(str(_logged(entries, name)) for entries in each for name in names) for each in several]
    return len(set(logged)) < len(logged)


def _by_bits(history: Sequence[Epoch]) -> bool:
    return _validation(history)[0] == BITS


#: Names of the flags that say how a training ended.
BITS_FALLING, SCORE_FALLING, DIVERGED = "validation bits still falling", "validation score still falling", "diverged"
BEST_EARLY, NOT_HELD = "best early", "not held to the budget"

FLAGS = (
    Flag(
        PRETRAINED,
        "It was trained elsewhere, on music that nobody here knows: the test pieces may be among it, and then its numbers say "
        "little of new music. Beside models that were trained here it has no rank and is never bold. A seed of it draws other "
        "samples and trains nothing: its intervals are for other pieces and other draws, not for other trainings.",
        lambda row, values: row.pretrained,
    ),
    Flag(
        CLASSES,
        "Its bits are over other numbers of time or duration classes than those of the reference rows (where these have none: of "
        "most rows). Fewer classes cost fewer bits whatever was learned, so its bits, marked †, and its time to target have no "
        "rank and no test, and are never bold.",
        lambda row, values: row.other_classes,
    ),
    Flag(
        NOT_HELD,
        "Its trainings logged no share of the budget that models have in common, as those of a plug-in that knows epochs only "
        f"or learns nothing, or took more than {MOST_SHARE:g} times the budget: it isn't a row at this budget. It has no rank "
        "and is never bold.",
        lambda row, values: row.ignores_budget,
    ),
    Flag(
        BITS_FALLING,
        f"In at least one training the last evaluation was the best, by more than {GAIN} validation bits. The row shows what "
        "this budget buys, not where training leads: with a larger budget its place may be another.",
        _any_training(lambda history: _by_bits(history) and still_improving(history)),
    ),
    Flag(
        SCORE_FALLING,
        "The row has no validation bits. In at least one training the last evaluation was the best by the score that it has "
        f"instead (a distance, or a loss), by more than {100 * GAIN_SHARE:g} % of the best before: with a larger budget its "
        "place may be another.",
        _any_training(lambda history: not _by_bits(history) and still_improving(history)),
    ),
    Flag(
        DIVERGED,
        "In at least one training a validation score or loss was no finite number, or "
        f"the last validation was worse than the best by {LOST_BITS:g} bit or more though the training loss had not fallen since "
        f"(another score, or bits in any case: {LOST_TIMES:g} times as high), or the loss ended at its largest, over "
        f"{GROWN_TIMES:g} times its smallest. In an adversarial training the norm of the critic's gradient did, or the critic's "
        f"mean score of real windows was at last more than {GAP:g} away from that of generated ones. The row includes that "
        "training and does not show what the method does when it converges.",
        _any_training(diverged),
    ),
    Flag(
        BEST_EARLY,
        "In at least one training the best evaluation was in the first half of the budget: the rest of it bought nothing, and "
        "this training may stand apart from the others.",
        _any_training(best_early),
    ),
    Flag(
        "the same training under several seeds",
        "Trainings of different seeds logged the same values, digit by digit, as where a plug-in sets a seed of its own instead "
        "of run.seed. Its intervals, ranks and tests say nothing of other trainings.",
        _repeats_a_training,
    ),
    Flag(
        TARGET,
        "In more than half of the pieces its notes have the pitches of the true continuation, one by one (of three pitches or "
        "fewer the velocities too): it was given what it should predict, as where the wrong folder was scored, or a plug-in "
        "reads the held-out pieces; or this music holds no surprise. It has no rank and is never bold.",
        lambda row, values: row.is_target,
    ),
    Flag(
        "regresses to the median",
        "The pitches of its samples spread less than half as far as those of real music (pitch SD ratio below 0.5): a low pitch "
        "distance then comes from playing the middle.",
        _below("pitch_sd_ratio", 0.5),
    ),
    Flag(
        "velocity not modelled",
        "All notes of its samples have one velocity (velocity SD ratio 0).",
        lambda row, values: values.get("velocity_sd_ratio") == 0,
    ),
    Flag(
        "copies the training music",
        "Its longest verbatim runs from the training music are on average twice as long as those of the real continuations, "
        f"and {LONG_COPY} notes or more. The row real, a copy by construction, is not flagged.",
        lambda row, values: values.get("copied_run", 0) >= max(LONG_COPY, 2 * values.get("copied_run_real", 0)),
    ),
    Flag(
        "repeats itself",
        "More than half of a sample's notes have one pitch.",
        lambda row, values: values.get("top_pitch_share", 0) > 50,
    ),
    Flag(
        "prompt in doubt",
        "Some files of this system begin with nearly the prompt, with it in another key, or with it though it was said to be "
        "absent, so it is doubtful where their continuation begins, and what the row's numbers are worth.",
        _begins_oddly,
    ),
)


def _lacking(row: Row) -> Flag:
    """Flag of a row that lacks pieces; its name says how many it has: "12 of 16 pieces"."""
    return Flag(
        row.coverage,
        "The row's means are over the pieces it has, those of the other rows over all: do not compare them. It has no rank, and "
        "is tested on the pieces that both rows have, if these are enough.",
        lambda row, values: bool(row.absent),
    )


def flags(row: Row) -> list[Flag]:
    """List the flags of a row; none if it has no value, nor for the row of real music, which is a copy by definition."""
    if row.kind == "reference" and row.system == REAL:
        return []
    values = {name: cell.value for name, cell in row.cells.items() if cell.value is not None}
    lacking = [_lacking(row)] if row.absent else []
    return lacking + [flag for flag in FLAGS if values and flag.raised(row, values)]

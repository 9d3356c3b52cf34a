"""Responses of every metric to every corruption: how far it moves, whether in order of strength, whether it rewards.

The *badness* b of a sample g is its distance from the continuation t that really follows: m(g, t) - m(t, t) where lower is
better, the negative of that where higher is better, |m(g, t) - m(t, t)| otherwise (such a metric is best at the real music's
value). The unit of b is the mean of |m(o, t) - m(t, t)| with o the continuation of another held-out piece.

- **response**: mean b of corrupted copies of t, in units. 0: it doesn't detect the corruption; 1: as bad as another real piece.
- **change**: mean of b(corrupted o) - b(o), in units. Below 0 the metric rewards the corruption of o.

A metric on whole sets has one value per set: its "mean" is that value, and it has no test. There t is every second held-out
continuation, and o the others: a set has no order, so the same pieces in another order would be the same set.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from bench.audit.corruptions import CORRUPTIONS, LONGEST_SHIFT, Context
from bench.errors import DataError
from bench.metrics import METRICS, Metric, Undefined, Value, evaluate_samples, evaluate_set
from bench.music.notes import Notes
from bench.runner.folds import divide
from bench.runner.held_out import HeldOut
from bench.scoring.stats import holm, paired_permutation
from bench.storage.corpus import Corpus

#: Responses and changes below this share of the distance between two real pieces count as none.
NOTHING = 0.05
#: Level of the tests of a metric's rewards, adjusted together.
ALPHA = 0.05

#: Values of one metric, one per piece; undefined values are NaN, inside this module only.
Row = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One metric at one corruption. All lists are by strength; None where a value is undefined.

    Parameters
    ----------
    values : tuple of float or None
        Mean value of the target itself, then of its corrupted copies at five strengths.
    responses : tuple of float or None
        At the five strengths.
    spearman : float or None
        Between strength 0 to 5 and response; None where the response never changes.
    other_values : tuple of float or None
        Mean value of the other real piece, then of its corrupted copies at five strengths.
    changes : tuple of float or None
        At the five strengths.
    p : float or None
        Of the change at full strength, two-sided, Holm-adjusted over the metric's corruptions; None for a metric on sets.
    """

    values: tuple[float | None, ...]
    responses: tuple[float | None, ...]
    spearman: float | None
    other_values: tuple[float | None, ...]
    changes: tuple[float | None, ...]
    p: float | None = None

    @property
    def response(self) -> float | None:
        """At full strength."""
        return self.responses[-1]

    @property
    def change(self) -> float | None:
        """At full strength."""
        return self.changes[-1]

    @property
    def blind(self) -> bool:
        """Whether it responds to no strength."""
        return all(r is None or abs(r) < NOTHING for r in self.responses)

    @property
    def monotone(self) -> bool:
        """Whether the response rises with strength, and nowhere falls by more than :data:`NOTHING`.

        Spearman's rho alone would allow a fall: of six ranks with two swapped it is 0.94.
        """
        steps = [0.0, *(r for r in self.responses if r is not None)]
        falls = any(after < before - NOTHING for before, after in itertools.pairwise(steps))
        return self.spearman is not None and self.spearman > 0 and not falls

    @property
    def rewards(self) -> bool:
        """Whether the corrupted other piece is significantly better, by more than :data:`NOTHING`."""
        return self.change is not None and self.change <= -NOTHING and (self.p is None or self.p < ALPHA)


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Parameters
    ----------
    dataset, fingerprint : str
    pieces, notes : int
        Number of held-out pieces, and of notes of each continuation.
    borrowed : int
        Number of pieces too short for every corruption, which continue from their start.
    cells : mapping of (str, str) to Cell
        By metric and corruption.
    units : mapping of str to float or None
        Distance between two real pieces by metric, in the metric's own unit; None where they never differ.
    """

    dataset: str
    fingerprint: str
    pieces: int
    notes: int
    borrowed: int
    cells: Mapping[tuple[str, str], Cell]
    units: Mapping[str, float | None]

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of the audit, in the order of ``report.csv``."""
        return tuple(METRICS[name] for name in METRICS if name in self.units)


def audit(held_out: HeldOut) -> Audit:
    """Measure every metric on samples and sets at every corruption.

    Raises
    ------
    DataError
        If there are fewer than two held-out pieces, or a training piece with enough notes is missing.
    """
    targets = [t.target for t in held_out.targets.targets]
    if len(targets) < 2:
        raise DataError(f"The audit compares held-out pieces with each other; there are {len(targets)}, at least 2 are needed.")
    seconds, prompts = held_out.spec.protocol.seconds, [t.prompt for t in held_out.targets.targets]
    contexts, borrowed = make_contexts(held_out, held_out.corpus())

    own, other = measure(targets, targets, seconds, prompts)
    cells: dict[tuple[str, str], Cell] = {}
    moved: dict[tuple[str, str], Row] = {}
    units = {name: unit(own[name], other[name]) for name in own}
    for corruption in CORRUPTIONS.values():
        corrupted = [[corruption.apply(context, strength) for context in contexts] for strength in corruption.strengths]
        measured = [measure(samples, targets, seconds, prompts) for samples in corrupted]
        for name in own:
            key = name, corruption.name
            rows, other_rows = [itself[name] for itself, _ in measured], [stranger[name] for _, stranger in measured]
            cells[key], moved[key] = _cell(METRICS[name], units[name], own[name], other[name], rows, other_rows)
    return Audit(
        dataset=held_out.spec.dataset.name,
        fingerprint=str(held_out.prepared.corpus_key),
        pieces=len(targets),
        notes=held_out.spec.protocol.notes,
        borrowed=borrowed,
        cells=_tested(cells, moved),
        units=units,
    )


def make_contexts(held_out: HeldOut, corpus: Corpus) -> tuple[list[Context], int]:
    """Pair each continuation with the music that may replace its notes; count the pieces that continue from their start."""
    protocol = held_out.spec.protocol
    n = protocol.notes
    needed = max(n, LONGEST_SHIFT)
    targets = held_out.targets.targets
    contexts: dict[int, Context] = {}
    borrowed = 0
    for division in divide(corpus, held_out.targets):
        train = division.corpus.train
        long = [p.notes for p in train if len(p.notes) >= n]
        if not long:
            raise DataError(f"No training piece has {n} notes, so none can replace a continuation.")
        columns = [np.concatenate([getattr(p.notes, name) for p in train]) for name in ("pitch", "velocity")]
        middle = int(np.median(columns[0])), int(np.median(columns[1]))
        pieces = dict(zip(division.pieces, division.corpus.test, strict=True))
        for i in division.places:
            target, piece = targets[i], pieces[targets[i].piece.index].notes
            following = piece[protocol.prompt + n :]
            borrowed += len(following) < needed
            # Spread evenly over the training set.
            training = long[i * len(long) // len(targets)]
            contexts[i] = Context(target.target, da_capo(piece, following, needed), training[:n], middle, target.piece.id)
    return [contexts[i] for i in sorted(contexts)], borrowed


def da_capo(piece: Notes, following: Notes, n: int) -> Notes:
    """Extend `following`, the rest of a piece, to at least `n` notes by repeating the piece from its start."""
    period = float(piece.onset[-1] - piece.onset[0]) + float(piece.duration[-1])
    parts, count = [following], len(following)
    while count < n:
        parts.append(piece.shifted(period * len(parts)))
        count += len(piece)
    return Notes.concatenate(parts)


def measure(
    samples: Sequence[Notes], targets: Sequence[Notes], seconds: float | None, prompts: Sequence[Notes]
) -> tuple[dict[str, Row], dict[str, Row]]:
    """Measure every metric of each sample against its own target, and against another piece's.

    A metric on samples has one value per piece, a metric on sets one in all; NaN where it is undefined.

    Parameters
    ----------
    samples, targets : sequence of Notes
        One per piece, at least two.
    seconds : float, optional
        Time limit of the distances.
    prompts : sequence of Notes
        Notes before each target.
    """
    # Neighbours may be similar (one composer, one melody), so the other piece is half the list away.
    half = len(samples) // 2
    turned = [*samples[half:], *samples[:half]]
    ours, rest = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    return (
        _on_samples(samples, targets, seconds, prompts) | _on_sets(samples[ours], targets[ours]),
        _on_samples(turned, targets, seconds, prompts) | _on_sets(samples[rest], targets[ours]),
    )


def _on_samples(
    samples: Sequence[Notes], targets: Sequence[Notes], seconds: float | None, prompts: Sequence[Notes]
) -> dict[str, Row]:
    each = evaluate_samples(samples, targets, seconds, prompts)
    return {name: np.array([_number(values[name]) for values in each]) for name in each[0]}


def _on_sets(samples: Sequence[Notes], targets: Sequence[Notes]) -> dict[str, Row]:
    return {name: np.array([_number(value)]) for name, value in evaluate_set(samples, targets).items()}


def unit(own: Row, other: Row) -> float | None:
    """Compute the mean distance of another real piece from the target's own value; None where they never differ."""
    size = _mean(np.abs(other - own))
    return size if size is not None and size > 1e-12 else None


def badness(metric: Metric, values: Row, own: Row) -> Row:
    """Compute how far each value is from the target's own, in the metric's unit; above 0 is worse."""
    difference = values - own
    result: Row = {"lower": difference, "higher": -difference}.get(metric.better or "", np.abs(difference))
    return result


def spearman(responses: Sequence[float | None]) -> float | None:
    """Compute the rank correlation of strengths 0, 1, ... with responses; None if constant or undefined.

    >>> spearman([0.0, 0.5, 0.5, 2.0]) == spearman([0.0, 1.0, 1.0, 9.0])
    True
    >>> spearman([0.5, 0.5, 0.5]) is None
    True
    """
    defined = [r for r in responses if r is not None]
    if len(defined) < len(responses) or max(defined) - min(defined) < 1e-12:
        return None
    # Rounded, so that noise in the last digit makes no rank.
    rho: Callable[..., tuple[float, float]] = scipy_stats.spearmanr
    return float(rho(range(len(defined)), np.round(defined, 9))[0])


def _cell(
    metric: Metric, size: float | None, own: Row, other: Row, corrupted: Sequence[Row], stranger: Sequence[Row]
) -> tuple[Cell, Row]:
    """Summarise a metric at a corruption; also return each piece's change at full strength, 0 where undefined."""
    worse = [badness(metric, values, own) for values in corrupted]
    before = badness(metric, other, own)
    changes = [badness(metric, values, own) - before for values in stranger]
    responses = [_in_units(row, size) for row in worse]
    cell = Cell(
        values=tuple(_mean(row) for row in (own, *corrupted)),
        responses=tuple(responses),
        spearman=spearman([0.0, *responses]),
        other_values=tuple(_mean(row) for row in (other, *stranger)),
        changes=tuple(_in_units(row, size) for row in changes),
    )
    # Rounded as for Spearman's: rounding errors may have one sign on every piece.
    return cell, np.nan_to_num(changes[-1], nan=0.0).round(9)


def _tested(cells: Mapping[tuple[str, str], Cell], moved: Mapping[tuple[str, str], Row]) -> dict[tuple[str, str], Cell]:
    """Add the Holm-adjusted p of every change that can be tested over pieces."""
    keys = [key for key, row in moved.items() if len(row) > 1 and cells[key].change is not None]
    result = dict(cells)
    if not keys:
        return result
    raw = dict(zip(keys, paired_permutation(np.stack([moved[key] for key in keys], axis=1)), strict=True))
    for metric in dict.fromkeys(metric for metric, _ in keys):
        # Each metric is its own family: otherwise more metrics would make each of them less likely to be called rewarding.
        family = [key for key in keys if key[0] == metric]
        for key, p in zip(family, holm([float(raw[key]) for key in family]), strict=True):
            result[key] = replace(cells[key], p=p)
    return result


def _number(value: Value) -> float:
    return math.nan if isinstance(value, Undefined) else float(value)


def _mean(row: Row) -> float | None:
    defined = row[np.isfinite(row)]
    return math.fsum(defined) / len(defined) if len(defined) else None


def _in_units(row: Row, size: float | None) -> float | None:
    mean = _mean(row)
    return None if mean is None or size is None else mean / size

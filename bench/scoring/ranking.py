"""Significance of the differences in a table: ranks with ties, and the pairs of models that differ significantly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from bench.metrics import METRICS
from bench.scoring import stats
from bench.scoring.table import Row

#: Family-wise error rate of the tests of one column.
ALPHA = 0.05


@dataclass(frozen=True)
class Standing:
    """Tests of one column of a table: every pair of its rows on the pieces that both have.

    Parameters
    ----------
    metric : str
        A metric with values per piece and a better direction.
    rows : sequence of Row
        All rows of the table; those without a value are ignored.
    """

    metric: str
    rows: Sequence[Row]

    @cached_property
    def known(self) -> dict[str, Row]:
        """Rows with a value, by system."""
        return {row.system: row for row in self.rows if row.cells[self.metric].by_piece}

    @cached_property
    def partial(self) -> frozenset[str]:
        """Rows that lack a piece which another row has: their means are over other music, so they have no rank."""
        held = {name: row.cells[self.metric].by_piece.keys() for name, row in self.known.items()}
        every = set().union(*held.values())
        return frozenset(name for name, pieces in held.items() if pieces != every)

    @cached_property
    def comparisons(self) -> list[stats.Comparison]:
        """Tests of all pairs, each on the pieces that both have; Holm's correction over all."""
        cells = {name: row.cells[self.metric] for name, row in self.known.items()}
        weights = next((cell.weights for cell in cells.values() if cell.weights is not None), None)
        return stats.compare_all({name: cell.by_piece for name, cell in cells.items()}, weights)

    @cached_property
    def ranks(self) -> Mapping[str, tuple[int, int]]:
        """First and last rank of each complete row, 1 is best; rows without a significant difference share ranks.

        Empty if there are too few pieces for any test, as all rows would share all ranks.
        """
        if self.hopeless:
            return {}
        sign = -1.0 if METRICS[self.metric].better == "higher" else 1.0
        complete = {name: row for name, row in self.known.items() if name not in self.partial}
        values = {name: sign * (row.cells[self.metric].value or 0.0) for name, row in complete.items()}
        signed = self.comparisons if sign > 0 else [_negated(c) for c in self.comparisons]
        return stats.ranks(values, signed, alpha=ALPHA)

    @cached_property
    def between_models(self) -> list[stats.Comparison]:
        """Tests of the pairs of trained models."""
        models = {name for name, row in self.known.items() if row.kind == "model"}
        return [c for c in self.comparisons if c.one in models and c.other in models]

    @cached_property
    def best(self) -> str | None:
        """Model that is significantly better than every other, over pieces and over seeds; None if there is none, or only one.

        Its row must be complete.
        """
        for name, row in self.known.items():
            own = [c for c in self.between_models if name in (c.one, c.other)]
            complete = name not in self.partial
            if row.kind == "model" and complete and own and all(self.winner(c) == name and self.outlasts_seeds(c) for c in own):
                return name
        return None

    def outlasts_seeds(self, comparison: stats.Comparison) -> bool:
        """Whether the difference of two models is stable across training seeds: Welch's t-test over the seeds' means.

        The test over pieces holds for the networks as trained; this one says whether other seeds could reverse the result.
        """
        cells = [self.known[name].cells[self.metric] for name in (comparison.one, comparison.other)]
        # The difference on the pieces that both have, not that of the means, which may be over other pieces.
        means = (comparison.difference, 0.0)
        groups = [(mean, cell.seed_sd or 0.0, cell.seeds) for mean, cell in zip(means, cells, strict=True)]
        return stats.welch(groups) < ALPHA

    @cached_property
    def like_references(self) -> Mapping[str, list[str]]:
        """Reference rows from which each model does not differ significantly."""
        same: dict[str, list[str]] = {name: [] for name, row in self.known.items() if row.kind == "model"}
        for c in self.comparisons:
            if c.one in same and self.known[c.other].kind == "reference" and not c.real(ALPHA):
                same[c.one].append(c.other)
        return same

    def winner(self, comparison: stats.Comparison) -> str | None:
        """Return the better one of a pair, if the pair differs significantly."""
        if not comparison.real(ALPHA):
            return None
        lower, higher = (comparison.one, comparison.other)[:: 1 if comparison.difference < 0 else -1]
        return higher if METRICS[self.metric].better == "higher" else lower

    def difference(self, one: str, other: str) -> float:
        """Mean of row `one` minus row `other` on the pieces that both have; 0 if they share none."""
        pair = next((c for c in self.comparisons if {c.one, c.other} == {one, other}), None)
        return 0.0 if pair is None else pair.difference if pair.one == one else -pair.difference

    def better(self, one: str, other: str) -> bool:
        """Whether row `one` is significantly better than row `other`."""
        return any(self.winner(c) == one for c in self.comparisons if {c.one, c.other} == {one, other})

    @cached_property
    def hopeless(self) -> bool:
        """Whether there are too few pieces for any difference, however large, to be significant."""
        pieces = max((c.pieces for c in self.comparisons), default=0)
        return bool(self.comparisons) and stats.smallest_p(pieces) * len(self.comparisons) >= ALPHA

    @cached_property
    def detectable(self) -> float | None:
        """Smallest difference between two models that these tests detect with 80 % power.

        Median over the pairs of models; at the level of Holm's first step, which is the strictest.
        """
        pairs = self.between_models
        if not pairs or self.hopeless:
            return None
        strictest = ALPHA / len(self.comparisons)
        differences = [stats.detectable_difference(c.sd, c.pieces, alpha=strictest) for c in pairs]
        finite = [value for value in differences if value is not None]
        return median(finite) if finite else None


def rank_text(rank: tuple[int, int] | None, dash: str) -> str:
    """Write a rank as ``1``, or as ``3–8`` for a tie.

    Examples
    --------
    >>> rank_text((3, 8), "-")
    '3–8'
    """
    if rank is None:
        return dash
    return str(rank[0]) if rank[0] == rank[1] else f"{rank[0]}–{rank[1]}"


def _negated(c: stats.Comparison) -> stats.Comparison:
    interval = None if c.interval is None else stats.Interval(-c.interval.high, -c.interval.low, c.interval.level)
    return stats.Comparison(c.one, c.other, -c.difference, interval, c.p, c.pieces, c.sd)

"""Significance of the differences in a table: ranks with ties, and the pairs of models that differ significantly.

One rule decides rank, bold and verdict: the test over training seeds and pieces of :mod:`bench.scoring.crossed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from bench.metrics import METRICS
from bench.scoring import stats
from bench.scoring.stats import ALPHA
from bench.scoring.table import CODEC, Row
from bench.specs.schema import UNTRAINED


@dataclass(frozen=True)
class Standing:
    """Comparisons in one column of a table, each on the pieces that both rows have.

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
        """Rows with a value that can be compared, by system.

        Without the codec's and others that are the target itself, so that no rank means anything beside them, and
        :attr:`incomparable` ones.
        """
        without = {CODEC, *self.incomparable, *(row.system for row in self.rows if row.is_target)}
        return {row.system: row for row in self.rows if row.cells[self.metric].by_piece and row.system not in without}

    @cached_property
    def incomparable(self) -> list[str]:
        """Rows whose values can't be compared with the others': bits over other classes."""
        return [row.system for row in self.rows if row.incomparable(self.metric) and row.cells[self.metric].by_piece]

    @cached_property
    def partial(self) -> frozenset[str]:
        """Rows without a rank: they lack a piece that another row has, or are :attr:`apart`."""
        held = {name: row.cells[self.metric].by_piece.keys() for name, row in self.known.items()}
        every = set().union(*held.values())
        return self.apart | {name for name, pieces in held.items() if pieces != every}

    @cached_property
    def apart(self) -> frozenset[str]:
        """Models that were not trained as the others: not held to the budget or, beside models trained here, elsewhere."""
        return self.elsewhere | {name for name, row in self.known.items() if row.ignores_budget}

    @cached_property
    def elsewhere(self) -> frozenset[str]:
        """Models that were trained elsewhere; none where no other model has a value."""
        models = [row for row in self.known.values() if row.kind == "model"]
        pretrained = frozenset(row.system for row in models if row.pretrained)
        return pretrained if len(pretrained) < len(models) else frozenset()

    @cached_property
    def comparisons(self) -> list[stats.Comparison]:
        """Comparisons of all pairs of trained models and references, and of each untrained row with its own trained model.

        These are two families, each with Holm's correction. Models and references are one, as the ranks are among both. An
        untrained row answers another question, whether training helped: a dozen of them among the others would only make the real
        comparisons less sensitive.
        """
        untrained = {name: name.removeprefix(f"{UNTRAINED} ") for name, row in self.known.items() if row.kind == UNTRAINED}
        values = {name: row.cells[self.metric].values for name, row in self.known.items()}
        pairs = list(combinations([name for name in values if name not in untrained], 2))
        own = [(trained, name) for name, trained in untrained.items() if trained in values]
        better = METRICS[self.metric].better
        return [c for family in (pairs, own) for c in stats.compare_all(values, family, better, self.bounds)]

    @cached_property
    def _by_pair(self) -> Mapping[frozenset[str], stats.Comparison]:
        return {frozenset((c.one, c.other)): c for c in self.comparisons}

    @cached_property
    def bounds(self) -> frozenset[str]:
        """Rows whose values are upper bounds of the true ones."""
        return frozenset(name for name, row in self.known.items() if row.bounded(self.metric))

    @cached_property
    def unplaced(self) -> list[str]:
        """Models whose bound is above another model's value: their true place among the models is not known."""
        larger = {c.one if c.difference > 0 else c.other for c in self.between_models if c.undecided}
        return [name for name in self.known if name in larger]

    @cached_property
    def family(self) -> list[stats.Comparison]:
        """Comparisons among trained models and references, by which these are ranked."""
        return [c for c in self.comparisons if UNTRAINED not in (self.known[c.one].kind, self.known[c.other].kind)]

    @cached_property
    def ranks(self) -> Mapping[str, tuple[int, int]]:
        """First and last rank of each complete row, 1 is best; rows without a significant difference share ranks.

        Untrained rows have none. Empty if there are too few pieces for any test, as all rows would share all ranks.
        """
        if self.hopeless:
            return {}
        sign = -1.0 if METRICS[self.metric].better == "higher" else 1.0
        ranked = {name: row for name, row in self.known.items() if row.kind != UNTRAINED}
        complete = {name: row for name, row in ranked.items() if name not in self.partial}
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
        """Model that is significantly better than every other but those :attr:`elsewhere`; None if there is none.

        Its row must be complete, and at least one other trained as it was: who beats :attr:`apart` ones alone is the best of
        nothing.
        """
        for name in self.known:
            own = [c for c in self.between_models if name in (c.one, c.other) and not {c.one, c.other} & self.elsewhere]
            if name not in self.partial and any(map(self.alike, own)) and all(self.winner(c) == name for c in own):
                return name
        return None

    def alike(self, comparison: stats.Comparison) -> bool:
        """Whether both of a pair were trained alike: neither is :attr:`apart`."""
        return not {comparison.one, comparison.other} & self.apart

    @cached_property
    def like_references(self) -> Mapping[str, list[str]]:
        """Reference rows from which each model does not differ significantly, although a difference could have been found."""
        same: dict[str, list[str]] = {name: [] for name, row in self.known.items() if row.kind == "model"}
        for c in self.comparisons:
            if (
                c.one in same
                and self.known[c.other].kind == "reference"
                and not (c.real(ALPHA) or c.undecided or c.interval is None)
            ):
                same[c.one].append(c.other)
        return same

    @cached_property
    def untested(self) -> list[str]:
        """Models that share too few pieces with each other one that was trained alike for any difference to be significant."""
        tested = {name for pair in self.tested for name in pair}
        return [name for name, row in self.known.items() if row.kind == "model" and name not in self.apart | tested]

    @cached_property
    def tested(self) -> frozenset[frozenset[str]]:
        """Pairs of models that were trained alike, and share enough pieces for a difference to be significant."""
        return frozenset(frozenset((c.one, c.other)) for c in self.between_models if self.alike(c) and c.interval is not None)

    def winner(self, comparison: stats.Comparison) -> str | None:
        """Return the better one of a pair, if the pair differs significantly."""
        if not comparison.real(ALPHA):
            return None
        lower, higher = (comparison.one, comparison.other)[:: 1 if comparison.difference < 0 else -1]
        return higher if METRICS[self.metric].better == "higher" else lower

    def difference(self, one: str, other: str) -> float:
        """Mean of row `one` minus row `other` on the pieces that both have; 0 if they share none."""
        pair = self._by_pair.get(frozenset((one, other)))
        return 0.0 if pair is None else pair.difference if pair.one == one else -pair.difference

    def better(self, one: str, other: str) -> bool:
        """Whether row `one` is significantly better than row `other`."""
        pair = self._by_pair.get(frozenset((one, other)))
        return pair is not None and self.winner(pair) == one

    def comparable(self, one: str, other: str) -> bool:
        """Whether two rows share enough pieces for a difference to be significant."""
        pair = self._by_pair.get(frozenset((one, other)))
        return pair is not None and pair.interval is not None

    @cached_property
    def hopeless(self) -> bool:
        """Whether there are too few pieces for any test: no difference, however large, could be significant."""
        return bool(self.comparisons) and all(c.interval is None for c in self.comparisons)

    @cached_property
    def detectable(self) -> list[tuple[float, stats.Comparison]]:
        """Smallest true difference that these tests find with 80 % power, for each pair of models, ascending.

        Training variance included, as it was estimated here; at the level of Holm's first step, which is the strictest.
        """
        strictest = ALPHA / max(1, len(self.family))
        pairs = [c for c in self.between_models if not {c.one, c.other} & self.bounds]
        sizes = [(stats.detectable(c.variance, strictest), c) for c in pairs if c.variance is not None]
        return sorted(sizes, key=lambda sized: sized[0])


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
    return replace(c, difference=-c.difference)

"""Judge a run: each metric of each row that both runs have, and the rows that only one has.

Worse is what changed by more than its threshold *and* significantly (:mod:`bench.gate.significance`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.errors import INCOMPLETE, NOT_COMPARABLE
from bench.formatting import listed
from bench.gate.baseline import Baseline
from bench.gate.compare import JUDGED, Earlier, Pair, Status, Verdict, obstacles, other_budget, pairs_of, warnings
from bench.gate.significance import ALPHA, Chance, judge_all
from bench.metrics import METRICS
from bench.metrics.thresholds import choose_all
from bench.scoring.crossed import FEWEST

#: In order of importance.
STATUSES: tuple[Status, ...] = ("worse", "lost", "better", "unclear", "untested", "new", "not compared", "same")

#: Exit codes of `bench check`, beside those of :mod:`bench.errors`.
FINE, WORSE = 0, 1


@dataclass(frozen=True)
class RowChange:
    """A row that only one run has, that is incomplete, or of which nothing can be compared."""

    system: str
    status: Literal["vanished", "failed", "fewer seeds", "not compared", "another budget", "new"]
    reason: str = ""

    @property
    def missing(self) -> bool:
        """Whether it keeps the check from judging a row of the baseline, so that a regression there would pass."""
        return self.status != "new"


@dataclass(frozen=True)
class Judgement:
    """Result of a check.

    Parameters
    ----------
    before, now : str
        Names of the two runs.
    obstacles : tuple of str
        Why the runs can't be compared; there are no verdicts then.
    warnings : tuple of str
        Other differences that may explain a change.
    rows : tuple of RowChange
    verdicts : tuple of Verdict
        In the order of rows and metrics.
    tests : int
        Number of p-values that were adjusted together.
    """

    before: str
    now: str
    obstacles: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    rows: tuple[RowChange, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    tests: int = 0

    def of(self, *statuses: str) -> list[Verdict]:
        """Select the verdicts with one of these statuses."""
        return [v for v in self.verdicts if v.status in statuses]

    @property
    def blind(self) -> list[Verdict]:
        """Verdicts that could not have been worse whatever happened: too few pieces or seeds for the number of tests."""
        return [v for v in self.of("same", "untested", "unclear") if not can_tell(v)]

    @property
    def exit_code(self) -> int:
        """4 not comparable, 1 something is worse, 3 a value is lost or a row not compared, 0 fine; the first that applies."""
        if self.obstacles:
            return NOT_COMPARABLE
        if self.of("worse"):
            return WORSE
        return INCOMPLETE if self.of("lost") or any(row.missing for row in self.rows) else FINE


def can_tell(verdict: Verdict) -> bool:
    """Whether so many pieces can show a change. Seeds can, where their noise is known."""
    return verdict.tested if verdict.over == "seeds" else verdict.count >= FEWEST


def judge(
    before: Baseline,
    now: Baseline,
    gate: Mapping[str, float | str] | None = None,
    *,
    earlier: Earlier | None = None,
    alpha: float = ALPHA,
) -> Judgement:
    """Compare a run with its baseline.

    Parameters
    ----------
    before, now : Baseline
    gate : mapping of str to float or str, optional
        Thresholds as in a spec, which override the defaults.
    earlier : Earlier, optional
        Other trainings of the rows, from a history: they tell more of the noise of trainings.
    alpha : float
        Probability of calling anything worse in a run that differs only by chance.

    Returns
    -------
    Judgement
    """
    if reasons := obstacles(before, now):
        return Judgement(before.run, now.run, obstacles=tuple(reasons))
    thresholds = choose_all(METRICS.values(), gate)
    pairs = [pair for name in now.systems if name in before.systems for pair in pairs_of(before, now, name, thresholds, earlier)]
    tested, tests = _test(pairs, alpha)
    compared = {v.system for v in tested if v.before is not None and v.now is not None}
    both = ((name, before.systems[name], new) for name, new in now.systems.items() if name in before.systems)
    beyond = {name: reason for name, old, new in both if (reason := other_budget(old, new))}
    if not now.incomplete:  # else these rows say what is missing
        if beyond and not any(now.systems[name].kind == "model" for name in compared):  # references alone pass whatever happened
            return Judgement(before.run, now.run, obstacles=tuple(f"{name}: {reason}" for name, reason in beyond.items()))
        if not compared:
            return Judgement(before.run, now.run, obstacles=("no value is in both runs",))
    rows = tuple(_rows(before, now, compared, beyond))
    said = (*warnings(before, now), *_borrowed(pairs))
    return Judgement(before.run, now.run, (), said, rows, tuple(tested), tests)


def _borrowed(pairs: Sequence[Pair]) -> list[str]:
    """Say which rows have no noise of their own, one training a side, and so that of others, see :mod:`bench.gate.noise`."""
    compared = [(pair.verdict.system, values) for pair in pairs if (values := pair.pieces or pair.seeds)]
    known = {values.group for _, values in compared if values.freedom}
    lone = list(dict.fromkeys(system for system, values in compared if not values.freedom and values.group in known))
    if not lone:
        return []
    why = "one training on each side, so the noise is taken from other rows"
    return [f"{listed(lone)}: {why}, and even a large change may be unclear"]


def _rows(before: Baseline, now: Baseline, compared: set[str], beyond: Mapping[str, str]) -> list[RowChange]:
    vanished = [RowChange(name, "vanished", "the run has no such row") for name in before.systems if name not in now.systems]
    failed = [RowChange(name, "failed", reason) for name, reason in now.incomplete.items()]
    fewer, new = [], []
    for name, system in now.systems.items():
        was = before.systems.get(name)
        if was is None or not was.seeds:
            new.append(RowChange(name, "new"))
        elif name in now.incomplete:
            continue
        elif len(system.seeds) < len(was.seeds):
            fewer.append(RowChange(name, "fewer seeds", f"{len(system.seeds)} are done, the baseline has {len(was.seeds)}"))
        elif system.kind in JUDGED and name not in compared and name not in beyond:
            fewer.append(RowChange(name, "not compared", "no value is in both runs"))
    other = [RowChange(name, "another budget", reason) for name, reason in beyond.items()]
    return [*vanished, *failed, *fewer, *other, *new]


def _test(pairs: list[Pair], alpha: float) -> tuple[list[Verdict], int]:
    """Test every pair; return the verdicts and the number of tests."""
    on_pieces = [i for i, pair in enumerate(pairs) if pair.pieces is not None]
    on_seeds = [i for i, pair in enumerate(pairs) if pair.seeds is not None]
    piece_chances, seed_chances, tests = judge_all(
        [pieces for pair in pairs if (pieces := pair.pieces) is not None],
        [seeds for pair in pairs if (seeds := pair.seeds) is not None],
    )
    verdicts = [pair.verdict for pair in pairs]
    for i, chance in zip([*on_pieces, *on_seeds], [*piece_chances, *seed_chances], strict=True):
        verdicts[i] = replace(verdicts[i], p=chance.p, tested=chance.tested, status=_status(verdicts[i], chance, alpha))
    return verdicts, tests


def _beyond(verdict: Verdict) -> bool:
    return abs(verdict.worsening) > verdict.limit


def _status(verdict: Verdict, chance: Chance, alpha: float) -> Status:
    certain = _beyond(verdict) and chance.tested and chance.p < alpha
    if certain and verdict.worsening > 0:
        return "worse"
    if verdict.status == "lost":  # values on some pieces or seeds are gone
        return "lost"
    if not _beyond(verdict):
        return "same"
    if not chance.tested:
        return "untested"
    return "better" if certain else "unclear"

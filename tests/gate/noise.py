"""False positives of tests over seeds, and worsenings found, by how a row's noise is estimated: ``python -m tests.gate.noise``.

A check of 40 groups of 5 rows, as of the metrics of five trained models, 3 or 5 seeds a side. The noise of the first row of each
group is a multiple of that of its others; or all are unlike each other: the logarithm of a variance has a standard deviation of
1.4, as that of real retrainings. Only the estimates of noise are drawn, chi-squares. Given the limit that they set, false
positives and power are those of the normal distribution, which shows rates far below one in the number of draws.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.gate import noise
from bench.gate.noise import moderate

GROUPS, ROWS = 40, 5
NAMES = [str(i // ROWS) for i in range(GROUPS * ROWS)]
LEVELS = (0.05, 0.05 / 389)

#: A worsening in standard errors of the row; its threshold is half of it.
WORSENING = 8.0

#: Estimates, shape (groups, rows), and the degrees of freedom of one to variances and degrees of freedom.
Rule = Callable[[NDArray[np.float64], int], tuple[NDArray[np.float64], NDArray[np.float64]]]


def own(estimates, df):
    return estimates, np.full(estimates.shape, float(df))


def pooled(estimates, df):
    """The group's mean, or a noisier row's own, always with the group's degrees of freedom."""
    return np.maximum(estimates.mean(1, keepdims=True), estimates), np.full(estimates.shape, float(df * ROWS))


def moderated(estimates, df):
    variances, freedom = moderate(estimates.ravel(), np.full(estimates.size, df), NAMES)
    return variances.reshape(estimates.shape), freedom.reshape(estimates.shape)


def group_alone(estimates, df):
    """Moderated, with the spread fitted to each group by itself."""
    with mock.patch.object(noise, "FEWEST_BETWEEN", 1):
        answers = [moderate(group, np.full(ROWS, df), NAMES[:ROWS]) for group in estimates]
    return np.array([variances for variances, _ in answers]), np.array([freedom for _, freedom in answers])


RULES: dict[str, Rule] = {"moderated": moderated, "group by group": group_alone, "pooled": pooled, "own": own}


def scale(rng: np.random.Generator, noisier: float | None) -> NDArray[np.float64]:
    """True standard deviations, (groups, rows)."""
    if noisier is None:
        return np.exp(rng.normal(0, 0.7, (GROUPS, ROWS)))
    return np.tile([noisier, 1.0, 1.0, 1.0, 1.0], (GROUPS, 1))


def rates(rule: Rule, seeds: int, noisier: float | None, checks: int, *, seed: int = 0) -> tuple[list[float], list[float], float]:
    """Measure false positives over the level: of the first row, of all; and the share of worsenings found at the second level."""
    rng, df, factor = np.random.default_rng(seed), 2 * (seeds - 1), 2 / seeds
    first, every, found = np.zeros(2), np.zeros(2), 0.0
    for _ in range(checks):
        true = scale(rng, noisier)
        variances, freedom = rule(true**2 * rng.chisquare(df, true.shape) / df, df)
        error = true * np.sqrt(factor)
        for i, level in enumerate(LEVELS):
            limit = -special.stdtrit(freedom, level / 2) * np.sqrt(variances * factor) / error
            false = 2 * special.ndtr(-limit) / level
            first[i] += false[:, 0].mean() / checks
            every[i] += false.mean() / checks
        found += float(special.ndtr(WORSENING - np.maximum(limit, WORSENING / 2)).mean()) / checks
    return first.tolist(), every.tolist(), found


def tables(checks: int) -> Iterator[str]:
    names = " | ".join(RULES)
    yield f"| Noise of the first row | Seeds | Level | {names} |"
    yield f"|---|--:|--:|{'--:|' * len(RULES)}"
    found = [f"| Noise of the first row | Seeds | {names} |", f"|---|--:|{'--:|' * len(RULES)}"]
    for noisier in (1.0, 2.0, 3.0, 5.0, None):
        words = "all unlike" if noisier is None else "equal" if noisier == 1 else f"x {noisier:.0f}"
        for seeds in (3, 5):
            by_rule = [rates(rule, seeds, noisier, checks) for rule in RULES.values()]
            for i, level in enumerate(("0.05", "0.05 / 389")):
                cells = [f"{first[i]:.2f} / {every[i]:.2f}" for first, every, _ in by_rule]
                yield f"| {words} | {seeds} | {level} | {' | '.join(cells)} |"
            found.append(f"| {words} | {seeds} | {' | '.join(f'{share:.2f}' for _, _, share in by_rule)} |")
    yield from ("", *found)


if __name__ == "__main__":
    for line in tables(int(sys.argv[1]) if len(sys.argv) > 1 else 100):
        print(line, flush=True)

"""Noise of a row's trainings, moderated by that of the other rows of its group.

A few seeds show their noise badly: with three a side, its estimate has four degrees of freedom. The true variances of rows are
modelled as draws from a scaled inverse chi-square distribution. Its spread is fitted over all groups of a check, as one of five
rows shows too little of it, and its centre over the other rows of the group. Where rows are unlike each other, as real ones are,
little is borrowed; where they are alike, nearly all. ``docs/statistics.md`` has the error rates.

References
----------
Smyth 2004, Linear Models and Empirical Bayes Methods for Assessing Differential Expression in Microarray Experiments, Statistical
Applications in Genetics and Molecular Biology 3(1), section 6.2 and appendix. Two deviations, both for groups of few rows: the
row itself is not in its prior, and that the centre is an estimate widens the prior.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

#: Fewest degrees of freedom between the rows of groups, over all groups, from which the spread of their noise is fitted.
FEWEST_BETWEEN = 20


def moderate(variances: ArrayLike, freedom: ArrayLike, groups: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Moderate the variance of each row's seeds by that of the others of its group.

    With too few rows to show how unlike they are, a row keeps its own variance, and one that has none takes that of the others. A
    row whose seeds are all equal says nothing of other rows.

    Parameters
    ----------
    variances : array_like, shape (rows,)
    freedom : array_like, shape (rows,)
        Degrees of freedom of each; 0 for a row with one seed a side, whose variance is ignored.
    groups : sequence of str, length (rows,)

    Returns
    -------
    variances, freedom : ndarray, shape (rows,)
        Degrees of freedom are 0 where nothing is known.

    Examples
    --------
    One seed borrows the noise of another row:

    >>> variances, freedom = moderate([0.0, 2.0], [0, 4], ["distance", "distance"])
    >>> variances.round(9).tolist(), freedom.round(9).tolist()
    ([2.0, 2.0], [4.0, 4.0])
    """
    own, df = np.asarray(variances, np.float64), np.asarray(freedom, np.float64)
    _, group = np.unique(np.asarray(groups, np.str_), return_inverse=True)
    informs = (own > 0) & (df > 0)
    half = np.where(informs, df / 2, 1.0)
    log = np.where(informs, np.log(np.where(informs, own, 1.0)) - special.digamma(half) + np.log(half), 0.0)
    error = np.where(informs, trigamma(half), 0.0)  # variance of `log`, an unbiased estimate of the true variance's logarithm
    count, logs, errors = (np.bincount(group, x)[group].astype(np.float64) for x in (informs, log, error))
    spread = _spread(log[informs], error[informs], logs[informs], count[informs])
    others = count - informs
    # A row without any noise, such as one note repeated, needs none of the others'.
    borrows = (others > 0) & ((df == 0) if spread is None else (own > 0) | (df == 0))
    n, mean = others[borrows], ((logs - log)[borrows] / others[borrows])
    unlike = spread or 0.0
    prior = inverse_trigamma(unlike + (unlike + (errors - error)[borrows] / n) / n)
    predicted = np.exp(mean + special.digamma(prior) - np.log(prior))
    result, total = np.where(df > 0, own, 0.0), df.copy()
    total[borrows] += 2 * prior
    result[borrows] = (2 * prior * predicted + df[borrows] * result[borrows]) / total[borrows]
    return result, total


def _spread(
    log: NDArray[np.float64], error: NDArray[np.float64], logs: NDArray[np.float64], count: NDArray[np.float64]
) -> float | None:
    """Variance, within groups, of the logarithms of true variances, by moments; None with too few rows.

    Parameters
    ----------
    log, error : ndarray, shape (rows,)
    logs, count : ndarray, shape (rows,)
        Sum of `log` over the row's group, and number of its rows.
    """
    between = float((1 - 1 / count).sum())
    if between < FEWEST_BETWEEN - 0.5:  # a sum of fractions
        return None
    squares = float(((log - logs / count) ** 2).sum())
    return max(0.0, (squares - float((error * (1 - 1 / count)).sum())) / between)


def trigamma(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second derivative of the logarithm of the gamma function: the variance of the logarithm of a gamma variable."""
    values: NDArray[np.float64] = special.zeta(2.0, x)
    return values


def inverse_trigamma(value: ArrayLike) -> NDArray[np.float64]:
    """Solve trigamma(x) = `value` > 0 for x, by Newton's method on 1 / trigamma, which is nearly linear.

    Examples
    --------
    >>> round(float(inverse_trigamma(np.pi**2 / 6)), 9)
    1.0
    """
    y = np.asarray(value, np.float64)
    x = 0.5 + 1 / y
    for _ in range(20):
        now = trigamma(x)
        x = x - now * (1 - now / y) / (2 * special.zeta(3.0, x))
    return x

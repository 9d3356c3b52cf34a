"""What a listening test will be able to show, told before anybody has listened."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from scipy import optimize

from bench.formatting import Grid
from bench.listening.preference import FIRST, SECOND, probabilities
from bench.scoring import stats
from bench.scoring.crossed import Variance

#: Assumed: the share of ties between equals, and how much a system's log worth varies between listeners and between prompts, as
#: standard deviations. To be stated with the result.
TIES, BETWEEN_LISTENERS, BETWEEN_PROMPTS = 0.2, 0.4, 0.4

#: Largest difference of log worths that is looked at: a preference of 99 %.
LARGEST = 5.0

#: Numbers of listeners for which the power is told.
LISTENERS = (5, 10, 20, 40)

#: Variance of a standard logistic distribution, for the probit approximation of a mean over normal effects.
_LOGISTIC = math.pi**2 / 3


def power(contestants: int, prompts: int, questions: int) -> Grid:
    """Table of :func:`detectable` by numbers of listeners, with these prompts and with twice as many."""
    columns = (prompts, 2 * prompts)
    rows = [
        [str(listeners), *(_percent(detectable(listeners, contestants, number, questions)) for number in columns)]
        for listeners in LISTENERS
    ]
    return Grid(["Listeners", *(f"{number} prompts" for number in columns)], rows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share < 1 else "> 99 %"


def detectable(listeners: int, contestants: int, prompts: int, questions: int, probability: float = 0.8) -> float:
    """Compute how often, of comparisons with a choice, a system must be preferred to another for a test to show it.

    Shown is a significant difference, with this `probability`, at the level that Holm's adjustment leaves the first of all
    pairs. The other systems are assumed halfway between the two.

    Parameters
    ----------
    listeners, contestants, prompts : int
    questions : int
        Pairs in a form.
    probability : float

    Returns
    -------
    float
        Share, above 0.5; 1 where no difference of log worths up to :data:`LARGEST` is enough.

    References
    ----------
    Davidson 1970, On Extending the Bradley-Terry Model to Accommodate Ties, for the information of a vote; Zeger, Liang & Albert
    1988, Models for Longitudinal Data, for the mean over listeners and prompts.
    """
    pairs = contestants * (contestants - 1) // 2
    varied = 2 * (BETWEEN_LISTENERS**2 + BETWEEN_PROMPTS**2)
    flatter = math.sqrt(1 + varied / _LOGISTIC)  # shares over all listeners and prompts lie nearer to a half

    def lacking(difference: float) -> float:
        chance = _variance(difference, contestants, listeners * questions)
        heard = 2 * (BETWEEN_LISTENERS / flatter) ** 2 / listeners
        continued = 2 * (BETWEEN_PROMPTS / flatter) ** 2 / prompts
        parts = Variance(heard + chance, listeners - 1, continued + chance, prompts - 1, chance, listeners * questions)
        return difference - stats.detectable(parts, stats.ALPHA / pairs, probability)

    if lacking(LARGEST) < 0:
        return 1.0
    return 1 / (1 + math.exp(-float(optimize.brentq(lacking, 0.0, LARGEST))))


def _variance(difference: float, contestants: int, votes: int) -> float:
    """Variance of the estimated difference of the first two systems' log worths, by the chance in single votes alone."""
    worth = np.array([difference, 0.0, *[difference / 2] * (contestants - 2)])
    log_tie = np.array(math.log(2 * TIES / (1 - TIES)))
    pairs = list(combinations(range(contestants), 2))
    information = np.zeros((contestants, contestants))
    for one, other in pairs:
        chance = probabilities(worth[one] - worth[other], log_tie)
        win, loss = float(chance[FIRST]), float(chance[SECOND])
        about = np.zeros(contestants)
        about[[one, other]] = 1.0, -1.0
        information += votes / len(pairs) * (win + loss - (win - loss) ** 2) / 4 * np.outer(about, about)
    contrast = np.array([1.0, -1.0, *[0.0] * (contestants - 2)])
    return float(contrast @ np.linalg.pinv(information) @ contrast)

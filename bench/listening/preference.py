"""What listeners prefer: Davidson's model of paired comparisons with ties, and its uncertainty over listeners and prompts.

System i has a worth exp(t_i). Of i and j, i is preferred with probability exp(t_i) / D, neither with n exp((t_i + t_j) / 2) / D,
where D is the sum of the three numerators. Log worths get a weak normal prior, so that a system that always won has a finite one.

Listeners and prompts are both samples: another test would have others. The variance of a difference is that between listeners,
plus that between prompts, less what both count, each by a bootstrap; intervals and tests then follow the rule of
:mod:`bench.scoring.stats`, with listeners in the place of training seeds. To draw listeners and prompts at once would count the
chance in single votes three times (Owen 2007).

Neither interval nor test is narrower than if every vote were of a listener and a prompt of its own. Where the votes set no limit,
as those for a system that always won, an interval ends at 0 or 1.

References
----------
Bradley & Terry 1952, Rank Analysis of Incomplete Block Designs; Ford 1957, Solution of a Ranking Problem from Binary Comparisons;
Davidson 1970, On Extending the Bradley-Terry Model to Accommodate Ties in Paired Comparison Experiments; Cameron, Gelbach &
Miller 2011, Robust Inference with Multiway Clustering; Owen 2007, The Pigeonhole Bootstrap; Hauck & Donner 1977, Wald's Test as
Applied to Hypotheses in Logit Analysis; Anscombe 1956, On Estimating Binomial Response Relations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bench.listening.design import NOISE, ORIGINAL
from bench.listening.key import Key
from bench.listening.screening import Listener
from bench.scoring import stats
from bench.scoring.crossed import Interval, Variance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Bootstrap samples of listeners, of prompts, and of votes.
DRAWS = 1000

#: Standard deviations of the prior of a log worth and of the log of the tie parameter.
_PRIOR, _TIE_PRIOR = 4.0, 3.0

#: Degrees of freedom of a variance that is not estimated.
_MANY = 1e6

#: Votes added to either side of each pair where the variance of single votes is computed. That of unanimous votes would be the
#: prior's alone, and no number of them a significant one (Hauck & Donner 1977).
_ADDED = 0.1

#: The same in each sample of a bootstrap: one that lacks the only vote against a system would give it the prior's worth, and the
#: loss of that vote a large variance (Anscombe 1956).
_ADDED_TO_SAMPLES = 0.5

#: Largest number of weights at once.
_AT_ONCE = 4_000_000

#: Outcomes of a vote by column.
FIRST, TIE, SECOND = 0, 1, 2


@dataclass(frozen=True)
class Votes:
    """Votes on pairs, one entry each; the contestant of the lower index is the first.

    Parameters
    ----------
    listener, prompt : ndarray of int64, shape (votes,)
        Numbered from 0 without gaps.
    piece : ndarray of int64, shape (votes,)
        The prompt's index in targets.npz.
    first, second, outcome : ndarray of int64, shape (votes,)
        Contestants, and :data:`FIRST`, :data:`TIE` or :data:`SECOND`.
    """

    listener: Ints
    prompt: Ints
    piece: Ints
    first: Ints
    second: Ints
    outcome: Ints

    def __len__(self) -> int:
        return len(self.outcome)

    @property
    def listeners(self) -> int:
        """Number of listeners."""
        return len(np.unique(self.listener))

    @property
    def prompts(self) -> int:
        """Number of prompts."""
        return len(np.unique(self.prompt))


def votes_of(listeners: Sequence[Listener], key: Key) -> Votes:
    """Collect the votes of the listeners who count; the second answer to a pair is no further evidence and left out."""
    rows = []
    for number, listener in enumerate(each for each in listeners if not each.reason):
        for question, answer in zip(key.forms[listener.ballot.form], listener.ballot.answers, strict=True):
            if answer is None or question.kind != "pair" or {question.left, question.right} & {ORIGINAL, NOISE}:
                continue
            first, second = sorted((question.left, question.right))
            chosen = {"left": question.left, "right": question.right}.get(answer)
            outcome = TIE if chosen is None else FIRST if chosen == first else SECOND
            rows.append((number, question.prompt, first, second, outcome))
    table = np.array(rows, np.int64).reshape(-1, 5)
    _, prompt = np.unique(table[:, 1], return_inverse=True)
    return Votes(table[:, 0], prompt.astype(np.int64), table[:, 1], table[:, 2], table[:, 3], table[:, 4])


def counts(votes: Votes, systems: int, weights: Floats | None = None) -> Floats:
    """Count outcomes by pair, shape (samples, pairs, 3).

    Parameters
    ----------
    votes : Votes
    systems : int
    weights : ndarray, shape (samples, votes), optional
        By default one sample in which every vote counts once.
    """
    pairs = list(combinations(range(systems), 2))
    number = np.zeros((systems, systems), np.int64)
    number[tuple(np.array(pairs).T)] = np.arange(len(pairs))
    cells = number[votes.first, votes.second] * 3 + votes.outcome
    weights = np.ones((1, len(votes))) if weights is None else weights
    indicator = sparse.csr_array((np.ones(len(votes)), (cells, np.arange(len(votes)))), (len(pairs) * 3, len(votes)))
    total: Floats = (indicator @ weights.T).T
    return total.reshape(-1, len(pairs), 3)


def fit(outcomes: Floats, systems: int) -> tuple[Floats, Floats]:
    """Fit Davidson's model to each sample of counts, by Newton's method.

    Parameters
    ----------
    outcomes : ndarray, shape (samples, pairs, 3)
        See :func:`counts`.
    systems : int

    Returns
    -------
    (ndarray, shape (samples, systems); ndarray, shape (samples,))
        Log worths, with a mean of 0, and the log of the tie parameter.

    Examples
    --------
    Twice as many wins as losses without a tie: the odds are 2, but for the prior.

    >>> worth, _ = fit(np.array([[[2000.0, 0.0, 1000.0]]]), 2)
    >>> round(float(np.exp(worth[0, 0] - worth[0, 1])), 2)
    2.0
    """
    beta = np.zeros((len(outcomes), systems + 1))
    for _ in range(100):
        gradient, information = _slope(outcomes, beta)
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        beta += np.clip(step, -1.0, 1.0)
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    worths = beta[:, :systems]
    return worths - worths.mean(1, keepdims=True), beta[:, systems]


def _slope(outcomes: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """Gradient of the log posterior and its negative second derivatives, at log worths and the log of the tie parameter."""
    systems = beta.shape[1] - 1
    design = np.zeros((outcomes.shape[1], systems))
    for row, (one, other) in enumerate(combinations(range(systems), 2)):
        design[row, one], design[row, other] = 1.0, -1.0
    squared = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)  # (pairs, systems * systems)
    precision = np.append(np.full(systems, _PRIOR**-2.0), _TIE_PRIOR**-2.0)
    total = outcomes.sum(2)  # (samples, pairs)
    chance = probabilities(beta[:, :systems] @ design.T, beta[:, systems:])  # (samples, pairs, 3)
    first, tie, second = (chance[..., outcome] for outcome in (FIRST, TIE, SECOND))
    lead = (outcomes[..., FIRST] - outcomes[..., SECOND] - total * (first - second)) / 2
    gradient = np.concatenate([lead @ design, (outcomes[..., TIE] - total * tie).sum(1, keepdims=True)], 1) - precision * beta
    worth = total * (first + second - (first - second) ** 2) / 4
    cross = (-total * tie * (first - second) / 2) @ design  # (samples, systems)
    hessian = np.zeros((len(outcomes), systems + 1, systems + 1))
    hessian[:, :systems, :systems] = (worth @ squared).reshape(-1, systems, systems)
    hessian[:, :systems, systems] = hessian[:, systems, :systems] = cross
    hessian[:, systems, systems] = (total * tie * (1 - tie)).sum(1)
    return gradient, hessian + np.diag(precision)


def single_votes_variance(outcomes: Floats, systems: int) -> Floats:
    """Variance of each pair's difference of log worths if every vote were of its own, by the curvature at the estimate.

    Parameters
    ----------
    outcomes : ndarray, shape (pairs, 3)
    systems : int

    Returns
    -------
    ndarray, shape (pairs,)
    """
    added = _added(outcomes[None], _ADDED)
    worths, log_ties = fit(added, systems)
    (information,) = _slope(added, np.append(worths, log_ties[:, None], 1))[1]
    covariance = np.linalg.inv(information)
    one, other = np.array(list(combinations(range(systems), 2))).T
    variance: Floats = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
    return variance


def _added(outcomes: Floats, votes: float) -> Floats:
    """Add as many votes to either side of each pair."""
    added: Floats = outcomes + votes * (np.arange(3) != TIE)
    return added


def limited(outcomes: Floats, systems: int) -> NDArray[np.bool_]:
    """Which differences of log worths the votes limit from above: entry (i, j) that of i less j.

    They do if j was as good as i or better, once, or as good as another that was so against i, and so on (Ford 1957). A system
    that always won may be better by any amount, and only the prior says how much.

    Parameters
    ----------
    outcomes : ndarray, shape (pairs, 3)
    systems : int

    Examples
    --------
    The first won each time, against both; of the others each won once:

    >>> limited(np.array([[9.0, 0, 0], [9.0, 0, 0], [1.0, 0, 1.0]]), 3)[0].tolist()
    [True, False, False]
    """
    held = np.eye(systems, dtype=bool)
    for (one, other), (first, tie, second) in zip(combinations(range(systems), 2), outcomes.tolist(), strict=True):
        held[other, one], held[one, other] = first + tie > 0, second + tie > 0
    for _ in range(systems):
        held = held | ((held.astype(int) @ held.astype(int)) > 0)
    # Entry (i, j): j held its own against i, so that i less j is limited.
    return held


def probabilities(difference: Floats, log_tie: Floats) -> Floats:
    """Compute how probable each outcome is, for differences of log worths; the outcomes are the last axis."""
    logits = np.stack(np.broadcast_arrays(difference / 2, log_tie, -difference / 2), -1)
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    chance: Floats = raised / raised.sum(-1, keepdims=True)
    return chance


def preference(difference: float, log_tie: float) -> float:
    """Compute the share of comparisons that a system wins, a tie half.

    >>> preference(0.0, -1.0)
    0.5
    """
    first, tie, _ = probabilities(np.array(difference), np.array(log_tie)).tolist()
    return float(first + tie / 2)


def crossed_variance(votes: Votes, statistic: Callable[[Floats], Floats], draws: int = DRAWS, seed: int = 0) -> list[Variance]:
    """Estimate the variance of statistics of the votes over listeners and prompts, by three bootstraps.

    Parameters
    ----------
    votes : Votes
    statistic : callable
        Takes weights of the votes, (samples, votes); returns (samples, statistics).
    draws, seed : int

    Returns
    -------
    list of Variance
        By statistic; listeners in the place of seeds, prompts in that of pieces.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for unit in (votes.listener, votes.prompt, np.arange(len(votes))):
        size = int(unit.max()) + 1
        rows: list[Floats] = []
        step = max(1, _AT_ONCE // max(len(votes), size))
        for start in range(0, draws, step):
            drawn = rng.multinomial(size, np.full(size, 1 / size), min(step, draws - start)).astype(np.float64)
            rows.append(statistic(drawn[:, unit]))
        # A bootstrap of n draws from n has (n - 1) / n of the variance.
        parts.append((np.nanvar(np.concatenate(rows), axis=0, ddof=1) * size / (size - 1), size - 1))
    (heard, heard_df), (continued, continued_df), (rest, rest_df) = parts
    # What both count can't be more than either.
    return [
        Variance(float(a), heard_df, float(b), continued_df, float(min(a, b, c)), rest_df)
        for a, b, c in zip(heard, continued, rest, strict=True)
    ]


@dataclass(frozen=True)
class Comparison:
    """Two systems compared by the listeners.

    Parameters
    ----------
    first, second : int
        Contestants.
    share : float
        Of comparisons that the first wins by the model, ties half.
    interval : Interval
        Of the share, 95 %, over listeners and prompts.
    p : float
        That both are alike, by Holm's adjustment over all pairs.
    """

    first: int
    second: int
    share: float
    interval: Interval
    p: float

    def seen_from(self, system: int) -> Comparison:
        """Return the comparison with `system` as the first."""
        if system == self.first:
            return self
        interval = Interval(1 - self.interval.high, 1 - self.interval.low)
        return Comparison(self.second, self.first, 1 - self.share, interval, self.p)


@dataclass(frozen=True)
class Preferences:
    """What the votes say.

    Parameters
    ----------
    worth : tuple of float
        Log worth by contestant, with a mean of 0.
    log_tie : float
        Log of Davidson's tie parameter.
    comparisons : tuple of Comparison
        Of every pair.
    """

    worth: tuple[float, ...]
    log_tie: float
    comparisons: tuple[Comparison, ...]

    @property
    def order(self) -> list[int]:
        """Contestants, the most preferred first."""
        return sorted(range(len(self.worth)), key=lambda system: -self.worth[system])

    def against(self, system: int, other: int) -> Comparison:
        """Find the comparison of two contestants, seen from the first."""
        pair = {system, other}
        return next(c for c in self.comparisons if {c.first, c.second} == pair).seen_from(system)

    def ranks(self, apart: Collection[int] = ()) -> dict[int, tuple[int, int]]:
        """Compute the first and the last rank of each contestant; those that don't differ significantly share ranks.

        Those that are `apart` have none, and count for nobody's.
        """
        ranked = [one for one in range(len(self.worth)) if one not in apart]
        better = {one: sum(self._beats(other, one) for other in ranked if other != one) for one in ranked}
        worse = {one: sum(self._beats(one, other) for other in ranked if other != one) for one in ranked}
        return {one: (1 + better[one], len(ranked) - worse[one]) for one in ranked}

    def _beats(self, one: int, other: int) -> bool:
        comparison = self.against(one, other)
        return comparison.p < stats.ALPHA and comparison.share > 0.5


def prefer(votes: Votes, systems: int, draws: int = DRAWS, seed: int = 0) -> Preferences:
    """Order the systems by the votes, and compare every pair."""
    pairs = list(combinations(range(systems), 2))
    first, second = np.array(pairs).T
    outcomes = counts(votes, systems)
    worths, ties = fit(outcomes, systems)

    def differences(weights: Floats) -> Floats:
        drawn, _ = fit(_added(counts(votes, systems, weights), _ADDED_TO_SAMPLES), systems)
        return drawn[:, first] - drawn[:, second]

    differ = (worths[0, first] - worths[0, second]).tolist()
    log_tie = float(ties[0])
    # Samples of unanimous votes are unanimous too and show no variance, but single votes have one, which is known.
    single = single_votes_variance(outcomes[0], systems).tolist()
    ways = (crossed_variance(votes, differences, draws, seed), [Variance(*[part, _MANY] * 3) for part in single])
    above = limited(outcomes[0], systems)
    reach = np.max([stats.limit(parts, stats.ALPHA) for parts in ways], axis=0).tolist()
    compared = []
    p_values = stats.holm(np.max([stats.p_values(differ, parts) for parts in ways], axis=0).tolist())
    for (one, other), middle, far, p in zip(pairs, differ, reach, p_values, strict=True):
        low, share, high = (preference(d, log_tie) for d in (middle - far, middle, middle + far))
        interval = Interval(low if above[other, one] else 0.0, high if above[one, other] else 1.0)
        compared.append(Comparison(one, other, share, interval, p))
    return Preferences(tuple(worths[0].tolist()), log_tie, tuple(compared))

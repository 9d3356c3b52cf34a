"""Which metrics agree with the listeners, in two ways.

*Order*: Kendall's tau between the systems' log worths and their values of the metric. It says little with few systems.

*Votes*: the share of votes with a choice that went to the clip that the metric calls better on the very same prompt, with its
interval over listeners and prompts; 50 % is chance. The metric sees what was heard: the first sample of each piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats as tests

from bench.listening.key import Contestant
from bench.listening.preference import DRAWS, FIRST, TIE, Floats, Votes, crossed_variance
from bench.metrics import METRICS
from bench.metrics.metric import Metric, Undefined
from bench.metrics.sample_scores import Comparison
from bench.scoring import stats
from bench.scoring.crossed import FEWEST, Interval
from bench.scoring.score import score_run
from bench.scoring.table import WEIGHTED, Row, Table
from bench.storage.run_folder import RunFolder
from bench.storage.samples import Samples

#: Fewest systems for a correlation: of three, one in six orders agrees by chance.
FEWEST_SYSTEMS = 4


@dataclass(frozen=True)
class Agreement:
    """How far one metric agrees with the listeners.

    Parameters
    ----------
    metric : Metric
    systems : int
        Number of those with a value.
    tau : float or None
        Kendall's tau-b; 1 where the metric orders the systems as the listeners do. None with fewer than
        :data:`FEWEST_SYSTEMS`, or where all values are equal.
    p : float or None
        That orders are unrelated, not adjusted for the number of metrics.
    votes : int
        Votes with a choice between clips that have different values.
    share : float or None
        Of these, those that went to the clip that the metric calls better; None with too few listeners or prompts.
    interval : Interval or None
        Of the share, 95 %.
    """

    metric: Metric
    systems: int
    tau: float | None
    p: float | None
    votes: int
    share: float | None
    interval: Interval | None


def agreements(
    votes: Votes, worth: Sequence[float], contestants: Sequence[Contestant | None], run: Path, draws: int = DRAWS
) -> list[Agreement]:
    """Compare every metric that calls one value better than another with the listeners.

    Parameters
    ----------
    votes : Votes
    worth : sequence of float
        Log worth by contestant.
    contestants : sequence of Contestant or None
        None where the run's samples are no longer those that were heard.
    run : Path
        The run's folder.
    draws : int
        Bootstrap samples.

    Returns
    -------
    list of Agreement
        The highest share of votes first; metrics with neither a share nor a correlation are left out.
    """
    found = []
    table = score_run(run)
    clips = [_clips(contestant, RunFolder(run), table) for contestant in contestants]
    for metric in METRICS.values():
        if metric.better is None and metric.ideal is None:
            continue
        values = np.array([_mean(contestant, metric, table) for contestant in contestants])
        lead = _lead(metric, votes, clips)
        agreement = _agreement(metric, votes, np.asarray(worth), values, lead, draws)
        if agreement.share is not None or agreement.tau is not None:
            found.append(agreement)
    return sorted(found, key=lambda each: tuple(np.inf if value is None else -value for value in (each.share, each.tau)))


def _agreement(metric: Metric, votes: Votes, worth: Floats, values: Floats, lead: Floats, draws: int) -> Agreement:
    """`lead` is by how much the metric prefers the first clip of each vote; NaN where it has no value."""
    known = np.isfinite(values)
    tau = p = None
    liked = np.round(worth[known], 6)  # equal votes give equal worths but for rounding
    if known.sum() >= FEWEST_SYSTEMS and len(np.unique(values[known])) > 1 and len(np.unique(liked)) > 1:
        result = tests.kendalltau(liked, values[known])
        tau, p = float(result.statistic), float(result.pvalue)
    counted = np.isfinite(lead) & (lead != 0) & (votes.outcome != TIE)
    if len(np.unique(votes.listener[counted])) < FEWEST or len(np.unique(votes.prompt[counted])) < FEWEST:
        return Agreement(metric, int(known.sum()), tau, p, int(counted.sum()), None, None)
    right = ((lead > 0) == (votes.outcome == FIRST)) & counted

    def share(weights: Floats) -> Floats:
        total: Floats = weights @ counted.astype(np.float64)
        shares: Floats = np.full(len(total), np.nan)
        np.divide(weights @ right.astype(np.float64), total, out=shares, where=total > 0)
        return shares[:, None]

    middle = float(right.sum() / counted.sum())
    reach = float(stats.limit(crossed_variance(votes, share, draws), stats.ALPHA)[0])
    if middle in (0.0, 1.0):  # no variance is seen: that of as many unanimous votes as there are listeners, or prompts
        number = min(len(np.unique(votes.listener[counted])), len(np.unique(votes.prompt[counted])))
        reach = 1 - (stats.ALPHA / 2) ** (1 / number)
    interval = Interval(max(0.0, middle - reach), min(1.0, middle + reach))
    return Agreement(metric, int(known.sum()), tau, p, int(counted.sum()), middle, interval)


def _mean(contestant: Contestant | None, metric: Metric, table: Table) -> float:
    """How good the training that was heard is by the metric, higher being better; NaN without a value."""
    row = _row(contestant, metric, table)
    value = None if row is None or contestant is None else row.cells[metric.name].seed_means.get(contestant.seed)
    return np.nan if value is None else _goodness(metric, value)


def _row(contestant: Contestant | None, metric: Metric, table: Table) -> Row | None:
    """Row of a contestant, if its value can be compared with the others': an upper bound can't."""
    row = None if contestant is None else table.find(contestant.name)
    return None if row is None or row.incomparable(metric.name) or row.bounded(metric.name) else row


def _clips(contestant: Contestant | None, run: RunFolder, table: Table) -> dict[str, dict[int, float]]:
    """Score each clip of a contestant: by metric and piece, an index into targets.npz; without what sees other samples too."""
    row = None if contestant is None else table.find(contestant.name)
    if row is None or contestant is None:
        return {}
    trial = next(trial for trial in row.done if trial.trial.seed == contestant.seed)
    protocol, targets = trial.trial.protocol, run.read_targets().targets
    first = {key: notes for key, notes in run.samples(*trial.keys).notes.items() if key[1] == 0}
    present = {piece: target for piece, target in enumerate(targets) if (piece, 0) in first}
    measured = Comparison(run.targets, present, 1, protocol.seconds).measure(Samples(first))
    clips: dict[str, dict[int, float]] = {
        name: {piece: value for piece, value in pieces.items() if not isinstance(value, Undefined)}
        for name, pieces in measured.by_piece.items()
        if trial.trial.velocity or not METRICS[name].of_velocity
    }
    for name, pieces in trial.by_piece.items():
        if name in WEIGHTED:  # of all held-out pieces, by their index in the dataset
            places = {piece: target.piece.index for piece, target in enumerate(targets)}
        elif name not in clips and protocol.samples == 1:
            places = {piece: piece for piece in pieces}
        else:
            continue
        known = {piece: pieces.get(at) for piece, at in places.items()}
        clips[name] = {piece: value for piece, value in known.items() if isinstance(value, int | float)}
    return {name: values for name, values in clips.items() if _row(contestant, METRICS[name], table) is not None}


def _lead(metric: Metric, votes: Votes, clips: Sequence[Mapping[str, Mapping[int, float]]]) -> Floats:
    """By how much the metric prefers the first clip of each vote; NaN without a value."""
    goodness = {
        (number, piece): _goodness(metric, value)
        for number, values in enumerate(clips)
        for piece, value in values.get(metric.name, {}).items()
    }
    sides = [
        [goodness.get((system, piece), np.nan) for system, piece in zip(chosen.tolist(), votes.piece.tolist(), strict=True)]
        for chosen in (votes.first, votes.second)
    ]
    lead: Floats = np.array(sides[0]) - np.array(sides[1])
    return lead


def _goodness(metric: Metric, value: float) -> float:
    if metric.better is not None:
        return value if metric.better == "higher" else -value
    return -abs(value - (metric.ideal or 0.0))

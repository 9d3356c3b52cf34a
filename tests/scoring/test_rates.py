"""How often the statistics are right, by simulation with the variances of real networks: see :mod:`simulation`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.scoring.crossed import Values, effective_number, variance, variance_of_difference
from bench.scoring.crossed import contributions as contributions_of_one
from bench.scoring.stats import limit

from .simulation import (
    BITS,
    FAMILIES,
    GAN,
    LSTM,
    MEASURED,
    PITCH,
    TABLES,
    VELOCITY,
    Family,
    components,
    contributions,
    coverage,
    draw,
    false_positives,
    parts_of,
    parts_of_difference,
    power,
)

#: Drawn runs. The SD of a share near 0.95 is then 0.005, and limits are set 3 of these beyond what is promised.
RUNS = 2000
SLACK = 0.015

#: Large and no variance between trainings; weighted pieces unlike each other.
KINDS = (GAN, VELOCITY[1], BITS[3])


def names(family: Family) -> str:
    return family.name


@pytest.mark.parametrize("family", FAMILIES, ids=names)
def test_93_to_97_percent_of_intervals_of_five_seeds_contain_the_method_s_mean(family: Family) -> None:
    found = coverage(family, 5, 50, RUNS)
    assert 0.93 <= found.shipped <= 0.97 + SLACK
    assert family.seeds + family.rest == 0 or 0.95 - SLACK <= found.rerun <= 0.95 + SLACK


@pytest.mark.parametrize("pieces", [5, 9, 50])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("family", KINDS, ids=names)
def test_about_as_many_do_with_few_pieces_and_seeds(family: Family, seeds: int, pieces: int) -> None:
    assert 0.92 - SLACK <= coverage(family, seeds, pieces, RUNS, seed=1).shipped <= 0.975 + SLACK


@pytest.mark.parametrize("pieces", [5, 9, 50])
@pytest.mark.parametrize("family", KINDS, ids=names)
def test_at_least_95_percent_of_intervals_of_two_seeds_do(family: Family, pieces: int) -> None:
    """And the crossed t, which is not used for two seeds, holds for a GAN less often than it says."""
    found = coverage(family, 2, pieces, RUNS)
    assert found.shipped >= 0.95 - SLACK
    assert found.wider > 1.1
    assert found.crossed < 0.91 or family is not GAN or pieces < 50


@pytest.mark.parametrize("pieces", [5, 9, 50])
def test_one_seed_is_right_about_this_training_with_weights_too(pieces: int) -> None:
    assert 0.93 - SLACK <= coverage(replace(BITS[0], seeds=0.0), 1, pieces, RUNS).shipped <= 0.97 + SLACK


@pytest.mark.parametrize("pieces", [5, 9, 50])
@pytest.mark.parametrize("draws", [1, 2, 5])
def test_95_percent_of_intervals_of_a_pretrained_model_contain_its_mean_over_pieces(draws: int, pieces: int) -> None:
    """Its seeds train nothing: they draw other samples. As trainings, two of them would have much too wide an interval."""
    rng = np.random.default_rng(5)
    for family in (LSTM, GAN):
        values, _ = draw(rng, replace(family, seeds=0.0), draws, rng.normal(size=(RUNS, 1, pieces)))
        runs = [{seed: dict(enumerate(row)) for seed, row in enumerate(one)} for one in values.tolist()]
        intervals = [Values(one, drawn=True).interval()[0] for one in runs]
        assert 0.95 - SLACK <= np.mean([one is not None and not one.excludes(0.0) for one in intervals]) <= 0.95 + SLACK
        if draws == 2:
            as_trained = [Values(one).interval()[0] for one in runs]
            pairs = [(a.high - a.low, b.high - b.low) for a, b in zip(as_trained, intervals, strict=True) if a and b]
            assert np.mean([a for a, _ in pairs]) > 1.2 * np.mean([b for _, b in pairs])


@pytest.mark.parametrize("family", MEASURED, ids=names)
def test_heavy_tailed_seeds_do_not_break_it(family: Family) -> None:
    found = coverage(family, 5, 50, RUNS, heavy=True)
    assert found.shipped >= 0.93
    assert found.rerun >= 0.91


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("table", TABLES)
def test_at_most_5_percent_of_tables_of_equal_methods_show_a_difference(table: str, seeds: int, heavy: bool) -> None:
    """The SD of a share of 0.05 is 0.01 in 500 tables."""
    assert false_positives(TABLES[table], seeds, 50, 500, heavy=heavy) <= 0.05 + 0.025


@pytest.mark.parametrize("table", TABLES)
def test_about_80_percent_of_detectable_differences_are_found_with_ten_seeds(table: str) -> None:
    assert 0.73 <= power(TABLES[table], (0, 1), 10, 50, RUNS)[1] <= 0.87


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_simulation_computes_what_is_shipped(seeds: int, weighted: bool) -> None:
    """Variances, limits and intervals of 40 runs at once are those of each run alone."""
    rng = np.random.default_rng(seeds)
    raw, others = rng.normal(size=(40, seeds, 6)), rng.normal(size=(40, 2, 6))
    weights = np.linspace(97, 538, 6) if weighted else None
    worth = 6.0 if weights is None else effective_number(weights)
    ours, theirs = contributions(raw, weights), contributions(others, weights)
    parts, pairs = parts_of(ours, worth), parts_of_difference(ours, theirs, worth)
    reach = parts.squared(0.05) if seeds == 2 else parts.t_limit(0.05)
    for i in range(40):
        assert ours[i] == pytest.approx(contributions_of_one(raw[i], weights))
        single, pair = variance(ours[i], worth), variance_of_difference(ours[i], theirs[i], worth)
        assert (single.total, single.df) == pytest.approx((np.ravel(parts.total)[i], np.ravel(parts.df)[i]))
        assert pairs.squared(0.01)[i] == pytest.approx(limit([pair], 0.01)[0])
        by_seed = {seed: dict(enumerate(row.tolist())) for seed, row in enumerate(raw[i])}
        interval, _ = Values(by_seed, None if weights is None else dict(enumerate(weights.tolist()))).interval()
        assert interval is not None
        assert (interval.high - interval.low) / 2 == pytest.approx(reach[i])
        assert (interval.high + interval.low) / 2 == pytest.approx(ours[i].mean())


def test_components_are_recovered_from_many_values() -> None:
    """10 times 20 values, many times: squares average to what they were drawn with."""
    rng = np.random.default_rng(0)
    drawn = draw(rng, LSTM, 10, rng.normal(size=(1, 1, 20_000)))[0][0]
    assert components(drawn)[1:] == pytest.approx((LSTM.pieces, LSTM.rest), rel=0.03)
    wide = draw(rng, replace(PITCH[3], seeds=1.0), 2000, rng.normal(size=(1, 1, 20)))[0][0]
    assert components(wide)[0] == pytest.approx(1.0, rel=0.1)

"""How often the statistics are right, by simulation with the variances of real networks: see :mod:`simulation`."""

from __future__ import annotations

import pytest

from .simulation import CALM_GAN, FAMILIES, GAN, LSTM, TABLES, TRANSFORMER, Family, coverage, false_positives, power

#: Drawn runs. The SD of a share near 0.95 is then 0.007, and limits are set 2.5 of these beyond what is promised.
RUNS = 1000


@pytest.mark.parametrize("pieces", [10, 50])
@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_93_to_97_percent_of_intervals_contain_the_method_s_mean(family: Family, seeds: int, pieces: int) -> None:
    held, again = coverage(family, seeds, pieces, RUNS, seed=seeds * pieces)
    assert 0.93 - 0.018 <= held <= 0.97 + 0.014
    if seeds > 1 and family.seeds + family.rest > 0:
        assert 0.93 <= again <= 0.97


@pytest.mark.parametrize("family", [TRANSFORMER, LSTM, CALM_GAN, GAN], ids=lambda f: f.name)
def test_heavy_tailed_seeds_do_not_break_it(family: Family) -> None:
    held, again = coverage(family, 5, 50, RUNS, heavy=True)
    assert held >= 0.93
    assert again >= 0.91


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("table", TABLES)
def test_at_most_5_percent_of_tables_of_equal_methods_show_a_difference(table: str, seeds: int, heavy: bool) -> None:
    """The SD of a share of 0.05 is 0.011 in 400 tables."""
    assert false_positives(TABLES[table], seeds, 50, 400, heavy=heavy) <= 0.05 + 0.022


@pytest.mark.parametrize("table", TABLES)
def test_about_80_percent_of_detectable_differences_are_found_with_ten_seeds(table: str) -> None:
    assert 0.73 <= power(TABLES[table], 10, 50, RUNS)[1] <= 0.87

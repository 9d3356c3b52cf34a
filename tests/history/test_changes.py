"""Series and their change points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.history import grids, words
from bench.history.changes import MOST_RUNS, _at_each_place, _of_neighbours, trends
from bench.history.entry import Entry
from bench.history.series import all_series

from .handmade import entry, row, runs

#: Noise with mean 0 and standard deviation 0.1.
NOISE = [-0.1, 0.0, 0.1]


def steps(*levels: float) -> list[list[float]]:
    return [[level + x for x in NOISE] for level in levels]


def test_a_step_is_found_between_its_runs() -> None:
    found = trends(runs("pitch_distance", steps(9, 9, 9, 9, 8, 8, 8)))
    (change,) = found.changes
    assert (change.last_before.entry.run, change.first_after.entry.run) == ("run-3", "run-4")
    assert (change.before, change.now, change.direction, change.runs) == (pytest.approx(9.0), pytest.approx(8.0), "better", 4)
    assert change.p < 0.001
    assert found.last == ()  # the last run is like those since the change


def test_p_is_that_of_the_formula() -> None:
    """One series of 2 runs of 3 seeds: a t-test with the variance within runs, 0.01, and 4 degrees of freedom; one place."""
    from scipy import stats

    (change,) = trends(runs("pitch_distance", steps(9.0, 9.5))).changes
    t = 0.5 / np.sqrt(0.01 * (1 / 3 + 1 / 3))
    assert change.p == pytest.approx(2 * stats.t.sf(t, 4))


def test_several_steps_and_directions() -> None:
    found = trends(runs("pitch_distance", steps(9, 9, 9, 7, 7, 7, 8, 8, 8)))
    assert [(change.at, change.direction) for change in found.changes] == [(3, "better"), (6, "worse")]
    higher = trends(runs("semitone_clashes", steps(9, 9, 9, 7, 7, 7)))
    assert [change.direction for change in higher.changes] == ["different"]


def test_the_last_run_alone() -> None:
    found = trends(runs("pitch_distance", steps(9, 9, 9, 9, 9, 10)))
    assert [(change.at, change.direction) for change in found.last] == [(5, "worse")]
    assert (found.compared, found.same) == (1, 0)
    assert found.last[0].runs == 5


def test_what_can_not_be_tested_is_told_beside_what_is_the_same() -> None:
    """A row of one training went from 8.5 to 65 semitones, and the run was said to repeat the trainings of the one before it."""
    same, once = row({"pitch_distance": [9.0, 9.1]}, kind="reference"), [row({"pitch_distance": [v]}) for v in (8.5, 65.0)]
    found = trends([entry(i, {"real": same, "lstm": own}) for i, own in enumerate(once)])
    assert ([one.system for one in found.untested], found.compared, found.same) == (["lstm"], 1, 1)
    rest = (
        "value of lstm comes from other trainings than in the run before, and can't be tested: that takes two runs with two seeds"
    )
    assert words.verdict(found) == (
        "The last run, run-1 (0101010101), repeats the trainings of the run before it in the rows that could be compared (real): "
        f"none of 1 value changed. 1 other {rest} each, or five runs."
    )
    alone = trends([entry(i, {"lstm": own}) for i, own in enumerate(once)])
    assert words.verdict(alone) == (
        "The last run, run-1 (0101010101), has no value to compare: too little is known of the noise. "
        f"1 {rest} each, or five runs."
    )
    times = trends([entry(i, {"lstm": row({"training_seconds": [v, v + 1]})}) for i, v in enumerate((8.5, 65.0))])
    assert times.untested == (), "a machine's values always differ"
    assert trends([entry(i, {"lstm": once[0]}) for i in range(2)]).untested == ()


def test_what_got_worse_is_listed_first() -> None:
    """Although something else changed more surely."""
    values = {"pitch_distance": (9.0, 8.0), "velocity_distance": (9.0, 9.5)}
    made = [
        entry(i, {"lstm": row({name: [v[i] - 0.1, v[i], v[i] + 0.1] for name, v in values.items()}, first_seed=3 * i)})
        for i in (0, 1)
    ]
    found = trends(made)
    surest = sorted(found.last, key=lambda change: change.p)
    assert [change.direction for change in surest] == ["better", "worse"]
    grid = grids.last_grid(found.last)
    assert [line[-2] for line in grid.rows] == ["worse", "better"]
    assert grid.strong == {(0, 5)}
    assert [line[-2] for line in grids.last_grid(found.last, 1).rows] == ["worse"]


def test_the_last_run_is_compared_with_those_since_the_last_change() -> None:
    found = trends(runs("pitch_distance", steps(5, 5, 5, 5, 9, 9, 9, 10)))
    (change,) = found.last
    assert (change.before, change.runs) == (pytest.approx(9.0), 3)


def test_the_same_trainings_count_once() -> None:
    """A machine that trains the same seeds with the same code every night learns nothing about noise."""
    nights = [entry(i, {"lstm": row({"pitch_distance": [9.0, 9.1, 9.2]})}) for i in range(9)]
    (series,) = all_series(nights)
    assert series.units == [[9.0, 9.1, 9.2]]
    found = trends(nights)
    assert (found.tests, found.changes, found.last, found.compared, found.same) == (0, (), (), 1, 1)
    rerolled = [
        *nights,
        *(
            replace(one, identity=f"b{i}", rows={"lstm": row({"pitch_distance": [9.2, 9.3, 9.0]})})
            for i, one in enumerate(nights)
        ),
    ]
    (series,) = all_series(rerolled)
    assert [len(unit) for unit in series.units] == [3, 3]
    assert trends(rerolled).changes == ()  # a difference of 0.07 at a standard deviation of 0.1


def test_trainings_that_come_again_later_count_once() -> None:
    """Runs of two sets of seeds by turns, then of two others: four groups of trainings, not sixteen."""
    sets = [[9.0, 9.1, 9.2], [9.1, 9.3, 9.2], [9.3, 9.4, 9.2], [9.2, 9.3, 9.5]]
    order = [0, 1] * 4 + [2, 3] * 4
    history = [entry(i, {"lstm": row({"pitch_distance": sets[k]}, first_seed=10 * k)}) for i, k in enumerate(order)]
    (series,) = all_series(history)
    assert len(series.units) == 16
    assert series.counts == [pytest.approx(0.75)] * 16
    assert [len(values) for values in series.first_shown] == [3, 3, *[0] * 6, 3, 3, *[0] * 6]
    assert trends(history).changes == ()
    new = [entry(i, {"lstm": row({"pitch_distance": sets[k]}, first_seed=10 * i)}) for i, k in enumerate(order)]
    assert [change.at for change in trends(new).changes] == [8]  # what it would be to count them as new ones


def test_a_change_that_is_taken_back() -> None:
    """The old code gives the old trainings again: that is a change, too."""
    values = {"old": [9.0, 9.1, 9.2], "new": [11.0, 11.1, 11.2]}
    history = [entry(i, {"lstm": row({"pitch_distance": values[k]})}) for i, k in enumerate(["old", "old", "new", "old"])]
    assert [(change.at, change.direction) for change in trends(history).changes] == [(2, "worse"), (3, "better")]


def test_a_slow_drift_has_no_place_that_parts_nothing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        drift = [[0.12 * run + x for x in rng.normal(0, 0.1, 3)] for run in range(10)]
        changes = trends(runs("pitch_distance", drift)).changes
        assert changes
        assert all(change.p < 0.05 for change in changes)


def test_more_seeds_of_the_same_code_join_their_run() -> None:
    some = entry(0, {"lstm": row({"pitch_distance": [9.0, 9.1]})})
    more = entry(1, {"lstm": row({"pitch_distance": [9.0, 9.1, 9.3]})})
    (series,) = all_series([some, more])
    assert series.units == [[9.0, 9.1, 9.3]]


def test_values_without_any_noise() -> None:
    """Such as one note repeated: no change as long as nothing moves, a change as soon as anything does."""
    still = runs("pitch_distance", [[5.0, 5.0]] * 4, "median", kind="reference")
    assert trends(still).changes == ()
    moved = runs("pitch_distance", [[5.0, 5.0]] * 2 + [[6.0, 6.0]] * 2, "median", kind="reference")
    assert [change.at for change in trends(moved).changes] == [2]


def test_rounding_is_no_change() -> None:
    """Another library may add the same numbers in another order."""
    wobbling = runs("pitch_distance", [[5.0 + 1e-8 * i, 5.0] for i in range(6)], "median", kind="reference")
    assert trends(wobbling).changes == ()
    same = [entry(i, {"lstm": row({"pitch_distance": [9.0 + 1e-8 * i, 9.5]})}) for i in range(3)]
    assert len(all_series(same)[0].units) == 1


def test_times_only_within_one_kind_of_machine() -> None:
    times = [60, 61, 59, 60, 62, 60, 61, 59]
    slow = runs("training_seconds", [[t, t + 1] for t in times])
    fast = [
        entry(10 + i, {"lstm": row({"training_seconds": [t / 3, t / 3 + 0.2]}, machine="Fast CPU, 8 threads")})
        for i, t in enumerate(times)
    ]
    found = trends([*slow, *fast])
    assert {(series.machine, len(series.points)) for series in found.series} == {
        ("Test CPU, 2 threads", 8),
        ("Fast CPU, 8 threads", 8),
    }
    assert found.changes == ()
    slower = runs("training_seconds", [[t, t + 1] for t in (*times, *(2 * t for t in times))])
    assert [change.at for change in trends(slower).changes] == [8]


@pytest.mark.parametrize("at", [6, 11])
def test_a_slower_time_is_not_its_own_noise(at: int) -> None:
    times = [[t * (3 if i >= at else 1)] for i, t in enumerate([60, 61, 59, 60, 62, 60, 61, 59, 60, 61, 60, 59])]
    found = trends(runs("training_seconds", times))
    assert [change.at for change in found.changes] == [at]
    assert found.changes[0].p < 1e-5  # so that it is also found among hundreds of series
    assert [change.at for change in found.last] == ([at] if at == 11 else [])


def test_draws_of_a_pretrained_row_are_no_noise_of_trainings() -> None:
    """One seed a run takes five runs, unless another trained row shows the noise."""
    few = {"pitch_distance": [9.0]}
    made = [
        entry(i, {"lstm": row(few, first_seed=i), "gpt2": row({"pitch_distance": [9.0, 9.1]}, first_seed=2 * i)}) for i in (0, 1)
    ]
    assert trends(made).tests == 2
    drawn = [replace(one, rows={**one.rows, "gpt2": replace(one.rows["gpt2"], pretrained=True)}) for one in made]
    assert trends(drawn).tests == 1
    assert "seed of a pretrained row (gpt2) trains nothing" in " ".join(words.notes(trends(drawn)))
    assert "pretrained" not in " ".join(words.notes(trends(made)))


def test_noise_of_neighbours() -> None:
    """Differences within the parts of 2 and 3 runs, 1, 2 and 2; degrees of freedom (2 tr A)^2 / 2 tr A^2 of A = D'D / 2."""
    noise = _of_neighbours(np.array([0.0, 1.0, 50.0, 52.0, 50.0]), [2])
    d = np.array([[-1, 1, 0, 0, 0], [0, 0, -1, 1, 0], [0, 0, 0, -1, 1]])
    a = d.T @ d / 2
    assert noise.variance == pytest.approx((1 + 4 + 4) / (2 * 3))
    assert noise.df == pytest.approx(np.trace(a) ** 2 / np.trace(a @ a))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.sets(st.integers(1, 11)), st.data())
def test_noise_at_all_places_is_that_at_each(values: list[int], parted: set[int], data: st.DataObject) -> None:
    splits = sorted(i for i in parted if i < len(values))
    part = data.draw(st.integers(0, len(splits)))
    begin, end = ([0, *splits, len(values)][part : part + 2]) if values else (0, 0)
    array = np.array(values, float)
    variances, freedom = _at_each_place(array, splits, begin, end)
    each = [_of_neighbours(array, sorted([*splits, i])) for i in range(begin + 1, end)]
    assert variances.tolist() == pytest.approx([noise.variance for noise in each])
    assert freedom.tolist() == pytest.approx([noise.df for noise in each])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("metric", ["pitch_distance", "training_seconds"])
def test_a_thousand_runs_with_hundreds_of_changes(metric: str) -> None:
    """Two levels by turns, as of a matrix of configurations, were searched by recursion, as deep as there are runs."""
    levels = [9 + i // 3 % 2 if metric == "pitch_distance" else 9 * 1.2 ** (i // 3) for i in range(MOST_RUNS)]
    values = [[level, level * 1.0001, level * 0.9999] for level in levels]
    assert len(trends(runs(metric, values)).changes) == (MOST_RUNS - 1) // 3


def test_equal_values_of_few_runs_are_no_evidence() -> None:
    assert trends(runs("unique_pitches", [[7.0], [7.0], [7.0], [8.0], [8.0]])).changes == ()


def test_times_of_an_unknown_machine_have_no_series() -> None:
    assert all_series(runs("training_seconds", [[60.0, 61.0]] * 3, machine="")) == []


def test_other_music_or_other_hyperparameters_are_other_series() -> None:
    history = runs("pitch_distance", steps(9, 9, 9))
    other = [replace(one, terms="u", identity=f"u{i}") for i, one in enumerate(runs("pitch_distance", steps(5, 5, 5)))]
    larger = [
        replace(one, identity=f"l{i}", rows={"lstm": replace(one.rows["lstm"], definition="e")})
        for i, one in enumerate(runs("pitch_distance", steps(7, 7, 7)))
    ]
    found = trends([*history, *other, *larger])
    assert (len(found.series), found.changes) == (3, ())


def test_untrained_rows_are_not_judged() -> None:
    assert all_series(runs("pitch_distance", steps(9, 9), kind="untrained")) == []


def test_another_version_of_a_metric_is_another_one() -> None:
    (one,) = runs("pitch_distance", steps(9))
    renamed = {"pitch_distance@7": one.rows["lstm"].metrics["pitch_distance@1"]}
    other = replace(one, identity="o", rows={"lstm": replace(one.rows["lstm"], metrics=renamed)})
    assert len(all_series([one, other])[0].points) == 1


def test_one_seed_a_run_takes_five_runs() -> None:
    assert trends(runs("pitch_distance", [[9.0]] * 2 + [[8.0]] * 2)).tests == 0
    values = [[9.0 + 0.01 * (i % 3)] for i in range(8)] + [[5.0 + 0.01 * (i % 3)] for i in range(8)]
    assert [change.at for change in trends(runs("pitch_distance", values)).changes] == [8]


def test_an_empty_history() -> None:
    found = trends([])
    assert (found.series, found.changes, found.tests, found.compared) == ((), (), 0, 0)


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4), min_size=1, max_size=8),
    st.floats(0.01, 100),
    st.floats(-1e3, 1e3),
)
def test_scale_and_place_change_nothing(values: list[list[float]], factor: float, shift: float) -> None:
    rounded = [[round(x, 2) for x in run] for run in values]
    other = [[x * factor + shift for x in run] for run in rounded]
    assert places(runs("pitch_distance", rounded)) == places(runs("pitch_distance", other))


def places(history: list[Entry]) -> list[int]:
    """Changes that are certain; those on the edge may go either way by rounding."""
    return [change.at for change in trends(history).changes if not 0.04 < change.p < 0.06]

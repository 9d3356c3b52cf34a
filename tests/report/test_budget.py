"""Results against the budget: lines, crossings, and the table at parts of the budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report import REPORTS
from bench.report import tables as report_tables
from bench.report.budget import Crossing, Line, changes, crossing_texts, crossings, line_of, stage_lines, table, unclear_crossings
from bench.report.contents import Report
from bench.report.figures import budget as curves
from bench.scoring.table import StageScore

from .stored_run import FIELDS, Stored, built, done, moved, rows


def line(*points: tuple[float, float], spread: float = 0.1, trainings: int = 2) -> Line:
    x, mean = zip(*points, strict=True)
    return Line(x, mean, tuple(y - spread for y in mean), tuple(y + spread for y in mean), trainings)


FALLING, LEVEL = line((0, 10), (10, 6)), line((0, 8), (10, 8))


@pytest.mark.timeout(60)
def test_long_trainings_cost_their_length() -> None:
    """Point by point, 12,000 evaluations of a received run took over a minute for one sentence of the report."""
    x = tuple(map(float, range(100_000)))
    waves = {
        name: Line(x, *(tuple(20.0 - (i + shift) % 7 for i in range(len(x))),) * 3, 2) for name, shift in (("a", 0), ("b", 3))
    }
    (found,) = crossings(waves)
    assert found.clear


def test_lines_cross_where_their_means_are_equal() -> None:
    assert list(crossings({"a": FALLING, "b": LEVEL})) == [Crossing("a", "b", 5.0, 5.0, True)]
    assert list(crossings({"b": LEVEL, "a": FALLING})) == [Crossing("a", "b", 5.0, 5.0, True)]


def test_between_two_points_of_which_nothing_is_known_is_where_they_cross() -> None:
    assert list(crossings({"a": FALLING, "b": LEVEL}, pointwise=True)) == [Crossing("a", "b", 0, 10, True)]


@pytest.mark.parametrize(
    ("one", "clear"),
    [
        (line((0, 10), (10, 6), spread=3.0), False),  # the bands overlap on both sides
        (line((0, 10), (5, 7.95), (10, 7.95)), False),  # and here after it
        (line((0, 10), (10, 6), trainings=1), False),
        (line((0, 10), (10, 6), spread=1.5), True),
    ],
)
def test_a_crossing_is_clear_where_bands_are_apart_before_and_after(one: Line, clear: bool) -> None:
    (found,) = crossings({"a": one, "b": LEVEL})
    assert (found.below, found.clear) == ("a", clear)


@pytest.mark.parametrize(
    "other",
    [
        line((0, 11), (10, 7)),  # parallel
        line((6, 8), (10, 8)),  # it begins after the crossing
        line((0, 8), (4, 8)),  # it ends before it
        line((20, 8), (30, 8)),  # nothing in common
        line((0, 10), (10, 8)),  # it starts at the same value
    ],
)
def test_nothing_is_said_where_lines_do_not_cross(other: Line) -> None:
    assert list(crossings({"a": FALLING, "b": other})) == []


def test_the_last_of_several_crossings_counts() -> None:
    wave = line((0, 7), (2, 9), (4, 7), (6, 9))
    (found,) = crossings({"wave": wave, "level": LEVEL})
    assert (found.below, found.above, found.before) == ("level", "wave", 5.0)


def test_a_line_goes_as_far_as_all_its_trainings() -> None:
    assert line_of([[(1, 5.0)], [(3, 7.0), (4, 1.0)]]) == Line((2,), (6.0,), (5.0,), (7.0,), 2)


def training(*points: tuple[int, float, float], notes: int = 10) -> dict[str, Any]:
    """History of (updates, seconds, bits)."""
    history = [
        {"epoch": i, "updates": u, "seconds": s, "loss": 1.0, "notes": notes, "validation_bits": b}
        for i, (u, s, b) in enumerate(points, 1)
    ]
    return {**done(0, None)["training"], "seconds": points[-1][1], "updates": points[-1][0], "history": history}


def staged(report: Report, distances: dict[str, tuple[tuple[float, float], ...]]) -> Report:
    """The report with made-up results at 1/4 and all of the budget: for each seed of a model the two pitch distances."""
    made = []
    for row in report.table.rows:
        values = distances.get(row.system)
        if values:
            trials = tuple(
                replace(
                    t,
                    stages=(
                        StageScore(0.25, 100, 51234, 7.5, {"pitch_distance": first, "velocity_distance": 3.0}),
                        StageScore(1.0, 1005, 205432, 30.0, {"pitch_distance": last, "velocity_distance": 3.0}),
                    ),
                )
                for t, (first, last) in zip(row.trials, values, strict=True)
            )
            row = replace(row, trials=trials)
        made.append(row)
    return replace(report, table=replace(report.table, rows=tuple(made)))


@pytest.fixture
def crossed(stored: Stored) -> Report:
    """Bits of lstm fall from 10 to 6, those of gan stay at 8; distances fall from 9 semitones to 1, and from 5 to 4."""
    for seed in (0, 1):
        stored.add("lstm", seed, moved(1), training=training((100, 10.0, 10.0), (300, 30.0, 6.0), notes=26_151))
        stored.add("gan", seed, moved(4), training=training((100, 20.0, 8.0), (300, 60.0, 8.0), notes=26_151))
    return staged(built(stored.close()), {"lstm": ((9.0, 1.0), (9.5, 1.2)), "gan": ((5.0, 4.0), (5.5, 4.8))})


def test_crossings_name_their_axis(crossed: Report) -> None:
    assert list(crossing_texts(crossed)) == [
        # Halfway from 26,151 to 52,302 notes. At 20 s, where gan's line begins, they are equal.
        "Validation bits: the line of lstm falls below that of gan after about 39,000 notes.",
        "Average Pitch Distance: between 1/4 and all of the budget the line of lstm falls below that of gan.",
    ]
    assert not unclear_crossings(crossed)


def test_compute_is_in_yardstick_seconds_where_all_trainings_have_them(stored: Stored) -> None:
    """A machine twice as fast as the standard one: 10 and 30 s of its processor are 20 and 60 yardstick-seconds."""
    for seed in (0, 1):
        for system, bits in (("lstm", (10.0, 6.0)), ("gan", (8.0, 8.0))):
            spent = training((100, 99.0, bits[0]), (300, 199.0, bits[1]))
            history = [entry | {"core_seconds": s} for entry, s in zip(spent["history"], (10.0, 30.0), strict=True)]
            spent |= {"core_seconds": 30.0, "history": history}
            stored.add(system, seed, moved(1), training=spent, yardstick={"before": 0.05, "after": 0.05, "core": 0.05})
    report = built(stored.close())
    assert list(crossing_texts(report)) == [
        "Validation bits: the line of lstm falls below that of gan after about 40 yardstick-seconds and after about 15 notes."
    ]
    assert "Validation bits per note over yardstick-seconds of training" in curves.gallery(report).drawings[0].label


def test_no_order_is_read_from_a_crossing_with_an_upper_bound(stored: Stored) -> None:
    bound = {"kind": "bound", "pieces": 5, "notes": 500, "bits_per_note": 8.0, "by_field": dict.fromkeys(FIELDS, 2.0)}
    for seed in (0, 1):
        stored.add("lstm", seed, moved(1), training=training((100, 10.0, 10.0), (300, 30.0, 6.0)))
        stored.add("vae", seed, moved(4), training=training((100, 10.0, 8.0), (300, 30.0, 8.0)), likelihood=bound)
    report = built(stored.close())
    assert list(crossing_texts(report)) == []
    assert unclear_crossings(report)


def test_no_order_is_read_from_bits_over_other_classes(stored: Stored) -> None:
    for seed in (0, 1):
        stored.add("lstm", seed, moved(1), training=training((100, 10.0, 10.0), (300, 30.0, 6.0)), bits=9.0)
        stored.add("coarse", seed, moved(4), training=training((100, 10.0, 8.0), (300, 30.0, 8.0)), params={"time_classes": 4})
        stored.add("ngram", seed, moved(4), kind="reference", bits=9.0)
    report = built(stored.close())
    assert list(crossing_texts(report)) == []
    assert not unclear_crossings(report)
    bits = next(drawing for drawing in curves.gallery(report).drawings if "Target" in drawing.label)
    assert "reached after: lstm 10.0 s." in bits.label
    assert "Bits of coarse are over other classes" in bits.caption
    (cost,) = (line for line in report_tables.cost(report).cells if line[0].text == "coarse")
    titles = report_tables.cost(report).headers
    assert cost[titles.index("Time to target")].text.startswith("† ")


def test_crossings_within_the_spread_are_named_apart(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), training=training((100, 10.0, 10.0), (300, 30.0, 6.0)))
    stored.add("gan", 0, moved(4), training=training((100, 10.0, 8.0), (300, 30.0, 8.0)))
    report = built(stored.close())
    assert list(crossing_texts(report)) == []
    assert unclear_crossings(report)


def test_the_table_has_each_model_at_each_part_of_the_budget(crossed: Report) -> None:
    grid = table(crossed)
    assert [[str(cell) for cell in line[:7]] for line in grid.cells] == [
        ["lstm", "1/4", "100", "51,234", "7.50 s", "9.25 ± 0.35", "3.00 ± 0.00"],
        ["gan", "1/4", "100", "51,234", "7.50 s", "5.25 ± 0.35", "3.00 ± 0.00"],
        ["lstm", "all", "1,005", "205,432", "30.0 s", "1.10 ± 0.14", "3.00 ± 0.00"],
        ["gan", "all", "1,005", "205,432", "30.0 s", "4.40 ± 0.57", "3.00 ± 0.00"],
    ]
    assert [line[-1].text for line in grid.cells] == ["–"] * 4
    assert stage_lines(crossed, "pitch_distance")["gan"] == Line((0.25, 1.0), (5.25, 4.4), (5.0, 4.0), (5.5, 4.8), 2)


def test_a_mean_over_some_of_the_seeds_is_said_to_be_one(crossed: Report) -> None:
    """One that a timeout stopped has results at a quarter of the budget, and none at the end of it."""
    first, *others = crossed.table.rows
    stopped = replace(first, trials=(replace(first.trials[0], stages=first.trials[0].stages[:1]), *first.trials[1:]))
    grid = table(replace(crossed, table=replace(crossed.table, rows=(stopped, *others))))
    assert [line[5].text for line in grid.cells] == ["9.25 ± 0.35", "5.25 ± 0.35", "1.20 (1 of 2 seeds)", "4.40 ± 0.57"]


def test_a_distance_changed_if_its_seeds_agree(crossed: Report) -> None:
    """Changes of lstm: -8 and -8.3, a t interval of -8.15 ± 1.9; of gan: -1 and -0.7, of -0.85 ± 1.9."""
    assert list(changes(crossed)) == [
        "Average Pitch Distance from 1/4 to all of the budget: fell in lstm (9.25 to 1.10); no clear change in gan.",
        "Velocity Average Distance from 1/4 to all of the budget: no clear change in lstm and gan.",
    ]


def test_scripts_get_every_trial_at_every_part(crossed: Report) -> None:
    lines = rows(REPORTS["budget.csv"](crossed))
    assert [(r["system"], r["seed"], r["share"], r["updates"], r["pitch_distance"]) for r in lines] == [
        ("lstm", "0", "0.25", "100", "9"),
        ("lstm", "0", "1", "1005", "1"),
        ("lstm", "1", "0.25", "100", "9.5"),
        ("lstm", "1", "1", "1005", "1.2"),
        ("gan", "0", "0.25", "100", "5"),
        ("gan", "0", "1", "1005", "4"),
        ("gan", "1", "0.25", "100", "5.5"),
        ("gan", "1", "1", "1005", "4.8"),
    ]


def test_each_axis_has_a_figure(crossed: Report) -> None:
    captions = [drawing.caption for drawing in curves.gallery(crossed).drawings]
    assert captions == [
        "Validation bits per note against seconds of training.",
        "Validation bits per note against notes trained on.",
        "Held-out pitch distance at shares of the budget.",
        "Held-out velocity distance at shares of the budget.",
    ]


def test_a_run_from_before_there_were_stages_has_its_curve_over_seconds(stored: Stored, tmp_path: Path) -> None:
    stored.add("lstm", 0, moved(1))
    report = built(stored.close())
    drawing, _ = curves.gallery(report).drawings
    assert drawing.label == (
        "Line chart. Validation bits per note over seconds of training: lstm from 13.00 to 12.00 bits. "
        "Target 12 bits, reached after: lstm 60.0 s."
    )
    assert table(report).rows == []
    assert "no common budget" not in REPORTS["report.md"](report), "it is the only model"


def test_of_files_alone_no_budget_is_said(stored: Stored) -> None:
    """Nothing is known of their training, so nothing of its budget."""
    stored.add("magenta", 0, moved(1), model="external")
    text = REPORTS["report.md"](built(stored.close()))
    assert "no common budget" not in text
    assert "No model of this run was trained here." in text


@pytest.mark.parametrize(
    ("compute", "said"),
    [
        (
            {"seconds": 18.0},
            "One budget for every model: 18 yardstick-seconds, that is processor time on a machine of a fixed speed.",
        ),
        ({"updates": 500}, "One budget for every model: 500 updates."),
        (None, "The models have no common budget"),
    ],
)
def test_the_budget_is_said(tmp_path: Path, compute: dict[str, float] | None, said: str) -> None:
    stored = Stored(tmp_path / "run", budget={"compute": compute})
    for model in ("lstm", "gan"):
        stored.add(model, 0, moved(1), training=done(0, None)["training"] | {"history": [{"epoch": 1, "notes": 9, "share": 1.0}]})
    assert said in REPORTS["report.md"](built(stored.close()))

"""Grid search: what validation chose, what stays in Table 2, and what is said while nothing can be chosen."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.report import build_report, write_reports
from bench.scoring.grid_search import searches
from bench.scoring.score import score_run
from tests.report.stored_run import Stored, done, moved


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    run = Stored(tmp_path / "run")
    for seed in (0, 1):
        run.add("median", seed, moved(1), kind="reference")
    return run


def cell(
    run: Stored,
    dropout: float,
    seed: int,
    best: Sequence[float],
    by: int = 5,
    score: str = "validation_bits",
    classes: tuple[int, int] | None = None,
    events: int | None = None,
    share: float | None = None,
    logged: float | None = None,
    **more: float,
) -> None:
    """A trial of one cell, whose epochs had these scores, and `more`; its notes are `by` semitones off."""
    told = done(seed, 15.0)["training"]
    history = [
        {k: v for k, v in told["history"][0].items() if k != "validation_bits"}
        | {"epoch": i, score: value, "share": logged, **more}
        for i, value in enumerate(best, 1)
    ]
    run.add(
        f"lstm dropout={dropout}",
        seed,
        moved(by),
        model="lstm",
        cell_of="lstm",
        params={"dropout": dropout, "units": 8},
        bits=15.0,
        classes=classes,
        training=told | {"history": history, "share": share},
        prediction=events and {"unit": "event", "pieces": 2, "predictions": events, "nats": 9.0, "notes": 40, "seconds": 9.0},
    )


def told(folder: Path) -> str:
    write_reports(folder)
    return (folder / "report.md").read_text()


def table2_rows(text: str) -> list[str]:
    lines = text.split("## Table 2")[1].split("\n- ")[0].splitlines()
    return [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:]


def test_the_best_epoch_of_every_seed_chooses(stored: Stored) -> None:
    # Mean of the best epochs: (10 + 12) / 2 = 11 against (9 + 14) / 2 = 11.5. The last epochs would choose the other.
    cell(stored, 0.1, 0, [10.0, 15.0])
    cell(stored, 0.1, 1, [12.0, 15.0])
    cell(stored, 0.2, 0, [9.5, 9.0])
    cell(stored, 0.2, 1, [15.0, 14.0])
    (search,) = searches(score_run(stored.close()))
    assert search.chosen is not None
    assert search.chosen.system == "lstm dropout=0.1"
    assert search.mean(0) == (11.0, pytest.approx(2**0.5))
    assert search.mean(1) == (11.5, pytest.approx(12.5**0.5))


def test_held_out_pieces_have_no_part_in_it(stored: Stored) -> None:
    for seed in (0, 1):
        cell(stored, 0.1, seed, [10.0], by=30)
        cell(stored, 0.2, seed, [10.5], by=1)
    text = told(stored.close())
    assert table2_rows(text) == ["lstm dropout=0.1", "median"]
    assert "Chosen: lstm dropout=0.1, which has the lowest validation bits per note of 2 cells" in text
    assert "The next cell is within one standard deviation" not in text


def test_all_cells_stand_in_the_report_and_in_the_csv(stored: Stored) -> None:
    for seed in (0, 1):
        for dropout, bits in ((0.1, 10.0), (0.2, 9.0), (0.3, 11.0)):
            cell(stored, dropout, seed, [bits + seed])
    folder = stored.close()
    section = told(folder).split("## Grid search: lstm")[1].split("\n## ")[0]
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    assert lines[0][:2] == ["dropout", "Validation bits per note"]
    assert [line[:2] for line in lines[2:]] == [
        ["0.1", "10.500 ± 0.707"],
        ["**0.2**", "**9.500 ± 0.707**"],
        ["0.3", "11.500 ± 0.707"],
    ]
    rows = list(csv.DictReader(io.StringIO((folder / "report.csv").read_text())))
    assert [row["system"] for row in rows] == ["lstm dropout=0.2", "median", "lstm dropout=0.1", "lstm dropout=0.3"]
    assert len((folder / "trials.csv").read_text().splitlines()) == 1 + 8


def test_a_choice_that_seeds_could_turn_is_called_so(stored: Stored) -> None:
    for seed in (0, 1):
        cell(stored, 0.1, seed, [10.0 + seed])
        cell(stored, 0.2, seed, [10.2 + seed])
    assert "The next cell is within one standard deviation between seeds" in told(stored.close())


def test_nothing_is_chosen_while_a_trial_lacks(stored: Stored) -> None:
    for seed in (0, 1):
        cell(stored, 0.1, seed, [10.0])
    cell(stored, 0.2, 0, [9.0])
    stored.add(
        "lstm dropout=0.2", 1, None, error="out of memory", model="lstm", cell_of="lstm", params={"dropout": 0.2, "units": 8}
    )
    text = told(stored.close())
    assert "Nothing is chosen yet: some trials have not ended well. Until then every cell is a row of Table 2." in text
    assert [row.split(" (")[0] for row in table2_rows(text)] == ["lstm dropout=0.1", "lstm dropout=0.2", "median"]
    assert "out of memory" in text.split("## Failed trials")[1]


@pytest.mark.parametrize(
    ("classes", "said"),
    [((64, 64), "Chosen: lstm dropout=0.2, which has the lowest validation distance"), ((4, 4), "Nothing is")],
)
def test_a_family_without_a_likelihood_is_chosen_by_its_distance(stored: Stored, classes: tuple[int, int], said: str) -> None:
    """Over the same classes: between notes of fewer ones it is shorter, whatever was learned."""
    for seed in (0, 1):
        cell(stored, 0.1, seed, [3.0], score="validation_distance", classes=(64, 64))
        cell(stored, 0.2, seed, [2.0], score="validation_distance", classes=classes)
    assert said in told(stored.close())


def test_a_model_that_logs_no_validation_score_is_not_chosen_from(stored: Stored) -> None:
    for seed in (0, 1):
        cell(stored, 0.1, seed, [3.0], score="accuracy", classes=(64, 64))
        cell(stored, 0.2, seed, [2.0], score="accuracy", classes=(4, 4))
    assert "Nothing is chosen: the model logs no validation score." in told(stored.close())


def test_losses_over_other_fields_are_not_compared(stored: Stored) -> None:
    # The pitch alone has a loss of 2 nats, the whole note of 5: no reason to choose the pitch alone.
    for seed in (0, 1):
        cell(stored, 0.1, seed, [2.0], score="validation_loss")
        cell(stored, 0.2, seed, [5.0], score="validation_loss", validation_bits=7.2)
    assert "Nothing is chosen: the cells log different validation scores" in told(stored.close())


def test_bits_over_fewer_classes_are_not_compared(stored: Stored) -> None:
    """A hyperparameter of a plug-in may set them under any name."""
    for seed in (0, 1):
        cell(stored, 0.1, seed, [14.9], classes=(64, 64))
        cell(stored, 0.2, seed, [13.5], classes=(4, 4))
    assert "Nothing is chosen: the cells log different validation scores, or scores over different classes" in told(
        stored.close()
    )


@pytest.mark.parametrize(("others", "told_of"), [(1000, "Chosen: lstm dropout=0.2"), (1500, "Nothing is chosen: the cells")])
def test_a_loss_over_more_events_is_not_compared(stored: Stored, others: int, told_of: str) -> None:
    """Of a finer vocabulary each event costs less, whatever was learned."""
    for seed in (0, 1):
        cell(stored, 0.1, seed, [3.3], score="validation_loss", events=1000)
        cell(stored, 0.2, seed, [1.5], score="validation_loss", events=others)
    assert told_of in told(stored.close())


@pytest.mark.parametrize(("others", "told_of"), [(1000, "Chosen: lstm dropout=0.2"), (1500, "Nothing is chosen: the cells")])
def test_nor_without_a_likelihood_of_held_out_pieces(stored: Stored, others: int, told_of: str) -> None:
    for seed in (0, 1):
        cell(stored, 0.1, seed, [3.3], score="validation_loss", validation_predictions=1000)
        cell(stored, 0.2, seed, [1.5], score="validation_loss", validation_predictions=others)
    assert told_of in told(stored.close())


def test_a_cell_that_diverged_is_not_chosen_and_hinders_no_choice(stored: Stored) -> None:
    for seed in (0, 1):
        cell(stored, 0.1, seed, [9.0])
        cell(stored, 0.2, seed, [math.nan, math.inf] if seed else [8.0])
    text = told(stored.close())
    assert "Chosen: lstm dropout=0.1" in text
    assert "not comparable" not in text


@pytest.mark.parametrize(("budget", "chosen"), [({"compute": {"updates": 100}}, 0.1), ({"epochs": 3}, 0.2)])
@pytest.mark.parametrize("stores", [True, False])
def test_a_cell_that_went_on_beyond_its_budget_is_not_chosen(
    stored: Stored, budget: dict[str, object], chosen: float, stores: bool
) -> None:
    """Nor is one of an earlier version, which stored what was logged alone. Epochs are no budget that rows have in common."""
    stored.spec["budget"] = budget
    for dropout, score, share in ((0.1, 9.0, 1.0), (0.2, 8.0, 5.0)):
        for seed in (0, 1):
            cell(stored, dropout, seed, [score], **({"share": share} if stores else {"logged": share}))
    assert f"Chosen: lstm dropout={chosen}" in told(stored.close())


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ((math.nan, 1.0), (math.inf, 1.0), "has diverged"),
        ((8.0, 5.0), (9.0, 1.2), "went on beyond the budget"),
        ((8.0, 5.0), (math.inf, 1.0), "has diverged or went on beyond the budget"),
    ],
)
def test_nothing_is_chosen_of_cells_that_all_diverged_or_went_on(
    stored: Stored, one: tuple[float, float], other: tuple[float, float], why: str
) -> None:
    """For good: no trial is missing."""
    stored.spec["budget"] = {"compute": {"updates": 100}}
    for seed in (0, 1):
        for dropout, (score, share) in ((0.1, one), (0.2, other)):
            cell(stored, dropout, seed, [score if seed else 7.0], share=share if seed else 1.0)
    said = f"Nothing is chosen: a training of every cell {why}. So every cell is a row of Table 2."
    assert said in told(stored.close())


def test_nothing_is_chosen_before_any_trial_has_ended(stored: Stored) -> None:
    for dropout in (0.1, 0.2):
        params = {"dropout": dropout, "units": 8}
        stored.add(f"lstm dropout={dropout}", 0, None, model="lstm", cell_of="lstm", params=params, error="out of memory")
    assert "Nothing is chosen yet: some trials have not ended well." in told(stored.close())


def test_a_run_without_a_grid_has_none(stored: Stored) -> None:
    stored.add("lstm", 0, moved(2), bits=15.0)
    folder = stored.close()
    assert build_report(folder, score_run(folder)).searches == []


def test_more_names_than_a_page_has_room_for_are_one_column(stored: Stored) -> None:
    """A column for each name of all cells, and a line for each cell, is their product."""
    for i in range(60):
        stored.add(f"lstm {i}", 0, moved(1), model="lstm", cell_of="lstm", params={f"name{i}": i, "units": 8}, bits=9.0)
    section = told(stored.close()).split("## Grid search: lstm")[1].split("\n## ")[0]
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    assert lines[0][0] == "Hyperparameters"
    assert len(lines[0]) < 10
    assert {line[0].strip("*") for line in lines[2:]} == {f"name{i} {i}, units 8" for i in range(60)}

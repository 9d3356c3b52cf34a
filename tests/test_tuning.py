"""The search for hyperparameters: its points, its refusals, and a whole search by the command, stopped and resumed."""

import csv
import json
import re
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import DataError, SpecError, UsageError
from bench.specs.load import load_spec
from bench.specs.schema import Compute, Range, Space
from bench.tuning import Trained, check_target, points, search_spec, summary, updates_paid, winners, write_trials, write_tuned
from tests.cli.in_process import bench

TOY = Path(__file__).parent / "runner" / "plugins"

#: Its validation bits are known: lowest at a rate of 0.01 and a size of 8, whatever the seed. A rate above 0.5 fails.
VALLEY = textwrap.dedent('''
    """A valley whose bottom is known."""

    import math

    import numpy as np

    import bench.api
    from bench.api import Notes

    FEATURES = "a valley"
    PROMPT = True
    LIKELIHOOD = None


    class Model(bench.api.Model):
        def __init__(self, rate: float = 0.3, size: int = 4) -> None:
            self.rate, self.size = rate, size

        def fit(self, train, valid, run) -> None:
            if self.rate > 0.5:
                raise ValueError("diverged")
            with open(run.folder.parents[5] / "trained.txt", "a") as log:
                log.write("x")
            run.begin()
            bits = 5 + math.log10(self.rate / 0.01) ** 2 + abs(self.size - 8)
            for number, share in enumerate(run.budget.shares, 1):
                run.log(number, loss=1.0, notes=10, validation_bits=bits + 1 - share, updates=10 * number)

        def generate(self, prompts, n_notes, seed, constraint=None):
            onset = np.arange(1, n_notes + 1)
            return [
                Notes.from_columns(p.onset[-1] + onset, np.ones(n_notes), np.full(n_notes, 60), np.full(n_notes, 64))
                for p in prompts
            ]
''')


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine" / "models").mkdir(parents=True)
    (tmp_path / "mine" / "models" / "valley.py").write_text(VALLEY)
    return tmp_path


def write(folder, **changes):
    spec = {
        "title": "Valleys",
        "dataset": {"name": "toy"},
        "protocol": {"prompt": 10, "notes": 20, "pieces": 2},
        "seeds": [0, 1],
        "budget": {"compute": {"updates": 40}, "evaluations": 4},
        "models": {"valley": {}, "fixed": {"plugin": "valley", "params": {"size": 8}}},
        "references": ["median"],
        "search": {
            "trials": 8,
            "models": {
                "valley": {"sizes": [{"size": 4}, {"size": 8}], "ranges": {"rate": {"low": 0.001, "high": 0.1}}},
                "fixed": {"ranges": {"rate": {"low": 0.001, "high": 0.1}}},
            },
        },
        **changes,
    }
    (folder / "valleys.yaml").write_text(json.dumps(spec))


def tune(folder, *arguments):
    return bench(folder, "tune", "valleys.yaml", "--scale", "cpu", "--plugins", TOY, "--plugins", "mine", *arguments)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), number=st.integers(1, 40))
def test_points_stay_in_the_space_and_cover_it_evenly(seed, number):
    space = Space(sizes=({"units": 1}, {"units": 2}, {"units": 3}), ranges={"rate": Range(low=1e-4, high=1e-1)})
    drawn = points(space, number, seed)
    assert all(1e-4 * 0.999 <= p["rate"] <= 1e-1 * 1.001 for p in drawn)
    counts = [sum(p["units"] == size for p in drawn) for size in (1, 2, 3)]
    assert sum(counts) == number
    assert max(counts) - min(counts) <= 3
    # More points are the same and more of them: a longer search keeps what a shorter one has trained.
    assert points(space, number + 5, seed)[:number] == drawn


def test_every_row_has_as_many_points_and_none_of_the_spec_s_seeds(folder):
    write(folder)
    spec = load_spec(folder / "valleys.yaml", (TOY, folder / "mine"), scale="cpu")
    searched, rows = search_spec(spec)
    assert [row for row, _, _ in rows.values()] == ["valley"] * 8 + ["fixed"] * 8
    assert list(searched.models) == list(rows)
    assert searched.seeds == (1000,)
    assert searched.references == ()
    assert searched.budget.compute == Compute(updates=40)
    assert searched.models["fixed-01"].params["size"] == 8


def test_the_lowest_score_wins_and_a_failed_training_can_not():
    trained = [
        Trained("lstm", 1, {}, 7.5, "validation_bits"),
        Trained("lstm", 2, {}),
        Trained("lstm", 3, {}, 7.25, "validation_bits"),
        Trained("gan", 1, {}),
    ]
    assert {row: t.number for row, t in winners(trained).items()} == {"lstm": 3}


def test_scores_of_different_kinds_choose_nothing():
    trained = [Trained("a", 1, {}, 7.5, "validation_bits"), Trained("a", 2, {}, 0.1, "validation_distance")]
    assert winners(trained) == {}
    bits = [Trained("a", number, {}, 7.5 - number, "validation_bits", classes=(16 * number, 64)) for number in (1, 2)]
    assert winners(bits) == {}, "fewer classes cost fewer bits"


def test_what_the_budget_pays_for_is_the_median_over_the_trainings_of_that_size():
    space = Space(sizes=({"units": 1}, {"units": 2}), ranges={"rate": Range(low=0.1, high=1)})
    trained = [
        Trained("a", number, {"units": units, "rate": rate}, 7.0, "validation_bits", updates=updates)
        for number, (units, rate, updates) in enumerate([(1, 0.2, 400), (1, 0.5, 440), (2, 0.2, 90), (1, 0.9, 410)])
    ]
    assert updates_paid(trained[1], trained, space) == 410
    assert updates_paid(trained[2], trained, space) == 90


def test_a_search_finds_the_valley_keeps_every_training_and_resumes(folder):
    write(folder)
    done = tune(folder, "--to", "tuned.yaml", "--out", "reports")
    assert done.returncode == 0, done.stderr
    run = folder / "reports" / "runs" / "tune-valleys-cpu"
    with (run / "search.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert bench(folder, "report", str(run)).returncode == 0
    with (run / "search.csv").open() as file:
        assert list(csv.DictReader(file)) == rows, "a report of the folder leaves it"
    best = min((r for r in rows if r["row"] == "valley"), key=lambda r: float(r["score"]))
    tuned = load_spec(folder / "tuned.yaml", (TOY, folder / "mine"), scale="cpu")
    assert tuned.models["valley"].params == {"size": 8, "rate": float(best["rate"])}
    assert tuned.models["fixed"].params["size"] == 8
    assert 0.004 < tuned.models["valley"].params["rate"] < 0.025
    assert (tuned.tuned["valley"].trials, tuned.tuned["valley"].failed) == (8, 0)
    assert tuned.tuned["valley"].best == pytest.approx(float(best["score"]), abs=1e-4)
    assert tuned.tuned["valley"].score == "validation bits per note"
    assert tuned.seeds == (0, 1)
    first = (folder / "tuned.yaml").read_bytes()
    trainings = (folder / "trained.txt").read_text()
    assert len(trainings) == 16
    assert tune(folder, "--to", "tuned.yaml", "--out", "reports").returncode == 0
    assert (folder / "trained.txt").read_text() == trainings, "a search that is done trains nothing"
    assert (folder / "tuned.yaml").read_bytes() == first
    (folder / "tuned.yaml").write_bytes(b"\xef\xbb\xbf" + first.replace(b"\n", b"\r\n"))  # as an editor or Git may
    assert tune(folder, "--to", "tuned.yaml", "--out", "reports", "--models", "fixed").returncode == 0
    assert load_spec(folder / "tuned.yaml", (TOY, folder / "mine"), scale="cpu").models == tuned.models


def test_searches_of_two_files_of_one_name_have_folders_of_their_own(folder):
    write(folder, search={"trials": 1, "models": {"valley": {"sizes": [{"size": 4}]}}})
    assert tune(folder, "--out", "reports").returncode == 0
    (folder / "other").mkdir()
    write(folder / "other", search={"trials": 1, "models": {"valley": {"sizes": [{"size": 8}]}}})
    own = ("--scale", "cpu", "--plugins", TOY, "--plugins", "mine", "--out", "reports")
    assert bench(folder, "tune", "other/valleys.yaml", *own).returncode == 0
    written = [path.relative_to(folder / "reports/runs").as_posix() for path in folder.glob("reports/runs/*/tuned.yaml")]
    written.sort(key=len)
    assert written[0] == "tune-valleys-cpu/tuned.yaml"
    assert [name.startswith("tune-valleys-cpu-") for name in written] == [False, True]
    sizes = [load_spec(folder / "reports/runs" / n, (TOY, folder / "mine"), scale="cpu").models["valley"].params for n in written]
    assert sizes == [{"size": 4}, {"size": 8}]


def test_a_search_may_go_row_by_row(folder):
    write(folder)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "tuned.yaml").symlink_to("real.yaml")
    for row in ("valley", "fixed"):
        done = tune(folder, "--models", row, "--trials", "2", "--to", "elsewhere/tuned.yaml", "--out", "reports")
        assert done.returncode == 0, done.stderr
    tuned = load_spec(folder / "elsewhere" / "tuned.yaml", (TOY, folder / "mine"), scale="cpu")
    assert set(tuned.tuned) == {"valley", "fixed"}
    assert (folder / "elsewhere" / "tuned.yaml").is_symlink()
    with (folder / "reports" / "runs" / "tune-valleys-cpu" / "search.csv").open() as file:
        assert [r["row"] for r in csv.DictReader(file)] == ["valley"] * 2 + ["fixed"] * 2
    latest = bench(folder, "report", "latest", "--out", "reports")
    assert latest.returncode == 2, "a search is not the latest run"
    assert str(folder) not in (folder / "elsewhere" / "tuned.yaml").read_text(), "the spec and its winners may move together"


def test_the_winners_extend_the_spec_from_where_a_linked_folder_leads(folder):
    write(folder)
    (folder / "far" / "away").mkdir(parents=True)
    (folder / "link").symlink_to("far/away")
    done = tune(folder, "--models", "fixed", "--trials", "1", "--to", "link/tuned.yaml", "--out", "reports")
    assert done.returncode == 0, done.stderr
    assert "extends: ../../valleys.yaml\n" in (folder / "far" / "away" / "tuned.yaml").read_text()
    for place in ("link", "far/away"):
        assert set(load_spec(folder / place / "tuned.yaml", (TOY, folder / "mine"), scale="cpu").tuned) == {"fixed"}


def test_a_spec_that_holds_out_everything_is_searched_on_other_music(folder):
    search = {
        "dataset": {"name": "toy", "options": {"length": 90}},
        "models": {"valley": {"ranges": {"rate": {"low": 1, "high": 2}}}},
    }
    write(folder, search=search, protocol={"prompt": 10, "notes": 20, "folds": 2})
    spec = load_spec(folder / "valleys.yaml", (TOY, folder / "mine"), scale="cpu")
    searched, _ = search_spec(spec)
    assert searched.dataset.options == {"length": 90}
    assert searched.protocol.folds is None
    winner = Trained("valley", 1, {"rate": 1.5}, 7.0, "validation_bits", 40)
    assert (
        summary(winner, [winner], spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"name": "x"})})).dataset
        == "toy"
    )


def test_a_file_that_no_search_wrote_is_not_replaced(folder):
    write(folder)
    before = (folder / "valleys.yaml").read_bytes()
    done = tune(folder, "--to", "valleys.yaml", "--out", "reports")
    assert done.returncode == 2
    assert "was not written by bench tune" in done.stderr
    assert (folder / "valleys.yaml").read_bytes() == before
    assert not (folder / "trained.txt").exists()


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("models: [lstm]", "tuned.yaml is not what bench tune writes: scales.cpu.models: "),
        ("models: {fixed: {params: {size: 8}}}\n    note: 2026-11-26", "2026-11-26 is a date"),
        ("models: *rows", "tuned.yaml:"),
        ("models: {fixed: {params: {size: 8}}}\n    seeds: 5", "tuned.yaml is not what bench tune writes: scales.cpu.seeds: "),
        ("models: {fixed: {params: {size: 8}}}\nseeds: 5", "tuned.yaml is not what bench tune writes: seeds: "),
    ],
)
def test_rows_that_can_not_be_read_are_not_lost(folder, rows, problem):
    write(folder)
    text = f"# Written by bench tune.\nextends: valleys.yaml\nscales:\n  cpu:\n    {rows}\n"
    (folder / "tuned.yaml").write_text(text)
    done = tune(folder, "--to", "tuned.yaml", "--out", "reports")
    assert done.returncode == 2
    assert problem in done.stderr
    assert (folder / "tuned.yaml").read_text() == text
    assert not (folder / "trained.txt").exists(), "it was searched before"


def test_the_winners_of_another_spec_are_not_replaced(folder):
    write(folder)
    (folder / "tuned.yaml").write_text("# Written by bench tune.\nextends: hills.yaml\nscales: {cpu: {models: {}}}\n")
    done = tune(folder, "--to", "tuned.yaml", "--out", "reports")
    assert (done.returncode, "holds the winners of another spec, hills.yaml" in done.stderr) == (2, True), done.stderr


def test_names_are_written_as_they_are(folder):
    """A character that can't be shown was replaced, so that the file extended one that doesn't exist."""
    write(folder)
    (folder / "\ue000.yaml").write_bytes((folder / "valleys.yaml").read_bytes())
    spec = load_spec(folder / "valleys.yaml", (TOY, folder / "mine"), scale="cpu")
    found = [Trained("valley", 1, {"size": 4, "rate": 0.1}, 7.0, "validation_bits")]
    write_tuned(folder / "tuned.yaml", "\ue000.yaml", "cpu", found, spec)
    assert load_spec(folder / "tuned.yaml", (TOY, folder / "mine"), scale="cpu").tuned.keys() == {"valley"}
    for _ in range(2):
        write_trials(folder / "trials.csv", [Trained("l\ue000", 1, {})])
    assert len((folder / "trials.csv").read_text().splitlines()) == 2


def test_winners_keep_the_budget_that_they_were_found_for(folder):
    """Their updates were those of one budget, and the report said that it was the spec's new one."""
    plugins = (TOY, folder / "mine")
    to = folder / "tuned.yaml"

    def search(seconds, row):
        write(folder, budget={"compute": {"seconds": seconds}})
        found = [Trained(row, 1, {"size": 8, "rate": 0.1}, 7.0, "validation_bits", 210)]
        write_tuned(to, "valleys.yaml", "cpu", found, load_spec(folder / "valleys.yaml", plugins, scale="cpu"))

    search(1, "valley")
    search(1, "fixed")
    assert load_spec(to, plugins, scale="cpu").tuned.keys() == {"valley", "fixed"}
    write(folder, budget={"compute": {"seconds": 12}})
    spec = load_spec(to, plugins, scale="cpu")
    assert spec.budget.compute == Compute(seconds=1)
    assert spec.models["valley"].budget.updates == 210
    search(12, "valley")
    spec = load_spec(to, plugins, scale="cpu")
    assert spec.budget.compute == Compute(seconds=12)
    assert spec.tuned.keys() == {"valley"}, "the other was found for another budget"


def test_what_a_search_wrote_leaves_other_rows_their_updates(folder):
    to, plugins = folder / "tuned.yaml", (TOY, folder / "mine")
    rows = {"valley": {"params": {"size": 4}}, "fixed": {"plugin": "valley", "params": {"size": 8}, "budget": {"updates": 77}}}
    write(folder, budget={"compute": {"seconds": 1}}, models=rows)
    found = [Trained("valley", 1, {"rate": 0.1}, 7.0, "validation_bits", 210)]
    write_tuned(to, "valleys.yaml", "cpu", found, load_spec(folder / "valleys.yaml", plugins, scale="cpu"))
    assert {row: choice.budget.updates for row, choice in load_spec(to, plugins, scale="cpu").models.items()} == {
        "valley": 210,
        "fixed": 77,
    }
    write(folder, budget={"compute": {"seconds": 1}}, models={**rows, "valley": {"params": {"size": 64}}})
    assert load_spec(to, plugins, scale="cpu").models["valley"].params == {"size": 4, "rate": 0.1}, "of which 210 are paid for"


def test_a_row_keeps_the_compute_of_its_own_that_it_was_searched_with(folder):
    to, plugins = folder / "tuned.yaml", (TOY, folder / "mine")
    own = {"valley": {"budget": {"compute": {"seconds": 6}}}, "fixed": {"plugin": "valley", "params": {"size": 8}}}
    write(folder, budget={"compute": {"seconds": 1}}, models=own)
    found = [Trained("valley", 1, {"size": 4}, 7.0, "validation_bits", 1499)]
    write_tuned(to, "valleys.yaml", "cpu", found, load_spec(folder / "valleys.yaml", plugins, scale="cpu"))
    for seconds in (1, 12):
        write(folder, budget={"compute": {"seconds": seconds}}, models=own)
        spec = load_spec(to, plugins, scale="cpu")
        budget = spec.models["valley"].budget.over(spec.budget)
        assert (budget.compute, budget.updates) == (Compute(seconds=6), 1499)


def test_other_scales_stay_and_a_row_without_a_new_winner_keeps_its_old_one(folder):
    write(folder)
    spec = load_spec(folder / "valleys.yaml", (TOY, folder / "mine"), scale="cpu")
    found = [Trained("valley", 1, {"size": 4, "rate": 0.1}, 7.0, "validation_bits")]
    to = folder / "tuned.yaml"
    for scale in ("cpu", "gpu"):
        write_tuned(to, "valleys.yaml", scale, found, spec)
    assert load_spec(to, (TOY, folder / "mine"), scale="cpu").tuned.keys() == {"valley"}
    write_tuned(to, "valleys.yaml", "gpu", [Trained("valley", 1, {"size": 4, "rate": 0.1})], spec)
    assert load_spec(to, (TOY, folder / "mine"), scale="cpu").tuned.keys() == {"valley"}
    assert load_spec(to, (TOY, folder / "mine"), scale="gpu").tuned["valley"].best == 7.0


def test_a_row_whose_trainings_all_fail_does_not_cost_the_others_their_winner(folder):
    spaces = {"valley": {"ranges": {"rate": {"low": 0.01, "high": 0.1}}}, "fixed": {"ranges": {"rate": {"low": 1, "high": 2}}}}
    write(folder, search={"trials": 2, "models": spaces})
    done = tune(folder, "--to", "tuned.yaml", "--out", "reports")
    assert done.returncode == 3
    assert "fixed: nothing chosen" in done.stdout
    assert "earlier search" not in done.stdout
    older = (folder / "tuned.yaml").read_text().replace("valley:", "fixed:")
    for updates, said in ((40, "stays in tuned.yaml"), (41, "was for another budget, and is no longer in tuned.yaml")):
        (folder / "tuned.yaml").write_text(older.replace("updates: 40", f"updates: {updates}"))
        done = tune(folder, "--to", "tuned.yaml", "--out", "reports")
        assert re.findall("fixed: .*its winner of an earlier search (.*)", done.stdout) == [said]


@pytest.mark.parametrize(("least", "code"), [(0.02, 0), (0.0, 3)])
def test_a_training_beyond_its_budget_is_not_chosen_and_has_not_failed(folder, least, code):
    """By its score it would be: its rates, from `least` on, are nearest to the bottom."""
    beyond = VALLEY.replace("updates=10 * number", f"updates=(50 if self.rate >= {least} else 10) * number, share=share")
    beyond = beyond.replace("self.rate / 0.01", "self.rate / 0.1")
    (folder / "mine" / "models" / "valley.py").write_text(beyond)
    write(folder, search={"trials": 6, "models": {"valley": {"ranges": {"rate": {"low": 0.005, "high": 0.1}}}}})
    done = tune(folder, "--to", "tuned.yaml", "--out", "reports")
    assert (done.returncode, "failed" in done.stdout) == (code, False), done.stderr
    if code:
        assert (
            "valley: nothing chosen, as no training that kept to the budget has a score, and 6 of 6 trainings took up to 5 "
            "times the budget\n"
        ) in done.stdout
        return
    assert re.search(
        r"valley: [\d.]+ with rate 0\.0[01]\d+; \d of 6 trainings took up to 5 times the budget, and can't", done.stdout
    )
    tuned = load_spec(folder / "tuned.yaml", (TOY, folder / "mine"), scale="cpu")
    assert tuned.models["valley"].params["rate"] < least
    assert (tuned.tuned["valley"].trials, tuned.tuned["valley"].failed) == (6, 0)


def test_a_training_that_fails_loses_its_point_only(folder):
    search = {"trials": 6, "models": {"valley": {"ranges": {"rate": {"low": 0.01, "high": 10.0}}}}}
    write(folder, search=search)
    done = tune(folder, "--to", "tuned.yaml", "--out", "reports")
    assert done.returncode == 3
    tuned = load_spec(folder / "tuned.yaml", (TOY, folder / "mine"), scale="cpu").tuned["valley"]
    assert tuned.trials == 6
    assert 1 <= tuned.failed < 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": None}, "it says nothing to search"),
        ({"budget": {"epochs": 3}}, "a search needs one budget for all models"),
        ({"protocol": {"prompt": 10, "notes": 20, "folds": 2}}, "a search would see what it is tested on"),
        (
            {
                "protocol": {"prompt": 10, "notes": 20, "folds": 2},
                "dataset": {"name": "toy"},
                "search": {"dataset": {"name": "toy"}, "models": {"valley": {}}},
            },
            "a search would see what it is tested on",
        ),
        ({"search": {"dataset": {"name": "tyo"}, "models": {"valley": {}}}}, "search.dataset.name: unknown dataset 'tyo'"),
        ({"search": {"models": {"valley": {"ranges": {"speed": {"low": 1, "high": 2}}}}}}, "no hyperparameter 'speed'"),
        ({"search": {"models": {"valley": {"ranges": {"rate": {"low": 2, "high": 1}}}}}}, "its high 1 is below its low 2"),
        ({"search": {"models": {"valley": {"sizes": [{"size": "big"}]}}}}, "expected a whole number, got 'big'"),
    ],
)
def test_what_can_not_be_searched_is_refused_in_words(folder, changes, message):
    write(folder, **changes)
    with pytest.raises(SpecError, match=message):
        search_spec(load_spec(folder / "valleys.yaml", (TOY, folder / "mine"), scale="cpu"))


def test_a_folder_of_a_search_may_hold_files_of_any_size(tmp_path: Path) -> None:
    """They take no disk where they are holes; the search read them whole."""
    for name in ("tuned.yaml", "trials.csv"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(10 << 30)
    with pytest.raises(UsageError, match=r"tuned\.yaml is damaged .*10,737,418,240 bytes"):
        check_target(tmp_path / "tuned.yaml", "table2")
    with pytest.raises(DataError, match=r"trials\.csv is damaged .*10,737,418,240 bytes"):
        write_trials(tmp_path / "trials.csv", [Trained("lstm", 1, {})])

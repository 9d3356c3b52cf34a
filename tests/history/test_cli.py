"""`bench history` and `bench check --history` as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.history.changes import trends
from bench.history.file import dump
from bench.history.words import verdict
from tests.cli.in_process import bench
from tests.report.stored_run import Stored, done, many_pieces

from .handmade import entry, row, runs

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a run of twelve pieces; the seeds of its row, and how far each is off."""

    def made(name: str, seeds: tuple[int, ...], shift: int = 0, commit: str = "", share: float = 1.0) -> Path:
        stored = Stored(tmp_path / "reports" / "runs" / name, budget={"compute": {"updates": 100}})
        stored.enlarge(12)
        for seed in seeds:
            training = {**done(seed, None)["training"], "share": share}
            many_pieces(stored, "lstm", lambda i, seed=seed: 4 + i % 3 + seed % 3 + shift, seed=seed, training=training)
        folder = stored.close()
        record = stored.run.read()
        provenance = record.provenance.model_copy(update={"git": commit or record.provenance.git})
        stored.run.write(record.change(plugins={"lstm": "code"}, provenance=provenance))
        return folder

    return made


def test_add_and_show(make: Make, tmp_path: Path) -> None:
    for number, shift in enumerate((0, 0, 0, 9)):
        name = f"run-{number}"
        make(name, tuple(range(number * 3, number * 3 + 3)), shift, commit=f"{number}" * 40)
        added = bench(tmp_path, "history", "add", name)
        assert (added.returncode, added.stderr) == (0, f"{name}: added; {number + 1} run{'s' if number else ''} in all\n")
        assert added.stdout == f"{tmp_path}/reports/history.jsonl\n"
    again = bench(tmp_path, "history", "add", "run-1")
    assert again.stderr == "run-1: there already, unchanged; 4 runs in all\n"
    shown = bench(tmp_path, "history", "show")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("The last run, run-3 (3333333333), changed ")
    assert "3 → 4" in shown.stdout
    assert "2222222222 → 3333333333" in shown.stdout


def test_a_row_beyond_its_budget_has_a_series_of_its_own_by_whatever_share(make: Make, tmp_path: Path) -> None:
    """Under a budget in seconds no two trainings have the same share."""
    shown = []
    for number, share in enumerate((1.0, 5.0, 5.01)):
        make(f"run-{number}", (0, 1, 2), share=share)
        bench(tmp_path, "history", "add", f"run-{number}")
        shown.append(bench(tmp_path, "history", "show").stdout)
    assert "run-1 (0123abc), has no value to compare" in shown[1]
    assert "\nTrained beyond the budget, or no longer, since run-0 (0123abc): lstm.\n" in shown[1]
    assert shown[2].startswith("The last run, run-2 (0123abc), repeats the trainings of the run before it")
    assert "Trained beyond the budget, or no longer" not in shown[2]
    assert "other hyperparameters" not in "".join(shown)
    make("run-3", (3, 4, 5), share=4.9)
    bench(tmp_path, "history", "add", "run-3")
    bench(tmp_path, "baseline", "run-1", "--file", "b.json")
    checked = bench(tmp_path, "check", "run-2", "--baseline", "b.json", "--history", "reports/history.jsonl")
    assert (checked.returncode, checked.stderr) == (0, "reports/history.jsonl: 3 more trainings (lstm 3)\n")


def test_runs_that_began_in_one_second_are_two(tmp_path: Path) -> None:
    """As those of two machines: same name, same spec, same code."""
    for number, place in enumerate(("here", "there"), 1):
        stored = Stored(tmp_path / place / "runs" / "same")
        stored.enlarge(12)
        many_pieces(stored, "lstm", lambda i: 4 + i % 3, seed=0)
        folder = stored.close()
        token = stored.run.read().token
        added = bench(tmp_path, "history", "add", str(folder))
        assert added.stderr == f"same: added; {number} run{'s' if number > 1 else ''} in all\n"
    stored.close()  # as a run that is started again
    assert stored.run.read().token == token
    again = bench(tmp_path, "history", "add", str(folder))
    assert again.stderr == "same: there already, unchanged; 2 runs in all\n"


def test_a_comment_with_the_verdict_first(tmp_path: Path) -> None:
    values = [[9.0, 9.1, 9.2], [9.1, 9.0, 9.2], [9.2, 9.0, 9.1], [9.9, 10.0, 10.1]]
    (tmp_path / "h.jsonl").write_text(dump(runs("pitch_distance", values)))
    shown = bench(tmp_path, "history", "show", "--file", "h.jsonl", "--markdown")
    first, _, *table = shown.stdout.splitlines()
    assert first == "**The last run, run-3 (0303030303), changed 1 of 1 value significantly (1 worse).**"
    assert table[2].replace(" ", "").startswith("|lstm|AveragePitchDistance|9.10|10.00|+0.90|**worse**|")
    (tmp_path / "h.jsonl").write_text(dump(runs("pitch_distance", values[:3])))
    quiet = bench(tmp_path, "history", "show", "--file", "h.jsonl", "--markdown").stdout
    assert quiet.startswith(
        "**The last run, run-2 (0202020202), changed nothing significantly: 1 value compared with up to 10 runs"
    )


def test_an_incomplete_run_is_added_and_called_so(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "reports" / "runs" / "part")
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 4 + i % 3, seed=0)
    stored.add("lstm", 1, None, error="the disk")
    stored.close()
    added = bench(tmp_path, "history", "add", "part")
    assert added.stderr == (
        "part is incomplete: 1 trial failed or did not run, and its rows lack these seeds\npart: added; 1 run in all\n"
    )


def test_a_page_is_not_written_over_the_history(make: Make, tmp_path: Path) -> None:
    make("first", (0, 1, 2))
    bench(tmp_path, "history", "add", "first")
    file = tmp_path / "reports" / "history.jsonl"
    before = file.read_bytes()
    for words in (("--html", str(file)), ("--file", str(file), "--html", "reports/../reports/history.jsonl")):
        refused = bench(tmp_path, "history", "show", *words)
        assert (refused.returncode, "is read by this command" in refused.stderr) == (2, True)
    assert file.read_bytes() == before


def test_a_night_in_which_nothing_changed(tmp_path: Path) -> None:
    nights = [entry(i, {"lstm": row({"pitch_distance": [9.0, 9.1]})}) for i in range(3)]
    (tmp_path / "h.jsonl").write_text(dump(nights))
    shown = bench(tmp_path, "history", "show", "--file", "h.jsonl").stdout
    told = "The last run, run-2 (0202020202), repeats the trainings of the run before it: none of 1 value changed."
    assert shown.splitlines()[0] == told
    more = entry(3, {**nights[0].rows, "gan": row({"pitch_distance": [5.0]})}, spec="other")
    told = "repeats the trainings of the run before it in the rows that could be compared (lstm): none of 1 value changed."
    assert verdict(trends([*nights, more])) == f"The last run, run-3 (0303030303), {told}"


def test_a_page(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_text(dump(runs("pitch_distance", [[9.0, 9.1], [9.1, 9.2]])))
    shown = bench(tmp_path, "history", "show", "--file", "h.jsonl", "--html", "new/h.html")
    assert (shown.returncode, shown.stderr) == (0, "new/h.html\n")
    assert (tmp_path / "new" / "h.html").read_text().startswith("<!DOCTYPE html>\n")


def test_the_gate_takes_noise_from_a_history(make: Make, tmp_path: Path) -> None:
    make("before", (0, 1, 2))
    make("now", (0, 1, 2))
    bench(tmp_path, "baseline", "before", "--file", "b.json")
    for number in (1, 2):
        make(f"earlier-{number}", tuple(range(number * 3, number * 3 + 3)))
        bench(tmp_path, "history", "add", f"earlier-{number}", "--file", "h.jsonl")
    checked = bench(tmp_path, "check", "now", "--baseline", "b.json", "--history", "h.jsonl")
    assert checked.stderr == "h.jsonl: 6 more trainings (lstm 6)\n"
    assert checked.returncode == 0
    record = json.loads((tmp_path / "h.jsonl").read_text().splitlines()[0])
    record["rows"]["lstm"]["code"] = "other"
    (tmp_path / "h.jsonl").write_text(json.dumps(record))
    other = bench(tmp_path, "check", "now", "--baseline", "b.json", "--history", "h.jsonl")
    assert other.stderr == "h.jsonl: no training of the same rows, code and machine\n"
    assert other.stdout == bench(tmp_path, "check", "now", "--baseline", "b.json").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show",), "can't be read: No such file or directory."),
        (("show", "--file", "empty.jsonl"), "error: empty.jsonl is empty.\n"),
        (("show", "--file", "a", "--baselines", "b"), "error: --file and --baselines were given"),
        (("show", "--file", "bad.jsonl"), "error: bad.jsonl, line 1 is no entry of a history: "),
        (("add", "nonesuch"), "error: There is no run 'nonesuch'."),
    ],
)
def test_wrong_use(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bad.jsonl").write_text("{}\n")
    answer = bench(tmp_path, "history", *words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr


def test_a_run_without_results(make: Make, tmp_path: Path) -> None:
    stored = Stored(tmp_path / "reports" / "runs" / "failed")
    stored.add("lstm", 0, None, error="out of memory")
    stored.close()
    answer = bench(tmp_path, "history", "add", "failed")
    assert (answer.returncode, "has nothing to keep" in answer.stderr) == (2, True)
    assert not (tmp_path / "reports" / "history.jsonl").exists()


def test_rows_that_are_new_or_gone_are_named(tmp_path: Path) -> None:
    lstm, other = row({"pitch_distance": [9.0, 9.1]}), entry(1, {"real": row({}, kind="reference")}, spec="families")
    history = [entry(0, {"lstm": lstm, "vae": lstm}), other, entry(2, {"lstm": lstm, "gpt2": lstm})]
    (tmp_path / "h.jsonl").write_text(dump(history))
    said = "New since run-0 (0000000000): gpt2. Gone since run-0 (0000000000): vae."
    show = ("history", "show", "--file", "h.jsonl")
    assert f"\n{said}\n" in bench(tmp_path, *show).stdout
    assert f"\n{said}\n" in bench(tmp_path, *show, "--markdown").stdout
    assert bench(tmp_path, *show, "--html", "h.html").returncode == 0
    assert said in (tmp_path / "h.html").read_text()


def test_rows_that_can_not_be_compared_are_named(tmp_path: Path) -> None:
    lstm = row({"pitch_distance": [9.0, 9.1]}, likelihood="exact 64 64")
    before = dict.fromkeys(("gan", "gru", "lstm", "scored", "vae"), lstm) | {"older": replace(lstm, likelihood="")}
    after = {
        **dict.fromkeys(before, lstm),
        "gan": replace(lstm, definition="e"),
        "gru": replace(lstm, likelihood=""),
        "scored": replace(lstm, pretrained=True),
        "vae": replace(lstm, likelihood="exact 4 4"),
    }
    history = [entry(0, before), entry(1, after)]
    (tmp_path / "h.jsonl").write_text(dump(history))
    shown = bench(tmp_path, "history", "show", "--file", "h.jsonl").stdout
    assert (
        "\nWith other hyperparameters, or another budget or device, since run-0 (0000000000): gan. Trained elsewhere, or no"
        " longer, since run-0 (0000000000): scored. Without bits or nats, or with those" in shown
    )
    assert "of another kind or over other classes or events, since run-0 (0000000000): gru and vae.\n" in shown


def test_rows_measured_by_another_plan_or_number_of_files_are_named(tmp_path: Path) -> None:
    """A line that doesn't tell it says nothing."""
    free = row({"pitch_distance": [9.0, 9.1]}, chord_plan="abc")
    before = {"free": free, "older": replace(free, chord_plan=""), "score": replace(free, files="1"), "new": free}
    after = {
        "free": replace(free, chord_plan="def"),
        "older": free,
        "score": replace(free, files="3"),
        "new": replace(free, files="3"),
    }
    (tmp_path / "h.jsonl").write_text(dump([entry(0, before), entry(1, after)]))
    shown = bench(tmp_path, "history", "show", "--file", "h.jsonl").stdout
    assert "\nMeasured by another chord plan since run-0 (0000000000): free. With another number of files a piece, or" in shown
    assert " files of other pieces, since run-0 (0000000000): score.\n" in shown


def test_nothing_changed_is_not_said_at_a_change_point() -> None:
    found = trends(runs("pitch_distance", [[9.0, 9.1, 9.2], [9.1, 9.0, 9.2], [9.2, 9.0, 9.1], [9.9, 10.0, 10.1]]))
    assert found.changes[-1].first_after.entry is found.entries[-1]
    assert verdict(replace(found, last=())).startswith(
        "The last run, run-3 (0303030303), is at 1 change point of the whole history (1 worse), although against up to 10 runs"
    )
    assert verdict(found).startswith("The last run, run-3 (0303030303), changed 1 of 1 value significantly")

"""The file of a history."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError, UsageError
from bench.history.entry import Measured
from bench.history.file import add, dump, read

from .handmade import entry, row, runs


def test_one_line_a_run_in_the_order_of_adding(tmp_path: Path) -> None:
    path, history = tmp_path / "new" / "history.jsonl", runs("pitch_distance", [[9.5, 9.6], [9.4, 9.5]])
    assert [add(path, one) for one in reversed(history)] == [True, True]
    assert read(path) == (tuple(reversed(history)), ())
    lines = path.read_text().splitlines()
    assert [json.loads(line)["run"] for line in lines] == ["run-1", "run-0"]


def test_a_run_is_added_once_and_keeps_its_place(tmp_path: Path) -> None:
    path, (first, second) = tmp_path / "h.jsonl", runs("pitch_distance", [[9.5], [9.4]])
    add(path, first)
    add(path, second)
    assert not add(path, first)
    resumed = replace(first, when="2026-02-02T00:00:00Z")
    assert add(path, resumed)
    assert read(path) == ((resumed, second), ())


def test_several_processes_may_add(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from bench.history.file import add; from tests.history.handmade import entry, row;"
        "add(Path('h.jsonl'), entry(int(sys.argv[1]), {'lstm': row({'pitch_distance': [1.0]})}))"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {"PYTHONPATH": str(root)}
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(i)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
        for i in range(4)
    ]
    assert [process.communicate()[1] for process in started] == [b""] * 4
    assert sorted(one.run for one in read(tmp_path / "h.jsonl")[0]) == [f"run-{i}" for i in range(4)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 is no entry of a history: "),
        ("[]", "line 2 is no entry of a history: "),
        ('{"bench_history": 1}', "line 2 is no entry of a history: "),
        ("<<<<<<< HEAD", "line 2 is no entry of a history: "),
    ],
)
def test_a_damaged_line_is_named_and_costs_itself(tmp_path: Path, line: str, said: str) -> None:
    path, (first, second, third) = tmp_path / "h.jsonl", runs("pitch_distance", [[9.5], [9.4], [9.3]])
    path.write_text(dump([first]) + line + "\n" + dump([second])[:-1])
    entries, (problem,) = read(path)
    assert entries == (first, second)
    assert said in problem
    assert add(path, third)
    assert not add(path, second)
    assert add(path, renewed := replace(second, when="2026-02-02T00:00:00Z"))
    assert path.read_text() == dump([first]) + line + "\n" + dump([renewed, third])


def test_a_second_line_of_one_run_is_named_and_left_out(tmp_path: Path) -> None:
    """As a merge conflict leaves them, whose two sides are two states of a run."""
    path, (first, second) = tmp_path / "h.jsonl", runs("pitch_distance", [[9.5], [9.4]])
    stale = replace(second, when="2026-01-01T12:00:00Z")
    path.write_text(f"{dump([first])}<<<<<<< HEAD\n{dump([second])}=======\n{dump([stale])}>>>>>>> branch\n")
    entries, problems = read(path)
    assert entries == (first, second)
    assert [text for text in problems if "same run" in text] == [
        f"{path}, line 5 is of the same run as line 3; remove one of them."
    ]
    assert not add(path, second)


def test_a_file_that_is_no_history_is_left_alone(tmp_path: Path) -> None:
    (path := tmp_path / "notes.md").write_text("# Notes\n")
    with pytest.raises(UsageError, match="line 1 is no entry of a history"):
        add(path, entry(0, {}))
    assert path.read_text() == "# Notes\n"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e16])
def test_a_number_that_no_report_can_show(tmp_path: Path, value: float) -> None:
    bad = row({"pitch_distance": [1.0]})
    bad.metrics["pitch_distance@1"] = Measured(value, None, None, {"0": 1.0})
    (tmp_path / "h.jsonl").write_text(json.dumps(json.loads(dump([entry(0, {})])) | {"rows": {"lstm": _plain(bad)}}))
    with pytest.raises(UsageError, match="line 1 is no entry of a history"):
        read(tmp_path / "h.jsonl")


def _plain(one: object) -> object:
    return json.loads(json.dumps(one, default=vars))


def test_another_format_and_a_metric_without_seeds(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text(dump([entry(0, {}, bench_history=2)]))
    with pytest.raises(UsageError, match="format 2; this version of bench reads format 1"):
        read(path)
    empty = replace(row({"pitch_distance": [1.0]}), metrics={"pitch_distance@1": Measured(1.0)})
    path.write_text(dump([entry(0, {"lstm": empty})]))
    with pytest.raises(UsageError, match="a metric has no seed"):
        read(path)


def test_more_values_than_fit_are_refused_before_any_is_made(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_bytes(b"0," * 45_000_000)
    with pytest.raises(UsageError, match="is no history: it has about 45,000,000 values, and may have 44,739,242 at most"):
        read(tmp_path / "h.jsonl")


def test_more_than_can_be_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = runs("pitch_distance", [[9.5, 9.6], [9.4, 9.5]])
    add(tmp_path / "h.jsonl", first)
    before = (tmp_path / "h.jsonl").read_bytes()
    monkeypatch.setattr("bench.history.file.MOST_RESULT", len(before) + 10)
    with pytest.raises(UsageError, match=r"h\.jsonl has no room for another run: it has "):
        add(tmp_path / "h.jsonl", second)
    assert (tmp_path / "h.jsonl").read_bytes() == before


def test_what_each_series_names_is_shortened(tmp_path: Path) -> None:
    """A megabyte of it in a history of others was copied for each series: 6 GB."""
    odd = entry(0, {"r" * 5000: row({"pitch_distance": [9.0]}, machine="m" * 5000)}, spec="s" * 5000, terms="t" * 5000)
    (tmp_path / "h.jsonl").write_text(dump([odd]))
    ((one,), problems) = read(tmp_path / "h.jsonl")
    (name,) = one.rows
    assert {len(text) for text in (name, one.rows[name].machine, one.spec, one.terms)} == {1000}
    assert problems == ()


def test_places_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read") as refused:
        read(tmp_path / "none.jsonl")
    assert refused.value.hint == f"Begin one: bench history add RUN --file {tmp_path}/none.jsonl."
    with pytest.raises(UsageError, match="can't be read") as refused:
        read(tmp_path)
    assert refused.value.hint == "", "there is something, but no history"
    with pytest.raises(BenchError):
        add(tmp_path, entry(0, {}))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "h.jsonl"
    path.write_bytes(data)
    if data.strip():
        with pytest.raises(UsageError, match="no entry of a history"):
            read(path)
    else:
        assert read(path) == ((), ())

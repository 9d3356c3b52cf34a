"""`bench listen-test` as a user meets it."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.listening.key import read_keys
from tests.cli import in_process
from tests.listening.sample_run import run_for_listening
from tests.listening.simulated import World, attentive

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    run_for_listening(tmp_path / "reports" / "runs" / "table2-cpu", pieces=5)
    return functools.partial(in_process.bench, tmp_path, "listen-test")


def test_from_the_page_to_the_result(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "runs" / "table2-cpu"
    answer = call("latest", "--systems", "lstm", "--questions", 8, "--seconds", 1)
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    ((test, key),) = read_keys(folder).values()
    assert lines.pop(0) == "Playing and encoding the clips, which takes a minute or more"
    assert lines[0] == "lstm, real and ngram; 5 prompts, 15 questions a listener, about 2 minutes"
    assert lines[2].split() == ["Listeners", "5", "prompts", "10", "prompts"]
    told = [line.split() for line in lines[3:7]]
    assert [row[0] for row in told] == ["5", "10", "20", "40"]
    assert told[0][1:3] == [">", "99"]
    assert 50 < int(told[-1][3]) < int(told[-1][1]) < 99, "more prompts show smaller differences"
    assert lines[-2] == f"  bench listen-test {folder} --votes FOLDER"
    assert lines[-1] == str(test / "listening-test.html")

    (votes := tmp_path / "votes").mkdir()
    for ballot in attentive(key, World([0.0, 2.0, -2.0]), 8, 0):
        (votes / f"{ballot.listener}.json").write_text(ballot.model_dump_json())
    (votes / "stray.json").write_text("[]")
    answer = call("latest", "--votes", votes)
    assert answer.returncode == 0
    assert answer.stderr.startswith("stray.json: not saved by the page of a listening test")
    assert "64 votes of 8 listeners on 5 prompts; 0 listeners excluded." in answer.stdout
    ranking = [
        name for line in answer.stdout.splitlines() for name in ("real", "lstm", "ngram") if f" {name} " in line and "%" in line
    ]
    assert ranking == ["real", "lstm", "ngram"]
    assert "\\[" not in answer.stdout
    assert answer.stdout.splitlines()[-1] == str(test / "results.md")
    assert call("latest", "--votes", votes, "--quiet").stdout == f"{test / 'results.md'}\n"


def test_votes_of_a_test_whose_key_is_damaged(call: Call, tmp_path: Path) -> None:
    """Beside another test of the run, too: who believes that they are of no test of this run throws people's votes away."""
    folder = tmp_path / "reports" / "runs" / "table2-cpu"
    for seed in (0, 1):
        assert call("latest", "--systems", "lstm", "--questions", 8, "--seconds", 1, "--seed", seed).returncode == 0
    (test, key), _ = read_keys(folder).values()
    (votes := tmp_path / "votes").mkdir()
    for ballot in attentive(key, World([0.0, 2.0, -2.0]), 8, 0):
        (votes / f"{ballot.listener}.json").write_text(ballot.model_dump_json())
    data = bytearray((test / "key.json").read_bytes())
    data[len(data) // 2] ^= 1
    (test / "key.json").write_bytes(data)
    answer = call("latest", "--votes", votes)
    assert (answer.returncode, answer.stdout) == (3, "")
    assert f"are of a test whose key can't be read: {test / 'key.json'} " in answer.stderr
    assert "keep the votes" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 2, "error: There is no run 'nothing'."),
        (["latest", "--systems", "lstn"], 2, "error: The run has no row 'lstn'.\nDid you mean 'lstm'?"),
        (["latest", "--votes", ""], 2, "error: --votes is empty."),
        (["latest", "--votes", "none"], 3, "error: reports/runs/table2-cpu has no listening test yet."),
        (["latest", "--votes", ".", "--seed", "1"], 2, "error: --seed was given with --votes."),
    ],
)
def test_wrong_use(call: Call, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    answer = call(*arguments)
    assert (answer.returncode, answer.stdout) == (code, "")
    assert message in answer.stderr.replace(str(tmp_path) + "/", "")


def test_without_the_soundfont(call: Call, tmp_path: Path) -> None:
    answer = call("latest", BENCH_SOUNDFONT="/no/font.sf2")
    assert (answer.returncode, answer.stdout) == (3, "")
    assert not (tmp_path / "reports" / "runs" / "table2-cpu" / "listening").exists()

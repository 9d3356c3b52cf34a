"""The commands in a terminal of any size and encoding, on files whose names hold anything, as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from bench.music.midi import midi_bytes
from bench.music.notes import Notes

from .in_process import environment

#: Bytes that are no UTF-8, an escape sequence, BEL, a line break, a reversed direction.
WORST = os.fsdecode(b"pr\xe9lude\x1b[31m\x07\n\xe2\x80\xae")

SPEC = """\
title: Any names
dataset: {name: folder}
protocol: {prompt: 4, notes: 12, pieces: 3, folds: 2}
seeds: 1
references: [real]
"""


def bench(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(variables), capture_output=True, check=False)


def unshowable(text: str) -> set[str]:
    return {c for c in text if c != "\n" and (unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp"))}


def test_names_that_are_no_text_cost_nothing(tmp_path: Path) -> None:
    """Files, their folder, the spec's folder and the reports folder are named so, and a file that can't be read."""
    place = tmp_path / WORST
    place.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        notes = Notes.from_columns(np.arange(60) * 0.25, np.full(60, 0.2), rng.integers(50, 80, 60), np.full(60, 80))
        (place / f"{WORST}{i}.mid").write_bytes(midi_bytes(notes))
    (place / f"{WORST}-bad.mid").write_bytes(b"no MIDI")
    (place / "any.yaml").write_text(SPEC)
    where = ("--data", WORST, "--out", f"{WORST}/out", "--scale", "cpu")
    done = bench(tmp_path, "run", f"{WORST}/any.yaml", *where, "--no-sound")
    assert (done.returncode, done.stderr) == (0, b"")
    assert not unshowable(done.stdout.decode())
    run = place / "out" / "runs" / "any-cpu"
    for name in ("report.md", "report.html", "report.csv", "trials.csv"):
        text = (run / name).read_bytes().decode()
        assert not unshowable(text)
    assert "pr\ufffdlude" in (run / "report.md").read_text(encoding="utf-8")
    for arguments in (("baseline", "any-cpu"), ("report", "any-cpu")):
        again = bench(tmp_path, *arguments, "--out", f"{WORST}/out")
        assert (again.returncode, unshowable((again.stdout + again.stderr).decode())) == (0, set())


@pytest.mark.parametrize("columns", ["0", "00", "-1", "\N{SUPERSCRIPT TWO}", "", "999999999999"])
def test_an_unusable_width_is_ignored(tmp_path: Path, columns: str) -> None:
    usual, odd = (bench(tmp_path, "list", "specs", **width) for width in ({}, {"COLUMNS": columns, "LINES": columns}))
    assert (odd.returncode, odd.stderr, odd.stdout) == (0, b"", usual.stdout)
    assert b"table2" in odd.stdout


def test_help_has_room_in_a_terminal_of_no_size(tmp_path: Path) -> None:
    assert b"Usage: bench" in bench(tmp_path, "--help", COLUMNS="0").stdout


def test_an_encoding_that_lacks_a_character_loses_no_other(tmp_path: Path) -> None:
    done = bench(tmp_path, "list", "metrics", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Fr?chet" in done.stdout

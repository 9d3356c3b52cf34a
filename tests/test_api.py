"""Run: the log of epochs, and its state after a kill or a power cut."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.api import Budget, Run, TrialError


def trained(folder: Path, epochs: int, **options: Any) -> Run:
    run = Run(0, Budget(9), folder, **options)
    run.begin()
    for epoch in range(1, epochs + 1):
        run.log(epoch, loss=1 / epoch, notes=10)
    return run


@pytest.mark.parametrize(
    "tail",
    [
        b'{"epoch": 3, "sec',
        b'{"epoch": 3, "sec\n{"epoch": 3, "seconds": 1, "loss": 1, "notes": 1}\n',
        b"\0" * 64,
        b"\xff\n",
        b"3\n",
        b"{}\n",
        b'{"epoch": null, "seconds": 1}\n',
    ],
)
def test_a_torn_line_ends_the_history_and_is_healed(tmp_path: Path, tail: bytes) -> None:
    entries = trained(tmp_path, 2).history
    file = tmp_path / "history.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    run = Run(0, Budget(9), tmp_path)
    run.begin(3)
    assert run.history == entries
    assert file.read_bytes() == whole
    run.log(4, loss=1.0, notes=10)
    assert [json.loads(line)["epoch"] for line in file.read_text().splitlines()] == [1, 2, 4]


def test_what_was_logged_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    trained(tmp_path, 3)
    run = Run(0, Budget(9), tmp_path)
    run.begin(2)
    run.log(3, loss=1.0, notes=10)
    assert [entry["epoch"] for entry in run.history] == [1, 2, 3]


@pytest.mark.parametrize("epoch", [-1, 0, 1, 2, float("nan")])
def test_an_epoch_that_does_not_rise_is_refused(tmp_path: Path, epoch: int) -> None:
    events: list[dict[str, object]] = []
    run = trained(tmp_path, 2, emit=events.append)
    events.clear()
    with pytest.raises(TrialError, match=f"called with epoch {epoch} after epoch 2"):
        run.log(epoch, loss=1.0, notes=10)
    assert events == []
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2

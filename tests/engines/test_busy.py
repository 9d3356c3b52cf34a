"""A controller of Slurm that is too busy to answer, by a command in the place of Slurm's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.errors import MachineError
from bench.runner.engines import slurm

SAYS = """#!/bin/sh
echo x >> "$0.asked"
[ $(wc -l < "$0.asked") -lt {times} ] && {{ echo "slurm_load_jobs error: {error}" >&2; exit 1; }}
echo "7_0|RUNNING|None"
"""


@pytest.mark.parametrize(
    ("error", "times", "asked"),
    [
        ("Socket timed out on send/recv operation", 3, 3),
        ("Socket timed out on send/recv operation", 99, 5),
        ("Unable to contact slurm controller (connect failure)", 3, 1),
    ],
)
def test_a_busy_controller_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, times: int, asked: int
) -> None:
    """The command ended at the first question that wasn't answered, while its trials went on in the queue."""
    (tool := tmp_path / "squeue").write_text(SAYS.format(times=times, error=error))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "PAUSES", (0.0,) * len(slurm.PAUSES))
    if asked == times:
        assert slurm._ask("squeue") == "7_0|RUNNING|None\n"
    else:
        with pytest.raises(MachineError, match="squeue failed: slurm_load_jobs error"):
            slurm._ask("squeue")
    assert len((tmp_path / "squeue.asked").read_text().split()) == asked

"""Every command of the tutorial, in its order, on music of a newcomer."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.api import Notes, midi_bytes

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


def music(folder: Path, pieces: int = 24) -> None:
    folder.mkdir()
    for number in range(pieces):
        rng = np.random.default_rng(number)
        onset, pitch = rng.choice([0.25, 0.5], 60).cumsum(), 60 + np.cumsum(rng.integers(-3, 4, 60)) % 24
        piece = Notes.from_columns(onset, np.full(60, 0.25), pitch, rng.integers(50, 100, 60))
        (folder / f"{number:02}.mid").write_bytes(midi_bytes(piece))


def test_its_commands_do_what_it_says(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    text, home = PAGE.read_text(), tmp_path_factory.mktemp("home")
    music(tmp_path / "music")
    (spec,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(spec)
    said = []
    commands = [line[2:] for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 5
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "XDG_", "MPLCONFIGDIR"))}
    environment = {**kept, "CUDA_VISIBLE_DEVICES": "", "HOME": str(home)}
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "bench"
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    run = tmp_path / "reports" / "runs" / "mine-cpu"
    assert {path.name for path in run.glob("report.*")} == {"report.html", "report.md", "report.csv"}
    assert said[1].rstrip().endswith("reports/runs/mine-cpu/report.html")
    assert "Nothing is worse" in said[-1]
    made = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}  # beside walker.py, as Python likes it
    assert made == {"before.json", "mine.yaml", "music", "reports", "walker.py"}
    (font_list,) = (path for path in home.rglob("*") if path.is_file())
    assert font_list.match("matplotlib/fontlist-*.json") or font_list.match(".matplotlib/fontlist-*.json")
    assert "only matplotlib keeps its list of fonts in your home folder" in " ".join(text.split())

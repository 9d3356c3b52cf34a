"""A shell completes names as they are now."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def completed(folder: Path, *words: str) -> list[str]:
    """What Bash is told for the last of some words."""
    asked = {"_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(["bench", *words]), "COMP_CWORD": str(len(words))}
    code = "import sys; sys.argv = ['bench']; from bench.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("run", "smo"), ["smoke"]),
        (("run", "my"), ["my-spec.yaml"]),
        (("run", "x"), []),
        (("run", "smoke", "--models", "lstm,music"), ["lstm,music-transformer"]),
        (("run", "smoke", "--models", "vae,va"), []),
        (("run", "smoke", "--dataset", "ch"), ["chorales"]),
        (("data", "fetch", "maes"), ["maestro"]),
        (("model", "fetch", "hugging"), ["huggingface"]),
        (("report", ""), ["latest", "one"]),
        (("compare", "one", "l"), ["latest"]),
        (("verify", "--out", "nowhere", ""), []),
        (("verify", "--out", "", ""), []),
    ],
)
def test_names_are_completed(tmp_path: Path, words: tuple[str, ...], offered: list[str]) -> None:
    (tmp_path / "my-spec.yaml").touch()
    for name in ("x$(touch pwned).yaml", "x\\$(touch pwned).yaml", "x`touch pwned`.yaml", "x y.yaml", "x;y.yaml", "-x.yaml"):
        (tmp_path / name).touch()  # names of others, which shells evaluate
    for name in ("one", ".draft", "o$(touch pwned)"):
        (tmp_path / "reports" / "runs" / name).mkdir(parents=True)
        (tmp_path / "reports" / "runs" / name / "run.json").touch()
    assert completed(tmp_path, *words) == offered

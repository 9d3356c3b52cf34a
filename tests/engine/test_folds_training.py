"""A fold's network is the same whether others were trained in its process before or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import bench
from bench.specs.load import shipped_specs

pytestmark = pytest.mark.training


@pytest.mark.parametrize(("model", "framework"), [("lstm", "tensorflow"), ("transformer", "torch"), ("gan", "torch")])
def test_the_last_fold_alone_is_the_last_fold_after_the_others(tmp_path: Path, model: str, framework: str) -> None:
    pytest.importorskip(framework)
    spec = YAML(typ="safe", pure=True).load(shipped_specs()["smoke"])
    spec |= {"seeds": [0], "references": [], "budget": {"epochs": 1}}
    spec["dataset"] = {"name": "chorales", "options": {"limit": 24}}
    spec["protocol"] = {"prompt": 16, "notes": 32, "pieces": 4, "folds": 2}
    spec["models"] = {model: {"params": spec["models"][model]["params"]}}
    with (tmp_path / "mine.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(spec, file)

    def run() -> dict[str, bytes]:
        result = bench.run(tmp_path / "mine.yaml", scale="cpu", out=tmp_path)
        assert result.failed == 0
        plan = json.loads((result.folder / "run.json").read_text())["trials"]
        return {t["trial"]["system"]: (result.folder / "trials" / t["key"] / "samples.h5").read_bytes() for t in plan}

    straight = run()
    (trial,) = tmp_path.glob("runs/*/trials/*")
    # As if the trial had been killed in the middle of its last fold's first epoch.
    (trial / "outcome.json").unlink()
    (trial / "samples.h5").unlink()
    (trial / "folds" / "fold-02.json").unlink()
    shutil.rmtree(trial / "checkpoint" / "fold-02")
    assert run() == straight

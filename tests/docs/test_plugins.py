"""The dataset that docs/plugins.md shows is one."""

from __future__ import annotations

import re
from pathlib import Path

from bench.api import Splits
from bench.plugins.discovery import find_plugins, load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"


def test_the_dataset_of_the_page_loads(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(\"\"\"Random walks.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "walks.py").write_text(code)
    plugin = find_plugins("dataset", [tmp_path])["walks"]
    dataset = load(plugin)(seconds=0.5)
    told = []
    splits: Splits = dataset.load(None, lambda done, of, what: told.append((done, of, what)))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 3, 5]
    assert splits.train[0].notes.onset[1] == 0.5
    assert (dataset.fingerprint(None), told[-1]) == ("walks 1, 0.5", (20, 20, "walking"))

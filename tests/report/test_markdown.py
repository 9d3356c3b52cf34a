"""``report.md``: the golden text, and a run full of hostile texts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.report import write_reports
from bench.storage.files import write_json
from bench.storage.samples import PieceName
from tests.markup import HOSTILE, MARKDOWN, Seen

from .stored_run import FILES, GOLDEN, Stored, example, moved, rows, written


@pytest.mark.parametrize("name", FILES)
def test_golden(name: str, tmp_path: Path) -> None:
    """`python tests/report/stored_run.py` writes the golden files again."""
    assert written(example(tmp_path / "table2-cpu"))[name] == (GOLDEN / name).read_text(encoding="utf-8")


def test_written_twice_is_the_same(tmp_path: Path) -> None:
    folder = example(tmp_path / "table2-cpu")
    assert written(folder) == written(folder)


@pytest.mark.parametrize(("scale", "said"), [("smoke", True), ("cpu", False)])
def test_a_run_at_smoke_scale_warns_before_its_numbers(stored: Stored, scale: str, said: bool) -> None:
    stored.add("lstm", 0, moved(1))
    folder = stored.close()
    run = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", run | {"scale": scale})
    write_reports(folder)
    for name in ("report.md", "report.html"):
        above = (folder / name).read_text().split("Each number is the mean")[0]
        assert ("not how good a model is" in above) is said


def test_nothing_finished_is_still_a_report(stored: Stored) -> None:
    stored.add("lstm", 0, None)
    stored.add("gan", 0, None, error="it crashed")
    text = written(stored.close())
    assert "**Incomplete: 2 trials failed or did not finish" in text["report.md"]
    assert [(r["system"], r["status"], r["error"]) for r in rows(text["report.csv"])] == [
        ("lstm", "not run", ""),
        ("gan", "failed", "it crashed"),
    ]


def test_a_hostile_run_stays_a_report(stored: Stored) -> None:
    everything = " ".join(HOSTILE)
    stored.spec["title"] = everything
    stored.dataset |= {"title": everything, "license": everything, "remarks": [everything]}
    stored.dataset["skipped"] = [{"source": text, "reason": text} for text in HOSTILE]
    stored.pieces = [PieceName(0, "a", everything, "<b>Bach</b>"), PieceName(1, "b\n# x", "", "")]
    stored.add("lstm", 0, None, error=everything)
    stored.add("gan", 0, moved(1))
    html = MARKDOWN.render(written(stored.close())["report.md"])
    known = {"h1", "h2", "p", "strong", "a", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}
    assert Seen(html).tags <= known
    assert re.findall(r'href="([^"]*)"', html) == ["#failed-trials"]
    assert re.findall(r"<h1>", html) == ["<h1>"]
    assert len(set(re.findall(r"<tr>(.*?)</tr>", html.split("<h2>Chords")[0], re.DOTALL))) == 3

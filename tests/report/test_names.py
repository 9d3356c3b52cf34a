"""Names and messages that may hold anything, through every output of a run."""

from __future__ import annotations

import re
import tempfile
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given, settings

from bench.gate import text as gate_text
from bench.gate.baseline import take
from bench.gate.baseline_file import read, write
from bench.gate.junit import junit
from bench.gate.verdicts import judge
from bench.report import REPORTS, write_reports
from bench.storage.samples import PieceName

from .stored_run import Stored, moved

#: A surrogate (of a file name in Latin-1), ESC, BEL, NUL, DEL, C1, a reversed direction, a line separator, what XML lacks.
WORST = "pr\udce9lude \x1b[31m\x07\x00\x7f\x9b\u202egnp\u2028\ufffe\x0c<b>&\"'"

NAMES = st.text(st.one_of(st.characters(), st.sampled_from(WORST)), min_size=1, max_size=12)


def hostile(folder: Path, name: str) -> Path:
    """A run in which every text from outside is `name`."""
    stored = Stored(folder, title=name, description=name)
    stored.dataset |= {"title": name, "license": name, "remarks": [name], "source": name}
    stored.dataset["skipped"] = [{"source": name, "reason": name}]
    stored.call |= {"command": [name], "data": [name], "plugins": [name]}
    stored.pieces = [PieceName(0, name, name, name), PieceName(1, name)]
    stored.add("real", 0, moved(12), kind="reference")
    extra: dict[str, Any] = {"remarks": [name], "facts": {"precision": name}, "features": name}
    stored.add(f"lstm{name}", 0, moved(1), model="lstm", bits=15.0, key="a", **extra)
    stored.add(f"gan{name}", 0, moved(2), model="gan", key="b")
    stored.add("vae", 0, None, error=name)
    return stored.close()


def unshowable(text: str) -> set[str]:
    """Characters that no name may bring into an output."""
    categories = {c: unicodedata.category(c) for c in set(text) - set("\n\t\u200c\u200d")}
    return {c for c, category in categories.items() if category[0] == "C" or category in ("Zl", "Zp")}


@settings(max_examples=3)
@example(WORST)
@given(NAMES)
def test_any_name_leaves_every_output_readable(name: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = hostile(Path(temporary) / "run", name)
        write_reports(folder)
        texts = {file: (folder / file).read_bytes().decode() for file in REPORTS}
        baseline = take(folder)
        write(Path(temporary) / "baseline.json", baseline)
        texts["baseline.json"] = (Path(temporary) / "baseline.json").read_bytes().decode()
        judgement = judge(read(Path(temporary) / "baseline.json"), baseline)
        texts["junit"] = junit(judgement)
        texts["markdown"] = gate_text.markdown(judgement)
    for file, content in texts.items():
        assert not unshowable(content), file
    ET.fromstring(texts["junit"])
    for svg in re.findall(r"<svg.*?</svg>", texts["report.html"], re.DOTALL):
        ET.fromstring(svg)


def test_a_name_is_shown_with_replacement_characters(tmp_path: Path) -> None:
    folder = hostile(tmp_path / "run", "pr\udce9lude")
    write_reports(folder)
    for file in ("report.md", "report.html", "report.csv", "trials.csv"):
        assert "pr\ufffdlude" in (folder / file).read_text(encoding="utf-8")

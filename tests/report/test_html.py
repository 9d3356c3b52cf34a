"""``report.html`` without a browser: its sections, in which order, for every kind of run. tests/browser opens it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from bench.report import write_reports
from bench.report.html import progress, spec_yaml
from bench.report.page import lines
from bench.storage.files import write_json
from bench.storage.run_folder import RunFolder

from .stored_run import Stored, built, example, many_pieces, moved, page


def test_the_sections_are_in_order(tmp_path: Path) -> None:
    html = page(example(tmp_path / "run"))
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", html) == [
        "Result",
        "Table 2",
        "Differences between models",
        "Results against the budget",
        "All rows on one axis",
        "Other alignments",
        "Cost against quality",
        "Training",
        "Pitch and velocity over time",
        "Listen",
        "Distributions, generated against real",
        "What the metrics see",
        "Originality",
        "All numbers",
        "The systems",
        "Failed trials",
        "Files left out",
        "The pieces compared",
        "Reproducing it",
        "What the columns mean",
    ]


def test_written_twice_is_the_same_bytes(tmp_path: Path) -> None:
    folder = example(tmp_path / "run")
    write_reports(folder)
    first = (folder / "report.html").read_bytes()
    write_reports(folder)
    assert (folder / "report.html").read_bytes() == first


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    """Nothing hangs on the order of a set, nor on a reader's own settings of matplotlib."""
    folder = example(tmp_path / "run")
    write_reports(folder)
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\n")
    code = f"from bench.report import write_reports; from pathlib import Path; write_reports(Path({str(folder)!r}))"
    before = (folder / "report.html").read_bytes()
    # The rest is kept: other settings of BLAS round other last digits.
    own = {"PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **own})
    assert (folder / "report.html").read_bytes() == before


def test_drawing_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, bench.cli.app, bench.report; print([m for m in ('matplotlib', 'PIL') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert found.stdout == "[]\n"


def test_a_run_under_way_says_so_at_the_top(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.add("lstm", 1, None)
    folder = stored.close()
    run = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", {**run, "finished": None})
    assert progress(built(folder)) == (1, 2)
    html = page(folder)
    assert "<strong>This run is in progress:</strong> 1 of 2 trials have ended." in html.split("<main>")[0]


def test_a_finished_run_does_not(tmp_path: Path) -> None:
    html = page(example(tmp_path / "run"))
    assert "in progress" not in html.split("<main>")[0]
    assert "<strong>Incomplete:</strong> 1 trial failed" in html.split("<main>")[0]


def test_the_policy_allows_only_the_pages_own_script(tmp_path: Path) -> None:

    html = page(example(tmp_path / "run"))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in html
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", html) == []


def test_nothing_finished_has_a_sentence_for_every_figure(stored: Stored) -> None:
    stored.add("lstm", 0, None)
    stored.add("gan", 0, None, error="it crashed")
    html = page(stored.close())
    for sentence in (
        "No trained model has finished, so there is no difference to test.",
        "No trial has finished yet, so there is no distance to show.",
        "No trained model has finished, so there is no cost to set against quality.",
        "No model has logged an evaluation, so there is no training to show.",
        "No system has finished, so there is no music to show.",
        "No system has finished, so there are no notes to compare with the real ones.",
        "No row has a value for what it copied.",
        "No trial has finished yet, so there are no numbers.",
    ):
        assert f"<p>{sentence}</p>" in html
    assert "<figure" not in html
    assert "it crashed" in html


def test_the_spec_is_yaml_that_says_the_same(tmp_path: Path) -> None:

    folder = example(tmp_path / "run")
    assert YAML(typ="safe").load(spec_yaml(built(folder))) == RunFolder(folder).read().spec


def test_lines_keep_their_indent_and_nothing_unseen() -> None:
    assert lines("a:\n  - <b>\u202e\x07") == "a:\n  - &lt;b&gt;��"


def test_a_column_is_sorted_by_exact_values_and_its_intervals_are_smaller(stored: Stored) -> None:
    stored.enlarge(12)
    many_pieces(stored, "lstm", lambda i: 9 + (i == 0))
    html = page(stored.close())
    assert '<td data-value="9.083333333333334">9.08 <small>[8.90, 9.27]</small></td>' in html
    assert '<td data-value="60.0">60.0 s</td>' in html

"""A comparison as text, Markdown, HTML and JSON; texts from outside stay texts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.comparison.changes import Change, Comparison
from bench.comparison.formats import FORMATS, as_html, as_json, as_markdown, as_text
from bench.comparison.grids import change_cell, evidence, metric_grid, significant_grid
from bench.comparison.words import notes, summary
from bench.gate.significance import Estimate
from bench.metrics import METRICS
from bench.music.notes import Notes
from tests.markup import HOSTILE, MARKDOWN, Seen
from tests.report.stored_run import Stored, many_pieces

from .conftest import Make, compared


def fill(stored: Stored, shift: int) -> Path:
    for seed in (0, 1, 2):
        many_pieces(stored, "lstm", lambda i: 4 + i % 2 + shift, seed=seed)
        many_pieces(stored, "real", lambda i: 8, "reference", seed)
    return stored.close()


@pytest.fixture
def comparison(make: Make) -> Comparison:
    """Twelve pieces, three seeds: one model is 3 semitones further off in B; the reference is the same."""
    return compared(fill(make("a"), 0), fill(make("b"), 3))


def test_the_text(comparison: Comparison) -> None:
    text = as_text(comparison)
    assert text.startswith(
        "B against A: of 79 values 6 differ significantly (0 better, 6 worse, 0 different without a better direction); "
        "71 equal up to rounding; 1 more not comparable.\n"
    )
    line = r"^lstm +4\.50 \[.*\] ± 0\.00 +7\.50 \[.*\] ± 0\.00 +\+3\.00 \[\+3\.00, \+3\.00\]  worse, p < 0\.001 over 12 pieces$"
    assert re.search(line, text, re.MULTILINE)
    assert re.search(r"^real .* 0\.00  equal on 12 pieces$", text, re.MULTILINE)
    assert text.endswith("All values: --format html, markdown or json.\n")


def test_significant_changes_are_listed_and_bold(comparison: Comparison) -> None:
    grid = significant_grid(comparison)
    assert grid.headers == ["Model", "Metric", "A", "B", "Change", "Evidence"]
    assert grid.rows[0][1] == "Average Pitch Distance (semitones)"
    assert {line[0] for line in grid.rows} == {"lstm"}
    main = metric_grid(comparison, METRICS["pitch_distance"])
    assert main.headers == ["Model", "A", "B", "B − A", "Evidence"]
    assert main.strong == {(0, 3)}
    assert "**+3.00 \\[+3.00, +3.00\\]**" in as_markdown(comparison)
    assert "<strong>+3.00</strong>" in as_html(comparison)


def test_three_runs_are_named_in_the_list(make: Make) -> None:
    three = compared(fill(make("a"), 0), fill(make("b"), 3), fill(make("c"), 9))
    grid = significant_grid(three)
    assert grid.headers == ["Model", "Metric", "Runs", "Before", "After", "Change", "Evidence"]
    assert {str(line[2]) for line in grid.rows} == {"B − A", "C − A"}
    assert [line.split(":")[0] for line in summary(three)] == ["B against A", "C against A"]
    assert metric_grid(three, METRICS["pitch_distance"]).headers == [
        *("Model", "A", "B", "B − A", "Evidence", "C", "C − A", "Evidence"),
    ]
    assert metric_grid(three, METRICS["pitch_distance"]).strong == {(0, 3), (0, 6)}


def test_the_json_has_every_value_and_change(comparison: Comparison) -> None:
    content = json.loads(as_json(comparison))
    assert content["bench_comparison"] == 1
    assert [run["letter"] for run in content["runs"]] == ["A", "B"]
    (change,) = [c for c in content["changes"] if (c["system"], c["metric"]) == ("lstm", "pitch_distance")]
    assert {k: change[k] for k in ("status", "as", "before", "now", "change", "over", "count")} == {
        **{"status": "worse", "as": "difference", "before": 4.5, "now": 7.5, "change": 3.0, "over": "pieces", "count": 12},
    }
    assert change["low"] <= 3.0 <= change["high"]
    assert len(content["values"]) == 4 * len(comparison.metrics)
    equal = {(c["as"], c["change"], c["low"], c["high"]) for c in content["changes"] if c["status"] == "equal"}
    assert equal == {("difference", 0.0, None, None), ("ratio", 1.0, None, None)}
    tested = [c for c in content["changes"] if c["p_holm"] is not None]
    assert len(tested) == content["tests"] == comparison.tests


def test_a_row_that_one_run_lacks(make: Make) -> None:
    a, b = make("a"), make("b")
    many_pieces(b, "gan", lambda i: 3)
    text = as_text(compared(fill(a, 0), fill(b, 0)))
    assert re.search(r"^gan +– +3\.00 \[3\.00, 3\.00\] +–  no such row in A$", text, re.MULTILINE)


def test_an_incomplete_run_and_another_system_are_said_at_the_top(make: Make) -> None:
    a, b = make("a"), make("b")
    b.add("gan", 0, None, error="no luck")
    a.add("vae", 0, None, params={"units": 8})
    b.add("vae", 0, None, params={"units": 16})
    html = as_html(compared(fill(a, 0), fill(b, 0))).split("<nav")[0]
    assert "Run A is incomplete: 1 trial failed or did not run." in html
    assert "Run B is incomplete: 2 trials failed or did not run." in html
    assert "Not the same system in all runs (see the rows): vae." in html


def test_twice_is_the_same(comparison: Comparison) -> None:
    assert [form(comparison) for form in FORMATS.values()] == [form(comparison) for form in FORMATS.values()]


def test_paragraphs_of_notes_are_complete(comparison: Comparison) -> None:
    assert f"over all {comparison.tests} tests of this comparison" in " ".join(notes(comparison))


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_from_outside_are_no_markup(make: Make, text: str) -> None:
    folders = []
    for name, shift in (("a", 0), ("b", 5)):
        stored = make(name)
        stored.spec |= {"title": text + name, "description": text * (shift + 1), text: {text: shift}}
        stored.dataset["title"] = text + name
        for seed in (0, 1):
            made = {
                (i, 0): Notes.from_columns(n.onset, n.duration, n.pitch + i % 2 + shift, n.velocity)
                for i, n in enumerate(stored.real)
            }
            stored.add(text, seed, made, model="lstm", key=f"odd-{seed}", params={text: text * (shift + 1)})
        folders.append(stored.close())
    comparison = compared(*folders)
    allowed = set("html head meta title link style body a header h1 h2 h3 bdi p nav ol ul li main section div table".split())  # noqa: SIM905
    allowed |= {"thead", "tbody", "tr", "th", "td", "small", "strong", "details", "summary", "script"}
    html = as_html(comparison)
    assert Seen(html).tags <= allowed
    assert html.count("<script") == 1
    seen = Seen(MARKDOWN.render(as_markdown(comparison)))
    assert seen.tags <= {"h1", "h2", "h3", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "strong"}
    for form in FORMATS.values():
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", form(comparison))


class TestCells:
    def change(self, metric: str = "pitch_distance", **more: object) -> Change:
        return Change("lstm", METRICS[metric], "B", **more)

    @pytest.mark.parametrize(
        ("metric", "estimate", "text"),
        [
            ("pitch_distance", Estimate(0.5, 0.25, 0.1, True), "+0.50 [+0.25, +0.75]"),
            ("pitch_distance", Estimate(-0.001, None, 1.0, False), "−0.001"),
            ("pitch_distance", Estimate(0.0, 0.0, 1.0, False), "0.00 [0.00, 0.00]"),
            ("training_seconds", Estimate(-7500.0, None, 1.0, False), "−2 h 05 min"),
            ("training_seconds", Estimate(0.09531018, 0.09531018, 0.1, True, True), "+10.0 %"),
            ("parameters", Estimate(0.09531018, 0.09531018, 0.1, True, True), "+10.0 % [+0.0 %, +21.0 %]"),
            ("training_seconds", Estimate(-3.0, None, 0.1, False, True), "× 0.0498"),
            ("training_seconds", Estimate(9999.0, None, 0.1, False, True), "× 1.01e+304"),
            ("parameters", Estimate(-1234.0, 0.0, 0.0, True), "−1,234 [−1,234, −1,234]"),
        ],
    )
    def test_a_change_and_its_interval(self, metric: str, estimate: Estimate, text: str) -> None:
        assert str(change_cell(self.change(metric, estimate=estimate))) == text

    def test_equal_values_show_no_rounding_errors(self) -> None:
        assert str(change_cell(self.change(status="equal", estimate=Estimate(-8.7e-19, 1e-19, 0.0, True)))) == "0.00"
        relative = self.change("parameters", status="equal", estimate=Estimate(-1e-17, 0.0, 0.0, True, True))
        assert str(change_cell(relative)) == "0 %"
        tiny = Estimate(-8.7e-19, 1e-19, 0.0, True)
        assert str(change_cell(self.change(status="better", estimate=tiny))) == "0.00 [0.00, 0.00]"

    def test_pieces_that_one_run_lacks_are_counted(self) -> None:
        change = self.change(estimate=Estimate(0.5, None, 1.0, True), count=11, of=12)
        assert str(change_cell(change)) == "+0.50; on 11 of 12 pieces"

    @pytest.mark.parametrize(
        ("status", "p", "text"),
        [
            ("better", 0.0001, "better, p < 0.001 over 12 pieces"),
            ("different", 0.0324, "different, p = 0.032 over 12 pieces"),
            ("not significant", 1.0, "p = 1.000 over 12 pieces"),
            ("untested", 1.0, "no test over 12 pieces"),
            ("equal", 1.0, "equal on 12 pieces"),
            ("not compared", 1.0, "another processor"),
        ],
    )
    def test_evidence(self, status: str, p: float, text: str) -> None:
        assert evidence(self.change(status=status, p=p, over="pieces", count=12, reason="another processor")) == text

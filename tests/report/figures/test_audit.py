"""The metric audit's heat map in the page."""

from __future__ import annotations

from pathlib import Path

from bench.report.figures import audit

from ..stored_run import built, example, page


def test_the_heat_map_is_an_image_with_its_findings_in_words(tmp_path: Path) -> None:
    folder = example(tmp_path / "run")
    (folder / "audit").mkdir()
    (folder / "audit/audit.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    rows = "pitch_distance,stretch,yes,no\npitch_distance,median,no,yes\npitch_w1,shuffle_order,yes,no\n"
    (folder / "audit/audit.csv").write_text(f"metric,corruption,blind,rewards\n{rows}")
    found = audit.heat_map(built(folder))
    assert found is not None
    assert found.label == (
        "Heat map. 2 metrics against 3 corruptions. Average Pitch Distance is blind to stretch. Average Pitch Distance rewards "
        "median. In all 2 pairs are blind and 1 reward the damage."
    )
    html = page(folder)
    assert "alert(1)" not in html
    assert '<img src="data:image/svg+xml;base64,' in html

"""Figures as SVG elements of the page."""

from __future__ import annotations

import re

from bench.report.figures.svg import Ink, drawing, panels


def test_a_figure_follows_the_pages_colours_and_takes_no_text_for_a_formula() -> None:
    def paint(figure) -> None:
        (axes,) = panels(figure)
        axes.plot([0, 1], [0, 1], color=Ink.SERIES[2], label="$x_1$ <script> --> ]]>")
        axes.legend()

    svg = drawing("fig-x", 2.0, paint, 'says "<b>"', "").svg
    assert "$x_1$ &lt;script&gt; --&gt; ]]&gt;" in svg
    assert 'aria-label="says &quot;&lt;b&gt;&quot;"' in svg
    assert "stroke:var(--series-2)" in svg
    assert not re.findall(r"#01010\d", svg)
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert ids
    assert all(i.startswith("fig-x-") for i in ids)

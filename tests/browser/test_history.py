"""The page of `bench history show` in a real browser: quiet, offline, readable at any width, in both colour schemes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.history.changes import trends
from bench.history.formats import as_html
from tests.history.handmade import entry, row

from .pages import HOSTILE
from .test_page import RULES, TOO_WIDE

pytestmark = pytest.mark.browser


def page_of(kind: str) -> str:
    """Eight runs of a model that changed twice; hostile: every text that comes from outside is."""
    name, machine = (HOSTILE, HOSTILE) if kind == "hostile" else ("lstm", "Test CPU, 2 threads")
    entries = []
    for number, level in enumerate((9, 9, 9, 9, 8, 8, 8, 10)):
        values = {
            "pitch_distance": [level - 0.1, level, level + 0.1],
            "bits_per_note": [7.5, 7.6, 7.7],
            "training_seconds": [60.0 + number % 3] * 3,
        }
        one = entry(number, {name: row(values, first_seed=100 * number, machine=machine)}, machine=machine)
        if kind == "hostile":
            one = replace(one, run=HOSTILE, commit=HOSTILE, when=HOSTILE, bench=HOSTILE, spec=HOSTILE, scale=HOSTILE)
        entries.append(one)
    return as_html(trends(entries[:1] if kind == "one run" else entries))


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def page(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("history") / "history.html"
            made[kind].write_text(page_of(kind), encoding="utf-8")
        return made[kind]

    return page


@pytest.mark.parametrize("kind", ["changed", "hostile", "one run"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_is_quiet_and_nothing_overflows(kind: str, width: int, history: Any, open_page: Any) -> None:
    seen = open_page(history(kind), width)
    assert seen.errors == []
    assert [url for url in seen.requests if url != history(kind).as_uri() and not url.startswith("data:")] == []
    assert seen.page.evaluate("window.broken") is None
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize(("kind", "scheme"), [("changed", "light"), ("changed", "dark"), ("hostile", "dark")])
@pytest.mark.parametrize("width", [360, 1200])
def test_axe_finds_nothing(kind: str, scheme: str, width: int, history: Any, open_page: Any) -> None:
    module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = module.Axe().run(open_page(history(kind), width, scheme).page, options=RULES).response
    assert [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in found["violations"]] == []


def test_it_says_what_changed(history: Any, open_page: Any) -> None:
    page = open_page(history("changed")).page
    assert page.locator(".verdict").first.inner_text() == (
        "The last run, run-7 (0707070707), changed 1 of 3 values significantly (1 worse)."
    )
    assert page.locator("#trends figure").count() == 3
    label = page.locator("#trends figure svg").first.get_attribute("aria-label")
    assert label.endswith("Change points: between runs 4 and 5, from 9.00 to 8.00; between runs 7 and 8, from 8.00 to 10.00.")
    assert page.locator("#changes tbody tr").count() == 2

"""The page of `bench compare` in a real browser: quiet, offline, readable at any width, in both colour schemes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.comparison.changes import compare
from bench.comparison.formats import as_html
from bench.comparison.runs import read_runs
from tests.report.stored_run import Stored, many_pieces

from .pages import HOSTILE
from .test_page import RULES, TOO_WIDE

pytestmark = pytest.mark.browser


def two(folder: Path) -> list[Path]:
    runs = []
    for name, shift in (("old", 0), ("new", 3)):
        stored = Stored(folder / name, target=12.0 + shift)
        stored.enlarge(12)
        for seed in (0, 1, 2):
            many_pieces(stored, "lstm", lambda i, shift=shift: 4 + i % 2 + shift, seed=seed)
            many_pieces(stored, "real", lambda i: 8, "reference", seed)
        runs.append(stored.close())
    return runs


def hostile(folder: Path) -> list[Path]:
    """Every text that comes from outside is hostile, and three runs differ in all of them."""
    runs = []
    for name, shift in (("a", 0), ("b", 3), ("c", 9)):
        stored = Stored(folder / name)
        stored.enlarge(12)
        stored.spec |= {"title": HOSTILE + name, "description": HOSTILE * (shift + 1)}
        stored.dataset |= {"title": HOSTILE + name, "corpus_key": HOSTILE + name}
        real = {(i, 0): notes for i, notes in enumerate(stored.real)}
        stored.add(HOSTILE, 0, real, model="lstm", key="odd", params={HOSTILE: HOSTILE + name})
        stored.add("gan", 0, None, error=HOSTILE)
        runs.append(stored.close())
    return runs


KINDS = {"two": two, "hostile": hostile}


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def page(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            (folder / "compare.html").write_text(as_html(compare(read_runs(KINDS[kind](folder)))), encoding="utf-8")
            made[kind] = folder / "compare.html"
        return made[kind]

    return page


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("width", [360, 1200])
def test_it_is_quiet_and_nothing_overflows(kind: str, width: int, comparison: Any, open_page: Any) -> None:
    seen = open_page(comparison(kind), width)
    seen.page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert seen.errors == []
    assert [url for url in seen.requests if url != comparison(kind).as_uri() and not url.startswith("data:")] == []
    assert seen.page.evaluate("window.broken") is None
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize(("kind", "scheme"), [("two", "light"), ("two", "dark"), ("hostile", "dark")])
@pytest.mark.parametrize("width", [360, 1200])
def test_axe_finds_nothing(kind: str, scheme: str, width: int, comparison: Any, open_page: Any) -> None:
    module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(comparison(kind), width, scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    found = module.Axe().run(page, options=RULES).response
    assert [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in found["violations"]] == []


def test_a_click_sorts_a_table(comparison: Any, open_page: Any) -> None:
    page = open_page(comparison("two")).page
    page.locator("#main thead th").nth(1).get_by_role("button").click()
    assert page.locator("#main table").first.locator("tbody th").all_inner_texts() == ["lstm", "real"]
    page.locator("#main thead th").nth(1).get_by_role("button").click()
    assert page.locator("#main table").first.locator("tbody th").all_inner_texts() == ["real", "lstm"]

"""``report.html`` in a real browser: quiet, offline, sortable, readable at any width, in both colour schemes, and on paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import pages

pytestmark = pytest.mark.browser

#: WCAG 2.2 A and AA, and what axe-core calls best practice.
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}

#: Elements wider than the page that don't lie in a box of their own that scrolls.
TOO_WIDE = """() => [...document.body.querySelectorAll('*')].filter(e => {
    const box = e.getBoundingClientRect();
    if (!box.width || box.right <= document.documentElement.clientWidth + 1 || e.closest('svg svg, .skip')) return false;
    for (let up = e.parentElement; up; up = up.parentElement)
        if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(up).overflowX)) return false;
    return true;
}).map(e => e.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The page of a kind of run, made once."""
    made: dict[str, Path] = {}

    def page(kind: str) -> Path:
        if kind not in made:
            made[kind] = pages.ALL[kind](tmp_path_factory.mktemp(kind) / "table2-cpu")
        return made[kind]

    return page


def column(page: Any, number: int) -> list[str]:
    """Texts of a column of Table 2, 0 the rows' names."""
    return page.locator(f"#table2 > .scroll tbody tr > :nth-child({number + 1})").all_inner_texts()


@pytest.mark.parametrize("kind", list(pages.ALL))
def test_nothing_is_asked_for_and_nothing_is_complained_of(kind: str, report: Any, open_page: Any) -> None:
    path = report(kind)
    seen = open_page(path)
    assert seen.errors == []
    assert [url for url in seen.requests if url != path.as_uri() and not url.startswith("data:")] == []


@pytest.mark.parametrize("kind", list(pages.ALL))
@pytest.mark.parametrize("width", [360, 1600])
def test_nothing_overflows(kind: str, width: int, report: Any, open_page: Any) -> None:
    page = open_page(report(kind), width).page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    [
        ("ordinary", 360, "light"),
        ("ordinary", 1600, "dark"),
        ("hostile", 360, "dark"),
        ("hostile", 1600, "light"),
        ("nothing_finished", 1600, "dark"),
        ("several", 360, "light"),
        ("several", 1280, "dark"),
    ],
)
def test_axe_finds_nothing(kind: str, width: int, scheme: str, report: Any, open_page: Any) -> None:
    module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(report(kind), width, scheme).page
    found = module.Axe().run(page, options=RULES).response
    assert [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in found["violations"]] == []
    looked_at = {"color-contrast", "button-name" if kind != "nothing_finished" else "link-name"}
    looked_at |= {"scrollable-region-focusable"} if width == 360 else set()
    assert looked_at <= {rule["id"] for rule in found["passes"]}


def test_both_schemes_look_different(report: Any, open_page: Any) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page = open_page(report("ordinary"), scheme=scheme).page
        look = "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.querySelector('svg text')).fill"
        colours.append(page.evaluate(look))
    assert colours[0] == "rgb(255, 255, 255)rgb(27, 31, 36)"
    assert colours[1] == "rgb(20, 23, 26)rgb(232, 234, 237)"


def test_a_click_sorts_up_then_down_then_as_it_was(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary")).page
    heading = page.locator("#table2 > .scroll thead th").nth(1)
    names = column(page, 0)
    assert heading.get_attribute("aria-sort") == "none"
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [text.split()[0] for text in column(page, 1)] == ["5.50", "7.00", "9.00", "9.00", "12.00"]
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert [text.split()[0] for text in column(page, 1)] == ["12.00", "9.00", "9.00", "7.00", "5.50"]
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "none"
    assert column(page, 0) == names


def test_what_is_undefined_stays_last(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary")).page
    button = page.locator("#table2 > .scroll thead th").nth(3).get_by_role("button")
    button.click()
    assert column(page, 3) == ["15.92", "16.81", "–", "–", "–"]
    button.click()
    assert column(page, 3) == ["16.81", "15.92", "–", "–", "–"]


def test_only_one_column_is_marked_as_sorted(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary")).page
    for number in (1, 0):
        page.locator("#table2 > .scroll thead th").nth(number).get_by_role("button").click()
    assert page.locator("#table2 > .scroll thead th:not([aria-sort=none])").all_inner_texts() == ["Model"]
    assert column(page, 0)[0].startswith("gan (1 of 2 seeds")


def test_the_keyboard_sorts_and_its_focus_is_seen(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary")).page
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("Average Pitch Distance"):
            break
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert column(page, 0)[0].splitlines() == ["median", "regresses to the median, velocity not modelled, repeats itself"]
    page.keyboard.press("Space")
    assert column(page, 0)[0] == "real"


def test_the_first_stop_of_the_keyboard_leads_to_the_results(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary"), 360).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    page.wait_for_url("**/report.html#result")  # the browser tells of the new address a moment later


def test_the_verdict_and_its_figures_are_the_first_screen(report: Any, open_page: Any) -> None:
    for width in (1280, 1600):
        page = open_page(report("several"), width).page
        figures = page.locator("#result figure").evaluate_all("all => all.map(e => e.getBoundingClientRect().toJSON())")
        assert len({figure["top"] for figure in figures}) == 1, "side by side"
        assert all(figure["bottom"] <= 900 for figure in figures)
    page = open_page(report("several"), 360).page
    assert page.locator("#result .verdict").bounding_box()["y"] < 740


def test_a_matrix_of_pairs_is_not_sortable_and_its_stars_are_bold(report: Any, open_page: Any) -> None:
    page = open_page(report("several")).page
    assert page.locator("#differences button").count() == 0
    bold = page.locator("#differences strong").all_inner_texts()
    assert bold
    assert all(text.endswith("*") for text in bold)


def test_untrained_rows_are_folded_away(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary")).page
    row = page.get_by_text("untrained lstm").first
    assert not row.is_visible()
    page.locator("#table2 summary").click()
    assert row.is_visible()


def test_hostile_texts_are_texts(report: Any, open_page: Any) -> None:
    page = open_page(report("hostile")).page
    assert page.evaluate("window.broken") is None
    assert page.title().startswith("<script>document.title = 'broken'")
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert page.locator("a[href^=http]").count() == 0
    heading = page.locator("h1").inner_text()
    assert "<img src=x onerror='window.broken = true'> �gnp.exe� שלום $x_1^2$ � ]]> --> </style></svg> {{ 7 * 7 }}" in heading
    assert heading.endswith("W" * 300)
    assert "\u202e" not in page.content()


def test_a_hostile_piece_stays_in_its_figures_label(report: Any, open_page: Any) -> None:
    page = open_page(report("hostile")).page
    labels = page.locator("#over-time svg").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
    assert len(labels) == 2
    assert all("for <script>document.title" in label for label in labels)


def test_every_figure_says_what_it_shows(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary")).page
    said = page.locator("figure svg:not(svg svg)").evaluate_all(
        "all => all.map(e => [e.getAttribute('role'), e.getAttribute('aria-label')])"
    )
    assert len(said) > 10
    assert {role for role, _ in said} == {"img"}
    assert (
        "Dot plot. Average Pitch Distance in semitones, closest first: median 5.50 ± 0.00; gan 7.00; lstm 9.00 ± 1.41; "
        "ngram 9.00 ± 0.00; real 12.00 ± 0.00; untrained lstm 30.00." in [label for _, label in said]
    )


@pytest.mark.parametrize("kind", list(pages.ALL))
def test_no_id_is_given_twice_and_every_reference_leads_somewhere(kind: str, report: Any, open_page: Any) -> None:
    page = open_page(report(kind)).page
    ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    targets = page.locator("[href^='#']").evaluate_all("all => all.map(e => e.getAttribute('href').slice(1))")
    assert set(targets) - set(ids) == set()


def test_the_original_is_a_clip_like_the_others(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary")).page
    originals = page.locator("figure.listen-original")
    assert originals.count() == page.locator("section.listen-piece").count() > 0
    assert originals.evaluate_all("all => all.every(e => e.classList.contains('listen-clip'))")


def test_midi_is_saved_from_the_page(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary")).page
    with page.expect_download() as waiting:
        page.locator("section.listen a[download]").nth(1).click()
    assert waiting.value.suggested_filename == "lstm-piece-0-bach-minuet.mid"
    assert Path(waiting.value.path()).read_bytes()[:4] == b"MThd"


def test_on_paper_tables_are_whole_and_ink_is_dark(report: Any, open_page: Any) -> None:
    page = open_page(report("ordinary"), 750, "dark").page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert page.evaluate("document.documentElement.scrollWidth") <= 750
    assert page.pdf()[:5] == b"%PDF-"


def test_without_script_the_page_is_whole(report: Any, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report("ordinary").as_uri())
    assert page.locator("#table2 > .scroll tbody tr").count() == 5
    page.locator("#table2 summary").click()
    assert page.locator("#table2 details tbody tr").all_inner_texts()[0].startswith("untrained lstm")
    assert page.locator("button").count() == 0
    context.close()

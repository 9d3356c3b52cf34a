"""The page of a listening test in a real browser: a whole session by mouse and keyboard, whose saved file the analysis reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.listening.design import ORIGINAL
from bench.listening.key import Key, read_keys
from bench.listening.page import Choices, make_test
from bench.listening.screening import screen
from bench.listening.votes import read_ballots
from bench.sound.synthesizer import find_synthesizer
from tests.listening.sample_run import run_for_listening

from .test_page import RULES, TOO_WIDE

pytestmark = pytest.mark.browser

#: Clips play sixteen times as fast, the most that Chromium does.
FAST = """const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () { this.playbackRate = 16; return play.call(this); };"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = run_for_listening(tmp_path_factory.mktemp("listening") / "table2-cpu", pieces=5)
    make_test(folder, Choices(questions=6, seconds=4.0), find_synthesizer({}))
    return folder


@pytest.fixture
def page(run: Path) -> Path:
    (path,) = run.glob("listening/*/listening-test.html")
    return path


@pytest.fixture
def key(run: Path) -> Key:
    ((_, key),) = read_keys(run).values()
    return key


@pytest.fixture
def start(page: Path, open_page: Callable[..., Any]) -> Callable[..., Any]:
    def opened(width: int = 1200, scheme: str = "light") -> Any:
        seen = open_page(page, width, scheme)
        seen.page.add_init_script(FAST)
        seen.page.reload()
        return seen

    return opened


def hear(page: Any, side: str) -> None:
    page.locator(f"#play-{side}").click()
    wait(page, side)


def wait(page: Any, side: str) -> None:
    page.locator(f"#heard-{side}", has_text=re.compile("^heard$")).wait_for()


def save(page: Any, button: str, path: Path) -> None:
    with page.expect_download() as download:
        page.locator(button).click()
    download.value.save_as(path)


def next_listener(page: Any, button: str, message: str, answer: str = "accept") -> None:
    """Press a button, and answer the question that it asks."""
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), getattr(dialog, answer)()))
    page.locator(button).click()
    assert [text for text in asked if message in text] == asked != []


def kept(page: Any) -> Any:
    return page.evaluate("JSON.parse(localStorage.getItem(place))")


def test_a_whole_session(start: Any, page: Path, run: Path, key: Key, tmp_path: Path) -> None:
    """By mouse and by keys, with a way back and a visit in between; the file says what was chosen."""
    seen = start()
    view = seen.page
    view.locator("#start").click()
    chosen = ["left", "tie", "right"]
    form = key.forms[view.evaluate("state.form")]
    for number in range(len(form)):
        assert view.locator("#heading").inner_text() == f"Pair {number + 1} of {len(form)}: which continuation is better?"
        assert view.locator("#progress").get_attribute("value") == str(number)
        answers = view.locator("[data-answer]")
        assert [answers.nth(i).is_disabled() for i in range(3)] == [True] * 3
        view.keyboard.press("ArrowLeft")  # before anything is heard
        hear(view, "left")
        assert answers.first.is_disabled()
        if number % 2:
            hear(view, "right")
            answers.nth(number % 3).click()
        else:
            view.keyboard.press("b")
            wait(view, "right")
            view.keyboard.press(["ArrowLeft", "ArrowDown", "ArrowRight"][number % 3])
        if number == 2:
            view.keyboard.press("Backspace")
            assert view.locator('[data-answer="right"]').get_attribute("aria-pressed") == "true"
            view.keyboard.press("ArrowRight")  # heard already
        if number == 3:
            view.reload()
            assert view.locator("#start").inner_text() == "Continue"
            view.locator("#start").click()
    expected = [chosen[number % 3] for number in range(len(form))]
    assert view.locator("#done").is_visible()
    with view.expect_download() as download:
        view.locator("#save").click()
    (votes := tmp_path / "votes").mkdir()
    download.value.save_as(votes / download.value.suggested_filename)
    assert download.value.suggested_filename == f"votes-{key.test}-{kept(view)['listener'][:8]}.json"
    ballots = read_ballots(votes, {key.test: key})
    assert ballots.problems == ()
    (ballot,) = ballots.ballots
    assert (key.forms[ballot.form], list(ballot.answers), ballot.test) == (form, expected, key.test)
    assert "is where this browser keeps its downloads" in view.locator("#saved").inner_text()
    next_listener(view, "#next", f"Is the file {download.value.suggested_filename} among your downloads?")
    assert view.locator("#intro").is_visible()
    assert view.locator("#start").inner_text() == "Start"
    assert (kept(view)["answers"], kept(view)["listener"] == ballot.listener) == ([None] * len(kept(view)["answers"]), False)
    assert seen.errors == []
    assert {url for url in seen.requests if not url.startswith("data:")} == {page.as_uri()}


def test_who_stops_half_way_saves_and_counts(start: Any, key: Key, tmp_path: Path) -> None:
    """Nothing is lost: the file holds what was answered, the page goes on from there, and the later file has the rest."""
    view = start().page
    view.locator("#start").click()
    form = key.forms[view.evaluate("state.form")]
    half = len(form) // 2
    assert view.locator("#stop").is_disabled(), "there is nothing to save"
    for number in range(half):
        hear(view, "left")
        hear(view, "right")
        view.locator(f'[data-answer="{"left" if form[number].left == ORIGINAL else "right"}"]').click()
        if number == 0:
            save(view, "#stop", tmp_path / "one.json")
            assert view.locator("#done").inner_text() == f"1 of {len(form)} pairs answered"
            assert view.locator("#few").is_visible()
            view.locator("#again").click()
            assert view.locator("#heading").inner_text().startswith("Pair 2 of ")
    (votes := tmp_path / "votes").mkdir()
    save(view, "#stop", votes / "half.json")
    assert not view.locator("#few").is_visible()
    (ballot,) = read_ballots(votes, {key.test: key}).ballots
    assert [answer is not None for answer in ballot.answers] == [number < half for number in range(len(form))]
    (listener,) = screen([ballot], key)
    assert (listener.reason, listener.caught) == ("", 2)
    view.locator("#again").click()
    view.locator("#back").click()
    view.keyboard.press("ArrowDown")  # another answer to the question before
    save(view, "#stop", votes / "corrected.json")
    ballots = read_ballots(votes, {key.test: key})
    assert ballots.problems == ("half.json: of the same listener as corrected.json, which was saved later",)
    assert ballots.ballots[0].answers[half - 1] == "tie"
    next_listener(view, "#next", "among your downloads?", "dismiss")  # the download may have been cancelled
    assert view.locator("#end").is_visible()
    next_listener(view, "#next", "among your downloads?")
    assert view.locator("#start").inner_text() == "Start"


def press(page: Any, key: str) -> None:
    """Answer by key what counts as heard."""
    page.evaluate("SIDES.forEach((side) => (heard[side] = true))")
    page.keyboard.press(key)


@pytest.mark.parametrize("told", [True, False])
def test_two_tabs_overwrite_nothing(start: Any, page: Path, key: Key, told: bool) -> None:
    """Either tab takes over what was answered in the other: told of it by the browser, or else before it would overwrite it."""
    one = start().page
    two = one.context.new_page()
    if not told:
        two.add_init_script("window.addEventListener('storage', (event) => event.stopImmediatePropagation(), true)")
    two.goto(page.as_uri())
    one.locator("#start").click()
    two.locator("#start").click()
    press(one, "ArrowLeft")
    press(one, "ArrowRight")
    if told:
        two.locator("#heading", has_text="Pair 3 of ").wait_for()
    else:
        assert two.locator("#heading").inner_text().startswith("Pair 1 of ")
        press(two, "ArrowDown")
        assert two.locator("#heading").inner_text().startswith("Pair 3 of ")
    assert "open in another tab" in two.locator("#trouble").inner_text()
    press(two, "ArrowDown")
    assert two.locator("#trouble").inner_text() == ""
    assert kept(two)["answers"][:4] == ["left", "right", "tie", None]
    one.locator("#heading", has_text="Pair 4 of ").wait_for()
    one.locator("#stop").click()
    next_listener(one, "#next", "among your downloads?")
    assert kept(one)["answers"] == [None] * len(kept(one)["answers"])
    if told:
        two.locator("#intro").wait_for()
    press(two, "ArrowDown")  # too late
    assert two.locator("#intro").is_visible()
    assert kept(two) == kept(one) == one.evaluate("state") == two.evaluate("state")


def test_who_has_a_number_gets_its_form(start: Any, key: Key) -> None:
    """Numbers in a row are forms in a row, from the first again behind the last; so is the next listener at the same computer."""
    view = start().page
    forms = len(key.forms)
    for number in (forms, forms + 1, 2):
        view.locator("#number").fill(str(number))
        view.locator("#start").click()
        assert view.evaluate("state.form") == (number - 1) % forms
        view.reload()
    view.locator("#start").click()
    assert view.evaluate("state.form") == 1, "who began, heard something and came back needn't type it again"
    view.reload()
    view.locator("#number").fill("0")
    view.locator("#start").click()
    assert view.locator("#intro").is_visible()
    view.locator("#number").fill(str(forms))
    view.keyboard.press("Enter")
    press(view, "ArrowLeft")
    view.reload()
    assert not view.locator("#number").is_visible(), "who has begun has a form"
    view.locator("#start").click()
    assert view.locator("#heading").inner_text().startswith("Pair 2 of ")
    view.locator("#stop").click()
    next_listener(view, "#next", "among your downloads?")
    assert view.locator("#number").input_value() == ""
    view.locator("#start").click()
    assert view.evaluate("state.form") == 0


def test_a_second_person_begins_anew(start: Any, key: Key, tmp_path: Path) -> None:
    """Who opens a page on which somebody stopped half way is told so, and needn't go on as that listener."""
    view = start().page
    view.locator("#number").fill("1")
    view.locator("#start").click()
    press(view, "ArrowLeft")
    press(view, "ArrowRight")
    save(view, "#stop", tmp_path / "first.json")
    first = kept(view)
    view.reload()
    told = f"Answered in this browser so far: 2 of {len(key.forms[0])} pairs. Continue only if the answers are yours."
    assert view.locator("#kept").inner_text() == told
    next_listener(view, "#anew", "among your downloads?")
    assert not view.locator("#kept").is_visible()
    assert not view.locator("#anew").is_visible()
    view.locator("#number").fill("3")
    view.locator("#start").click()
    assert view.locator("#heading").inner_text().startswith("Pair 1 of ")
    assert (view.evaluate("state.form"), view.evaluate("state.listener") == first["listener"]) == (2, False)
    press(view, "ArrowLeft")
    view.reload()
    next_listener(view, "#anew", "The answers have not been saved as a file. Clear them all the same?", "dismiss")
    assert view.locator("#kept").inner_text().startswith("Answered in this browser so far: 1 of ")


def test_a_browser_that_keeps_nothing_says_so_at_once(start: Any) -> None:
    """And it asks before a page with answers is closed that are in no file."""
    view = start().page
    view.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('', 'SecurityError'); }})"
    )
    view.reload()
    assert view.locator("#trouble").inner_text().startswith("This browser keeps nothing for this page")
    view.locator("#start").click()
    press(view, "ArrowLeft")
    with view.expect_event("dialog") as asked:
        view.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    view.locator("#stop").click()
    with view.expect_event("close"):
        view.close(run_before_unload=True)


def test_what_is_played_is_what_the_key_says(start: Any, key: Key) -> None:
    """Its left and right are the page's: the analysis would be turned around otherwise."""
    view = start().page
    sides = view.evaluate("data.forms.map((form) => form.map((pair) => pair.map((name) => name)))")
    names = {(clip.system, clip.prompt): name for name, clip in key.clips.items()}
    assert sides == [[[names[q.left, q.prompt], names[q.right, q.prompt]] for q in form] for form in key.forms]
    view.locator("#start").click()
    left, right = view.evaluate("questions()[0].map((name) => data.clips[name].audio)")
    assert left != right
    assert view.evaluate("SIDES.map((side) => players[side].src.split(',')[1])") == [left, right]


def test_no_system_is_named(page: Path, key: Key) -> None:
    text = re.sub(r'"audio":"[^"]*"', "", page.read_text(encoding="utf-8"))
    assert len(text) < 60_000
    names = [contestant.name for contestant in key.contestants]
    assert [name for name in [*names, "original", "noise"] if re.search(rf"\b{name}\b", text, re.I)] == []
    (data,) = re.findall(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    order = [key.clips[name].system for name in json.loads(data)["clips"]]
    assert order != sorted(order), "the clips lie system by system"


def test_answers_of_nobody_are_not_taken_over(start: Any) -> None:
    view = start().page
    length = view.evaluate("data.forms[0].length")
    whole = {"form": 0, "listener": "0" * 32, "answers": ["tie"] * length}
    others = [json.dumps({**whole, "revision": revision}) for revision in (-1, 0.5, "1", 1e300)]
    for stored in ("{", "null", "[]", '{"form": 99, "answers": []}', '{"form": 0, "listener": "x", "answers": [7]}', *others):
        view.evaluate("(text) => localStorage.setItem(place, text)", stored)
        view.reload()
        assert view.locator("#start").inner_text() == "Start"
        assert view.evaluate("state.answers.every((given) => given === null)")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1200, "light")])
@pytest.mark.parametrize("shown", ["intro", "begun", "question", "end"])
def test_every_screen_is_accessible_and_fits(start: Any, width: int, scheme: str, shown: str) -> None:
    module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    view = start(width, scheme).page
    begun = "state.answers[0] = 'tie'; enter('intro')"
    view.evaluate({"intro": "enter('intro')", "begun": begun, "question": "show(0)", "end": "finish()"}[shown])
    found = module.Axe().run(view, options=RULES).response
    assert [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in found["violations"]] == []
    assert view.evaluate("document.documentElement.scrollWidth") == width
    assert view.evaluate(TOO_WIDE) == []

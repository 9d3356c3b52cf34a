"""What is shown while a run goes on, from events as the runner sends them."""

import io
import re

import pytest

from bench.cli.display import Clock, Live, Plain, Quiet, done_text, duration, epoch_text, make_display, prepare_text
from bench.cli.output import CleanConsole
from bench.formatting import clean

ABOUT = {"key": "k1", "trial": 3, "total": 21, "system": "lstm", "seed": 0, "label": "lstm, seed 0"}
FIRST = {"epoch": 1, "seconds": 2.0, "loss": 4.21, "notes": 24600, "validation_bits": 17.904}
WAITING = ["a, seed 0", "b, seed 0", "a, seed 1"]
PLAN = {"event": "plan", "total": 4, "done": 1, "threads": 2, "jobs": 1, "idle": 0, "trials": WAITING}
EVENTS = [
    {"event": "start", "spec": "smoke", "scale": "cpu", "why": "asked for", "folder": "/there"},
    {"event": "prepare", "task": "start", "what": "chorales", "done": 0, "total": 0},
    {"event": "prepare", "task": "parse", "what": "a.mid", "done": 3, "total": 10},
    {"event": "message", "text": "[bold]Rendered[/bold] \x1b[31m"},
    PLAN,
    {"event": "trial", **ABOUT},
    {"event": "fit", **ABOUT, "epochs": 3},
    {"event": "epoch", **ABOUT, **FIRST, "epochs": 3, "in_epochs": True, "share": 1 / 3},
    {"event": "generate", **ABOUT, "sample": 0, "samples": 1, "pieces": 4},
    {"event": "likelihood", **ABOUT, "pieces": 4},
    {"event": "done", **ABOUT, "seconds": 12.0, "training": {"epochs": 3.0, "seconds": 8.04, "stopped": "early"}},
    {"event": "failed", **ABOUT, "seconds": 1.0, "message": "no [luck]", "log": "/log"},
    {"event": "something new"},
    {"event": "score"},
]


def shown(make, events=EVENTS, **options):
    out = io.StringIO()
    with make(CleanConsole(file=out, width=60, highlight=False, **options)) as display:
        for event in events:
            display(event)
    return out.getvalue()


class Steps:
    """A clock that is told the time."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        ({"done": 0, "jobs": 3, "threads": 1}, "4 trials, 3 at a time, 1 thread each"),
        (
            {"done": 0, "jobs": 3, "threads": 1, "idle": 13},
            "4 trials, 3 at a time, 1 thread each; 13 cores idle, --jobs 3 shares out all",
        ),
        ({"jobs": 3, "threads": 1, "idle": 1}, "4 trials, 1 done before, 3 at a time, 1 thread each; 1 core idle"),
    ],
)
def test_the_plan_is_what_will_run(plan, line):
    assert shown(Plain, [{**PLAN, **plan}]).splitlines() == [line]


def test_plain_lines():
    now = Steps()
    out = io.StringIO()
    display = Plain(CleanConsole(file=out, width=60, highlight=False), now)
    for event in EVENTS:
        now.time += 6.0
        display(event)
    assert out.getvalue().splitlines() == [
        "smoke: /there",
        "prepare chorales",
        "parse 3/10 a.mid",
        "[bold]Rendered[/bold] \ufffd[31m",
        "4 trials, 1 done before, 2 threads each",
        "[ 3/21] lstm, seed 0: epoch 1/3, loss 4.210, 17.90 bits/note, 12,300 notes/s, 4.0 s left at most",
        "[ 3/21] lstm, seed 0: done in 12 s: 3 epochs in 8.0 s, stopped early",
        "[ 3/21] lstm, seed 0: FAILED: no [luck] (log: /log)",
    ]


def test_plain_epochs_are_rare():
    now = Steps()
    out = io.StringIO()
    display = Plain(CleanConsole(file=out, width=200), now)
    display({"event": "trial", **ABOUT})
    about = {**ABOUT, "epochs": 100, "in_epochs": True, "loss": 1.0, "notes": 10}
    for epoch in range(1, 101):
        now.time += 0.25
        display({"event": "epoch", **about, "epoch": epoch, "seconds": 0.25 * epoch})
    # 25 s, a line every 5 s.
    assert re.findall(r"epoch (\d+)/", out.getvalue()) == ["20", "40", "60", "80", "100"]


def test_quiet_shows_failures_alone():
    assert shown(Quiet) == "lstm, seed 0: FAILED: no [luck] (log: /log)\n"


def test_live_keeps_what_has_ended_and_reads_no_markup():
    text = shown(Live, force_terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "[bold]Rendered[/bold] \ufffd[31m" in plain
    assert "lstm, seed 0: done in 12 s: 3 epochs in 8.0 s, stopped early" in plain
    assert "FAILED: no [luck]" in plain
    assert "\x1b[31m" not in text.replace("\x1b[31m[ 3/21]", "")


def test_which_display_for_what():
    terminal, file = CleanConsole(force_terminal=True, file=io.StringIO()), CleanConsole(file=io.StringIO())
    assert type(make_display(False, terminal)) is Live
    assert type(make_display(False, file)) is Plain
    assert type(make_display(True, terminal)) is Quiet


def test_time_left():
    clock = Clock()
    clock.take(PLAN)
    assert clock.left() is None
    clock.take({"event": "done", "label": "a, seed 0", "system": "a", "seconds": 10.0})
    assert clock.left() is None  # nothing is known of b
    clock.take({"event": "done", "label": "b, seed 0", "system": "b", "seconds": 4.0})
    assert clock.left() == 10.0
    clock.take({"event": "failed", "label": "a, seed 1", "system": "a", "seconds": 1.0})
    assert clock.left() == 0.0


def test_time_left_with_trials_side_by_side():
    clock = Clock()
    clock.take({**PLAN, "jobs": 2})
    for name in "ab":
        clock.take({"event": "done", "label": f"{name}, seed 0", "system": name, "seconds": 10.0})
    assert clock.left() == 5.0


def test_speed_after_a_resume_counts_from_the_first_epoch_seen():
    clock = Clock()
    first = {**ABOUT, "epoch": 5, "epochs": 10, "in_epochs": True, "seconds": 50.0, "notes": 1000}
    assert clock.epoch(first) == (None, 50.0)
    assert clock.epoch({**first, "epoch": 6, "seconds": 60.0}) == pytest.approx((100.0, 40.0))


def test_an_evaluation_of_a_shared_budget_shows_its_share():
    event = {**ABOUT, **FIRST, "epoch": 5, "epochs": 18, "in_epochs": False, "share": 0.25, "seconds": 3.0}
    assert epoch_text(event, Clock()) == "25% of the budget, loss 4.210, 17.90 bits/note, 9.0 s left at most"
    # A plug-in that knows epochs only logs no share: of how many this is one, and what is left, nobody knows.
    del event["share"]
    assert epoch_text(event, Clock()) == "evaluation 5, loss 4.210, 17.90 bits/note"
    past_the_end = {**event, "share": 1.02}
    assert epoch_text(past_the_end, Clock()) == "102% of the budget, loss 4.210, 17.90 bits/note"


@pytest.mark.parametrize(
    ("epochs", "stopped", "text"),
    [
        (1.0, "budget", "done in 12 s: 1 epoch in 8.0 s"),
        (0.4375, "budget", "done in 12 s: 0.438 epochs in 8.0 s"),
        (12.3456, "clock", "done in 12 s: 12.3 epochs in 8.0 s, stopped by the clock"),
        (1234.5, "budget", "done in 12 s: 1234 epochs in 8.0 s"),
        (0, "untrained", "done in 12 s"),
    ],
)
def test_the_end_of_a_trial(epochs, stopped, text):
    assert done_text({"seconds": 12.0, "training": {"epochs": epochs, "seconds": 8.04, "stopped": stopped}}) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (8.24, "8.2 s"), (42.3, "42 s"), (125, "2 min 05 s"), (3840, "1 h 04 min"), (-1, "0.0 s")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_bytes_and_files():
    event = {"task": "fetch", "what": "maestro.zip", "done": 1_500_000, "total": 58_416_533}
    assert prepare_text(event) == "fetch 1.5 MB/58.4 MB maestro.zip"
    assert prepare_text({"task": "fetch", "what": "x", "done": 3, "total": 0}) == "fetch 3 x"


def test_clean():
    assert clean("a\x1b[2Jb\rc\td\n") == "a\ufffd[2Jb\nc\td\n"

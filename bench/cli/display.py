"""Progress of a run: a live display on a terminal, plain lines elsewhere, only failures when quiet.

A display takes the runner's events, each a dict with an ``event``, and draws only while its context is entered. Names and
messages may come from files and web pages: they are never read as Rich markup, and control characters don't reach the terminal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from bench.formatting import plural

Event = dict[str, Any]

#: Least time between two lines on the progress of one trial, or of the preparation, in plain output. Seconds.
PLAIN_EVERY = 5.0


class Display(Protocol):
    """Consumer of events that draws only while its context is entered."""

    def __call__(self, event: Event) -> None:
        """Take one event."""

    def __enter__(self) -> Self:
        """Start drawing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /) -> None:
        """Stop drawing and clean up the screen."""


def make_display(quiet: bool, console: Console, errors: Console | None = None) -> Display:
    """Make the display that suits where the output goes.

    Parameters
    ----------
    quiet : bool
        Only failures.
    console : Console
        For everything else.
    errors : Console, optional
        For failures when quiet; `console` by default.
    """
    if quiet:
        return Quiet(errors or console)
    return Live(console) if console.is_terminal else Plain(console)


def duration(seconds: float) -> str:
    """Format seconds: ``8.2 s``, ``42 s``, ``2 min 05 s``, ``1 h 04 min``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class Clock:
    """Estimates of the time left: of a trial from its epochs so far, of the run from the trials that have ended."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.jobs = 1
        self.waiting: list[str] = []
        self.taken: dict[str, list[float]] = {}
        self._before: dict[str, float] = {}

    def take(self, event: Event) -> None:
        """Record the times in an event."""
        if event["event"] == "plan":
            self.waiting, self.jobs = list(event["trials"]), event["jobs"]
        elif event["event"] in ("done", "failed"):
            if event["label"] in self.waiting:
                self.waiting.remove(event["label"])
            if event["event"] == "done":
                self.taken.setdefault(event["system"], []).append(event["seconds"])

    def left(self) -> float | None:
        """Estimate the seconds until the run ends; None until a trial of every waiting system has ended."""
        total = 0.0
        for label in self.waiting:
            durations = self.taken.get(label.rpartition(", seed")[0])
            if not durations:
                return None
            total += sum(durations) / len(durations)
        return total / self.jobs

    def epoch(self, event: Event) -> tuple[float | None, float]:
        """Compute notes per second in the epoch just logged, and the seconds left if training doesn't stop early.

        The speed is None for the first epoch after a resume, as the end of the epoch before it is unknown.
        """
        before = self._before.get(event["key"], 0.0 if event["epoch"] == 1 else None)
        self._before[event["key"]] = event["seconds"]
        share = event.get("share") or (event["epoch"] / event["epochs"] if event["in_epochs"] else 1.0)
        left = event["seconds"] * max(0.0, 1 / share - 1)
        if before is None or event["seconds"] <= before:
            return None, left
        return event["notes"] / (event["seconds"] - before), left


def epoch_text(event: Event, clock: Clock) -> str:
    """Format an evaluation: ``epoch 3/30, loss 4.210, 17.90 bits/note, 12,300 notes/s, 40 s left at most``.

    Under a budget that isn't in epochs its share takes the place of the epoch: ``25% of the budget``.
    """
    rate, left = clock.epoch(event)
    if event["in_epochs"]:
        place = f"epoch {event['epoch']}/{event['epochs']}"
    else:
        # A plug-in that knows epochs only logs no share, and nobody knows of how many evaluations this is one.
        place = f"{event['share']:.0%} of the budget" if "share" in event else f"evaluation {event['epoch']}"
    parts = [place, f"loss {event['loss']:.3f}"]
    if (bits := event.get("validation_bits")) is not None:
        parts.append(f"{bits:.2f} bits/note")
    if rate is not None:
        parts.append(f"{rate:,.0f} notes/s")
    if 0 < left < math.inf:
        parts.append(f"{duration(left)} left at most")
    return ", ".join(parts)


def failed_text(event: Event) -> str:
    """Say why a trial failed, and where its log is if it has one."""
    return f"FAILED: {event['message']}" + (f" (log: {event['log']})" if event["log"] else "")


def done_text(event: Event) -> str:
    """Format the end of a trial: ``done in 12 s: 30 epochs in 8.1 s``, and what stopped it before its budget was used."""
    training = event.get("training") or {}
    text = f"done in {duration(event['seconds'])}"
    if (epochs := training.get("epochs", 0)) > 0:
        number = f"{epochs:.0f} epochs" if epochs >= 100 else f"{epochs:.3g} epoch{'s' * (epochs != 1)}"
        stop = {"clock": ", stopped by the clock", "early": ", stopped early"}.get(training["stopped"], "")
        text += f": {number} in {duration(training['seconds'])}{stop}"
    return text


def _generating(event: Event) -> str:
    return f"generating for {event['pieces']} {'piece' if event['pieces'] == 1 else 'pieces'}"


def prepare_text(event: Event) -> str:
    """Format a step of the preparation: ``prepare chorales`` or ``fetch 3/10 some-file.mid``."""
    verb = "prepare" if event["task"] == "start" else event["task"]
    done, total = event["done"], event["total"]
    count = f" {_amount(done, total)}/{_amount(total, total)}" if total else f" {_amount(done, done)}" if done else ""
    return f"{verb}{count} {event['what']}"


def _amount(number: int, scale: int) -> str:
    """Format a count of files as it is, a count of bytes in MB."""
    return f"{number / 1e6:.1f} MB" if scale >= 1_000_000 else str(number)


class Quiet:
    """Display of failed trials only."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event["event"] == "failed":
            self.line(f"{event['label']}: {failed_text(event)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /) -> None:
        pass

    def line(self, text: str, style: str = "") -> None:
        """Print one line: no markup, no wrapping."""
        self.console.print(Text(text, style=style), soft_wrap=True, highlight=False)


class Plain(Quiet):
    """Display of one line per event; while a trial trains, a line every few seconds."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console)
        self.now = now
        self.clock = Clock(now)
        self._last_line: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.clock.take(event)
        handler = getattr(self, f"on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def on_start(self, event: Event) -> None:
        """Show the run's folder."""
        self.line(f"{event['spec']}: {event['folder']}")

    def on_message(self, event: Event) -> None:
        """Show a message of the dataset or of the end of the run."""
        self.line(event["text"])

    def on_prepare(self, event: Event) -> None:
        """Show the progress of the dataset's preparation."""
        if event["task"] == "start":
            self._last_line["prepare"] = self.now()
            self.line(prepare_text(event))
        elif self._due("prepare"):
            self.line(prepare_text(event))

    def on_plan(self, event: Event) -> None:
        """Show the number of trials."""
        there = f", {event['done']} done before" if event["done"] else ""
        side = f", {event['jobs']} at a time" if event["jobs"] > 1 else ""
        idle = f"; {plural(event['idle'], 'core')} idle" if event["idle"] else ""
        # Of a run that resumes, other trials had as many threads as these: they are in a network's last digits.
        more = f", --jobs {event['jobs']} shares out all" if idle and not event["done"] else ""
        self.line(f"{event['total']} trials{there}{side}, {plural(event['threads'], 'thread')} each{idle}{more}")

    def on_trial(self, event: Event) -> None:
        """Start the time until a trial's first line, so that short trials have none."""
        self._last_line[event["key"]] = self.now()

    def on_epoch(self, event: Event) -> None:
        """Show an evaluation."""
        text = epoch_text(event, self.clock)
        if self._due(event["key"]):
            self.line(f"{self._place(event)}: {text}")

    def on_done(self, event: Event) -> None:
        """Show a trial that has ended."""
        left = self.clock.left()
        self.line(f"{self._place(event)}: {done_text(event)}" + (f"; about {duration(left)} to go" if left else ""))

    def on_failed(self, event: Event) -> None:
        """Show a trial that has failed."""
        self.line(f"{self._place(event)}: {failed_text(event)}", style="red")

    def _place(self, event: Event) -> str:
        width = len(str(event["total"]))
        return f"[{event['trial']:{width}}/{event['total']}] {event['label']}"

    def _due(self, what: str) -> bool:
        if self.now() - self._last_line.get(what, -PLAIN_EVERY) < PLAIN_EVERY:
            return False
        self._last_line[what] = self.now()
        return True


class _Left(ProgressColumn):
    """Column for a task's note, right of its bar."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("note", ""), style="dim")


class Live(Plain):
    """Bars on a terminal, one for the complete run and one for each running trial; ended trials stay above as lines."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, now)
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Left(),
            console=console,
            transient=True,
        )
        self.bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /) -> None:
        self.progress.stop()

    def on_prepare(self, event: Event) -> None:
        """Show the progress of the dataset's preparation."""
        if event["task"] != "start":
            self._bar("prepare", prepare_text(event), event["done"], event["total"] or None)
        else:
            self._bar("prepare", prepare_text(event), 0, None)

    def on_plan(self, event: Event) -> None:
        """Show the number of trials."""
        self._drop("prepare")
        super().on_plan(event)
        self._bar("run", "trials", event["done"], event["total"], f"{event['done']}/{event['total']}")

    def on_trial(self, event: Event) -> None:
        """Add a bar for a trial that starts."""
        self._bar(event["key"], self._place(event), 0, None, "starting")

    def on_fit(self, event: Event) -> None:
        """Show that training starts."""
        self._bar(event["key"], self._place(event), 0, event["epochs"] or None, "training")

    def on_epoch(self, event: Event) -> None:
        """Show an evaluation."""
        self._bar(event["key"], self._place(event), event["epoch"], event["epochs"], epoch_text(event, self.clock))

    def on_generate(self, event: Event) -> None:
        """Show that the model continues the prompts."""
        self._bar(event["key"], self._place(event), 0, None, _generating(event))

    def on_likelihood(self, event: Event) -> None:
        """Show that the likelihood of the held-out pieces is computed."""
        self._bar(event["key"], self._place(event), 0, None, "likelihood")

    def on_done(self, event: Event) -> None:
        """Show a trial that has ended."""
        super().on_done(event)
        self._ended(event)

    def on_failed(self, event: Event) -> None:
        """Show a trial that has failed."""
        super().on_failed(event)
        self._ended(event)

    def on_score(self, event: Event) -> None:
        """Remove the run's bar, as all trials have ended."""
        self._drop("run")

    def _ended(self, event: Event) -> None:
        self._drop(event["key"])
        left = self.clock.left()
        done = event["total"] - len(self.clock.waiting)
        note = f"{done}/{event['total']}" + (f", about {duration(left)} left" if left else "")
        self._bar("run", "trials", done, event["total"], note)

    def _bar(self, name: str, description: str, done: float, total: float | None, note: str = "") -> None:
        if total is None:
            self._drop(name)  # Rich can't take a total back
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(description, total=total, completed=int(done), note=note)
        else:
            self.progress.update(self.bars[name], description=description, total=total, completed=done, note=note)

    def _drop(self, name: str) -> None:
        if name in self.bars:
            self.progress.remove_task(self.bars.pop(name))

"""What the votes of a listening test say, and the files that say it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DataError
from bench.formatting import DASH, Cell, Grid, escape, listed, p_text, plural, table
from bench.listening.clips import still_heard
from bench.listening.key import Key, damaged_keys, read_keys
from bench.listening.metrics import FEWEST_SYSTEMS, Agreement, agreements
from bench.listening.preference import DRAWS, Comparison, Preferences, Votes, prefer, votes_of
from bench.listening.screening import SIDED, Listener, screen
from bench.listening.votes import read_ballots
from bench.report.flags import PRETRAINED
from bench.scoring.crossed import FEWEST, Interval
from bench.scoring.score import planned_trials
from bench.storage.files import make_way, write_text
from bench.storage.run_folder import RunFolder

#: What every system is compared with in the main table; each test has it.
BASE = "ngram"


@dataclass(frozen=True)
class Result:
    """Result of a test.

    Parameters
    ----------
    folder : Path
        Of the test.
    key : Key
    listeners : tuple of Listener
        Those who count and those who don't.
    votes : Votes
    preferences : Preferences
    agreements : tuple of Agreement
    changed : tuple of str
        Contestants whose samples are no longer those that were heard; metrics leave them out.
    problems : tuple of str
        Files that could not be used, with the reason.
    pretrained : tuple of str
        Contestants that were trained elsewhere, perhaps on the test pieces.
    apart : bool
        Whether these have no rank, as they compete with models that were trained here.
    """

    folder: Path
    key: Key
    listeners: tuple[Listener, ...]
    votes: Votes
    preferences: Preferences
    agreements: tuple[Agreement, ...]
    changed: tuple[str, ...]
    problems: tuple[str, ...]
    pretrained: tuple[str, ...]
    apart: bool

    @property
    def names(self) -> list[str]:
        """Contestants' names by number."""
        return [contestant.name for contestant in self.key.contestants]

    @property
    def excluded(self) -> list[Listener]:
        """Listeners who don't count."""
        return [listener for listener in self.listeners if listener.reason]


def analyse(run: Path, votes: Path, draws: int = DRAWS) -> Result:
    """Analyse the votes in a folder, with the tests of a run.

    Parameters
    ----------
    run : Path
        The run's folder.
    votes : Path
        Folder of the files that listeners saved.
    draws : int
        Bootstrap samples.

    Raises
    ------
    UsageError
        If the folder holds no votes of this run.
    DataError
        If they are too few, the run has no test, or the key of theirs is damaged.
    """
    keys = read_keys(run)
    ballots = read_ballots(votes, {name: key for name, (_, key) in keys.items()}, damaged_keys(run))
    folder, key = keys[ballots.test]
    listeners = tuple(screen(ballots.ballots, key))
    counted = votes_of(listeners, key)
    try:
        _check(listeners, counted, key)
    except DataError as error:
        _write_refusal(folder, key, listeners, [*ballots.problems], error.message)
        if not (unused := len(ballots.problems)):
            raise
        why = f"{plural(unused, 'file')} could not be used; {folder / 'results.md'} says why. {error.hint}"
        raise DataError(error.message, why) from error
    preferences = prefer(counted, len(key.contestants), draws)
    heard = still_heard(RunFolder(run), key.contestants, key.prompts)
    agreed = agreements(counted, preferences.worth, heard, run, draws)
    changed = tuple(each.name for each, still in zip(key.contestants, heard, strict=True) if still is None)
    pretrained, apart = _trained_elsewhere(RunFolder(run), key)
    return Result(folder, key, listeners, counted, preferences, tuple(agreed), changed, ballots.problems, pretrained, apart)


def _trained_elsewhere(run: RunFolder, key: Key) -> tuple[tuple[str, ...], bool]:
    """List the contestants that were trained elsewhere, and tell whether models that were trained here compete with them."""
    trials = {trial.system: trial for trial, _ in planned_trials(run.read())}
    models = [trials[each.name] for each in key.contestants if each.name in trials and trials[each.name].kind == "model"]
    elsewhere = tuple(trial.system for trial in models if trial.pretrained)
    return elsewhere, len(elsewhere) < len(models)


def _check(listeners: Sequence[Listener], votes: Votes, key: Key) -> None:
    """Refuse votes that can't carry an interval."""
    more = "Collect more votes; the same command then reads all of them."
    kept = sum(not listener.reason for listener in listeners)
    if kept < FEWEST:
        excluded = [listener for listener in listeners if listener.reason]
        why = f"; {len(excluded)} excluded, the first: {excluded[0].reason}" if excluded else ""
        raise DataError(f"{plural(kept, 'listener')} of {len(listeners)} can be counted, and {FEWEST} must be{why}.", more)
    if votes.prompts < FEWEST:
        raise DataError(f"The votes are on {plural(votes.prompts, 'prompt')}, and must be on {FEWEST}.", more)
    heard = {*votes.first.tolist(), *votes.second.tolist()}
    if silent := [contestant.name for number, contestant in enumerate(key.contestants) if number not in heard]:
        raise DataError(f"No vote is on {listed(silent)}.", more)


def _write_refusal(folder: Path, key: Key, listeners: Sequence[Listener], problems: Sequence[str], why: str) -> None:
    """Write ``results.md`` of votes that give no result: why, and who counts. No earlier numbers stay."""
    lines = [f"# Listening test {key.test}", "", f"No result: {escape(why)}", "", "## Listeners", ""]
    lines += [table(_listeners(listeners)), "", *_LISTENERS, "", *_unused(problems)]
    make_way(folder, "results.md", "metrics.csv")
    write_text(folder / "results.md", "\n".join(lines))
    (folder / "metrics.csv").unlink(missing_ok=True)


def _unused(problems: Sequence[str]) -> list[str]:
    """List files that could not be used, as lines of Markdown."""
    return ["## Files that were not used", "", *(f"- {escape(problem)}" for problem in problems), ""] if problems else []


def write_results(result: Result) -> list[Path]:
    """Write ``results.md`` and ``metrics.csv`` beside the test's page; the same votes give the same bytes."""
    contents = {"results.md": markdown(result), "metrics.csv": metrics_csv(result)}
    make_way(result.folder, *contents)
    for name, content in contents.items():
        write_text(result.folder / name, content)
    return [result.folder / name for name in contents]


def ranking(result: Result) -> Grid:
    """Table of the systems, the most preferred first."""
    apart = {result.names.index(name) for name in result.pretrained} if result.apart else set()
    ranks = result.preferences.ranks(apart)
    base = result.names.index(BASE)
    rows: list[list[str | Cell]] = []
    for system in result.preferences.order:
        rank = "–".join(map(str, sorted({*ranks.get(system, ())}))) or DASH
        wins = [result.preferences.against(system, other).share for other in range(len(result.names)) if other != system]
        versus = Cell(DASH) if system == base else _share(result.preferences.against(system, base))
        flag = PRETRAINED if result.names[system] in result.pretrained else ""
        rows.append([rank, result.names[system], Cell(f"{100 * sum(wins) / len(wins):.0f} %", note=flag), versus])
    return Grid(["Rank", "System", "Preferred to the others", f"Preferred to {BASE}"], rows, frozenset({0, 1}))


def comparisons(result: Result) -> Grid:
    """Table of all pairs, seen from the more preferred system."""
    order = result.preferences.order
    rows: list[list[str | Cell]] = []
    for place, system in enumerate(order):
        for other in order[place + 1 :]:
            c = result.preferences.against(system, other)
            rows.append([f"{result.names[system]} over {result.names[other]}", _share(c), p_text(c.p)])
    return Grid(["Pair", "Share", "p (Holm)"], rows)


def metrics_table(result: Result) -> Grid:
    """Table of the metrics by their agreement with the listeners."""
    rows = [
        [
            each.metric.title,
            DASH if each.share is None else f"{100 * each.share:.0f} % {_percent(each.interval)}",
            str(each.votes),
            DASH if each.tau is None else f"{each.tau:+.2f}".replace("-", "−"),
            DASH if each.p is None else p_text(each.p),
            str(each.systems),
        ]
        for each in result.agreements
    ]
    return Grid(["Metric", "Votes predicted", "of", "Kendall's tau", "p", "Systems"], rows)


def markdown(result: Result) -> str:
    """Text of ``results.md``."""
    lines = [f"# Listening test {result.key.test}", "", *map(escape, summary(result)), ""]
    lines += ["## Systems", "", table(ranking(result)), "", *_PREFERENCES, ""]
    lines += ["## Pairs", "", table(comparisons(result)), ""]
    lines += ["## Which metrics agree", "", *_METRICS, ""]
    if result.changed:
        lines += [
            f"Left out, because the run's samples are no longer those that were heard: {escape(listed(result.changed))}.",
            "",
        ]
    lines += [table(metrics_table(result)), "", "## Listeners", "", table(_listeners(result.listeners)), "", *_LISTENERS, ""]
    lines += _unused(result.problems)
    return "\n".join(lines)


def summary(result: Result) -> Iterator[str]:
    """Say who voted, whether sides mattered, and which systems were trained elsewhere."""
    counted = [listener for listener in result.listeners if not listener.reason]
    yield (
        f"{plural(len(result.votes), 'vote')} of {plural(len(counted), 'listener')} on {plural(result.votes.prompts, 'prompt')}; "
        f"{plural(len(result.excluded), 'listener')} excluded."
    )
    lefts, sided = sum(each.lefts for each in counted), sum(each.sided for each in counted)
    again, repeats = sum(each.repeated for each in counted), sum(each.repeats for each in counted)
    if sided:
        yield f"The left clip was chosen in {100 * lefts / sided:.0f} % of the pairs with a choice."
    if repeats:
        yield f"Pairs asked twice, sides swapped, were answered alike in {100 * again / repeats:.0f} %."
    if result.pretrained:
        yield f"Trained elsewhere, perhaps on the test pieces: {listed(result.pretrained)}."


def metrics_csv(result: Result) -> str:
    """Text of ``metrics.csv``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["metric", "version", "share", "share_low", "share_high", "votes", "tau", "p", "systems"])
    for each in result.agreements:
        low, high = (each.interval.low, each.interval.high) if each.interval else (None, None)
        numbers = ["" if value is None else f"{value:.6g}" for value in (each.share, low, high)]
        tested = ["" if value is None else f"{value:.6g}" for value in (each.tau, each.p)]
        writer.writerow([each.metric.name, each.metric.version, *numbers, each.votes, *tested, each.systems])
    return out.getvalue()


def _listeners(listeners: Sequence[Listener]) -> Grid:
    rows = [
        [
            each.ballot.listener[:8],
            f"{each.ballot.answered} of {len(each.ballot.answers)}",
            f"{each.caught} of {each.catches}",
            f"{each.repeated} of {each.repeats}",
            f"{each.lefts} of {each.sided}",
            each.reason or "yes",
        ]
        for each in listeners
    ]
    headers = ["Listener", "Answered", "Catch pairs", "Repeats alike", "Left chosen", "Counts"]
    return Grid(headers, rows, frozenset({0, 5}))


def _share(comparison: Comparison) -> Cell:
    return Cell(f"{100 * comparison.share:.0f} %", comparison.share, _percent(comparison.interval))


def _percent(interval: Interval | None) -> str:
    return "" if interval is None else f"[{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


_PREFERENCES = (
    "Shares are of comparisons that a system wins by Davidson's model (1970), ties half; in brackets 95 % intervals over",
    "listeners and prompts. Systems share ranks unless they differ significantly (p < 0.05 by Holm's adjustment over all pairs).",
    "Of each model trained here one training was heard: the intervals are about its music, not about other trainings.",
)

_METRICS = (
    "*Votes predicted*: of the votes with a choice, those that went to the clip that the metric calls better on the same",
    "prompt; 50 % is chance. *Kendall's tau*: between the listeners' order of the systems and the metric's, 1 if they are the",
    f"same; not computed with fewer than {FEWEST_SYSTEMS} systems. Neither is adjusted for the number of metrics: a few of many",
    "agree by chance. Metrics that call no value better are not listed.",
)

_LISTENERS = (
    "A listener counts who answered at least half of the pairs and two catch pairs, chose the original in every catch pair",
    f"answered, and did not choose one side throughout, where {SIDED} pairs or more have a choice. Repeats exclude nobody, and",
    "only the first answer to a repeated pair is a vote.",
)

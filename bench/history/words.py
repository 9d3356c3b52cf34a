"""Sentences of a history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.formatting import brief, listed, plural
from bench.history.changes import WINDOW, Change, Trends
from bench.history.entry import Entry, EntryRow


def title(trends: Trends) -> str:
    """Title: how many runs."""
    return f"History of {plural(len(trends.entries), 'run')}"


def verdict(trends: Trends) -> str:
    """Say what the last run changed, against the runs before it, and what can't be tested."""
    return " ".join(filter(None, (_compared(trends), _untested(trends))))


def _untested(trends: Trends) -> str:
    if not trends.untested:
        return ""
    systems = brief(listed(list(dict.fromkeys(one.system for one in trends.untested))), 200)
    number = len(trends.untested)
    values = plural(number, "value" if not trends.compared else "other value")
    return (
        f"{values} of {systems} {'comes' if number == 1 else 'come'} from other trainings than in the run before, and can't be "
        "tested: that takes two runs with two seeds each, or five runs."
    )


def _compared(trends: Trends) -> str:
    last = run_name(trends.entries[-1])
    if not trends.compared:
        none = "no earlier run has the same rows, measured alike, on the same music"
        why = "too little is known of the noise" if trends.untested else none
        return f"The last run, {last}, has no value to compare: {why}."
    values = plural(trends.compared, "value")
    here = [change for change in trends.changes if change.first_after.entry is trends.entries[-1]]
    if here and not trends.last:
        return (
            f"The last run, {last}, is at {plural(len(here), 'change point')} of the whole history ({_directions(here)}), "
            f"although against up to {WINDOW} runs before it alone none of {values} differs significantly."
        )
    if trends.same == trends.compared:
        return f"The last run, {last}, repeats the trainings of the run before it{_of_both(trends)}: none of {values} changed."
    same = f"; {trends.same:,} come from the same trainings as the run before" if trends.same else ""
    if not trends.last:
        return f"The last run, {last}, changed nothing significantly: {values} compared with up to {WINDOW} runs before it{same}."
    return f"The last run, {last}, changed {len(trends.last)} of {values} significantly ({_directions(trends.last)}){same}."


def _of_both(trends: Trends) -> str:
    """Name the rows of the last run that were compared, if it has others too."""
    last = trends.entries[-1]
    untested = {id(one) for one in trends.untested}
    both = {s.system for s in trends.series if s.points[-1].entry is last and len(s.points) > 1 and id(s) not in untested}
    return "" if both >= last.rows.keys() else f" in the rows that could be compared ({brief(listed(sorted(both)), 200)})"


def found(trends: Trends) -> str:
    """How many change points the history has."""
    if not trends.tests:
        return "No series can be tested yet: that takes two runs with two seeds each, or five runs."
    tested = f"{trends.tests:,} of {plural(len(trends.series), 'series', 'series')} can be tested"
    if not trends.changes:
        return f"No change point in the whole history: {tested}."
    series = len({id(change.series) for change in trends.changes})
    return f"{plural(len(trends.changes), 'change point')} in {series} series ({_directions(trends.changes)}); {tested}."


def rows(trends: Trends) -> str:
    """Name the rows that only one of the last run and the run of its spec before it has, and those that can't be compared."""
    *earlier, last = trends.entries
    before = next((e for e in reversed(earlier) if (e.spec, e.scale) == (last.spec, last.scale)), None)
    if before is None:
        return ""
    both = {s: (before.rows[s], row) for s, row in last.rows.items() if s in before.rows}
    other = [s for s, (old, new) in both.items() if (old.definition, old.kind) != (new.definition, new.kind)]
    trained = [s for s, (old, new) in both.items() if old.pretrained != new.pretrained and s not in other]
    beyond = [s for s, (old, new) in both.items() if old.beyond_budget != new.beyond_budget]
    changes = (
        ("New", [s for s in last.rows if s not in before.rows]),
        ("Gone", [s for s in before.rows if s not in last.rows]),
        ("With other hyperparameters, or another budget or device,", other),
        ("Trained beyond the budget, or no longer,", beyond),
        ("Trained elsewhere, or no longer,", trained),
        (
            "Without bits or nats, or with those of another kind or over other classes or events,",
            [s for s, rows in both.items() if _other_bits(*rows) and s not in (*other, *trained)],
        ),
        (
            "Measured by another chord plan",
            [s for s, (old, new) in both.items() if _differ(old.chord_plan, new.chord_plan) and s not in other],
        ),
        (
            "With another number of files a piece, or files of other pieces,",
            [s for s, (old, new) in both.items() if _differ(old.files, new.files)],
        ),
    )
    said = [f"{word} since {run_name(before)}: {brief(listed(names), 400)}." for word, names in changes if names]
    return " ".join(said)


def _differ(old: str, new: str) -> bool:
    """Whether two values that an older line doesn't tell are known and differ."""
    return bool(old and new and old != new)


def _other_bits(old: EntryRow, new: EntryRow) -> bool:
    return bool(old.likelihood) and old.likelihood != new.likelihood  # an older line doesn't say


def _directions(changes: Sequence[Change]) -> str:
    counts = Counter[str](change.direction for change in changes)
    said = (("better", "better"), ("worse", "worse"), ("different", "different without a better direction"))
    return ", ".join(f"{counts[name]} {text}" for name, text in said if counts[name])


def run_name(entry: Entry) -> str:
    """Name of a run with its commit."""
    return brief(f"{entry.run} ({commit(entry)})" if entry.commit else entry.run, 60)


def commit(entry: Entry) -> str:
    """Commit, shortened; ``+`` where the checkout had changes; a dash where it is not known."""
    return brief(f"{entry.commit[:10]}{'+' if entry.commit.endswith('+changes') else ''}" or "–", 12)


def notes(trends: Trends) -> list[str]:
    """Explain how changes were found."""
    drawn = brief(listed(sorted({series.system for series in trends.series if series.pretrained})), 200)
    return [
        "A change point is a place between two runs, found by binary segmentation: a t-test between the trainings before and "
        "after it, with the noise of the seeds within runs. A training counts once, however many runs repeat it.",
        "p is adjusted over all places and all series: at one look, at most 5 % of histories without a change show one. No "
        "change point is no sign that nothing changed.",
        *([f"A seed of a pretrained row ({drawn}) trains nothing: the noise of such rows is that of draws."] if drawn else []),
        "What changed lies between the two runs that are named: the commits of bench between them, a plug-in's code, other "
        "versions, or another machine.",
        "Times, speeds and energy are compared only on one kind of machine (processor, threads, GPU), by the noise of runs.",
        "Rows with other hyperparameters or another budget, or trained beyond it, and runs on other music, have series of their "
        "own.",
    ]

"""Sentences of a comparison."""

from __future__ import annotations

from collections import Counter

from bench.comparison.changes import SIGNIFICANT, Comparison
from bench.comparison.runs import Run
from bench.formatting import listed, plural


def title(comparison: Comparison) -> str:
    """Title: the names of the runs."""
    return f"Comparison of {listed([run.folder.resolve().name for run in comparison.runs])}"


def summary(comparison: Comparison) -> list[str]:
    """One sentence for each later run: how many values changed significantly, and how many could not be compared."""
    return [_summary(comparison, run) for run in comparison.runs[1:]]


def _summary(comparison: Comparison, run: Run) -> str:
    own = [change for change in comparison.changes if change.run == run.letter]
    counts = Counter(change.status for change in own)
    costs = sum(change.status == "untested" and change.metric.of_machine for change in own)
    head = f"{run.letter} against {comparison.runs[0].letter}"
    compared = sum(counts.values()) - counts["not compared"]
    if not compared:
        return f"{head}: no value can be compared."
    changed = sum(counts[status] for status in SIGNIFICANT)
    parts = [
        f"{counts['better']} better",
        f"{counts['worse']} worse",
        f"{counts['different']} different without a better direction",
    ]
    verb = "differs" if changed == 1 else "differ"
    told = f"{changed} {verb} significantly ({', '.join(parts)})" if changed else "none differs significantly"
    rest = [
        f"{counts['equal']} equal up to rounding" if counts["equal"] else "",
        f"{few} on too few pieces or seeds for a test" if (few := counts["untested"] - costs) else "",
        f"{plural(costs, 'cost')} without a test, as a machine's {'differs' if costs == 1 else 'differ'} from run to run"
        if costs
        else "",
        f"{counts['not compared']} more not comparable" if counts["not compared"] else "",
    ]
    return f"{head}: of {plural(compared, 'value')} {told}{''.join(f'; {text}' for text in rest if text)}."


def cautions(comparison: Comparison) -> list[str]:
    """List what a reader must know before the numbers: runs that are not complete, and rows of other systems."""
    lines = []
    for run in comparison.runs:
        trials = [trial.status for row in run.table.rows for trial in row.trials]
        if lacking := len(trials) - trials.count("done"):
            lines.append(f"Run {run.letter} is incomplete: {plural(lacking, 'trial')} failed or did not run.")
        if given := [row.system for row in run.table.rows if row.is_target]:
            lines.append(
                f"Run {run.letter} holds the true continuations, so that no change to it means anything: {listed(given)}."
            )
    differing = [match.system for match in comparison.rows if match.differs]
    if differing:
        lines.append(f"Not the same system in all runs (see the rows): {listed(differing)}.")
    return lines


def notes(comparison: Comparison) -> list[str]:
    """Explain how the numbers were compared."""
    first = comparison.runs[0].letter
    relative = any(change.relative for change in comparison.changes)
    return [
        f"Each run is compared with {first}, row by row, by the name of the system. Pieces are paired by their notes; a change "
        "is over the pieces that both runs have.",
        "All runs are scored by this version of bench. What was measured while a run was made (likelihood, copying, costs) is as "
        "that version measured it.",
        "In brackets: 95 % intervals, of each change alone. p: two-sided tests over training seeds and pieces, adjusted by Holm "
        f"over all {plural(comparison.tests, 'test')} of this comparison; bold: p < 0.05. Trainings of two runs count as "
        "independent, also with the same seeds.",
        *(["Changes in %: ratios of geometric means over seeds, as their noise is in percent."] if relative else []),
        "No significant difference is no sign of equality. Times, speeds and energy are compared only where processor, number of "
        "threads and GPU are the same. They and memory differ between runs of the same code more than within one, so that they "
        "have no test: `bench history` tests them over five runs.",
    ]

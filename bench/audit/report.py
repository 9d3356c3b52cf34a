"""``audit.md`` and ``audit.csv``: text and numbers of the audit. The same audit gives the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence

from bench.audit.corruptions import CORRUPTIONS, LONGEST_SHIFT, Corruption
from bench.audit.responses import ALPHA, NOTHING, Audit, Cell
from bench.formatting import DASH, Grid, escape, listed, plural, table
from bench.metrics import HEADLINE, METRICS, Metric

READING = (
    "A held-out continuation is corrupted and measured against itself; the unit is how far the continuation of another "
    "held-out piece is from it. 0: the metric does not see the corruption. 1: as bad as another real piece. Below 0: better "
    f"than the music itself. ~ marks a response that falls somewhere between strengths 0 and 5, by more than {NOTHING}; "
    "Spearman's rho is in audit.csv. Numbers are at full strength."
)
REWARDING = (
    "At full strength. The continuation of another held-out piece is corrupted, and measured before and after, in the same unit. "
    "Above 0: worse, as it should be. 0: the metric does not care. Below 0: the metric rewards the corruption; no system writes "
    "the target itself, so a system could gain this by doing the same to its own music. ! marks a reward of at least "
    f"{NOTHING} with p < {ALPHA} (paired permutation test over pieces, Holm over the metric's corruptions; metrics on whole sets "
    "have no test)."
)


def audit_markdown(audit: Audit) -> str:
    """Write the text of ``audit.md``."""
    parts = [
        f"# Metric audit: {escape(audit.dataset)}",
        f"Which metric notices what: {plural(audit.pieces, 'held-out continuation')} of {audit.notes} notes against controlled "
        f"corruptions of themselves, each at five strengths. Dataset {escape(audit.dataset)}, parsed corpus "
        f"{escape(audit.fingerprint)}. Draws are seeded: the same music gives the same page.",
        "![Heat map of both tables](audit.svg)",
        "## How the headline distances fail",
        _bullets(failures(audit)),
        "## What each metric sees",
        READING,
        table(_grid(audit, seen)),
        _bullets(_blind(audit)),
        "## What each metric rewards",
        REWARDING,
        table(_grid(audit, rewarded)),
        _bullets(_rewards(audit)),
        "## The corruptions",
        table(_strengths()),
        _borrowed(audit),
        "Not here: bits per note, skill and cost, which are of a system and not of notes alone, and what is copied from the "
        "training music, which is its own corruption (replaced by training piece) and nothing else.",
        "All strengths are in `audit.csv`: values, responses, changes and p.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def failures(audit: Audit) -> Iterator[str]:
    """List the known failures of the index-aligned distances with their figures, and whether they show on this music."""
    for name in (m for m in HEADLINE if m in audit.units):
        metric = METRICS[name]
        cells = {c: audit.cells[name, c] for c in CORRUPTIONS}
        stranger = cells["median"].other_values[0]
        if stranger is None:
            continue
        real = f"{_number(metric, stranger)} for another real piece"
        yield _verdict(
            f"{metric.title}: a constant median beats real music.",
            f"{_number(metric, cells['median'].values[-1])} for one note over and over, {real}",
            _less(cells["median"].values[-1], stranger),
        )
        yield _verdict(
            f"{metric.title}: a copy shifted by one note looks as bad as a stranger.",
            f"{_number(metric, cells['shift'].values[1])} for the music itself one note later, {real}",
            _less(0.9 * stranger, cells["shift"].values[1]),
        )
        yield _verdict(
            f"{metric.title}: a few missing notes push all others out of step.",
            f"{_number(metric, cells['drop'].values[1])} with {100 * CORRUPTIONS['drop'].strengths[0]:g} % of the notes dropped, "
            f"{real}",
            _less(0.5 * stranger, cells["drop"].values[1]),
        )
        shuffled, free = cells["shuffle_order"].values[-1], audit.cells.get((metric.order_free or "", "shuffle_order"))
        if metric.order_free and free is not None and free.values[-1] is not None and free.other_values[0] is not None:
            w1 = METRICS[metric.order_free]
            yield _verdict(
                f"{metric.title}: order shuffled beats real music, at {w1.title} = {_number(w1, free.values[-1])}.",
                f"{_number(metric, shuffled)} for the target's own notes dealt out anew over its onsets (lowest first in a "
                f"chord, which the row shuffle is not), {real}; {w1.title} "
                f"{_number(w1, free.values[-1])} and {_number(w1, free.other_values[0])}",
                _less(shuffled, stranger) and _less(free.values[-1], free.other_values[0]),
            )
        yield _verdict(
            f"{metric.title}: it knows no rhythm.",
            f"{_number(metric, cells['stretch'].values[-1])} for the music at half its tempo",
            cells["stretch"].blind,
        )


def audit_csv(audit: Audit) -> str:
    """Write ``audit.csv``: one row per metric, corruption and strength; strength 0 is the music itself."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ["metric", "version", "better", "unit_of_response", "corruption", "step", "strength", "value", "response", "spearman"]
    writer.writerow([*names, "other_value", "change", "p", "monotone", "blind", "rewards"])
    for metric in audit.metrics:
        for corruption in CORRUPTIONS.values():
            writer.writerows(_csv_rows(metric, corruption, audit.cells[metric.name, corruption.name], audit.units[metric.name]))
    return out.getvalue()


def _csv_rows(metric: Metric, corruption: Corruption, cell: Cell, unit: float | None) -> Iterator[list[str]]:
    for step, strength in enumerate((0.0, *corruption.strengths)):
        full = step == len(corruption.strengths)
        response = cell.responses[step - 1] if step else (0.0 if unit is not None else None)
        change = cell.changes[step - 1] if step else (0.0 if unit is not None else None)
        yield [
            metric.name,
            str(metric.version),
            metric.better or "",
            _plain(unit),
            corruption.name,
            str(step),
            _plain(strength),
            _plain(cell.values[step]),
            _plain(response),
            _plain(cell.spearman) if full else "",
            _plain(cell.other_values[step]),
            _plain(change),
            _plain(cell.p) if full else "",
            *([_yes(cell.monotone), _yes(cell.blind), _yes(cell.rewards)] if full else ["", "", ""]),
        ]


def seen(cell: Cell) -> str:
    """Format a cell of the table of responses."""
    odd = "~" if cell.response is not None and not cell.blind and not cell.monotone else ""
    return amount(cell.response) + odd


def rewarded(cell: Cell) -> str:
    """Format a cell of the table of changes."""
    return amount(cell.change) + ("!" if cell.rewards else "")


def amount(value: float | None) -> str:
    """Format a response in few characters.

    >>> [amount(value) for value in (0.001, 0.52, -0.28, 8.4, 47.1, None)]
    ['0', '0.52', '−0.28', '8.4', '47', '–']
    """
    if value is None:
        return DASH
    if abs(value) < 0.005:
        return "0"
    digits = 2 if abs(value) < 5 else 1 if abs(value) < 10 else 0
    return f"{value:.{digits}f}".replace("-", "−")


def _grid(audit: Audit, show: Callable[[Cell], str]) -> Grid:
    headers = ["Metric", *(c.title for c in CORRUPTIONS.values())]
    rows = [[m.title, *(show(audit.cells[m.name, c]) for c in CORRUPTIONS)] for m in audit.metrics]
    return Grid(headers, rows)


def _strengths() -> Grid:
    rows = [[c.title, ", ".join(f"{s:g}" for s in c.strengths), c.unit] for c in CORRUPTIONS.values()]
    return Grid(["Corruption", "Strengths", "of what"], rows, frozenset({0, 1, 2}))


def _blind(audit: Audit) -> Iterator[str]:
    for corruption in CORRUPTIONS.values():
        sees = [m.title for m in audit.metrics if not audit.cells[m.name, corruption.name].blind]
        if not sees:
            yield f"No metric sees {corruption.title}."
    for metric in audit.metrics:
        blind = [c.title for c in CORRUPTIONS.values() if audit.cells[metric.name, c.name].blind]
        if audit.units[metric.name] is None:
            yield f"{metric.title}: two real pieces never differ in it, so there is no unit."
        elif blind:
            yield f"{metric.title} is blind to: {listed(blind)}."


def _rewards(audit: Audit) -> Iterator[str]:
    rewards = [(m, c) for m in audit.metrics for c in CORRUPTIONS.values() if audit.cells[m.name, c.name].rewards]
    for metric, corruption in rewards:
        cell = audit.cells[metric.name, corruption.name]
        before, after = (_number(metric, v) for v in (cell.other_values[0], cell.other_values[-1]))
        tested = f", p = {cell.p:.2g}" if cell.p is not None else ""
        yield f"{metric.title} rewards “{corruption.title}”: another real piece goes from {before} to {after}{tested}."
    if not rewards:
        yield "No metric rewards a corruption on this music."


def _borrowed(audit: Audit) -> str:
    if not audit.borrowed:
        return ""
    return (
        f"Notes that follow the continuation replace dropped and skipped ones; {audit.borrowed} of {audit.pieces} pieces have "
        f"fewer than {max(audit.notes, LONGEST_SHIFT)} left and go on from their start."
    )


def _verdict(claim: str, figures: str, shows: bool) -> str:
    return f"{claim} {'So here' if shows else 'Not so here'}: {figures}."


def _less(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one < other


def _number(metric: Metric, value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.{metric.digits}f}{' ' + metric.unit if metric.unit else ''}"


def _bullets(lines: Iterator[str] | Sequence[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def _plain(value: float | None) -> str:
    # Rounded: the last digit of a sum may differ between machines.
    return "" if value is None else f"{value + 0.0:.8g}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"

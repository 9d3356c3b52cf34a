"""Results of a check in sentences: plain text for a terminal, Markdown for a CI summary."""

from __future__ import annotations

from collections import Counter

from bench.errors import INCOMPLETE, NOT_COMPARABLE
from bench.formatting import brief, escape
from bench.gate.compare import Verdict
from bench.gate.verdicts import FINE, STATUSES, WORSE, Judgement, RowChange

HEADINGS = {
    FINE: "Nothing is worse",
    WORSE: "Worse than the baseline",
    INCOMPLETE: "The comparison is incomplete",
    NOT_COMPARABLE: "The run can't be compared with the baseline",
}

#: Statuses with a line each. The same is only counted; new and not compared are grouped by reason.
LISTED = tuple(s for s in STATUSES if s not in ("same", "new", "not compared"))

#: Those of them that ``--only-regressions`` keeps.
REGRESSIONS = ("worse", "lost")

_MEANINGS = {
    "better": "better by more than its threshold: a mistake or a leak may be behind it",
    "unclear": "beyond its threshold, but it may be chance",
    "untested": "beyond its threshold, with too few pieces or seeds to tell it from chance",
}


def sentence(verdict: Verdict) -> str:
    """Describe a verdict: ``lstm: bits_per_note 7.96 -> 8.41 (+0.45, threshold 0.10; p = 0.001 over 74 pieces): worse``."""
    head = f"{verdict.system}: {verdict.metric.name}"
    if verdict.before is None or verdict.now is None:
        value = verdict.before if verdict.before is not None else verdict.now
        shown = "" if value is None else f" {'was' if verdict.status == 'lost' else 'is'} {_number(verdict, value)}"
        return f"{head}{shown}: {verdict.status}{f' ({verdict.reason})' if verdict.reason else ''}"
    limit = f"threshold {_number(verdict, verdict.limit)}{f' {_clock(verdict)}' if verdict.clocked else ''}"
    values = f"{_number(verdict, verdict.before)} -> {_number(verdict, verdict.now)}"
    change = _change(verdict, verdict.before, verdict.now)
    line = f"{head} {values} ({change}, {limit}; {evidence(verdict)}): {verdict.status}"
    return f"{line} ({verdict.reason})" if verdict.reason else line


def _clock(verdict: Verdict) -> str:
    """Name the unit of a time or speed in yardsticks: of ``notes/s`` it is ``notes a yardstick``."""
    return verdict.metric.unit.replace("/s", " a yardstick") if "/s" in verdict.metric.unit else "yardsticks"


def evidence(verdict: Verdict) -> str:
    """Describe the evidence: ``p = 0.001 over 74 pieces``, or ``no test over 4 pieces``."""
    count = _count(verdict)
    if verdict.status == "untested":
        return f"no test over {count}"
    return f"{'p < 0.001' if verdict.p < 0.001 else f'p = {verdict.p:.3f}'} over {count}"


def row_sentence(row: RowChange) -> str:
    """Describe a row: ``gan: failed (seed 1: out of memory)``."""
    return f"{row.system}: {row.status}{f' ({brief(row.reason)})' if row.reason else ''}"


def summary(judgement: Judgement) -> str:
    """Summarise the check: ``Nothing is worse: 96 unchanged, 2 unclear. 34 tests together, p adjusted by Holm.``."""
    heading = HEADINGS[judgement.exit_code]
    if judgement.obstacles:
        return f"{heading}."
    counts = Counter(v.status for v in judgement.verdicts)
    parts = ", ".join(f"{counts[s]} {'unchanged' if s == 'same' else s}" for s in STATUSES if counts[s])
    if others := sum(row.status == "another budget" for row in judgement.rows):
        parts = ", ".join(filter(None, (parts, f"{_plural(others, 'row')} of another budget")))
    if not parts:
        return f"{heading}."
    if judgement.exit_code == WORSE and (rows := sum(row.missing for row in judgement.rows)):
        heading += f", and {_plural(rows, 'row')} missing or incomplete"
    tests = f" {_plural(judgement.tests, 'test')} together, p adjusted by Holm." if judgement.tests else ""
    return f"{heading}: {parts}.{tests}"


def not_compared(judgement: Judgement) -> list[str]:
    """Group what is new or not compared, or lacks some values by chance, into one line per reason."""
    together: dict[str, list[str]] = {}
    for v in (v for v in judgement.of("not compared", "new", "same") if v.status != "same" or v.reason):
        status = "unchanged" if v.status == "same" else v.status
        reason = f"{status} ({v.reason})" if v.reason else status
        together.setdefault(reason, []).append(f"{v.system} {v.metric.name}")
    return [f"{reason}: {', '.join(names)}" for reason, names in together.items()]


def blindness(judgement: Judgement) -> str:
    """Say what the gate could not have detected; empty if there is nothing."""
    blind = judgement.blind
    if not blind:
        return ""
    counts = Counter(_count(v) for v in blind)
    shown = ", ".join(f"{_plural(n, 'comparison')} over {count}" for count, n in counts.items())
    return f"Too few to tell a regression from chance, however large: {shown}."


def text(judgement: Judgement, only_regressions: bool = False) -> str:
    """Format for a terminal: one line each, the most important first, the summary last."""
    lines = list(judgement.obstacles)
    lines += [row_sentence(row) for row in _rows(judgement, only_regressions)]
    lines += [sentence(v) for v in _listed(judgement, only_regressions)]
    if not only_regressions:
        lines += not_compared(judgement)
        lines += [f"warning: {w}" for w in judgement.warnings]
    lines += [s for s in (blindness(judgement),) if s]
    return "\n".join([*lines, summary(judgement)]) + "\n"


def markdown(judgement: Judgement, only_regressions: bool = False) -> str:
    """Format for a CI summary."""
    parts = [f"## {HEADINGS[judgement.exit_code]}", f"{escape(judgement.now)} against the baseline {escape(judgement.before)}."]
    parts += [_bullets([escape(o) for o in judgement.obstacles])]
    parts += [_bullets([escape(row_sentence(row)) for row in _rows(judgement, only_regressions)])]
    if listed := _listed(judgement, only_regressions):
        parts.append(_table(listed))
        parts.append(_bullets([f"*{s}*: {_MEANINGS[s]}" for s in _MEANINGS if any(v.status == s for v in listed)]))
    if not only_regressions:
        lines = [*not_compared(judgement), *(f"warning: {w}" for w in judgement.warnings)]
        parts.append(_bullets([escape(line) for line in lines]))
    parts.append(escape(blindness(judgement)))
    return "\n\n".join(part for part in [*parts, escape(summary(judgement))] if part) + "\n"


def _table(verdicts: list[Verdict]) -> str:
    lines = ["| Model | Metric | Baseline | Now | Change | Threshold | Evidence | |", "|:--|:--|--:|--:|--:|--:|:--|:--|"]
    for v in verdicts:
        if v.before is None or v.now is None:
            cells = [*("–" if n is None else _number(v, n) for n in (v.before, v.now)), "–", "–", v.reason]
        else:
            numbers = [_number(v, v.before), _number(v, v.now), _change(v, v.before, v.now), _number(v, v.limit)]
            cells = [*numbers, f"{evidence(v)}; {v.reason}" if v.reason else evidence(v)]
        name = f"{v.metric.title}{f' ({_clock(v)})' if v.clocked else ''}"
        status = f"**{v.status}**" if v.status in REGRESSIONS else v.status
        lines.append("| " + " | ".join([*map(escape, (v.system, name, *cells)), status]) + " |")
    return "\n".join(lines)


def _rows(judgement: Judgement, only_regressions: bool) -> list[RowChange]:
    return [row for row in judgement.rows if not (only_regressions and row.status == "new")]


def _listed(judgement: Judgement, only_regressions: bool) -> list[Verdict]:
    return [v for status in (REGRESSIONS if only_regressions else LISTED) for v in judgement.of(status)]


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _change(verdict: Verdict, before: float, now: float) -> str:
    """Format a change with its sign; without a better direction, also how much further from its goal it is."""
    change = f"{'+' if now >= before else ''}{_number(verdict, now - before)}"
    goal = verdict.goal.words(verdict.worsening, verdict.metric.digits) if verdict.goal is not None else ""
    return f"{change}, {_number(verdict, abs(verdict.worsening))} {goal}" if goal else change


def _number(verdict: Verdict, value: float) -> str:
    """Format with the metric's digits, or more where these would round the threshold away."""
    digits = 3 if verdict.clocked and abs(verdict.before or value) < 100 else verdict.metric.digits
    while digits < 6 and 0 < verdict.limit < 2 * 10.0**-digits:
        digits += 1
    return f"{value:.{digits}f}"


def _count(verdict: Verdict) -> str:
    count = _plural(verdict.count, verdict.over.removesuffix("s"))
    return f"{_plural(verdict.seeds, 'seed')} and {count}" if verdict.seeds > 1 else count


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"

"""What a report says of harmonically constrained rows, each sentence computed from the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.formatting import listed, plural
from bench.music.harmony.settings import Form, Harmony
from bench.report.contents import Report
from bench.report.numbers import cell_text
from bench.scoring.score import Row, read_plans
from bench.storage.run_folder import RunFolder


def task(report: Report) -> list[str]:
    """What the constrained rows do, and which of their notes are compared; nothing where there are none."""
    rows = _constrained(report)
    if not rows:
        return []
    notes = int(report.spec["protocol"]["notes"])
    said = [f"{listed([row.system for row in rows])} {'write' if len(rows) > 1 else 'writes'} under a harmonic constraint."]
    forms = {form: [r.system for r in rows if _choice(r).form == form] for form in {_choice(r).form for r in rows} if form}
    for form, systems in sorted(forms.items(), key=lambda item: str(item)):
        said.append(
            f"Of the {form.written} notes that {listed(systems)} {'write' if len(systems) > 1 else 'writes'} a piece of "
            f"{form.length} is made, {_form(form)}; {_compared(form, notes)}."
        )
    return said


def notes(report: Report) -> list[str]:
    """What must be known to read the shares: the plan, before and after, and whether the weights are the same."""
    rows = [row for row in _constrained(report) if row.done]
    return [*_plans(report, rows), *_before_and_after(report, rows), *_trainings(report, rows)]


def constraint(row: Row) -> list[str]:
    """A row's constraint, for the table of settings."""
    choice = _choice(row)
    weights = f"chord ×{choice.chord:g}, scale ×{choice.scale:g}, other ×{choice.other:g}"
    chords = f"{_progressions(choice)}, {plural(choice.notes_per_chord, 'note')} a chord"
    return [f"key {choice.key}", chords, weights, *([_form(choice.form)] if choice.form else [])]


def twin(report: Report, row: Row) -> Row | None:
    """The row of the same plug-in and hyperparameters without a constraint."""
    same = [r for r in report.table.rows if not r.harmony and r.kind != "untrained"]
    return next((r for r in same if r.model == row.model and r.params == row.params), None)


def _plans(report: Report, rows: Sequence[Row]) -> Iterable[str]:
    stored = read_plans(RunFolder(report.folder))
    choices: dict[Harmony, list[Row]] = {}
    for row in rows:
        choices.setdefault(_choice(row), []).append(row)
    for choice, members in choices.items():
        found = stored.of(members[0].trials[0].trial)
        if isinstance(found, str):
            continue
        keys = Counter(plan.key for plan in found.plans)
        said = listed([f"{key} {count}" for key, count in sorted(keys.items(), key=lambda item: (-item[1], item[0]))])
        where = "is given" if found.key_from == "given" else f"was found from {found.key_from} by music21"
        which = f" of {listed([row.system for row in members])}" if len(choices) > 1 else ""
        yield (
            f"The plan{which}: {_progressions(choice)}, {plural(choice.notes_per_chord, 'note')} a chord. The key {where}, never "
            f"from what really follows; pieces by key: {said}."
        )


def _before_and_after(report: Report, rows: Sequence[Row]) -> Iterable[str]:
    pairs = [(before, row) for row in rows if (before := twin(report, row)) is not None and before.done]
    for metric, name in (("chord_tones", "chord tones"), ("scale_tones", "scale tones")):
        said = [
            f"{after.system} {cell_text(metric, after.cells[metric])} % against {cell_text(metric, before.cells[metric])} % of "
            f"{before.system}"
            for before, after in pairs
        ]
        if said:
            yield f"With the constraint and without, {name}: {'; '.join(said)}."
    apart = [
        after.system
        for before, after in pairs
        if (one := before.cells["chord_tones"].interval)
        and (other := after.cells["chord_tones"].interval)
        and one.high < other.low
    ]
    if apart:
        yield f"The 95 % intervals of the chord tones don't meet for {listed(apart)}."


def _trainings(report: Report, rows: Sequence[Row]) -> Iterable[str]:
    same: list[str] = []
    other: list[str] = []
    for row in rows:
        before = twin(report, row)
        if before is None or row.cells["bits_per_note"].value is None:
            continue
        bits = [{t.trial.seed: t.values["bits_per_note"] for t in r.done} for r in (before, row)]
        (same if bits[0] == bits[1] else other).append(f"{row.system} and {before.system}")
    if same:
        yield f"The same seeds gave the same weights to {'; '.join(same)}: to the last digit they need the same bits per note."
    if other:
        yield f"{'; '.join(other)}: their bits per note differ, so more than the constraint may lie between them."


def _constrained(report: Report) -> list[Row]:
    return [row for row in report.table.rows if row.harmony]


def _choice(row: Row) -> Harmony:
    assert row.harmony is not None, f"{row.system} has no constraint"
    return row.harmony


def _chords(progression: Sequence[str]) -> str:
    return "–".join(progression)


def _progressions(choice: Harmony) -> str:
    """``I–V–vi–IV``, and of a key that is looked for also the chords of pieces in minor."""
    if choice.key == "auto":
        return f"{_chords(choice.progression)} in major and {_chords(choice.minor)} in minor"
    return _chords(choice.chords(choice.key.split()[1]))


def _form(form: Form) -> str:
    """``A + A + B + A with A = 120 notes and B = 60 notes, B 3 semitones up``."""
    order, moved = " + ".join(form.sections), abs(form.transpose)
    sizes = [f"A = {plural(form.a, 'note')}"]
    if "B" not in form.sections:
        return f"{order} with {sizes[0]}"
    way = f", B {plural(moved, 'semitone')} {'up' if form.transpose > 0 else 'down'}" if moved else ""
    sizes.append(f"B = {plural(form.b, 'note')}")
    return f"{order} with {listed(sizes)}{way}"


def _compared(form: Form, notes: int) -> str:
    first = form.a if form.sections[0] == "A" else form.b
    if notes == first:
        return f"its first {notes}, which are the first section, are compared"
    return f"its first {notes} are compared" + (", a part of the first section" if notes < first else "")

"""Harmonically constrained rows of a report: their constraint, and findings about it. ``notes.j2`` has the sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from bench.formatting import listed, plural
from bench.metrics import METRICS
from bench.music.harmony.settings import Form, Harmony
from bench.report.contents import Report
from bench.report.numbers import cell_text
from bench.scoring.score import read_plans
from bench.scoring.table import Row
from bench.storage.run_folder import RunFolder


@dataclass(frozen=True)
class ChordPlan:
    """Chord plan as texts: the rows that followed it (empty for all), chords, source of the keys, and pieces by key."""

    systems: str
    chords: str
    key_from: str
    keys: str


def constrained(report: Report) -> list[str]:
    """Names of the constrained rows, in one text; nothing where there are none."""
    names = [row.system for row in _constrained(report)]
    return [listed(names)] if names else []


def unconstrained_bits(report: Report) -> list[str]:
    """Sentence on constrained rows with bits, which are those of the model alone; nothing where there are none."""
    names = [row.system for row in _constrained(report) if row.cells["bits_per_note"].value is not None]
    return [f"The bits of {listed(names)} are without the harmonic constraint, so they say nothing of it."] if names else []


def forms(report: Report) -> list[tuple[Form, str]]:
    """Forms that pieces are put together in, and the rows that have each."""
    systems: dict[Form, list[str]] = {}
    for row in _constrained(report):
        if (form := _choice(row).form) is not None:
            systems.setdefault(form, []).append(row.system)
    return sorted(((form, listed(names)) for form, names in systems.items()), key=str)


def plans(report: Report) -> Iterator[ChordPlan]:
    """Chord plans that were followed."""
    stored = read_plans(RunFolder(report.folder))
    rows: dict[str, list[Row]] = {}
    for row in _constrained(report):
        if row.done:
            rows.setdefault(_choice(row).planned, []).append(row)
    for members in rows.values():
        pieces = stored.of(members[0].trials[0].trial)
        if isinstance(pieces, str):
            continue
        counts = Counter(plan.key for plan in pieces.plans)
        keys = listed([f"{key} {count}" for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))])
        systems = listed([row.system for row in members]) if len(rows) > 1 else ""
        yield ChordPlan(systems, _chords(_choice(members[0])), pieces.key_from, keys)


def shares(report: Report) -> Iterator[tuple[str, str]]:
    """Chord tones and scale tones of each constrained row and, in brackets, of its twin."""
    for metric in ("chord_tones", "scale_tones"):
        parts = [
            f"{row.system} {cell_text(metric, row.cells[metric])} % ({free.system} {cell_text(metric, free.cells[metric])} %)"
            for free, row in _pairs(report)
        ]
        if parts:
            yield METRICS[metric].title, "; ".join(parts)


def raised(report: Report) -> list[str]:
    """Rows whose 95 % interval of chord tones is above that of their twin, in one text."""
    intervals = [
        (row.system, free.cells["chord_tones"].interval, row.cells["chord_tones"].interval) for free, row in _pairs(report)
    ]
    systems = [system for system, free, bound in intervals if free and bound and free.high < bound.low]
    return [listed(systems)] if systems else []


def same_weights(report: Report, same: bool) -> list[str]:
    """Constrained rows and their twins that need the same bits per note, or that do not, in one text."""
    pairs = []
    for row in _constrained(report):
        free = twin(report, row)
        if row.done and free is not None and row.cells["bits_per_note"].value is not None:
            bits, unconstrained = ({t.trial.seed: t.values["bits_per_note"] for t in r.done} for r in (row, free))
            both = bits.keys() & unconstrained.keys()
            if both and all(bits[seed] == unconstrained[seed] for seed in both) is same:
                pairs.append(f"{row.system} and {free.system}")
    return ["; ".join(pairs)] if pairs else []


def constraint(row: Row) -> list[str]:
    """Constraint of a row, for the table of settings."""
    choice = _choice(row)
    weights = f"chord ×{choice.chord:g}, scale ×{choice.scale:g}, other ×{choice.other:g}"
    return [f"key {choice.key}", _chords(choice), weights, *([form_text(choice.form)] if choice.form else [])]


def twin(report: Report, row: Row) -> Row | None:
    """Row of the same plug-in and hyperparameters without a constraint."""
    same = [r for r in report.table.rows if not r.harmony and r.kind != "untrained"]
    return next((r for r in same if r.model == row.model and r.params == row.params), None)


def form_text(form: Form) -> str:
    """Order and sizes of the sections: ``A + A + B + A with A = 120 notes and B = 60 notes, B 3 semitones up``."""
    order, moved = " + ".join(form.sections), abs(form.transpose)
    sizes = [f"A = {plural(form.a, 'note')}"]
    if "B" not in form.sections:
        return f"{order} with {sizes[0]}"
    way = f", B {plural(moved, 'semitone')} {'up' if form.transpose > 0 else 'down'}" if moved else ""
    sizes.append(f"B = {plural(form.b, 'note')}")
    return f"{order} with {listed(sizes)}{way}"


def _constrained(report: Report) -> list[Row]:
    return [row for row in report.table.rows if row.harmony]


def _pairs(report: Report) -> list[tuple[Row, Row]]:
    """Twin and constrained row, where both have a finished trial."""
    pairs = [(twin(report, row), row) for row in _constrained(report) if row.done]
    return [(free, row) for free, row in pairs if free is not None and free.done]


def _choice(row: Row) -> Harmony:
    assert row.harmony is not None, f"{row.system} has no constraint"
    return row.harmony


def _chords(choice: Harmony) -> str:
    """``I–V–vi–IV, 8 notes a chord``; of a key that is looked for also the chords of pieces in minor."""
    notes = f"{plural(choice.notes_per_chord, 'note')} a chord"
    if choice.key == "auto":
        return f"{'–'.join(choice.progression)} in major and {'–'.join(choice.minor)} in minor, {notes}"
    return f"{'–'.join(choice.chords(choice.key.split()[1]))}, {notes}"

"""What is kept of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.export.contents import read_contents
from bench.gate.baseline import Series, take
from bench.history.entry import Measured, entry_of_baseline, entry_of_run
from bench.history.series import all_series
from bench.metrics import METRICS
from bench.scoring.score import score_run
from bench.storage.records import Interpreter
from bench.storage.run_folder import RunFolder
from tests.history.handmade import entry
from tests.report.stored_run import Stored, both, example, many_pieces


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stored = Stored(tmp_path / "run")
    stored.enlarge(12)
    for seed in (0, 1, 2):
        many_pieces(stored, "lstm", lambda i, seed=seed: 4 + i % 3 + seed, seed=seed)
    return stored.close()


def test_values_are_those_of_the_report(folder: Path) -> None:
    entry, table = entry_of_run(folder), score_run(folder)
    kept = entry.rows["lstm"].metrics
    for metric in METRICS.values():
        cell = table["lstm"].cells[metric.name]
        if metric.id in kept:
            assert kept[metric.id].mean == pytest.approx(cell.value)
            assert kept[metric.id].seeds == pytest.approx({str(seed): value for seed, value in cell.seed_means.items()})
            ends = (None, None) if cell.interval is None else (cell.interval.low, cell.interval.high)
            assert (kept[metric.id].low, kept[metric.id].high) == pytest.approx(ends)
    assert kept["pitch_distance@1"].seeds == {"0": 5.0, "1": 6.0, "2": 7.0}
    assert set(kept) == {
        m.id for m in METRICS.values() if not m.name.endswith("_skill") and table["lstm"].cells[m.name].value is not None
    }


def test_the_interval_of_a_pretrained_row_is_that_of_the_report(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    stored.enlarge(12)
    for seed in (0, 1):
        many_pieces(stored, "gpt2", lambda i, seed=seed: 4 + i % 3 + seed, seed=seed, pretrained=True)
    folder = stored.close()
    cell, row = score_run(folder)["gpt2"].cells["pitch_distance"], entry_of_run(folder).rows["gpt2"]
    assert (row.pretrained, take(folder).systems["gpt2"].pretrained, cell.over) == (True, True, "pieces")
    kept = row.metrics["pitch_distance@1"]
    assert cell.interval is not None
    assert (kept.low, kept.high) == pytest.approx((cell.interval.low, cell.interval.high))
    assert kept.seeds == {"0": 5.0, "1": 6.0}, "of draws"


def test_facts(folder: Path) -> None:
    entry = entry_of_run(folder)
    assert (entry.run, entry.commit, entry.when, entry.bench) == ("run", "0123abc", "2025-01-02T03:14:05Z", "0.1.0")
    assert (entry.spec, entry.scale, entry.versions) == ("table2", "cpu", {"numpy": "2.0"})
    assert (entry.machine, entry.rows["lstm"].machine) == ("Test CPU, 2 cores", "Test CPU, 2 threads")


def test_versions_of_several_interpreters_are_kept(folder: Path) -> None:
    run = RunFolder(folder)
    made = {
        name: Interpreter(packages={"numpy": version, "h5py": "3.14"})
        for name, version in (("torch", "2.4"), ("tensorflow", "2.1"))
    }
    record = run.read()
    run.write(record.change(provenance=record.provenance.model_copy(update={"interpreters": made})))
    versions = {"h5py": "3.14", "numpy": "2.1 (tensorflow), 2.4 (torch)"}
    assert entry_of_run(folder).versions == versions
    assert entry_of_baseline(take(folder), "c", "").versions == versions
    assert {name: v for name, v in read_contents(folder).tags.items() if name.startswith("version.")} == {
        f"version.{name}": version for name, version in versions.items()
    }


def test_rows_without_a_finished_trial_are_left_out(tmp_path: Path) -> None:
    rows = entry_of_run(example(tmp_path / "run")).rows
    assert list(rows) == ["lstm", "gan", "untrained lstm", "real", "median", "ngram"]
    assert rows["gan"].metrics["pitch_distance@1"].seeds == {"0": 7.0}
    stored = Stored(tmp_path / "failed")
    stored.add("lstm", 0, None, error="no")
    assert entry_of_run(stored.close()).rows == {}


def test_a_row_is_another_one_with_other_hyperparameters(tmp_path: Path) -> None:
    made = []
    for name, units in (("one", 8), ("other", 16)):
        stored = Stored(tmp_path / name)
        stored.enlarge(12)
        many_pieces(stored, "lstm", lambda i: 4)
        stored.trials[0]["trial"]["params"] = {"units": units}
        made.append(entry_of_run(stored.close()))
    assert made[0].rows["lstm"].definition != made[1].rows["lstm"].definition
    assert made[0].terms == made[1].terms


def test_a_baseline_gives_the_same_values(folder: Path) -> None:
    of_run, of_baseline = entry_of_run(folder), entry_of_baseline(take(folder), "abc", "2026-01-01T00:00:00Z")
    assert of_baseline.rows["lstm"].metrics == of_run.rows["lstm"].metrics
    assert of_baseline.terms == of_run.terms
    assert (of_baseline.commit, of_baseline.rows["lstm"].code) == ("abc", "")


def test_times_of_several_kinds_of_processor_belong_to_none(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    for system, cpus in (("lstm", ["Z80", "6502"]), ("gan", ["Z80", "Z80"]), ("ngram", ["Z80; 6502", "Z80; 6502"])):
        for seed, cpu in enumerate(cpus):
            many = {"cpu": cpu, "threads": 2}
            stored.add(system, seed, both(57, 70), provenance=many)
    folder = stored.close()
    of_run, of_baseline = entry_of_run(folder), entry_of_baseline(take(folder), "abc", "2026-01-01T00:00:00Z")
    assert {name: row.machine for name, row in of_run.rows.items()} == {"lstm": "", "gan": "Z80, 2 threads", "ngram": ""}
    assert {name: row.machine for name, row in of_baseline.rows.items()} == {
        "lstm": "",
        "gan": "Z80, 2 cores, 2 threads",
        "ngram": "",
    }


def test_bits_over_other_classes_begin_a_series_of_their_own(folder: Path) -> None:
    """Other metrics of the row go on: they don't ask how its likelihood is counted."""
    baseline = take(folder)
    system = replace(baseline.systems["lstm"], classes=(64, 64), likelihood="exact")
    each = (
        system,
        replace(system, classes=(4, 4)),
        replace(system, likelihood="bound"),
        replace(system, classes=(), likelihood=""),
    )
    rows = [
        entry_of_baseline(replace(baseline, systems={"lstm": one}), "abc", "2026-01-01T00:00:00Z").rows["lstm"] for one in each
    ]
    assert [row.likelihood for row in rows] == ["exact 64 64", "exact 4 4", "bound 64 64", ""]
    assert len({row.definition for row in rows}) == 1
    name = next(name for name, metric in METRICS.items() if metric.group == "likelihood" and metric.better)
    bits = METRICS[name].id
    rows = [replace(row, metrics={**row.metrics, bits: Measured(14.0, seeds={"0": 14.0})}) for row in rows]
    lengths = {
        series.metric.name: len(series.points) for series in all_series([entry(i, {"lstm": row}) for i, row in enumerate(rows)])
    }
    assert {name: length for name, length in lengths.items() if length != 4} == {name: 1, "seconds_to_target": 1}


def test_what_another_chord_plan_measures_begins_a_series_of_its_own(folder: Path) -> None:
    """The plan is that of other rows, whatever they are called; a row without one of its own is measured by it too."""
    baseline = take(folder)
    own = Series(28.0, "pieces", (0,), (0, 1), ((27.0, 29.0),))
    system = replace(baseline.systems["lstm"], metrics={METRICS[name].id: own for name in ("chord_tones", "pitch_distance")})
    rows = []
    for name, degrees in (("bound", ["I", "V"]), ("renamed", ["I", "V"]), ("bound", ["IV"])):
        constrained = replace(system, definition={**system.definition, "harmony": {"progression": degrees}})
        both = replace(baseline, systems={"lstm": system, name: constrained})
        rows.append(entry_of_baseline(both, "abc", "2026-01-01T00:00:00Z").rows["lstm"])
    lengths = sorted(
        (one.metric.name, len(one.points)) for one in all_series([entry(i, {"lstm": row}) for i, row in enumerate(rows)])
    )
    assert lengths == [("chord_tones", 1), ("chord_tones", 2), ("pitch_distance", 3)]
    older = [replace(rows[0], chord_plan=""), rows[1], replace(rows[1], chord_plan=""), rows[2]]
    numbers = [len(one.points) for one in all_series([entry(i, {"lstm": row}) for i, row in enumerate(older)])]
    assert sorted(numbers) == [2, 2, 4], "a line that doesn't tell is taken to be measured as in the next that does"


def test_a_constrained_row_is_measured_by_the_plan_in_its_definition(folder: Path) -> None:
    baseline = take(folder)
    system = replace(baseline.systems["lstm"], definition={"harmony": {"progression": ["I", "V"]}})
    row = entry_of_baseline(replace(baseline, systems={"lstm": system}), "abc", "2026-01-01T00:00:00Z").rows["lstm"]
    assert row.chord_plan == "", "as in lines of older versions, whose definition has it too"


def test_another_number_of_files_a_piece_begins_a_series_of_its_own(folder: Path) -> None:
    """Older lines don't tell it, and go on."""
    baseline = take(folder)
    rows = []
    for told in ({}, {"samples": 1}, {"samples": 3}, {"samples": 10**5000}, {"samples": "many"}):
        own = baseline.systems["lstm"].definition
        system = replace(baseline.systems["lstm"], definition={**own, **told})
        rows.append(entry_of_baseline(replace(baseline, systems={"lstm": system}), "abc", "2026-01-01T00:00:00Z").rows["lstm"])
    assert [row.files for row in rows] == ["", "1", "3", "", ""]
    assert len({row.key for row in rows}) == 1
    numbers = {len(one.points) for one in all_series([entry(i, {"lstm": row}) for i, row in enumerate(rows[:3])])}
    assert numbers == {2, 1}


def test_files_of_other_pieces_begin_a_series_of_their_own(folder: Path) -> None:
    baseline = take(folder)
    rows = []
    for at in ((0, 1), (0,), (1,)):
        own = Series(9.0, "pieces", (0,), at, (tuple(9.0 for _ in at),))
        system = replace(baseline.systems["lstm"], definition={"samples": 1}, metrics={METRICS["pitch_distance"].id: own})
        told = replace(baseline, systems={"lstm": system}, pieces=("a", "b"))
        rows.append(entry_of_baseline(told, "abc", "2026-01-01T00:00:00Z").rows["lstm"])
    assert rows[0].files == "1"
    assert len({row.files for row in rows}) == 3
    assert len(all_series([entry(i, {"lstm": row}) for i, row in enumerate(rows)])) == 3
    older = [replace(rows[0], files=""), rows[1]]
    assert len(all_series([entry(i, {"lstm": row}) for i, row in enumerate(older)])) == 2, "what lacks now did not then"


def test_nats_over_more_events_begin_a_series_of_their_own(folder: Path) -> None:
    baseline = take(folder)
    rows = []
    for number in (100.0, 100.0, 150.0):
        nats = Series(3.3, "held-out pieces", (0,), (0, 1), ((3.2, 3.4),), (number, number))
        metrics = {METRICS["nats_per_event"].id: nats, METRICS["event_bits_per_note"].id: replace(nats, weights=None)}
        system = replace(baseline.systems["lstm"], metrics=metrics, classes=(), likelihood="exact")
        rows.append(entry_of_baseline(replace(baseline, systems={"lstm": system}), "abc", "2026-01-01T00:00:00Z").rows["lstm"])
    assert [row.likelihood for row in rows] == ["exact 200 events", "exact 200 events", "exact 300 events"]
    series = all_series([entry(i, {"lstm": row}) for i, row in enumerate(rows)])
    lengths = sorted((one.metric.name, len(one.points)) for one in series)
    assert lengths == [("event_bits_per_note", 3), ("nats_per_event", 1), ("nats_per_event", 2)]
    rows = [replace(row, likelihood=f"{kind} 200 events") for row, kind in zip(rows, ("exact", "exact", "bound"), strict=True)]
    series = all_series([entry(i, {"lstm": row}) for i, row in enumerate(rows)])
    lengths = sorted((one.metric.name, len(one.points)) for one in series)
    assert lengths == [(name, number) for name in ("event_bits_per_note", "nats_per_event") for number in (1, 2)]

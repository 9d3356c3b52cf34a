"""What is kept of a run, and the file that holds it."""

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import DataError
from bench.gate.baseline import rounded, take
from bench.gate.baseline_file import dump, read, write
from bench.gate.compare import obstacles
from bench.gate.verdicts import judge
from bench.metrics import METRICS, skill
from bench.music.notes import Notes
from bench.scoring.score import score_run
from bench.storage.files import read_json, write_json
from bench.storage.samples import Samples, read_samples, read_target_file, write_samples, write_targets
from tests.storage.sealed import edited_json

spec = importlib.util.spec_from_file_location("stored_run", Path(__file__).parents[1] / "report" / "stored_run.py")
stored_run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stored_run)


@pytest.fixture
def folder(tmp_path):
    return stored_run.example(tmp_path / "table2-cpu")


def outcome(folder, key, **changes):
    path = folder / "trials" / key / "outcome.json"
    write_json(path, {**read_json(path), **changes})


def likelihoods(folder, key, sums, notes):
    """Lay log-likelihoods of held-out pieces, nats by field, beside a trial's samples."""
    path = folder / "trials" / key / "samples.npz"
    stored = read_samples(path)
    write_samples(path, Samples(stored.notes, np.array(sums, float), np.array(notes), np.arange(len(notes))))


def test_values_are_those_of_the_report(folder):
    taken, table = take(folder), score_run(folder)
    assert list(taken.systems) == [row.system for row in table.rows]
    for name, system in taken.systems.items():
        for metric, cell in table[name].cells.items():
            if metric in skill.OF:  # says again what the distance says
                continue
            key = f"{metric}@{METRICS[metric].version}"
            assert (key in system.metrics) == (cell.value is not None)
            if cell.value is None:
                assert system.undefined[key] == cell.reason
            else:
                assert system.metrics[key].value == pytest.approx(cell.value, rel=1e-8)
                assert system.metrics[key].matrix.mean() == pytest.approx(cell.value, rel=1e-8)


def test_each_seed_keeps_its_pieces(folder):
    # 8 semitones up in one seed, 10 in the other.
    kept = take(folder).systems["lstm"].metrics["pitch_distance@1"]
    assert (kept.over, kept.seeds, kept.at, kept.values) == ("pieces", (0, 1), (0, 1), ((8.0, 8.0), (10.0, 10.0)))


def test_what_belongs_to_a_training_is_kept_by_seed(folder):
    kept = take(folder).systems["lstm"].metrics["training_seconds@1"]
    assert (kept.over, kept.seeds, kept.at, kept.values) == ("seeds", (0, 1), (), ((60.0,), (61.0,)))


def test_bits_are_kept_by_held_out_piece(folder):
    # Two pieces of 10 and 30 notes: in each field 1 and 2 bits a note, then 3 and 2.
    for key, (short, long) in {"lstm-0": (1, 2), "lstm-1": (3, 2)}.items():
        sums = [[-short * 10 * math.log(2)] * 4, [-long * 30 * math.log(2)] * 4]
        likelihoods(folder, key, sums, [10, 30])
        mean = (short * 10 + long * 30) / 40
        fields = dict.fromkeys(stored_run.FIELDS, mean)
        outcome(
            folder, key, likelihood={"kind": "exact", "pieces": 2, "notes": 40, "bits_per_note": 4 * mean, "by_field": fields}
        )
    metrics = take(folder).systems["lstm"].metrics
    assert metrics["bits_pitch@1"].over == "held-out pieces"
    assert (metrics["bits_pitch@1"].weights, metrics["pitch_distance@1"].weights) == ((10.0, 30.0), None)
    # 2 bits a note in all. Over the mean of 20 notes: 1 below times 10 / 20, 0 times 30 / 20; then 1 above and 0.
    assert metrics["bits_pitch@1"].values == (pytest.approx((1.5, 2.0)), pytest.approx((2.5, 2.0)))
    assert metrics["bits_per_note@1"].values == (pytest.approx((6.0, 8.0)), pytest.approx((10.0, 8.0)))
    assert metrics["bits_per_note@1"].matrix.mean() == pytest.approx(metrics["bits_per_note@1"].value)


def test_without_stored_likelihoods_bits_are_kept_by_seed(folder):
    kept = take(folder).systems["lstm"].metrics["bits_per_note@1"]
    assert (kept.over, kept.values) == ("seeds", ((15.0,), (16.0,)))


def test_the_yardstick_is_the_mean_of_before_and_after(folder):
    outcome(folder, "lstm-0", yardstick={"before": 0.3, "after": 0.5})
    outcome(folder, "lstm-1", yardstick=None)
    assert take(folder).systems["lstm"].yardstick == {"0": pytest.approx(0.4)}


def test_what_failed_is_said(folder):
    taken = take(folder)
    assert taken.systems["gan"].failed == {"1": "out of memory; peak was 900 MiB"}
    assert taken.systems["gan"].seeds == (0,)
    assert taken.incomplete == {"gan": "seed 1: out of memory; peak was 900 MiB"}


def test_of_files_of_another_system_their_number_a_piece_is_kept(tmp_path):
    stored = stored_run.Stored(tmp_path / "run")
    stored.add("magenta", 0, stored_run.moved(1), model="external")
    stored.add("lstm", 0, stored_run.moved(1))
    systems = take(stored.close()).systems
    assert {name: system.definition.get("samples") for name, system in systems.items()} == {"magenta": 1, "lstm": None}


class TestMusic:
    """A baseline knows its music by content: what code read it, and from which files, is none of its business."""

    def record(self, folder, **dataset):
        with edited_json(folder / "run.json") as run:
            run["dataset"] |= dataset

    def test_other_code_that_reads_the_same_notes_leaves_it_valid(self, folder):
        before = take(folder)
        self.record(folder, corpus_key="0123456789abcdef")
        assert judge(before, take(folder)).obstacles == ()

    def test_other_held_out_notes_are_other_music(self, folder):
        before = take(folder)
        stored = read_target_file(folder / "targets.npz")
        first, *rest = stored.targets
        pitch = first.target.pitch.copy()
        pitch[-1] += 1
        changed = Notes(first.target.onset, first.target.duration, pitch, first.target.velocity)
        write_targets(folder / "targets.npz", replace(stored, targets=(replace(first, target=changed), *rest)))
        (obstacle,) = judge(before, take(folder)).obstacles
        assert obstacle.startswith("music.held_out is ")

    def test_less_training_music_is_other_music(self, folder):
        self.record(folder, notes={"train": 1000, "validation": 100, "test": 100})
        before = take(folder)
        self.record(folder, notes={"train": 999, "validation": 100, "test": 100})
        assert judge(before, take(folder)).obstacles == ("music.notes.train is 999, was 1000",)


class TestFile:
    def test_the_same_run_gives_the_same_bytes(self, folder, tmp_path):
        write(tmp_path / "one.json", take(folder))
        write(tmp_path / "two.json", take(folder))
        assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()

    def test_a_run_against_its_own_file_differs_in_nothing(self, folder, tmp_path):
        write(tmp_path / "one.json", take(folder))
        judged = judge(read(tmp_path / "one.json"), take(folder))
        assert {v.status for v in judged.verdicts} == {"same", "not compared"}
        assert all(v.worsening == 0 for v in judged.verdicts)
        assert judged.exit_code == 3, "a seed of the GAN failed"
        assert [line.split(":")[0] for line in judged.warnings] == ["gan"], "so it has one"

    def test_its_head(self, folder):
        head = json.loads(dump(take(folder)))
        assert head["terms"]["dataset"] == {"name": "four", "options": {"limit": 5}}
        assert set(head["terms"]["music"]) == {"held_out", "pieces", "notes"}
        assert head["environment"]["cpu"] == "Test CPU"
        assert head["environment"]["numpy"] == {"python": "3.11.7", "numpy": "2.0"}
        assert head["pieces"] == ["a", "b"]

    def test_its_processors_are_those_of_the_trials(self, tmp_path):
        stored = stored_run.Stored(tmp_path / "run")
        for seed, cpu in enumerate(["Z80", "Test CPU"]):
            stored.add("gan", seed, stored_run.both(57, 70), provenance={"cpu": cpu, "threads": 4 - seed})
        baseline = take(stored.close())
        assert baseline.environment["cpu"] == "Test CPU and Z80"
        assert baseline.systems["gan"].processors == ("Test CPU", "Z80")
        assert baseline.systems["gan"].threads == (3, 4)

    def test_thresholds_and_titles_do_not_change_the_spec_hash(self, tmp_path):
        hashes = set()
        for i, change in enumerate([{}, {"title": "Other"}, {"gate": {"*": 0.1}}, {"seeds": [0, 2]}]):
            stored = stored_run.Stored(tmp_path / str(i), **change)
            stored.add("median", 0, stored_run.both(57, 70), kind="reference")
            hashes.add(take(stored.close()).spec_hash)
        assert len(hashes) == 2


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(DataError, match=r"run\.json can't be read"):
        take(tmp_path)


@given(st.floats(-1e12, 1e12))
def test_rounding_twice_is_rounding_once(value):
    assert rounded(rounded(value)) == rounded(value) == pytest.approx(value, rel=1e-8)


def test_a_budget_read_back_is_the_same_budget(folder, tmp_path):
    record = read_json(folder / "run.json")
    for entry in record["trials"]:
        budget = {"compute": {"seconds": 24.0}, "updates": 400, "evaluations": 8, "stages": [0.0625, 0.25], "timeout": 60.0}
        entry["trial"]["budget"] = budget
    write_json(folder / "run.json", record)
    taken = take(folder)
    write(tmp_path / "b.json", taken)
    assert obstacles(read(tmp_path / "b.json"), take(folder)) == []


def test_the_projects_own_baseline_has_the_metrics_of_today() -> None:
    """Of those of another version nothing is compared, and no job fails."""
    own = read(Path(__file__).parents[2] / "reports/baselines/smoke.json")
    known = {metric.id for metric in METRICS.values()}
    assert {name for system in own.systems.values() for name in system.metrics} <= known

"""Changes by hand: what is paired with what, by how much it changed, and why it can't be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.comparison.changes import Change, Comparison, estimate, pair, significance
from bench.gate.baseline import Series
from bench.metrics import METRICS
from bench.music.notes import Notes
from bench.storage.samples import Samples, write_samples
from tests.report.stored_run import REAL, Stored, done, moved

from .conftest import Make, compared

PITCH = "pitch_distance"


def off(stored: Stored, system: str, distances: list[int], kind: str = "model", seed: int = 0, **more: object) -> str:
    """A row whose pitch distance to each piece is given."""
    generated = {}
    for i, by in enumerate(distances):
        real = stored.real[i]
        generated[i, 0] = Notes.from_columns(real.onset, real.duration, real.pitch + by, real.velocity)
    return stored.add(system, seed, generated, kind=kind, **more)


def one(comparison: Comparison, metric: str = PITCH, run: str = "B", system: str = "lstm"):
    return comparison.by_place[system, metric, run]


BEFORE, AFTER = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [2, 4, 3, 5, 7, 6, 9, 9, 9, 12, 12, 15]


@pytest.fixture
def two(make: Make) -> tuple[Stored, Stored]:
    """Two runs of one seed, that differ in the pitch distances of one model."""
    a, b = make("a"), make("b")
    off(a, "lstm", BEFORE)
    off(b, "lstm", AFTER)
    return a, b


def test_a_change_is_student_s_paired_test(two: tuple[Stored, Stored]) -> None:
    change = one(compared(*(run.close() for run in two)))
    expected = stats.ttest_rel(AFTER, BEFORE)
    low, high = expected.confidence_interval()
    assert (change.before, change.now, change.size) == (6.5, 7.75, 1.25)
    assert (change.interval.low, change.interval.high) == pytest.approx((low, high), rel=1e-6)
    assert change.estimate.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (change.over, change.count, change.of) == ("pieces", 12, 12)


def test_it_has_the_sign_of_the_order(two: tuple[Stored, Stored]) -> None:
    a, b = (run.close() for run in two)
    assert one(compared(b, a)).size == -1.25


def test_pieces_are_paired_by_their_notes(two: tuple[Stored, Stored], make: Make) -> None:
    """In another order, with another name, and one of them in the first run alone."""
    a, b = two
    b.trials.clear()
    order = [11, 3, 5, 0, 1, 2, 4, 6, 7, 8, 9]
    c = make("c")
    c.real = [c.real[i] for i in order]
    c.pieces = c.pieces[: len(order)]
    off(c, "lstm", [AFTER[i] for i in order])
    change = one(compared(a.close(), c.close()))
    left = [i for i in range(12) if i != 10]
    expected = stats.ttest_rel([AFTER[i] for i in left], [BEFORE[i] for i in left])
    assert (change.count, change.of) == (11, 12)
    assert change.size == pytest.approx(sum(AFTER[i] - BEFORE[i] for i in left) / 11)
    assert change.estimate.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert one(compared(a.run.path, c.run.path), "descriptor_frechet").reason == "other pieces"  # a metric on the whole set


def test_measures_of_all_samples_need_as_many_of_them(make: Make) -> None:
    """Of the row, whose files another system has written: the spec's protocol is the same."""
    a, b = make("a"), make("b")
    off(a, "lstm", BEFORE)
    asked = b.spec["protocol"]
    b.spec["protocol"] = {**asked, "samples": 2}
    made = {
        (i, k): Notes.from_columns(n.onset, n.duration, n.pitch + AFTER[i], n.velocity)
        for i, n in enumerate(b.real)
        for k in (0, 1)
    }
    b.add("lstm", 0, made)
    b.spec["protocol"] = asked
    comparison = compared(a.close(), b.close())
    assert one(comparison, "pitch_spread_ratio").reason == "another protocol.samples"
    assert one(comparison).size == 1.25, "the mean over a piece's samples"


def test_measures_of_all_samples_need_the_same_pieces_of_a_row(make: Make) -> None:
    """Of another system some may lack: without half of the same files the descriptor Fréchet distance went from 26 to 80."""
    a, b = make("a"), make("b")
    off(a, "lstm", BEFORE)
    made = {(i, 0): Notes.from_columns(n.onset, n.duration, n.pitch + BEFORE[i], n.velocity) for i, n in enumerate(b.real)}
    del made[4, 0]
    b.add("lstm", 0, made, absent=(4,))
    comparison = compared(a.close(), b.close())
    assert one(comparison, "pitch_spread_ratio").reason == "other pieces"
    assert (one(comparison).count, one(comparison).size) == (11, 0.0)
    assert one(comparison, "parameters").status == "equal"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({"key": "C major", "chord": 8.0}, ""), ({"key": "D major"}, "another chord plan"), (None, "no value in B")],
)
def test_chord_tones_are_compared_by_one_plan_only(make: Make, asked: dict[str, object] | None, reason: str) -> None:
    plan = {"key": "C major", "scale": [0, 2, 4, 5, 7, 9, 11], "chords": [[0, 4, 7]], "notes_per_chord": 2}
    runs = []
    for stored, harmony in ((make("a"), {"key": "C major"}), (make("b"), asked)):
        off(stored, "lstm", BEFORE)
        if harmony is not None:
            off(stored, "bound", BEFORE, harmony={"key_from": "given", "plans": [plan], "plan_of_piece": [0] * 12})
            stored.trials[-1]["trial"]["harmony"] = harmony
        runs.append(stored.close())
    comparison = compared(*runs)
    assert one(comparison, "chord_tones").reason == reason
    assert one(comparison).reason == ""


def test_a_piece_that_occurs_twice_is_paired_twice(make: Make) -> None:
    runs = []
    for name, by in (("a", BEFORE), ("b", AFTER)):
        stored = make(name)
        stored.real[1] = stored.real[0]
        off(stored, "lstm", by)
        runs.append(stored.close())
    assert one(compared(*runs)).count == 12


def test_other_music_is_not_compared(two: tuple[Stored, Stored]) -> None:
    a, b = two
    b.trials.clear()
    other = Stored(b.run.path.with_name("other"))
    other.enlarge(12)
    other.real = [Notes.from_columns(n.onset, n.duration, n.pitch + 40, n.velocity) for n in other.real]
    off(other, "lstm", AFTER)
    comparison = compared(a.close(), other.close())
    assert one(comparison).reason == "other pieces"
    assert {c.status for c in comparison.changes if c.over == "pieces"} == set()
    assert one(comparison, "parameters").status == "equal"  # a size is of no music
    assert one(comparison, "peak_memory").reason == "other pieces"  # a training's memory is: less of it was said to be better
    assert not comparison.comparable


def test_nothing_in_common_is_not_comparable(make: Make) -> None:
    a, b = make("a"), make("b")
    off(a, "lstm", BEFORE)
    off(b, "gan", AFTER)
    comparison = compared(a.close(), b.close())
    assert not comparison.comparable
    assert comparison.changes == ()
    assert [match.seeds for match in comparison.rows] == [("1 seed", "–"), ("–", "1 seed")]


@pytest.mark.parametrize("kind", ["reference", "model"])
def test_sizes_alone_compare_no_runs(make: Make, kind: str) -> None:
    a, b = make("a"), make("b")
    b.real = [Notes.from_columns(n.onset, n.duration, n.pitch + 40, n.velocity) for n in b.real]
    for run in (a, b):
        off(run, "ngram", BEFORE, kind=kind)
    comparison = compared(a.close(), b.close())
    assert one(comparison, "parameters", system="ngram").status == "equal"
    assert {c.metric.name for c in comparison.changes if c.status != "not compared"} == {"parameters"}
    assert not comparison.comparable


def test_a_copied_row_is_equal(make: Make) -> None:
    runs = []
    for name in ("a", "b"):
        stored = make(name)
        for seed in (0, 1):
            off(stored, "lstm", BEFORE, seed=seed)
        runs.append(stored.close())
    change = one(compared(*runs))
    assert (change.status, change.size) == ("equal", 0.0)


def test_a_row_without_chance_is_equal_with_other_seeds(make: Make) -> None:
    """And is no other system."""
    a, b = make("a", seeds=[0, 1]), make("b", seeds=[5])
    for run, seeds in ((a, (0, 1)), (b, (5,))):
        for seed in seeds:
            off(run, "lstm", BEFORE, seed=seed)
    comparison = compared(a.close(), b.close())
    assert {c.status for c in comparison.changes if c.over == "pieces"} == {"equal"}
    assert [match.differs for match in comparison.rows] == [()]


def test_rounding_is_no_change() -> None:
    """Another machine's arithmetic may move every value by as much, which a test would find."""
    values = np.array([[6.5, 7.25, 8.0, 3.0, 4.0, 5.0]])
    one, other = (Series(5.625, "pieces", (0,), tuple(range(6)), tuple(map(tuple, v))) for v in (values, values + 1e-7))
    (change,), tests = significance(estimate([pair(Change("lstm", METRICS[PITCH], "B"), "x", one, other)]))
    assert change.estimate.p < 1e-6
    assert (change.status, change.size, change.interval, tests) == ("equal", 0.0, None, 0)


def test_p_is_adjusted_over_all_runs_together(make: Make) -> None:
    runs = []
    for name, by in (("a", BEFORE), ("b", AFTER), ("c", AFTER[::-1])):
        stored = make(name)
        off(stored, "lstm", by)
        runs.append(stored.close())
    both, alone = compared(*runs), compared(*runs[:2])
    assert both.tests > alone.tests > 0
    assert [c.run for c in both.changes if c.metric.name == PITCH] == ["B", "C"]
    tested = [c for c in both.changes if c.estimate and c.estimate.testable and c.status != "equal"]
    smallest = min(tested, key=lambda c: c.estimate.p)
    assert len(tested) == both.tests
    assert smallest.p == pytest.approx(min(1.0, both.tests * smallest.estimate.p))
    assert one(both).estimate == one(alone).estimate  # noise is moderated within a pair of runs


class TestDirection:
    @pytest.mark.parametrize(("first", "status"), [("a", "worse"), ("b", "better")])
    def test_a_lower_distance_is_better(self, make: Make, first: str, status: str) -> None:
        folders = {}
        for name, by in (("a", 3), ("b", 9)):
            stored = make(name)
            off(stored, "lstm", [by + i % 2 for i in range(12)])
            folders[name] = stored.close()
        off_by = compared(folders.pop(first), *folders.values())
        assert one(off_by).status == ("worse" if first == "a" else "better") == status

    def test_without_a_better_direction_it_is_different(self, make: Make) -> None:
        runs = []
        for name, by in (("a", [1, 2] * 6), ("b", [21, 22] * 6)):
            stored = make(name)
            off(stored, "lstm", by)
            runs.append(stored.close())
        statuses = {c.status for c in compared(*runs).changes if c.metric.better is None}
        assert not statuses & {"better", "worse"}


class TestMachines:
    def times(self, make: Make, first: dict[str, object], second: dict[str, object], **more: object) -> Comparison:
        runs = []
        for name, ran in (("a", first), ("b", second)):
            stored = make(name)
            for seed in (0, 1, 2):
                off(stored, "lstm", BEFORE, seed=seed, provenance=ran, **more)
            off(stored, "real", BEFORE, kind="reference", provenance=ran)
            runs.append(stored.close())
        return compared(*runs)

    def test_times_of_one_machine_are_compared(self, make: Make) -> None:
        same = {"cpu": "Z80", "threads": 2}
        change = one(self.times(make, same, same), "training_seconds")
        assert (change.status, change.over, change.count) == ("equal", "seeds", 3)

    @pytest.mark.parametrize(
        ("other", "reason"),
        [
            ({"cpu": "6502", "threads": 2}, "another processor"),
            ({"cpu": "Z80", "threads": 4}, "another number of threads"),
            ({"cpu": "Z80"}, "machine not recorded in B"),
            ({"cpu": "Z80", "threads": 2, "shares_gpu": True}, "shared GPU in B"),
        ],
    )
    def test_times_of_another_are_not(self, make: Make, other: dict[str, object], reason: str) -> None:
        comparison = self.times(make, {"cpu": "Z80", "threads": 2}, other)
        for metric in ("training_seconds", "training_notes_per_second", "generation_notes_per_second"):
            change = one(comparison, metric)
            assert (change.status, change.reason, change.size) == ("not compared", reason, None)
        assert one(comparison).status == "equal"  # no time
        assert one(comparison, "peak_memory").status == "equal"

    def test_times_of_references_are_not(self, make: Make) -> None:
        same = {"cpu": "Z80", "threads": 2}
        change = one(self.times(make, same, same), "generation_notes_per_second", system="real")
        assert change.reason == "only times of models are tested"

    @pytest.mark.parametrize("cpus", [("Z80", "6502"), ("6502; Z80", "6502; Z80")])  # the second: of the folds of a seed
    def test_times_of_several_machines_in_a_run_are_not(self, make: Make, cpus: tuple[str, str]) -> None:
        a, b = make("a"), make("b")
        for seed, cpu in enumerate(cpus):
            off(a, "lstm", BEFORE, seed=seed, provenance={"cpu": "Z80", "threads": 2})
            off(b, "lstm", BEFORE, seed=seed, provenance={"cpu": cpu, "threads": 2})
        assert one(compared(a.close(), b.close()), "training_seconds").reason == "several machines in B"

    def test_a_cost_is_a_ratio(self, make: Make) -> None:
        """Noise in percent: the ratio of geometric means. Two runs of the same code differed by 47 %, with p = 0.05."""
        seconds = {"a": [60.0, 66.0, 63.0], "b": [30.0, 36.0, 31.0]}
        runs = []
        for name, values in seconds.items():
            stored = make(name)
            for seed, value in enumerate(values):
                training = {**done(seed, None)["training"], "seconds": value}
                off(stored, "lstm", BEFORE, seed=seed, training=training, provenance={"cpu": "Z80", "threads": 2})
            runs.append(stored.close())
        change = one(compared(*runs), "training_seconds")
        test = stats.ttest_ind(np.log(seconds["b"]), np.log(seconds["a"]))
        assert change.relative
        assert change.size == pytest.approx(np.exp(np.log(seconds["b"]).mean() - np.log(seconds["a"]).mean()))
        assert change.estimate.p == pytest.approx(test.pvalue)
        assert (change.status, change.interval, change.p) == ("untested", None, 1.0)


class TestProtocol:
    def test_another_number_of_seconds_is_another_distance(self, make: Make) -> None:
        a, b = make("a"), make("b")
        b.spec["protocol"] = {**b.spec["protocol"], "seconds": 1.0}
        off(a, "lstm", BEFORE)
        off(b, "lstm", AFTER)
        assert one(compared(a.close(), b.close())).reason == "another protocol.seconds"

    def test_another_target_is_another_time(self, make: Make) -> None:
        a, b = make("a"), make("b", target=12.5)
        for run in (a, b):
            off(run, "lstm", BEFORE, provenance={"cpu": "Z80", "threads": 2})
        assert one(compared(a.close(), b.close()), "seconds_to_target").reason == "another target"

    def test_another_kind_of_row(self, make: Make) -> None:
        a, b = make("a"), make("b")
        off(a, "lstm", BEFORE)
        off(b, "lstm", AFTER, kind="reference")
        assert one(compared(a.close(), b.close())).reason == "reference, was model"

    def test_untrained_rows_are_not_tested(self, make: Make) -> None:
        a, b = make("a"), make("b")
        for run, by in ((a, BEFORE), (b, AFTER)):
            off(run, "untrained lstm", by, kind="untrained")
        assert one(compared(a.close(), b.close()), system="untrained lstm").reason == "untrained rows are not tested"

    def test_too_few_pieces_have_no_test(self, make: Make) -> None:
        runs = []
        for name, by in (("a", 1), ("b", 5)):
            stored = make(name)
            stored.enlarge(2)
            stored.real = list(REAL)
            stored.add("lstm", 0, moved(by))
            runs.append(stored.close())
        change = one(compared(*runs))
        assert (change.status, change.size, change.interval, change.count) == ("untested", 4.0, None, 2)


class TestLikelihood:
    """Bits of six held-out pieces, weighted by their notes."""

    NOTES = (100, 120, 90, 110, 130, 80)

    def bits(
        self, stored: Stored, per_note: list[float], kind: str = "exact", notes: tuple[int, ...] = NOTES, **more: object
    ) -> Path:
        whole = done(0, 10.0)
        key = off(stored, "lstm", BEFORE, likelihood={**whole["likelihood"], "kind": kind}, **more)
        sums = -np.array(per_note) * np.array(notes) * np.log(2)
        generated = {(i, 0): n for i, n in enumerate(stored.real)}
        write_samples(
            stored.run.trial_dir(key) / "samples.npz",
            Samples(generated, np.repeat(sums[:, None] / 4, 4, axis=1), np.array(notes), np.arange(len(notes))),
        )
        return stored.close()

    ONE, OTHER = [9.0, 9.5, 10.0, 8.5, 9.2, 9.9], [8.8, 9.1, 9.9, 8.4, 9.0, 9.2]

    def test_they_are_paired(self, make: Make) -> None:
        change = one(compared(self.bits(make("a"), self.ONE), self.bits(make("b"), self.OTHER)), "bits_per_note")
        mean = [np.average(side, weights=self.NOTES) for side in (self.ONE, self.OTHER)]
        assert (change.over, change.count) == ("held-out pieces", 6)
        assert change.size == pytest.approx(mean[1] - mean[0])
        assert change.interval.low < change.size < change.interval.high < 0

    @pytest.mark.parametrize(("kinds", "reason"), [(("bound", "bound"), "upper bound"), (("bound", "exact"), "upper bound")])
    def test_a_larger_upper_bound_decides_nothing(self, make: Make, kinds: tuple[str, str], reason: str) -> None:
        runs = self.bits(make("a"), self.ONE, kinds[0]), self.bits(make("b"), self.OTHER, kinds[1])
        assert one(compared(*runs), "bits_per_note").reason == reason

    def test_bits_over_other_classes_are_not_compared(self, make: Make) -> None:
        runs = self.bits(make("a"), self.ONE), self.bits(make("b"), self.OTHER, params={"duration_classes": 8})
        comparison = compared(*runs)
        assert {one(comparison, name).reason for name in ("bits_per_note", "bits_pitch")} == {"other classes"}
        assert one(comparison).status == "equal"

    def test_a_smaller_upper_bound_does(self, make: Make) -> None:
        runs = self.bits(make("a"), self.ONE), self.bits(make("b"), self.OTHER, "bound")
        assert one(compared(*runs), "bits_per_note").reason == ""

    def test_other_counts_are_other_pieces(self, make: Make) -> None:
        runs = self.bits(make("a"), self.ONE), self.bits(make("b"), self.OTHER, notes=(*self.NOTES[:5], 81))
        assert one(compared(*runs), "bits_per_note").reason == "other counts of notes or predictions"

    def test_another_test_split_is_not_compared(self, make: Make) -> None:
        other = make("b")
        other.dataset = {**other.dataset, "notes": {**other.dataset["notes"], "test": 501}}
        runs = self.bits(make("a"), self.ONE), self.bits(other, self.OTHER)
        assert one(compared(*runs), "bits_per_note").reason == "other held-out pieces"

    @pytest.mark.parametrize("notes", [500, 501])
    def test_sums_over_another_test_split_are_not_compared(self, make: Make, notes: int) -> None:
        """Excess bits are of complete trainings, and of all held-out pieces: those too short to be continued too."""
        runs = [make("a"), make("b")]
        for stored in runs:
            stored.dataset = {**stored.dataset, "entropy": {"total": 8.0}}
        runs[1].dataset["notes"] = {**runs[1].dataset["notes"], "test": notes}
        change = one(compared(self.bits(runs[0], self.ONE), self.bits(runs[1], self.OTHER)), "excess_bits")
        assert change.reason == ("" if notes == runs[0].dataset["notes"]["test"] else "other held-out pieces")


def test_seeds_of_a_pretrained_row_are_draws(make: Make) -> None:
    """Its interval is that of the pieces, on the means of the draws; no two of them are a sample of trainings."""
    a, b = make("a", seeds=[0, 1]), make("b", seeds=[0, 1])
    for run, distances in ((a, BEFORE), (b, AFTER)):
        off(run, "lstm", distances, pretrained=True)
        off(run, "lstm", [distance + 6 for distance in distances], seed=1, pretrained=True)
    change = one(compared(a.close(), b.close()))
    low, high = stats.ttest_rel(AFTER, BEFORE).confidence_interval()
    assert change.size == pytest.approx(1.25)
    assert (change.interval.low, change.interval.high) == pytest.approx((low, high), rel=1e-6)
    assert (change.over, change.count) == ("pieces", 12)

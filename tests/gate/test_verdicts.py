"""The judgement, a case each: what is worse, what only looks so, what can't be told."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gate.junit import junit
from bench.gate.text import summary, text
from bench.gate.verdicts import RowChange, judge
from bench.metrics import METRICS

from .handmade import PIECES, by_seed, changed, flat, run, series, shifted, system

RUN = run(
    lstm=system(
        pitch_distance=flat(10.0),
        pitch_sd_ratio=flat(0.9),
        unique_pitches=flat(30.0),
        training_seconds=series([50, 51], "seeds"),
    ),
    real=system("reference", pitch_distance=flat(9.0), unique_pitches=flat(25.0)),
)


def first(old, pieces):
    """A series' first pieces alone."""
    return replace(old, at=old.at[:pieces], values=tuple(row[:pieces] for row in old.values))


def one(now, system="lstm", metric="pitch_distance", before=RUN, **more):
    (verdict,) = [v for v in judge(before, now, **more).verdicts if (v.system, v.metric.name) == (system, metric)]
    return verdict


def test_a_run_against_itself():
    judged = judge(RUN, RUN)
    assert {v.status for v in judged.verdicts} == {"same"}
    assert (judged.exit_code, judged.rows, judged.warnings, judged.tests) == (0, (), (), 1)


def test_seeds_of_a_pretrained_row_count_as_samples():
    """Two trainings that differ by 2 on all pieces leave a change of 1 unclear; two such draws are averaged on each piece."""
    values = [10.0 + 0.01 * i for i in range(20)]
    sides = [
        run(lstm=system(pitch_distance=by_seed([[x + by - 1 for x in values], [x + by + 1 for x in values]]))) for by in (0, 1)
    ]
    drawn = [changed(side, "lstm", pretrained=True) for side in sides]
    trained, pretrained = one(sides[1], before=sides[0]), one(drawn[1], before=drawn[0])
    assert (trained.status, trained.seeds) == ("unclear", 2)
    assert (pretrained.status, pretrained.seeds) == ("worse", 1)
    assert one(drawn[1], before=sides[0]).p == trained.p, "one side trained it"


def test_draws_of_a_pretrained_row_tell_nothing_of_trainings():
    """One seed a side borrows the noise of another trained row, and none of a pretrained one."""
    slow, slower = (replace(system(training_seconds=series([t], "seeds")), seeds=(0,)) for t in (100.0, 200.0))
    other = system(training_seconds=series([100.0, 101.0], "seeds"))
    sides = run(lstm=slow, gpt=other), run(lstm=slower, gpt=other)
    assert one(sides[1], metric="training_seconds", before=sides[0]).tested
    drawn = [changed(side, "gpt", pretrained=True) for side in sides]
    assert not one(drawn[1], metric="training_seconds", before=drawn[0]).tested


def test_worse_needs_more_than_the_threshold():
    # The mean is 10.095, so 8 % are 0.8076.
    assert one(RUN).limit == pytest.approx(0.8076)
    assert one(shifted(RUN, "lstm", "pitch_distance", 0.80)).status == "same"
    verdict = one(shifted(RUN, "lstm", "pitch_distance", 0.81))
    assert (verdict.status, verdict.count, verdict.over) == ("worse", 20, "pieces")
    assert verdict.worsening == pytest.approx(0.81)
    assert judge(RUN, shifted(RUN, "lstm", "pitch_distance", 0.81)).exit_code == 1


def test_worse_needs_a_test_that_says_so():
    # Two pieces of 20 are far worse, as many a little better: beyond the threshold, yet it may be chance.
    values = [10.0 + 0.01 * i + (20.0 if i < 2 else -0.5) for i in range(20)]
    now = replace(RUN, systems={**RUN.systems, "lstm": system(pitch_distance=series(values))})
    verdict = one(now)
    assert verdict.worsening > verdict.limit
    assert (verdict.status, verdict.tested) == ("unclear", True)
    assert judge(RUN, now).of("worse") == []


@pytest.mark.parametrize(("pieces", "status"), [(4, "untested"), (5, "worse")])
def test_few_pieces_cannot_tell(pieces, status):
    before = run(lstm=system(pitch_distance=flat(10.0, pieces)))
    judged = judge(before, shifted(before, "lstm", "pitch_distance", 9.0))
    assert [v.status for v in judged.verdicts] == [status]
    assert judged.blind == ([] if status == "worse" else list(judged.verdicts))
    assert judged.exit_code == (1 if status == "worse" else 0)


def test_a_retraining_that_moves_all_pieces_is_not_worse():
    """Seeds that differ by several thresholds on all pieces: the mean over two others is as likely as this one."""
    pieces = [0.01 * i for i in range(20)]
    before, now = (
        run(lstm=system(pitch_distance=by_seed([[level + p for p in pieces] for level in levels])))
        for levels in ((8.0, 12.0), (10.0, 14.0))
    )
    verdict = one(now, before=before)
    assert verdict.worsening > 2 * verdict.limit
    assert (verdict.status, verdict.seeds) == ("unclear", 2)


def test_far_better_is_a_warning_not_a_failure():
    judged = judge(RUN, shifted(RUN, "lstm", "pitch_distance", -2.0))
    assert [v.metric.name for v in judged.of("better")] == ["pitch_distance"]
    assert judged.exit_code == 0


@pytest.mark.parametrize(
    ("metric", "by", "status"),
    [
        # From 0.90 to 1.09, 0.05 from 1 on average; 0.345 and 0.355 after, where 0.25 more are allowed.
        ("pitch_sd_ratio", 0.01, "same"),
        ("pitch_sd_ratio", 0.29, "same"),
        ("pitch_sd_ratio", 0.35, "worse"),
        ("pitch_sd_ratio", -0.35, "worse"),
        # 30.095 pitches; real music has 25.095, and 10 % are 3.01.
        ("unique_pitches", 4.0, "worse"),
        ("unique_pitches", -4.0, "better"),
        ("unique_pitches", -12.0, "same"),
        ("unique_pitches", -14.0, "worse"),
    ],
)
def test_without_a_better_direction_the_distance_from_real_music_counts(metric, by, status):
    assert one(shifted(RUN, "lstm", metric, by), metric=metric).status == status


def test_without_a_real_row_the_baseline_is_the_best():
    alone = run(lstm=RUN.systems["lstm"])
    for by in (4.0, -4.0):
        assert one(shifted(alone, "lstm", "unique_pitches", by), metric="unique_pitches", before=alone).status == "worse"


def test_higher_is_better():
    before = run(lstm=system(training_notes_per_second=series([100, 101, 102], "seeds")))
    before = changed(before, "lstm", seeds=(0, 1, 2), yardstick=dict.fromkeys("012", 0.5))
    slower = shifted(before, "lstm", "training_notes_per_second", -60.0)
    verdict = one(slower, metric="training_notes_per_second", before=before)
    assert (verdict.status, verdict.before, verdict.now) == ("worse", pytest.approx(50.5), pytest.approx(20.5))


def test_bits_are_compared_over_the_same_classes_by_the_same_kind_of_likelihood():
    """Fewer classes cost fewer bits whatever was learned, and a bound may fall while the bits stay."""
    before = run(lstm=system(bits_per_note=flat(9.0), pitch_distance=flat(9.0)))
    for there, here, reason in (
        (
            {"classes": (64, 64)},
            {"classes": (4, 4)},
            "it is over 4 and 4 classes of time and duration, the baseline's over 64 and 64",
        ),
        ({"likelihood": "exact"}, {"likelihood": "bound"}, "the run's is an upper bound, the baseline's exact"),
        ({"likelihood": "bound"}, {"likelihood": "exact"}, "the baseline's is an upper bound, the run's exact"),
    ):
        old, new = changed(before, "lstm", **there), changed(before, "lstm", **here)
        verdict = one(new, metric="bits_per_note", before=old)
        assert verdict.status == "not compared"
        assert verdict.reason.startswith(reason)
        assert one(new, before=old).status == "same"
        for older in (before, old):
            assert one(old, metric="bits_per_note", before=older).status == "same"


class TestTimes:
    def test_count_in_yardsticks(self):
        # A machine of half the speed: all takes twice as long, the yardstick too.
        slow = changed(shifted(RUN, "lstm", "training_seconds", 50.0), "lstm", yardstick={"0": 1.0, "1": 1.0})
        verdict = one(slow, metric="training_seconds")
        assert (verdict.status, verdict.before, verdict.now) == ("same", pytest.approx(101.0), pytest.approx(100.5))
        assert verdict.clocked

    def test_a_slower_training_on_the_same_machine_is_worse(self):
        verdict = one(shifted(RUN, "lstm", "training_seconds", 100.0), metric="training_seconds")
        assert (verdict.status, verdict.over, verdict.count) == ("worse", "seeds", 2)

    @pytest.mark.parametrize("side", ["baseline", "run"])
    def test_are_not_compared_without_one(self, side):
        bare = changed(RUN, "lstm", yardstick={"0": 0.5})
        verdict = one(bare if side == "run" else RUN, metric="training_seconds", before=bare if side == "baseline" else RUN)
        status = "not compared" if side == "baseline" else "lost"
        assert (verdict.status, verdict.reason) == (status, f"the {side} has no yardstick beside its times")

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            (("A",), ("B",), "it ran on B, the baseline on A"),
            (("A",), ("A", "B"), "the run's trials ran on several kinds of processor: A and B"),
            (("A", "B"), ("A",), "the baseline's trials ran on several kinds of processor: A and B"),
            (("A", "B"), ("A", "B"), "the baseline's trials ran on several kinds of processor: A and B"),
            (("A",), ("B" * 10**6,), f"it ran on {'B' * 273}…f420066879d1f2a7"),  # each cost of each row says it
            ((), ("B",), "it ran on B, the baseline on Test CPU"),  # a file of an older version
        ],
    )
    def test_are_compared_within_one_kind_of_processor(self, old, new, reason):
        before, now = changed(RUN, "lstm", processors=old), changed(RUN, "lstm", processors=new)
        verdict = one(now, metric="training_seconds", before=before)
        assert (verdict.status, verdict.reason) == ("not compared", reason)
        assert one(now, metric="pitch_distance", before=before).status == "same"

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ((8,), (1,), "it ran with 1 thread, the baseline with 8"),
            ((1,), (1, 8), "the run's trials had different numbers of threads: 1 and 8"),
            ((1, 8), (1, 8), "the baseline's trials had different numbers of threads: 1 and 8"),
        ],
    )
    def test_are_compared_with_as_many_threads(self, old, new, reason):
        """The yardstick measures one core, so it can't convert them."""
        before, now = changed(RUN, "lstm", threads=old), changed(RUN, "lstm", threads=new)
        verdict = one(now, metric="training_seconds", before=before)
        assert (verdict.status, verdict.reason) == ("not compared", reason)
        older = changed(RUN, "lstm", threads=())
        assert one(changed(RUN, "lstm", threads=(1,)), metric="training_seconds", before=older).status == "same"

    def test_in_yardsticks_already_and_energy_are_compared_within_one_kind_of_machine(self):
        """Asked for by a threshold; the yardstick doesn't convert how fast another kind runs this program."""
        values = {"training_yardsticks": series([60.0, 61.0], "seeds"), "gpu_energy": series([5.0, 5.1], "seeds")}
        before, gate = run(lstm=system(pitch_distance=flat(9.0), **values)), dict.fromkeys(values, "20%")
        for there, here, reason in (
            ({"processors": ("A",)}, {"processors": ("B",)}, "it ran on B, the baseline on A"),
            ({"gpus": ("H100",)}, {"gpus": ("A100",)}, "it ran on A100, the baseline on H100"),
            ({"gpus": ("H100",)}, {"gpus": ("A100", "H100")}, "the run's trials ran on several kinds of GPU: A100 and H100"),
        ):
            old, new = changed(before, "lstm", **there), changed(before, "lstm", **here)
            for metric in values:
                assert one(new, metric=metric, before=old, gate=gate).reason == reason
                assert one(old, metric=metric, before=old, gate=gate).status == "same"

    def test_on_the_same_kind_of_processor_are_compared(self):
        now = changed(RUN, "lstm", processors=("Test CPU",))
        for before in (RUN, now, replace(RUN, environment={})):
            assert one(now, metric="training_seconds", before=before).status == "same"

    def test_are_not_compared_on_a_gpu(self):
        gpu = changed(RUN, "lstm", device="cuda")
        assert one(gpu, metric="training_seconds", before=gpu).reason == "the yardstick measures a processor, not a GPU"

    def test_of_music_are_as_they_are(self):
        before = run(lstm=system(ioi_w1=flat(1.0)), real=system("reference", ioi_w1=flat(1.0), pitch_distance=flat(9.0)))
        assert [(v.system, v.metric.name, v.clocked) for v in judge(before, before).verdicts] == [
            ("lstm", "ioi_w1", False),
            ("real", "pitch_distance", False),
            ("real", "ioi_w1", False),
        ]

    def test_of_a_reference_are_nobodys_business(self):
        before = run(markov=system("reference", training_seconds=series([0.01, 0.02], "seeds"), pitch_distance=flat(9.0)))
        assert [v.metric.name for v in judge(before, before).verdicts] == ["pitch_distance"]


class TestThresholds:
    def test_come_from_the_spec(self):
        now = shifted(RUN, "lstm", "pitch_distance", 0.81)
        assert one(now, gate={"pitch_*": "10%"}).status == "same"
        assert one(shifted(RUN, "lstm", "pitch_distance", 0.2), gate={"pitch_distance": 0.1}).status == "worse"

    def test_off_is_not_judged(self):
        judged = judge(RUN, RUN, {"*": "off", "pitch_distance": 0.1})
        assert {v.metric.name for v in judged.verdicts} == {"pitch_distance"}


class TestRows:
    def test_one_that_vanished_makes_the_run_incomplete(self):
        judged = judge(RUN, run(lstm=RUN.systems["lstm"]))
        assert [(r.system, r.status) for r in judged.rows] == [("real", "vanished")]
        assert judged.exit_code == 3

    def test_a_new_one_is_only_told(self):
        judged = judge(run(lstm=RUN.systems["lstm"]), RUN)
        assert [(r.system, r.status) for r in judged.rows] == [("real", "new")]
        assert judged.exit_code == 0

    def test_one_whose_trials_failed(self):
        bare = replace(system(), seeds=(), failed={"0": "no luck", "1": "no luck"})
        judged = judge(RUN, replace(RUN, systems={**RUN.systems, "lstm": bare}))
        assert [(r.system, r.status, r.reason) for r in judged.rows] == [("lstm", "failed", "seed 0: no luck")]
        assert {v.system for v in judged.verdicts} == {"real"}
        assert judged.exit_code == 3

    def test_worse_counts_more_than_incomplete(self):
        now = shifted(run(lstm=RUN.systems["lstm"]), "lstm", "pitch_distance", 3.0)
        assert judge(RUN, now).exit_code == 1

    def test_a_value_that_was_lost(self):
        lacking = system(pitch_distance=flat(10.0))
        lacking = replace(lacking, undefined={"unique_pitches@1": "no notes to compare"})
        judged = judge(RUN, replace(RUN, systems={**RUN.systems, "lstm": lacking}))
        assert {(v.metric.name, v.reason) for v in judged.of("lost")} >= {("unique_pitches", "no notes to compare")}
        assert judged.exit_code == 3

    def test_a_metric_of_another_version(self):
        old = RUN.systems["lstm"]
        metrics = {("pitch_distance@7" if k == "pitch_distance@1" else k): s for k, s in old.metrics.items()}
        verdict = one(RUN, before=changed(RUN, "lstm", metrics=metrics))
        assert (verdict.status, verdict.reason) == (
            "not compared",
            "it is measured as pitch_distance@1, the baseline's as pitch_distance@7",
        )

    def test_pieces_that_lost_their_values(self):
        verdict, judged = self.lacking(10, 0.0)
        assert (verdict.status, verdict.reason) == ("lost", "10 of 20 pieces have no value now")
        assert (verdict.count, verdict.before, judged.exit_code) == (10, pytest.approx(10.045), 3)

    def test_a_single_one_counts(self):
        assert self.lacking(19, 0.0)[0].reason == "1 of 20 pieces has no value now"

    def test_what_is_left_can_still_be_worse(self):
        verdict, judged = self.lacking(10, 1.0)
        assert (verdict.status, verdict.reason, judged.exit_code) == ("worse", "10 of 20 pieces have no value now", 1)

    def test_pieces_with_a_value_only_now_do_not_count(self):
        old = RUN.systems["lstm"].metrics["pitch_distance@1"]
        fewer = run(lstm=system(pitch_distance=first(old, 10)))
        verdict = one(RUN, before=fewer)
        assert (verdict.status, verdict.count, verdict.before) == ("same", 10, pytest.approx(10.045))

    def lacking(self, pieces, by):
        old = RUN.systems["lstm"].metrics["pitch_distance@1"]
        fewer = changed(RUN, "lstm", metrics={**RUN.systems["lstm"].metrics, "pitch_distance@1": first(old, pieces)})
        now = shifted(fewer, "lstm", "pitch_distance", by)
        return one(now), judge(RUN, now)

    @pytest.mark.parametrize(
        ("had", "has", "status", "code"),
        [
            (range(3), range(2, 5), "same", 0),  # as many
            (range(12), range(5), "same", 0),  # of 40 samples each 24 and 10: p = 0.002
            (range(12), range(4), "lost", 3),  # 24 and 8: p = 0.0003
            (range(3), range(3, 5), "not compared", 0),
            (range(3), (), "not compared", 0),
            (range(13), (), "lost", 3),
            (range(20), range(1, 20), "same", 0),
        ],
    )
    @pytest.mark.parametrize("metric", ["chord_events", "unique_pitches"])
    def test_a_sample_may_lack_chords_by_chance_and_pitches_never(self, metric, had, has, status, code):
        """In melodies, the same code with other seeds was incomplete."""
        judged = judge(*(self.on(metric, pieces) for pieces in (had, has)))
        (verdict,) = [v for v in judged.verdicts if v.metric.name == metric]
        assert (verdict.status, judged.exit_code) == ((status, code) if metric == "chord_events" else ("lost", 3))
        said = text(judged)
        assert ("no value now" in said or "no piece has a value in both" in said) == bool(has)

    def on(self, metric, pieces, seeds=(0, 1)):
        """A run with a metric on some pieces alone, beside one that all have."""
        whole, at = RUN.systems["lstm"].metrics["pitch_distance@1"], tuple(pieces)
        values = tuple(tuple(row[p] for p in at) for row, _ in zip(whole.values, seeds, strict=False))
        some = {metric: replace(whole, at=at, seeds=seeds, values=values)} if at else {}
        return run(lstm=system(pitch_distance=whole, **some))

    def test_chords_that_all_had_and_none_has_now_are_lost_on_few_pieces_too(self):
        few = tuple(f"piece {i}" for i in range(5))
        before, now = (replace(self.on("chord_events", pieces), pieces=few) for pieces in (range(5), ()))
        assert {v.metric.name for v in judge(before, now).of("lost")} == {"chord_events"}

    @pytest.mark.parametrize(("pieces", "status"), [(range(1), "same"), (range(19), "lost")])
    def test_a_seed_that_lacks_chords_on_all_pieces(self, pieces, status):
        """On one piece that is chance, on 19 it isn't."""
        before, now = (self.on("chord_events", pieces, seeds) for seeds in ((0, 1), (0,)))
        (verdict,) = [v for v in judge(before, now).verdicts if v.metric.name == "chord_events"]
        assert verdict.status == status

    def test_a_row_with_gaps_excuses_no_other(self):
        gaps = self.on("chord_events", range(19)).systems["lstm"]
        before, now = (self.on("chord_events", range(n)) for n in (20, 9))
        before, now = (replace(side, systems={**side.systems, "gan": gaps}) for side in (before, now))
        assert [v.system for v in judge(before, now).of("lost")] == ["lstm"]

    def test_a_seed_without_a_value(self):
        """As of a training that finds a held-out piece impossible; only pieces counted."""
        three = changed(run(lstm=system(pitch_distance=flat(9.0))), "lstm", seeds=(0, 1, 2))
        whole = three.systems["lstm"].metrics["pitch_distance@1"]
        whole = replace(whole, seeds=(0, 1, 2), values=whole.values[:1] * 3)
        before, now = (
            changed(three, "lstm", metrics={"pitch_distance@1": replace(whole, seeds=seeds, values=whole.values[: len(seeds)])})
            for seeds in ((0, 1, 2), (0, 2))
        )
        judged = judge(before, now)
        assert [v.reason for v in judged.of("lost")] == ["1 of 3 seeds has no value now"]
        assert judged.exit_code == 3
        assert not judge(before, changed(now, "lstm", seeds=(0, 2))).of("lost"), "a seed that was not run is the row's matter"

    def test_a_target_that_a_seed_did_not_reach(self):
        before = changed(
            run(lstm=system(seconds_to_target=series([10, 11, 12], "seeds"), pitch_distance=flat(9.0))), "lstm", seeds=(0, 1, 2)
        )
        before = changed(before, "lstm", yardstick=dict.fromkeys("012", 0.5))
        metrics = {**before.systems["lstm"].metrics, "seconds_to_target@1": series([9.0], "seeds")}
        judged = judge(before, changed(before, "lstm", metrics=metrics))
        assert [(v.metric.name, v.reason) for v in judged.of("lost")] == [("seconds_to_target", "2 of 3 seeds have no value now")]
        assert judged.exit_code == 3

    def test_fewer_seeds_make_the_run_incomplete(self):
        metrics = {**RUN.systems["lstm"].metrics, "training_seconds@1": series([50], "seeds")}
        judged = judge(RUN, changed(RUN, "lstm", seeds=(0,), metrics=metrics))
        assert [(r.system, r.status, r.reason) for r in judged.rows] == [
            ("lstm", "fewer seeds", "1 are done, the baseline has 2")
        ]
        assert (judged.of("lost"), judged.exit_code) == ([], 3)

    def test_more_seeds_are_fine(self):
        metrics = {**RUN.systems["lstm"].metrics, "training_seconds@1": series([50, 51, 52], "seeds")}
        more = changed(RUN, "lstm", seeds=(0, 1, 2), metrics=metrics, yardstick=dict.fromkeys("012", 0.5))
        assert judge(RUN, more).exit_code == 0

    def test_one_of_which_nothing_was_compared(self):
        metrics = {key.replace("@1", "@7"): s for key, s in RUN.systems["lstm"].metrics.items()}
        judged = judge(changed(RUN, "lstm", metrics=metrics), RUN)
        assert [(r.system, r.status) for r in judged.rows] == [("lstm", "not compared")]
        assert judged.exit_code == 3

    def test_one_that_had_failed_in_the_baseline_is_new(self):
        failed = changed(RUN, "lstm", seeds=(), failed={"0": "no luck"}, metrics={})
        judged = judge(failed, RUN)
        assert [(r.system, r.status) for r in judged.rows] == [("lstm", "new")]
        assert judged.exit_code == 0

    def test_an_untrained_one_can_not_get_worse(self):
        before = replace(RUN, systems={**RUN.systems, "untrained lstm": system("untrained", pitch_distance=flat(30.0))})
        judged = judge(before, shifted(before, "untrained lstm", "pitch_distance", 9.0))
        assert {v.system for v in judged.verdicts} == {"lstm", "real"}
        assert (judged.rows, judged.exit_code) == ((), 0)


class TestTerms:
    @pytest.mark.parametrize(
        ("now", "said"),
        [
            (replace(RUN, terms={**RUN.terms, "dataset": {"name": "maestro"}}), "dataset.name is maestro, was chorales"),
            (replace(RUN, terms={**RUN.terms, "music": {"held_out": "beef"}}), "music.held_out is beef, was feed"),
            (replace(RUN, terms={**RUN.terms, "protocol": {}}), "protocol.notes is nothing, was 128"),
            (replace(RUN, pieces=("a", "c")), "the 2 held-out pieces are not the baseline's 20"),
            (changed(RUN, "lstm", definition={"model": "lstm", "params": {"units": 128}, "budget": {"epochs": 3}}),
             "lstm: params.units is 128, was 64"),
            (changed(RUN, "lstm", device="cuda"), "lstm: device is cuda, was cpu"),
            (changed(RUN, "lstm", kind="reference"), "lstm: kind is reference, was model"),
        ],
    )  # fmt: skip
    def test_another_dataset_or_spec_is_not_comparable(self, now, said):
        judged = judge(RUN, now)
        assert judged.obstacles == (said,)
        assert (judged.exit_code, judged.verdicts) == (4, ())

    def test_other_numbers_of_files_a_piece_are_not_comparable(self):
        """Metrics of all samples together depend on how many they are: shared patterns went from 1.5 to 67 %, with p = 0.001."""

        def of(samples):
            return changed(RUN, "lstm", definition={**RUN.systems["lstm"].definition, **samples})

        assert judge(of({"samples": 1}), of({"samples": 3})).obstacles == ("lstm: samples is 3, was 1",)
        assert judge(of({}), of({"samples": 3})).obstacles == (), "an older version doesn't say"
        assert judge(of({"samples": 3}), of({"samples": 3})).obstacles == ()

    def test_what_is_of_all_samples_needs_the_same_pieces(self):
        """Another system's files of some pieces may lack."""

        def of(pieces, frechet):
            return run(lstm=system(pitch_distance=flat(10.0, pieces), descriptor_frechet=series([frechet, frechet + 1], "seeds")))

        judged = judge(of(PIECES, 26.0), of(PIECES - 6, 80.0), {"descriptor_frechet": 2.0})
        found = {v.metric.name: (v.status, v.reason) for v in judged.verdicts}
        assert found["descriptor_frechet"] == ("not compared", "its samples are of other pieces than the baseline's")
        assert found["pitch_distance"][0] == "lost"
        judged = judge(of(PIECES, 26.0), of(PIECES, 80.0), {"descriptor_frechet": 2.0})
        assert {v.metric.name: v.status for v in judged.verdicts}["descriptor_frechet"] == "worse"

    def test_what_another_chord_plan_measures_is_not_compared(self):
        """A row is measured by its own plan, else by that of its model's constrained rows, else by the run's only one."""

        def with_plans(tones, **plans):
            real = system("reference", pitch_distance=flat(9.0), chord_tones=flat(tones))
            rows = {"real": replace(real, definition={"model": "real", "params": {}})}
            for name, (model, degrees, *weight) in plans.items():
                one = system(pitch_distance=flat(10.0), chord_tones=flat(tones))
                harmony = {} if degrees is None else {"harmony": {"progression": degrees, "chord": weight or [3.0]}}
                rows[name] = replace(one, definition={**one.definition, "model": model, **harmony})
            return run(**rows)

        def without(run, name):
            """As in a run that has no plan for it, or several."""
            metrics = {key: value for key, value in run.systems[name].metrics.items() if "chord_tones" not in key}
            why = {METRICS["chord_tones"].id: "several plans"}
            return changed(run, name, metrics=metrics, undefined=why)

        def judged(before, now):
            verdicts = judge(before, now, {"chord_tones": 2.0}).verdicts
            return {v.system: v.reason or v.status for v in verdicts if v.metric.name == "chord_tones"}

        one, other, free = ("lstm", ["I", "V"]), ("lstm", ["IV"]), ("lstm", None)
        before = with_plans(28.0, bound=one, free=free)
        assert judged(before, with_plans(20.0, bound=one, free=free)) == {"real": "worse", "bound": "worse", "free": "worse"}
        plan = "another chord plan"
        assert judged(before, with_plans(20.0, again=one, free=free)) == {"real": "worse", "free": "worse"}
        assert judged(before, with_plans(20.0, moved=other, free=free)) == {"real": plan, "free": plan}
        # Another row beside it changes nothing of what is measured by a row's own plan, or by its model's.
        assert judged(before, with_plans(20.0, bound=one, moved=other, free=free))["bound"] == "worse"
        beside = without(with_plans(20.0, bound=one, free=free, added=("gan", ["IV"])), "real")
        assert judged(before, beside) == {"real": "several plans", "bound": "worse", "free": "worse"}
        assert judge(before, beside, {"chord_tones": 2.0}).of("lost"), "it had a value"
        assert judged(without(before, "real"), before)["real"] == "several plans", "new, and why it had none"
        # Weights say how far a plan is kept, not which.
        stronger = with_plans(20.0, bound=one, free=free, added=("gan", ["I", "V"], 8.0))
        assert judged(before, stronger) == {"real": "worse", "bound": "worse", "free": "worse"}
        # A constrained row without a trial has no plan to measure by; one of other hyperparameters is of another model.
        failed = changed(with_plans(20.0, moved=other, bound=one, free=free), "moved", seeds=(), failed={"0": "out of memory"})
        assert judged(before, failed)["free"] == "worse"
        larger = with_plans(20.0, moved=other, bound=one, free=free)
        larger = changed(larger, "moved", definition={**larger.systems["moved"].definition, "params": {"units": 2}})
        assert judged(before, larger)["free"] == "worse"
        assert judged(before, with_plans(20.0, bound=one, moved=other, free=free))["free"] == plan, "its model has two"

    def test_another_environment_is_a_warning(self):
        judged = judge(RUN, replace(RUN, environment={"cpu": "Z80", "numpy": {"numpy": "3.0"}}))
        assert judged.warnings == (
            "another environment: cpu is Z80, was Test CPU",
            "another environment: numpy.numpy is 3.0, was 2.0",
        )
        assert judged.exit_code == 0

    @pytest.mark.parametrize(("was", "warned"), [("abc", 1), ("def", 0), (None, 0)])
    def test_other_training_music_is_a_warning(self, was, warned):
        before, now = (replace(RUN, environment={**RUN.environment, "music": music}) for music in (was, "def"))
        assert sum("other music" in line for line in judge(before, now).warnings) == warned

    def test_other_seeds_are_a_warning(self):
        other = changed(RUN, "lstm", seeds=(0, 5), yardstick={"0": 0.5, "5": 0.5})
        assert judge(RUN, other, {"training_seconds": "off"}).warnings == ("lstm: seeds are 0, 5, were 0, 1",)

    def test_borrowed_noise_is_a_warning(self):
        """An external system with one training beside models of two, as `bench score --run` writes it."""
        one, two = self.trained(pitch_distance=1), self.trained(pitch_distance=2)
        both = run(lstm=two, magenta=one)
        said = "one training on each side, so the noise is taken from other rows, and even a large change may be unclear"
        assert judge(both, both).warnings == (f"magenta: {said}",)
        assert judge(alone := run(magenta=one, real=RUN.systems["real"]), alone).warnings == ()
        assert judge(other := run(lstm=self.trained(velocity_distance=2), magenta=one), other).warnings == ()
        drawn = changed(both, "magenta", pretrained=True)
        assert judge(drawn, drawn).warnings == ()
        beyond = changed(both, "lstm", exceeded=5.0)
        assert [line for line in judge(both, beyond).warnings if said in line] == [], "that row isn't compared"

    def test_a_history_has_noise_of_some_metrics(self):
        one, two = (self.trained(pitch_distance=n, unique_pitches=n) for n in (1, 2))
        both, past = run(lstm=two, magenta=one), (np.array([10.0, 10.2]),)
        noise = {("magenta", "pitch_distance"): past}
        assert any(line.startswith("magenta: one training") for line in judge(both, both, earlier=noise).warnings)
        noise |= {("magenta", "unique_pitches"): past}
        assert judge(both, both, earlier=noise).warnings == ()

    def trained(self, **seeds):
        """A model with so many seeds of each metric."""
        values = {name: by_seed([[10.0 + 0.01 * i + 0.1 * s for i in range(20)] for s in range(n)]) for name, n in seeds.items()}
        return replace(system(**values), seeds=tuple(range(max(seeds.values()))))

    @pytest.mark.parametrize("side", ["run", "baseline"])
    def test_the_true_continuation_on_either_side_is_a_warning(self, side):
        own = RUN.systems["lstm"].metrics
        nothing = {key: replace(own[key], value=0.0, values=tuple(tuple(0.0 for _ in row) for row in own[key].values))
                   for key in own if key.startswith(("pitch_distance@", "velocity_distance@"))}  # fmt: skip
        given = changed(RUN, "lstm", metrics={**own, **nothing})
        judged = judge(*((RUN, given) if side == "run" else (given, RUN)))
        assert f"lstm: its notes in the {side} are the true continuations: no change means anything" in judged.warnings

    def test_another_spec_is_a_warning(self):
        judged = judge(RUN, replace(RUN, spec_hash="4567"))
        assert judged.warnings == ("another spec: its hash is 4567, was 0123",)
        assert judged.exit_code == 0

    def test_a_metric_that_is_gone_is_a_warning(self):
        old = changed(RUN, "lstm", metrics={**RUN.systems["lstm"].metrics, "phlogiston@1": flat(1.0)})
        assert judge(old, RUN).warnings == ("the baseline's phlogiston is not measured any more",)

    def test_nothing_in_common_is_not_comparable(self):
        judged = judge(run(lstm=system(pitch_distance=flat(1.0))), run(gan=system(pitch_distance=flat(1.0))))
        assert (judged.obstacles, judged.exit_code) == (("no value is in both runs",), 4)

    def test_a_run_of_which_every_trial_failed_is_incomplete(self):
        judged = judge(RUN, changed(RUN, "lstm", seeds=(), metrics={}, failed={"0": "out of memory", "1": "out of memory"}))
        assert (judged.obstacles, judged.exit_code) == ((), 3)
        (failed,) = [row for row in judged.rows if row.system == "lstm"]
        assert failed.status == "failed"
        assert "out of memory" in failed.reason


class TestBudget:
    """A row whose trainings went on beyond the common budget, beside one that kept to it."""

    BOTH = replace(RUN, systems={**RUN.systems, "gan": RUN.systems["lstm"]})

    @pytest.mark.parametrize(("old", "new", "said"), [(0.0, 5.0, "the run's"), (5.0, 0.0, "the baseline's")])
    def test_one_side_beyond_it_is_named_and_not_compared(self, old, new, said):
        before, now = (changed(self.BOTH, "lstm", exceeded=share) for share in (old, new))
        judged = judge(before, shifted(now, "lstm", "pitch_distance", 9.0))
        row = RowChange("lstm", "another budget", f"{said} trainings took up to 5 times the budget")
        assert (judged.rows, {v.system for v in judged.verdicts}) == ((row,), {"gan", "real"})
        assert judged.exit_code == 3, "whatever became of it would pass"
        assert text(judged).splitlines()[0] == f"lstm: another budget ({row.reason})"
        assert re.match(r"The comparison is incomplete: \d+ unchanged, 1 row of another budget\.", summary(judged))
        assert '<error message="lstm: another budget (' in junit(judged)

    def test_a_model_that_is_worse_or_lacks_seeds_is_called_so_all_the_same(self):
        now = changed(self.BOTH, "lstm", exceeded=5.0)
        assert judge(self.BOTH, shifted(now, "gan", "pitch_distance", 9.0)).exit_code == 1
        fewer = judge(self.BOTH, changed(now, "lstm", seeds=(0,)))
        assert ([row.status for row in fewer.rows], fewer.exit_code) == (["fewer seeds", "another budget"], 3)

    @pytest.mark.parametrize("without", [(), ("real",)])
    def test_without_another_model_nothing_is_comparable(self, without):
        """Reference rows, which are the same whatever happened to the models, would let it pass."""
        before = replace(RUN, systems={name: row for name, row in RUN.systems.items() if name not in without})
        judged = judge(before, changed(before, "lstm", exceeded=5.0))
        assert judged.obstacles == ("lstm: the run's trainings took up to 5 times the budget",)
        assert (judged.exit_code, judged.verdicts) == (4, ())

    def test_both_sides_beyond_it_are_compared_with_a_warning(self):
        before, now = (changed(RUN, "lstm", exceeded=share) for share in (1.2, 5.0))
        judged = judge(before, now)
        assert judged.warnings == ("lstm: trainings took up to 5 times the budget, in the baseline 1.2 times",)
        assert (judged.rows, judged.exit_code) == ((), 0)
        assert "lstm" in {v.system for v in judged.verdicts}


@given(by=st.floats(-20, 20), metric=st.sampled_from(["pitch_distance", "pitch_sd_ratio", "unique_pitches"]))
def test_worse_one_way_is_better_the_other(by, metric):
    """Of a metric with a direction; without one, worse in both directions only by its distance."""
    now = shifted(RUN, "lstm", metric, by)
    there, back = one(now, metric=metric), one(RUN, metric=metric, before=now)
    if metric != "unique_pitches":  # whose best value stays where it is
        assert there.worsening == pytest.approx(-back.worsening)
    assert (there.status == "worse") == (there.worsening > there.limit)

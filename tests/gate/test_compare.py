"""Which way is worse: with a direction, around an ideal, and beside what people do themselves."""

from dataclasses import replace

import numpy as np
import pytest

from bench.errors import DataError
from bench.gate.compare import Goal, pairs_of
from bench.gate.text import sentence
from bench.gate.verdicts import judge
from bench.metrics import METRICS
from bench.metrics.thresholds import choose_all

from .handmade import PIECES, changed, flat, run, series, system

#: The row `real` is a stretch of a training piece: all 64 notes are copied, every pattern is known. What really follows the
#: prompts shares about 12 notes and 18 % with the training pieces.
FULL = run(
    lstm=system(
        copied_run=flat(6.0),
        known_patterns=flat(0.3),
        copied_from_prompt=flat(3.0),
        copied_run_real=flat(12.0),
        known_patterns_real=flat(18.0),
        copied_from_prompt_real=flat(9.0),
        pitch_sd_ratio=series([1.0] * PIECES),
        pitch_spread_ratio=series([1.0, 1.1, 0.9], "seeds"),
    ),
    real=system(
        "reference",
        copied_run=series([64.0] * PIECES),
        known_patterns=series([100.0] * PIECES),
        copied_from_prompt=flat(3.0),
        copied_run_real=flat(12.0),
        known_patterns_real=flat(18.0),
        copied_from_prompt_real=flat(9.0),
        pitch_sd_ratio=flat(1.0),
    ),
)


def moved(**values):
    """The full baseline's LSTM with other values."""
    metrics = {METRICS[name].id: s for name, s in values.items()}
    return changed(FULL, "lstm", metrics={**FULL.systems["lstm"].metrics, **metrics})


def verdict(before, now, metric):
    (found,) = [v for v in judge(before, now).verdicts if (v.system, v.metric.name) == ("lstm", metric)]
    return found


class TestCopying:
    @pytest.mark.parametrize(
        ("metric", "copied", "worsening"),
        [("copied_run", 60.0, 48.0), ("known_patterns", 95.0, 77.0), ("copied_from_prompt", 30.0, 21.0)],
    )
    def test_is_worse_and_its_cure_better(self, metric, copied, worsening):
        copying = moved(**{metric: flat(copied)})
        found = verdict(FULL, copying, metric)
        assert (found.status, found.worsening) == ("worse", pytest.approx(worsening))
        assert judge(FULL, copying).exit_code == 1
        assert verdict(copying, FULL, metric).status == "better"
        assert judge(copying, FULL).exit_code == 0

    def test_as_much_as_people_borrow_is_not_worse(self):
        # 12 notes of 12; 13 are one above on every piece, 17 five where 4 are allowed.
        assert verdict(FULL, moved(copied_run=flat(12.0)), "copied_run").worsening == 0
        assert verdict(FULL, moved(copied_run=flat(13.0)), "copied_run").status == "same"
        assert verdict(FULL, moved(copied_run=flat(17.0)), "copied_run").status == "worse"

    def test_each_piece_counts_beside_its_own(self):
        # Half the pieces copy all, half nothing: the mean, 32, is not what counts.
        halves = series([64.0 if i % 2 else 0.0 for i in range(PIECES)])
        found = verdict(FULL, moved(copied_run=halves), "copied_run")
        above = np.mean([max(0, (64.0 if i % 2 else 0.0) - (12 + 0.01 * i)) for i in range(PIECES)])
        assert found.worsening == pytest.approx(above)
        assert found.status == "worse"

    def test_with_nothing_to_compare_with_less_is_better(self):
        before, now = (run(lstm=system(copied_run=flat(value))) for value in (6.0, 20.0))
        assert verdict(before, now, "copied_run").status == "worse"
        assert verdict(now, before, "copied_run").status == "better"

    def test_a_sentence_says_it(self):
        assert sentence(verdict(FULL, moved(copied_run=flat(60.0)), "copied_run")) == (
            "lstm: copied_run 6.1 -> 60.1 (+54.0, 48.0 more above real music's own, threshold 4.0; "
            "p < 0.001 over 2 seeds and 20 pieces): worse"
        )

    def test_a_sentence_says_what_is_better_too(self):
        said = sentence(verdict(moved(copied_run=flat(60.0)), FULL, "copied_run"))
        assert "60.1 -> 6.1 (-54.0, 48.0 less above real music's own," in said


class TestAroundAnIdeal:
    def test_far_too_low_and_far_too_high_is_not_right_on_average(self):
        halves = series([2.0 if i % 2 else 0.0 for i in range(PIECES)])
        found = verdict(FULL, moved(pitch_sd_ratio=halves), "pitch_sd_ratio")
        assert (found.status, found.before, found.now, found.worsening) == ("worse", 1.0, 1.0, 1.0)
        assert "1.00 -> 1.00 (+0.00, 1.00 further from 1.00, threshold 0.25;" in sentence(found)

    def test_seeds_too(self):
        found = verdict(FULL, moved(pitch_spread_ratio=series([0.2, 1.8, 0.2], "seeds")), "pitch_spread_ratio")
        # 0.2 / 3 away before, 0.8 now.
        assert (found.status, found.worsening) == ("worse", pytest.approx(0.8 - 0.2 / 3))


@pytest.mark.parametrize(
    ("goal", "away"),
    [
        (Goal("lower"), [1.0, -2.0]),
        (Goal("higher"), [-1.0, 2.0]),
        (Goal("near", 3.0), [2.0, 5.0]),
        (Goal("near", by_piece={4: 0.25, 7: -4.0}), [0.75, 2.0]),
        (Goal("not above", by_piece={4: 0.25}), [0.75, 0.0]),
    ],
)
def test_by_hand(goal, away):
    assert goal.distance((4, 7), np.array([1.0, -2.0])).tolist() == away


@pytest.mark.parametrize(
    ("share", "status", "change"),
    [
        (60.0, "worse", "20.0 further from real music's own"),
        (90.0, "same", None),
        (100.0, "worse", "10.0 further from real music's own"),
    ],
)
def test_a_share_is_best_near_that_of_the_real_continuation(share, status, change):
    real = series([85.0] * PIECES)
    before, now = (run(lstm=system(prompt_scale=series([v] * PIECES), prompt_scale_real=real)) for v in (80.0, share))
    found = verdict(before, now, "prompt_scale")
    assert found.status == status
    assert change is None or change in sentence(found)


def test_what_is_no_number_is_an_error_and_never_better():
    for value in (float("inf"), float("-inf"), float("nan")):
        with pytest.raises(DataError, match=r"lstm: pitch_sd_ratio changed by (nan|-?inf), which is no measured value"):
            judge(FULL, moved(pitch_sd_ratio=series([value] * PIECES)))


class TestWeights:
    def weights(self, before, now):
        pairs = pairs_of(
            run(lstm=system(bits_per_note=before)), run(lstm=system(bits_per_note=now)), "lstm", choose_all(METRICS.values(), {})
        )
        (pair,) = [pair for pair in pairs if pair.verdict.metric.name == "bits_per_note"]
        return pair.pieces.weights

    def test_they_are_those_of_the_shared_pieces(self):
        long = replace(flat(8.0, 6), weights=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
        short = replace(flat(8.0, 6), at=(0, 2, 3, 4, 5, 9), weights=(1.0, 3.0, 4.0, 5.0, 6.0, 7.0))
        assert self.weights(long, short).tolist() == [1, 3, 4, 5, 6]

    @pytest.mark.parametrize("name", ["nats_per_event", "bits_per_note"])
    def test_means_over_other_counts_are_not_compared(self, name):
        """Of a finer vocabulary each event costs less, whatever was learned."""
        coarse = replace(flat(3.3, 5), over="held-out pieces", weights=(100.0,) * 5)
        fine = replace(flat(1.5, 5), over="held-out pieces", weights=(150.0, 100.0, 100.0, 100.0, 100.0))
        sides = (run(lstm=system(**{name: one})) for one in (coarse, fine))
        (pair,) = [
            pair for pair in pairs_of(*sides, "lstm", choose_all(METRICS.values(), {})) if pair.verdict.metric.name == name
        ]
        assert (pair.verdict.status, pair.pieces) == ("not compared", None)
        assert pair.verdict.reason == "it is a mean over 550 predictions of these pieces, the baseline's over 500"

    @pytest.mark.parametrize("name", ["nats_per_frame", "bits_per_note"])
    def test_a_bound_is_not_compared_with_what_it_bounds(self, name):
        before = run(lstm=replace(system(**{name: flat(3.3, 5)}), likelihood="exact"))
        now = run(lstm=replace(system(**{name: flat(3.9, 5)}), likelihood="bound"))
        pairs = pairs_of(before, now, "lstm", choose_all(METRICS.values(), {}))
        (pair,) = [pair for pair in pairs if pair.verdict.metric.name == name]
        assert (pair.verdict.status, pair.verdict.reason) == ("not compared", "the run's is an upper bound, the baseline's exact")

    def test_an_older_baseline_has_none_and_takes_the_run_s(self):
        assert self.weights(flat(8.0, 5), replace(flat(8.0, 5), weights=(1.0, 2.0, 3.0, 4.0, 5.0))).tolist() == [1, 2, 3, 4, 5]
        assert self.weights(flat(8.0, 5), flat(8.0, 5)) is None

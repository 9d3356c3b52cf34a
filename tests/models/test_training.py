"""What the training loops share: windows, schedule, early stopping."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api import Budget, DataError, NoteCodec, Notes, Piece, Run, TrialError
from bench.plugins.discovery import find_plugins, load

CODEC = NoteCodec()


@pytest.fixture(scope="module")
def training():
    """The sibling module of the shipped models, imported as they import it."""
    import sys

    model = load(find_plugins("model")["median"])
    package = model.__module__.rpartition(".")[0]
    __import__(f"{package}._training")
    return sys.modules[f"{package}._training"]


def piece(length, offset=0):
    at = np.arange(length)
    return Piece(Notes.from_columns(at * 0.25 + 1.0, np.full(length, 0.2), 40 + (at + offset) % 40, 1 + at % 100), f"p{offset}")


PIECES = [piece(50), piece(7, 3), piece(33, 11)]


def test_targets_are_the_pieces_own_notes_and_inputs_those_before(training):
    windows = training.Windows(PIECES, CODEC, window=10, seed=1)
    whole = [CODEC.encode(p.notes) for p in PIECES]
    for inputs, targets, mask in windows.epoch(1, 4):
        assert inputs.shape == targets.shape == (4, 10, 4)
        for x, y, m in zip(inputs, targets, mask, strict=True):
            n = m.sum()
            places = [(c, i) for c in whole for i in range(len(c) - n + 1) if np.array_equal(c[i : i + n], y[:n])]
            assert places, "a window that is no excerpt of any piece"
            codes, i = places[0]
            assert np.array_equal(x[1:n], y[: n - 1])
            assert np.array_equal(x[0], codes[i - 1]) if i else x[0].tolist() == [128, 128, 64, 64]


def test_an_epoch_covers_the_notes_about_once(training):
    windows = training.Windows(PIECES, CODEC, window=10)
    masks = [m for _, _, m in windows.epoch(1, 5)]
    assert windows.count() == 5 + 1 + 4
    assert sum(m.sum() for m in masks) == 5 * 10 + 7 + 4 * 10


def test_the_ends_of_a_piece_are_trained_in_every_second_epoch(training):
    length, window, epochs = 205, 10, 400
    whole = Piece(
        Notes.from_columns(np.arange(length), np.ones(length), np.arange(length) % 128, 1 + np.arange(length) // 128), "x"
    )
    windows = training.Windows([whole], CODEC, window=window)
    covered = np.zeros(length)
    for epoch in range(epochs):
        for _, targets, mask in windows.epoch(epoch, windows.count()):
            note = targets[..., 0] + 128 * (targets[..., 1].astype(int) - 1)  # the velocity counts the pitch's rounds
            covered += np.bincount(note[mask], minlength=length)
    covered /= epochs
    assert 0.45 < covered[0] < 0.65
    assert 0.45 < covered[-1] < 0.65
    assert covered[1:-1].max() < 1.6
    assert np.all(np.abs(covered[window:-window] - 1) < 0.15)


def test_splits_without_notes_are_refused(training):
    empty = Piece(Notes.from_columns([], [], [], []), "empty")
    training.check_splits("lstm", PIECES, PIECES)
    with pytest.raises(DataError, match="lstm: the training split has no notes"):
        training.check_splits("lstm", [], PIECES)
    with pytest.raises(DataError, match="lstm: the validation split has no notes"):
        training.check_splits("lstm", PIECES, [empty])


def test_a_diverged_training_is_refused(training):
    training.check_finite("lstm", 3, loss=1.0, validation_bits=2.0)
    with pytest.raises(TrialError, match="lstm: the training diverged in epoch 3: validation bits is nan"):
        training.check_finite("lstm", 3, loss=1.0, validation_bits=float("nan"))


def test_the_same_seed_and_epoch_repeat_and_others_differ(training):
    def first(seed, epoch):
        return next(training.Windows(PIECES, CODEC, window=10, transpose=3, stretch=0.1, seed=seed).epoch(epoch, 8))[1]

    assert np.array_equal(first(1, 2), first(1, 2))
    assert not np.array_equal(first(1, 2), first(1, 3))
    assert not np.array_equal(first(1, 2), first(2, 2))


@settings(max_examples=25)
@given(seed=st.integers(0, 200))
def test_transposition_keeps_intervals_and_range(training, seed):
    high = Piece(Notes.from_columns([0.0, 1.0, 2.0], [1, 1, 1], [0, 120, 127], [9, 9, 9]), "edge")
    windows = training.Windows([high], CODEC, window=5, transpose=12, seed=seed)
    _, targets, mask = next(windows.epoch(1, 2))
    for y, m in zip(targets, mask, strict=True):
        assert y[m][:, 0].tolist() == [0, 120, 127]


def test_the_rate_rises_over_the_warm_up_whatever_the_budget(training):
    assert [training.warmed(update, 4) for update in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert [training.warmed(update, 0) for update in (0, 1, 10**6)] == [1.0, 1.0, 1.0]


def test_the_papers_rate_falls_along_half_a_cosine(training):
    assert [training.cosine(share) for share in (0, 0.25, 0.5, 0.75, 1, 1.3)] == pytest.approx(
        [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0, 0]
    )


def test_the_average_is_a_weighted_mean_of_all_weights(training):
    """The weight of each update in the average after n is (u / n)^k - ((u - 1) / n)^k with k = EXPONENT + 1, u from 1."""
    values, mean = np.random.default_rng(0).normal(size=60), 0.0
    for update, value in enumerate(values):
        mean += training.averaging(update) * (value - mean)
        parts = np.diff((np.arange(update + 2) / (update + 1)) ** (training.EXPONENT + 1))
        assert parts.sum() == pytest.approx(1)
        assert mean == pytest.approx(parts @ values[: update + 1])
    assert training.averaging(0) == 1  # nothing of the initial weights


@pytest.mark.parametrize("updates", [2000, 8000])
def test_the_averages_span_is_a_tenth_of_the_training(training, updates):
    shares = np.array([training.averaging(update) for update in range(updates)])
    kept = np.append(np.cumprod((1 - shares)[:0:-1])[::-1], 1.0)  # what the later updates leave of each
    weights, at = shares * kept, np.arange(1, updates + 1)
    centre = weights @ at
    assert np.sqrt(weights @ (at - centre) ** 2) / updates == pytest.approx(0.1, abs=0.001)


def test_early_stopping(training):
    stop = training.EarlyStopping(patience=2)
    improved, exhausted = [], []
    # Numbers may be left out: evaluations count, not the numbers between them.
    for number, value in ((1, 3.0), (4, 2.0), (9, 2.0), (10, float("nan")), (11, 1.0)):
        improved.append(stop.improved(number, value))
        exhausted.append(stop.exhausted)
    assert improved == [True, True, False, False, True]
    assert exhausted == [False, False, False, True, False]
    assert (stop.best, stop.best_epoch) == (1.0, 11)
    endless = training.EarlyStopping(patience=None, best=1.0, since=10**6)
    assert not endless.exhausted


class KilledError(Exception):
    """Stands for a kill."""


@pytest.fixture
def counter(training):
    """A training whose one weight is the sum of the batches so far, with its checkpoint in memory."""

    class Counter(training.Progress):
        def __init__(
            self, folder, disk, score=lambda progress: -progress.weight, patience=None, anytime=True, device="cpu", **budget
        ):
            self.weight, self.disk, self.trained, self.taken, self.scored = 0, disk, [], [], score
            self.saved, self.saving = [], lambda: None
            run = Run(0, Budget(patience=patience, **budget), folder, device, take=self.take)
            super().__init__("counter", run, "validation_loss", steps=5, anytime=anytime)

        def take(self, share):
            self.taken.append((share, self.weight))

        def weights(self):
            return {"weight": self.weight}

        def use(self, weights):
            self.weight = weights["weight"]

        def save(self, **scalars):
            self.saving()
            self.saved.append(self.evaluation)
            self.disk["checkpoint"] = {"weight": self.weight, "best": self.best}, scalars

        def load(self):
            return self.disk.get("checkpoint")

        def restore(self, arrays):
            self.weight, self.best = arrays["weight"], arrays["best"]

        def train(self, until=None, each=lambda update: None, evaluate=lambda: None):
            """Train to the end; the process dies before the checkpoint of evaluation `until`."""
            for _ in self.evaluations():
                before = self.notes_done
                for update, (epoch, batch) in self.batches(lambda e: ((e, b) for b in range(5)), lambda _: 10):
                    each(update)
                    self.trained.append((update, epoch, batch))
                    self.weight += 100 * epoch + batch
                evaluate()
                if self.reached == until:
                    raise KilledError
                self.finish(loss=1.0, score=self.scored(self), notes=self.notes_done - before, rate=0.0)
            self.restore_best()
            return self

    return Counter


ORDER = [(update, 1 + update // 5, update % 5) for update in range(100)]


@pytest.mark.parametrize("until", [1, 2, 3, 4])
def test_batches_go_on_within_the_epoch_after_a_kill(counter, tmp_path, until):
    budget = {"updates": 12, "evaluations": 4, "stages": (0.25, 0.6)}
    whole = counter(tmp_path / "whole", {}, **budget).train()
    assert whole.trained == ORDER[:12]
    numbers = [(e["epoch"], e["updates"], e["notes"], e["passes"], e["share"]) for e in whole.run.history]
    assert numbers == [
        (1, 3, 30, 0.6, 3 / 12),
        (2, 6, 30, 1.2, 6 / 12),
        (3, 8, 20, 1.6, 8 / 12),
        (4, 9, 10, 1.8, 9 / 12),
        (5, 12, 30, 2.4, 1.0),
    ]
    assert whole.taken == [(0.25, 100 + 101 + 102), (0.6, 510 + 200 + 201 + 202)]

    disk = {}
    with pytest.raises(KilledError):
        counter(tmp_path / "killed", disk, **budget).train(until)
    rest = counter(tmp_path / "killed", disk, **budget).train()
    done = [0, 3, 6, 8][until - 1]
    assert rest.trained == ORDER[done:12]
    assert rest.weight == whole.weight
    untimed = [[{k: v for k, v in e.items() if "seconds" not in k} for e in done.run.history] for done in (whole, rest)]
    assert untimed[0] == untimed[1]


def test_a_budget_in_notes_ends_with_the_batch_that_reaches_it(counter, tmp_path):
    done = counter(tmp_path, {}, notes=75, evaluations=2).train()
    assert [(e["updates"], e["share"]) for e in done.run.history] == [(4, 40 / 75), (8, 80 / 75)]


def test_a_small_budget_is_not_exceeded_for_its_evaluations(counter, tmp_path):
    """Three updates and 18 shares: numbers are left out, and each update takes the stages that it passes."""
    done = counter(tmp_path, {}, updates=3, stages=(0.0625, 0.25, 0.4)).train()
    shares = done.run.budget.shares
    assert [(e["epoch"], e["updates"]) for e in done.run.history] == [
        (1 + shares.index(5 / 16), 1),
        (1 + shares.index(10 / 16), 2),
        (len(shares), 3),
    ]
    assert done.taken == [(0.0625, 100), (0.25, 100), (0.4, 201)]


def test_a_stage_has_the_best_weights_so_far_and_training_goes_on_from_its_own(counter, tmp_path):
    losses = iter([5.0, 7.0, 6.0, 8.0])
    disk = {}
    done = counter(tmp_path, disk, lambda _: next(losses), updates=4, evaluations=4, stages=(0.5,)).train()
    assert done.taken == [(0.5, 100)]
    assert disk["checkpoint"][0] == {"weight": 100 + 101 + 102 + 103, "best": {"weight": 100}}
    assert done.weight == 100


def test_the_best_weights_and_the_patience_survive_a_kill(counter, tmp_path):
    def score(progress):
        return 1.0 if progress.reached == 1 else 2.0

    disk, budget = {}, {"updates": 50, "evaluations": 10, "patience": 3}
    with pytest.raises(KilledError):
        counter(tmp_path, disk, score, **budget).train(until=3)
    rest = counter(tmp_path, disk, score, **budget).train()
    assert [e["epoch"] for e in rest.run.history] == [1, 2, 3, 4]
    assert rest.weight == sum(range(100, 105))
    again = counter(tmp_path, disk, score, **budget).train()
    assert (again.trained, again.weight) == ([], rest.weight)


def test_weights_that_are_no_result_before_the_end_take_no_stage(counter, tmp_path):
    assert counter(tmp_path, {}, anytime=False, updates=4, evaluations=4, stages=(0.5,)).train().taken == []


@pytest.fixture
def clock(monkeypatch):
    """Both clocks, wall and processor, told the time in a list of one number."""
    at = [0.0]
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(time, clock, lambda: at[0])
    return at


def test_a_budget_in_seconds_counts_the_validation_and_leaves_out_what_it_passes(counter, clock, tmp_path):
    def wait(seconds):
        clock[0] += seconds

    done = counter(tmp_path, {}, seconds=10.0, evaluations=10, stages=(0.25,))
    done.train(each=lambda update: wait(0.5), evaluate=lambda: wait(1.7))
    # Due at 1.0, 3.0 (2.7 is past the stage at 2.5, which is taken then), 5.0, 8.0 and 10.0 s; each validation takes 1.7 s.
    assert [(e["epoch"], e["updates"], round(e["seconds"], 3)) for e in done.run.history] == [
        (1, 2, 2.7),
        (4, 3, 4.9),
        (6, 4, 7.1),
        (9, 6, 9.8),
        (11, 7, 12.0),
    ]
    assert done.taken == [(0.25, 303)]
    done = counter(tmp_path / "over", {}, seconds=10.0, evaluations=10)
    done.train(each=lambda update: wait(0.5), evaluate=lambda: wait(9.0))
    assert [(e["epoch"], e["updates"], e["share"]) for e in done.run.history] == [(1, 2, 1.0)]


def test_another_measurement_of_the_yardstick_resumes_the_same_training(counter, clock, tmp_path):
    def wait(update):
        clock[0] += 1

    disk = {}
    with pytest.raises(KilledError):
        counter(tmp_path, disk, seconds=10.0, evaluations=2).train(until=2, each=wait)
    rest = counter(tmp_path, disk, seconds=12.0, evaluations=2).train(each=wait)
    assert (rest.trained[0][0], rest.run.history[-1]["seconds"]) == (5, 12.0)
    # Other updates are another training.
    other = counter(tmp_path, disk, updates=12, evaluations=2).train()
    assert other.trained == ORDER[:12]


def test_the_clock_stops_after_the_evaluation_that_crosses_the_limit(counter, clock, tmp_path):
    def wait(update):
        clock[0] += 1

    done = counter(tmp_path, {}, updates=20, evaluations=4, max_seconds=7.0).train(each=wait)
    assert [e["updates"] for e in done.run.history] == [5, 10]


@pytest.mark.parametrize(("device", "saved"), [("cpu", [1, 2, 3, 4, 5, 6, 7, 8]), ("cuda", [3, 6, 7, 8])])
def test_checkpoints_on_a_gpu_are_half_a_minute_apart_except_at_a_stage_and_at_the_end(counter, clock, tmp_path, device, saved):
    """Evaluations are 10 s apart; the seventh is a stage."""

    def wait(update):
        clock[0] += 5.0

    done = counter(tmp_path, {}, device=device, updates=16, evaluations=8, stages=(0.875,)).train(each=wait)
    assert [e["epoch"] for e in done.run.history] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert done.saved == saved


@pytest.mark.parametrize("until", [1, 2, 3, 4, 5, 6, 7])
def test_what_has_no_checkpoint_is_trained_again_and_logged_once(counter, clock, tmp_path, until):
    def wait(update):
        clock[0] += 5.0

    budget = {"device": "cuda", "updates": 14, "evaluations": 7, "patience": 9}
    whole = counter(tmp_path / "whole", {}, **budget).train(each=wait)
    assert whole.saved == [3, 6, 7]
    disk = {}
    with pytest.raises(KilledError):
        counter(tmp_path / "killed", disk, **budget).train(until, each=wait)
    rest = counter(tmp_path / "killed", disk, **budget).train(each=wait)
    done = {1: 0, 2: 0, 3: 0, 4: 3, 5: 3, 6: 3, 7: 6}[until]
    assert rest.trained == ORDER[2 * done : 14]
    assert rest.run.history == whole.run.history
    assert rest.weight == whole.weight


@pytest.mark.parametrize("ends", [{"patience": 2}, {"max_seconds": 20.0}, {"seconds": 15.0, "updates": None}])
def test_a_training_on_a_gpu_that_ends_early_has_a_checkpoint_at_its_end(counter, clock, tmp_path, ends):
    def wait(update):
        clock[0] += 2.0

    disk, budget = {}, {"device": "cuda", "updates": 100, "evaluations": 50, **ends}
    done = counter(tmp_path, disk, lambda progress: 1.0, **budget).train(each=wait)
    last = done.run.history[-1]["epoch"]
    assert 1 < last < 50 or "seconds" in ends
    assert done.saved == [last]
    again = counter(tmp_path, disk, lambda progress: 1.0, **budget).train(each=wait)
    assert (again.trained, again.run.history) == ([], done.run.history)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_writing_a_checkpoint_is_no_training_time(counter, clock, tmp_path, device):
    def wait(update):
        clock[0] += 31.0

    def slow():
        clock[0] += 1000.0

    training = counter(tmp_path, {}, device=device, updates=3, evaluations=3)
    training.saving = slow
    assert [e["seconds"] for e in training.train(each=wait).run.history] == [31.0, 62.0, 93.0]
    assert training.saved == [1, 2, 3]

"""MidiNet: the grid and the rolls by hand, its neurons, losses, generation on the prompt's grid, and that it learns."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench.api import Budget, DataError, Notes, Piece, PluginError, Run, TrialError  # noqa: E402
from bench.plugins.discovery import find_plugins, load  # noqa: E402

Model = load(find_plugins("model")["midinet"])
midinet = sys.modules[Model.__module__]
networks = sys.modules[f"{Model.__module__.rpartition('.')[0]}._midinet"]
rolls = sys.modules[f"{Model.__module__.rpartition('.')[0]}._rolls"]
TINY = {"latent": 8, "width": 24, "condition": 8, "critic_width": 8, "batch": 8}
NOTHING = Notes.from_columns([], [], [], [])


def music(seed: int, step: float = 0.2, bars: int = 8) -> Piece:
    """A chord of two notes on every fourth step, from five pitches, each three steps long."""
    rng = np.random.default_rng(seed)
    onset = np.repeat(np.arange(4 * bars) * 4 * step, 2)
    low = rng.choice([60, 62, 64, 65, 67], 4 * bars)
    pitch = np.stack([low, low + 7], 1).ravel()
    return Piece(Notes.from_columns(onset, np.full(len(onset), 3 * step), pitch, np.full(len(onset), 80)), id=str(seed))


TRAIN, VALID = [music(i) for i in range(6)], [music(100), music(101)]


def trained(folder: Path, updates: int, **params: object) -> object:
    model = Model(**TINY | params)
    budget = Budget(updates=updates, evaluations=2) if updates else Budget(0)
    model.fit(TRAIN, VALID, Run(0, budget, folder, threads=1))
    return model


# The grid


@pytest.mark.parametrize("step", [0.16, 0.2, 0.28])
def test_the_step_of_a_regular_piece(step: float) -> None:
    grid = rolls.to_grid(music(0, step).notes)
    assert grid.seconds == pytest.approx(step, rel=0.01)
    assert grid.step.tolist() == np.repeat(np.arange(32) * 4, 2).tolist()
    assert set(grid.length.tolist()) == {3}
    assert grid.articulation == pytest.approx(1, abs=0.02)


def test_a_ritard_doesnt_add_up() -> None:
    # Four steps between chords, all along; the last ten in a ritard would fill 47 steps of the first length.
    apart = 4 * 0.2 * np.concatenate([np.ones(20), np.linspace(1, 1.4, 10)])
    onset = np.concatenate([[0.0], np.cumsum(apart)])
    notes = Notes.from_columns(onset, np.full(31, 0.5), np.full(31, 60), np.full(31, 64))
    grid = rolls.to_grid(notes)
    assert grid.step.tolist() == list(range(0, 124, 4))
    assert grid.seconds > 0.25


def test_notes_within_50_ms_are_a_chord() -> None:
    notes = Notes.from_columns([0.0, 0.03, 0.8, 0.83], [0.5] * 4, [60, 64, 60, 64], [64] * 4)
    assert rolls.to_grid(notes).step.tolist() == [0, 0, 4, 4]


def test_a_piece_without_a_pulse_takes_the_step_of_others() -> None:
    one = Notes.from_columns([1.0, 1.0], [0.5, 0.5], [60, 64], [64, 64])
    assert rolls.to_grid(one, 0.23).seconds == rolls.to_grid(NOTHING, 0.23).seconds == 0.23
    assert not rolls.last_bar(NOTHING, rolls.to_grid(NOTHING)).any()


def test_a_long_silence_is_shortened() -> None:
    notes = Notes.from_columns([0.0, 0.2, 0.4, 9000.0], [0.2, 0.2, 0.2, 9000.0], [60] * 4, [64] * 4)
    grid = rolls.to_grid(notes)
    assert grid.step.tolist() == [0, 1, 2, 2 + rolls.LONGEST_STEPS]
    assert grid.length.max() == rolls.LONGEST_STEPS


# Rolls


def test_a_roll_by_hand_and_back() -> None:
    # A note of 3 steps; its pitch again, cut short by a third one at once; another pitch of 1 step in between.
    notes = Notes.from_columns([0.0, 0.2, 0.6, 0.8], [0.6, 0.2, 0.8, 0.4], [60, 64, 60, 60], [10, 20, 30, 40])
    grid = rolls.Grid(np.array([0, 1, 3, 4]), np.array([3, 1, 4, 2]), 0.2, 1.0)
    roll = rolls.to_roll(notes, grid)
    assert roll.shape == (7, 128)
    assert roll[:, 60].tolist() == [10, 128, 128, 30, 40, 128, 128]
    assert roll[:, 64].tolist() == [0, 20, 0, 0, 0, 0, 0]
    back = rolls.from_roll(roll, 4, start=5.0, seconds=0.2, articulation=0.5)
    assert back.pitch.tolist() == [60, 64, 60, 60]
    assert back.velocity.tolist() == [10, 20, 30, 40]
    np.testing.assert_allclose(back.onset, [5.0, 5.2, 5.6, 5.8])
    np.testing.assert_allclose(back.duration, [0.3, 0.1, 0.1, 0.3])


def test_a_chords_highest_note_leads() -> None:
    # Chords of three; their highest notes begin 20, 30 and 40 ms before the others.
    onset = np.concatenate([t + np.array([0.0, lead, lead]) for t, lead in ((1.0, 0.02), (1.8, 0.03), (2.6, 0.04))])
    notes = Notes.from_columns(onset, np.full(9, 0.5), [67, 60, 64] * 3, np.full(9, 64))
    assert rolls.to_grid(notes).lead == pytest.approx(0.03)
    assert rolls.to_grid(notes[:1]).lead == 0.0
    roll = np.zeros((3, 128), np.uint8)
    roll[0, 60], roll[2, [60, 64, 67]] = 64, 64
    back = rolls.from_roll(roll, 4, start=1.0, seconds=0.2, articulation=1.0, lead=0.03)
    assert back.pitch.tolist() == [60, 67, 60, 64]
    np.testing.assert_allclose(back.onset, [1.0, 1.37, 1.4, 1.4])


def test_the_last_bar_ends_with_the_last_chord() -> None:
    piece = music(3).notes
    bar = rolls.last_bar(piece, rolls.to_grid(piece))
    assert bar.shape == (16, 128)
    assert sorted(np.nonzero((bar[-1] > 0) & (bar[-1] < 128))[0]) == sorted(piece.pitch[-2:].tolist())
    assert (bar[:-1] > 0).any()


def test_batches_are_cut_from_the_pieces() -> None:
    pieces = [p.notes for p in TRAIN]
    bars = rolls.Bars(pieces, seed=1)
    whole = [np.concatenate([np.zeros((16, 128), np.uint8), rolls.to_roll(n, rolls.to_grid(n))]) for n in pieces]
    windows = {w[i : i + 32].tobytes() for w in whole for i in range(len(w) - 31)}
    first = list(bars.epoch(1, 4))
    assert len(first) == bars.updates(4)
    assert all(roll.tobytes() in windows for batch in first for roll in batch)
    assert all(np.array_equal(*both) for both in zip(first, bars.epoch(1, 4), strict=True))
    assert not np.array_equal(first[0], next(bars.epoch(2, 4)))
    assert bars.count(first[0]) == sum(int(((r[16:] > 0) & (r[16:] < 128)).sum()) for r in first[0])


def test_training_bars_begin_after_a_chord_or_a_bar_later() -> None:
    piece = music(1).notes
    bars, first = rolls.Bars([piece], seed=0), rolls.STEPS
    grid = rolls.to_grid(piece)
    chords = set(grid.step.tolist())
    starts = [start - first for start in bars._starts.tolist()]
    assert starts[0] == 0
    assert all(start - 1 in chords or start - 1 - 16 in chords for start in starts[1:])
    assert max(starts) <= (grid.step + grid.length).max() - 16


def test_channels_and_back() -> None:
    piece = music(5).notes
    roll = torch.from_numpy(rolls.to_roll(piece, rolls.to_grid(piece)))[None]
    assert torch.equal(networks.to_bytes(networks.channels(roll)), roll)


# The networks


def test_neurons_draw_by_probability_and_pass_the_relaxed_gradient() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.full((20_000,), 1.0986, requires_grad=True)  # probability 0.75
    drawn = networks.neurons(logits, 1.0, rng)
    assert set(drawn.tolist()) == {0.0, 1.0}
    assert drawn.mean().item() == pytest.approx(0.75, abs=0.015)
    thresholds = networks.neurons(torch.tensor([-0.1, 0.1], requires_grad=True), 0.0, rng)
    assert thresholds.tolist() == [0.0, 1.0]
    still = torch.tensor([0.0], requires_grad=True)
    networks.neurons(still, 0.0, rng).sum().backward()
    assert still.grad.item() == pytest.approx(0.25)  # of the sigmoid at 0


def test_no_cell_sounds_on_after_silence_and_every_bar_has_a_note() -> None:
    torch.manual_seed(0)
    generator = networks.Generator(8, 16, 4)
    with torch.no_grad():
        generator.bias[0] -= 50.0  # so unlikely that nothing would begin
        before = networks.channels(torch.zeros(5, 16, 128, dtype=torch.uint8))
        noise, rng = torch.randn(5, 8), torch.Generator().manual_seed(1)
        assert generator(noise, before, 1.0, rng)[:, 0].sum() == 0
        bar = generator(noise, before, 1.0, rng, most=True)
    assert bar[:, 0].sum((1, 2)).tolist() == [1.0] * 5
    sounding = bar[:, 0] + bar[:, 1]
    assert not (bar[:, 1, 1:] * (1 - sounding[:, :-1])).any()
    assert not bar[:, 1, 0].any()


def test_the_bar_before_conditions_the_next() -> None:
    torch.manual_seed(0)
    generator = networks.Generator(8, 16, 4)
    noise = torch.randn(1, 8)
    piece = music(1).notes
    heard = networks.channels(torch.from_numpy(rolls.last_bar(piece, rolls.to_grid(piece)))[None])
    for one, other in zip(generator.logits(noise, heard), generator.logits(noise, torch.zeros_like(heard)), strict=True):
        assert not torch.allclose(one, other)


def pairs(n: int) -> torch.Tensor:
    """Pairs of bars of the training music, (n, 3, 32, 128)."""
    return networks.channels(torch.from_numpy(next(rolls.Bars([p.notes for p in TRAIN], 0).epoch(0, n))))


def test_cross_entropy_by_hand() -> None:
    torch.manual_seed(0)
    generator, real = networks.Generator(8, 16, 4), pairs(3)
    with torch.no_grad():
        generator.release += 0.7
        generator.pulse += 0.1 * torch.randn(16)
        logits = generator.logits(torch.randn(3, 8), real[:, :, :16])
        got = generator.cross_entropy(logits, real).item()
    cells, steps = logits.cells.double().numpy(), logits.steps.double().numpy()
    begins, on, velocity = real.double().numpy().transpose(1, 0, 2, 3)
    pulse, release, total = generator.pulse.detach().numpy(), generator.release.item(), 0.0

    def nats(logit: np.ndarray, target: np.ndarray) -> float:
        return float((np.log1p(np.exp(logit)) - target * logit).sum())

    for b in range(3):
        for t in range(16, 32):
            here = float(begins[b, t].any())
            total += nats(steps[b, t - 16] + 4 * (begins[b, t - 16 : t].any(1) * pulse).sum(), np.array(here))
            if here:
                total += nats(cells[b, 0, t - 16], begins[b, t])
            may = (begins[b, t - 1] + on[b, t - 1] > 0) & (begins[b, t] == 0)
            total += nats((cells[b, 1, t - 16] - release * here)[may], on[b, t][may])
            sounds = begins[b, t] > 0
            total += nats(cells[b, 2, t - 16][sounds], velocity[b, t][sounds])
    assert got == pytest.approx(total / (3 * 16), rel=1e-4)


def test_the_notes_of_a_chord_begin_in_the_drawn_steps() -> None:
    torch.manual_seed(0)
    generator = networks.Generator(8, 16, 4)
    before = pairs(6)[:, :, :16]
    logits = networks.Logits(torch.full((6, 16), -60.0), torch.zeros(6, 3, 16, 128))
    logits.steps[:, 3::4] = 60.0
    with torch.no_grad():
        begins = generator.draw(logits, before, 1.0, torch.Generator().manual_seed(0))[:, 0].amax(-1)
    assert begins.tolist() == [[0.0, 0.0, 0.0, 1.0] * 4] * 6


def test_the_threshold_gives_chords_their_number_of_notes() -> None:
    torch.manual_seed(0)
    generator, real = networks.Generator(8, 16, 4), pairs(64)
    before, begins = real[:, :, :16], real[:, 0, 16:]
    generator.calibrate(real, 1.0, torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = generator.logits(torch.randn(64, 8), before)
        logits.steps.copy_(60 * (2 * begins.amax(-1) - 1))
        drawn = generator.draw(logits, before, 1.0, torch.Generator().manual_seed(1))[:, 0]
    assert drawn.sum().item() == pytest.approx(begins.sum().item(), rel=0.15)


def test_the_critic_hears_chords_in_any_transposition() -> None:
    torch.manual_seed(0)
    critic, real = networks.Critic(8), pairs(4)
    with torch.no_grad():
        heard, moved = critic.features(real)[1], critic.features(real.roll(5, -1))[1]
        other = critic.features(torch.cat([real[..., :64].roll(1, -1), real[..., 64:]], -1))[1]
    torch.testing.assert_close(heard, moved)
    assert not torch.allclose(heard, other, atol=1e-3)


# The model


def test_it_learns_pitches_and_rhythm(tmp_path: Path) -> None:
    prompts = [music(200 + i).notes[:16] for i in range(8)]
    spread = []
    for updates in (0, 150):
        made = trained(tmp_path / str(updates), updates).generate(prompts, 40, seed=1)
        pitch = np.concatenate([m.pitch for m in made])
        spread.append(float(np.mean((pitch >= 60) & (pitch <= 74))))
    assert spread[0] < 0.3 < 0.7 < spread[1]


def test_it_continues_on_the_prompts_own_grid(tmp_path: Path) -> None:
    model = trained(tmp_path, 2)
    for step in (0.16, 0.28):
        prompt = music(9, step).notes[:16].shifted(7.0)
        (made,) = model.generate([prompt], 30, seed=0)
        seconds = rolls.to_grid(prompt).seconds
        assert seconds == pytest.approx(step, rel=0.01)
        steps = (made.onset - prompt.onset[-1]) / seconds
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
        assert np.rint(steps).min() >= 1


def test_the_step_without_a_prompt_is_that_of_the_training_pieces(tmp_path: Path) -> None:
    model = trained(tmp_path, 2)
    (made,) = model.generate([NOTHING], 20, seed=0)
    assert model.seconds == pytest.approx(0.2, rel=0.01)
    np.testing.assert_allclose(made.onset / model.seconds, np.rint(made.onset / model.seconds), atol=1e-6)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"spread": -1.0}, {"learning_rate": 0.0}, {"matching": -0.1}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PluginError, match=f"midinet: {next(iter(wrong))} is"):
        Model(**wrong)


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="midinet: the training split has no notes"):
        Model(**TINY).fit([Piece(NOTHING, id="0")], VALID, Run(0, Budget(1), tmp_path, threads=1))


def test_without_fit_it_says_so() -> None:
    with pytest.raises(TrialError, match="fit"):
        Model(**TINY).generate([NOTHING], 1, seed=0)

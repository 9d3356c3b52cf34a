"""Flags on how a training ended."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gate.baseline import take
from bench.music.notes import Notes
from bench.report.flags import GAIN, diverged, still_improving
from bench.report.verdict import caveats, verdict

from .stored_run import Stored, built, done, many_pieces, moved, written


def bits(*values: float) -> list[dict[str, float]]:
    return [{"validation_bits": value, "loss": 1.0} for value in values]


@pytest.mark.parametrize(
    ("values", "flagged"),
    [
        ((8.0, 7.9), True),
        ((8.0, 7.96), False),  # a gain of .04
        ((8.0, 7.0, 7.5), False),  # the last is not the best
        ((7.0, 9.0, 6.9), True),  # .1 below the best before, not below the last
        ((7.0, 9.0, 6.96), False),
        ((8.0,), False),  # nothing to improve on
        ((), False),
    ],
)
def test_still_improving(values: tuple[float, ...], flagged: bool) -> None:
    assert still_improving(bits(*values)) is flagged


@pytest.mark.parametrize(("values", "flagged"), [((0.5, 0.489), True), ((0.5, 0.491), False), ((0.5, 0.3, 0.4), False)])
def test_a_score_without_bits_improves_by_a_share_of_its_best(values: tuple[float, ...], flagged: bool) -> None:
    assert still_improving([{"validation_distance": value} for value in values]) is flagged


@given(st.lists(st.floats(1, 30), min_size=2))
def test_a_training_that_goes_on_unchanged_is_no_longer_improving(values: list[float]) -> None:
    assert not still_improving(bits(*values, min(values)))
    assert still_improving(bits(*values, min(values) - 2 * GAIN))


@pytest.mark.parametrize(
    ("history", "flagged"),
    [
        (bits(8.0, 9.1), True),
        (bits(8.0, 9.0), False),
        (bits(8.0, 12.0, 7.9), False),  # it came back
        ([{"validation_distance": v} for v in (0.1, 0.3)], True),
        ([{"validation_distance": v} for v in (0.1, 0.19)], False),
        ([{"loss": v} for v in (1.0, 2.0, 10.5)], True),
        ([{"loss": v} for v in (1.0, 20.0, 10.5)], False),  # it falls again
        ([{"loss": v} for v in (-1.0, 3.0, -11.0)], False),  # a loss may fall below 0; a critic that diverges shows in its gap
        ([{"validation_loss": v} for v in (-3.0, -4.0, -5.0)], False),
        ([{"validation_loss": v} for v in (-5.0, 1.0)], True),
        ([{"loss": 5.0 - i, "validation_bits": v} for i, v in enumerate((9.0, 8.0, 9.5))], False),  # it overfits
        ([{"loss": 5.0 - i, "validation_bits": v} for i, v in enumerate((9.0, 8.0, 1e6))], True),
        ([{"loss": 5.0 - i, "validation_loss": v} for i, v in enumerate((2.0, 1.0, 9.5))], True),  # a critic's loss
        ([{"loss": 5.0 + i, "validation_bits": v} for i, v in enumerate((9.0, 8.0, 9.5))], True),
        ([{"loss": 1.0}, {"loss": math.inf}], True),
        ([{"loss": None, "validation_bits": None}], True),  # NaN, as JSON has it
        ([{"loss": 5.0, "validation_bits": 9.0}, {"loss": None, "validation_bits": 8.0}], True),
        ([{"seconds": 1.0, "core_seconds": None, "loss": 1.0}], False),  # no clock is no divergence
        ([{"critic_gap": v} for v in (0.5, 1.2, 1.6)], True),
        ([{"critic_gap": v} for v in (0.5, -1.6)], True),  # the generator far ahead
        ([{"critic_gap": v} for v in (0.5, 3.0, 0.5)], False),  # the generator caught up
        ([{"gradient_norm": v} for v in (0.4, 1.0, 4.1)], True),
        ([{"gradient_norm": v} for v in (0.4, 5.0, 3.9)], False),
        ([], False),
    ],
)
def test_diverged(history: list[dict[str, float]], flagged: bool) -> None:
    assert diverged(history) is flagged


def test_one_training_is_enough_for_a_flag_and_the_note_names_the_row(stored: Stored) -> None:
    shared = done(0, None)["training"]
    level = {**shared, "history": [{"epoch": e, "seconds": 1.0, **x} for e, x in enumerate(bits(8.0, 8.0), 1)]}
    falling = {**shared, "history": [{"epoch": e, "seconds": 1.0, **x} for e, x in enumerate(bits(8.0, 7.0), 1)]}
    stored.add("lstm", 0, moved(1), training=level)
    stored.add("lstm", 1, moved(1), training=falling)
    stored.add("gan", 0, moved(1), training=level)
    folder = stored.close()
    names = {system: [flag.name for flag in some] for system, some in built(folder).flags.items()}
    assert names == {"lstm": ["validation bits still falling"], "gan": []}
    assert "- Validation bits still falling (lstm): In at least one training" in written(folder)["report.md"]


@pytest.mark.parametrize(("second", "evaluations", "flagged"), [(8.5, 2, True), (8.6, 2, False), (8.5, 1, False)])
def test_seeds_that_train_the_same_are_told(stored: Stored, second: float, evaluations: int, flagged: bool) -> None:
    """A plug-in that sets a seed of its own had the training's variance 0, in intervals, tests and gate."""
    for seed, last in ((0, 8.5), (1, second)):
        history = [{"epoch": e, "seconds": float(e + seed), **x} for e, x in enumerate(bits(9.0, last), 1)]
        stored.add("lstm", seed, moved(1 + seed), training={**done(0, None)["training"], "history": history[-evaluations:]})
    names = [flag.name for flag in built(stored.close()).flags["lstm"]]
    assert ("the same training under several seeds" in names) == flagged


def test_seeds_that_both_diverge_are_no_one_training(stored: Stored) -> None:
    history = [{"epoch": e, "seconds": 1.0, "loss": None} for e in (1, 2)]
    for seed in (0, 1):
        stored.add("lstm", seed, moved(1 + seed), training={**done(0, None)["training"], "history": history})
    assert [flag.name for flag in built(stored.close()).flags["lstm"]] == ["diverged"]


@pytest.mark.parametrize("end", [math.nan, math.inf, -math.inf])
def test_a_training_that_ends_in_no_number_is_flagged_as_diverged_alone(stored: Stored, end: float) -> None:
    history = [{"epoch": e, "seconds": 1.0, "loss": x - 4, "validation_bits": x} for e, x in ((1, 9.0), (2, 8.0), (3, end))]
    stored.add("lstm", 0, moved(1), training={**done(0, None)["training"], "history": history})
    folder = stored.close()
    assert [flag.name for flag in built(folder).flags["lstm"]] == ["diverged"]
    text = written(folder)["report.md"]
    assert "Diverged, at least one training: lstm." in text
    assert "Validation bits fell" not in text


def test_a_row_without_bits_is_flagged_by_its_own_score(stored: Stored) -> None:
    history = [{"epoch": e, "seconds": 1.0, "validation_distance": d} for e, d in ((1, 0.5), (2, 0.4))]
    stored.add("gan", 0, moved(1), training={**done(0, None)["training"], "history": history})
    (flag,) = built(stored.close()).flags["gan"]
    assert flag.name == "validation score still falling"


@pytest.mark.parametrize(("same", "flagged"), [(12, True), (7, True), (6, False)])
def test_what_was_given_the_true_continuation_has_a_flag_and_no_rank(stored: Stored, same: int, flagged: bool) -> None:
    stored.enlarge(12)
    many_pieces(stored, "leaks", lambda i: 0 if i < same else 4)
    many_pieces(stored, "lstm", lambda i: 9)
    many_pieces(stored, "codec", lambda i: 0, kind="reference")
    report = built(stored.close())
    assert ["the true continuation" in [flag.name for flag in report.flags[name]] for name in ("leaks", "codec")] == [
        flagged,
        False,
    ]
    assert ("leaks" in report.standings["pitch_distance"].ranks) is not flagged
    if flagged:
        assert verdict(report) == "No two models can be compared: see the flags of leaks."
        assert "Given the true continuation, so that it is compared with none: leaks." in caveats(report)
    else:
        assert verdict(report).startswith("In average pitch distance leaks is significantly better than lstm")
    assert take(stored.run.path).systems["leaks"].is_target is flagged


@pytest.mark.parametrize("few", [3, 4])
def test_other_velocities_hide_no_true_continuation_but_of_few_pitches(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """A system with 32 velocities or none that had the held-out music had rank 1."""
    monkeypatch.setattr("bench.scoring.table.FEW_PITCHES", few)
    monkeypatch.setattr("bench.gate.baseline.FEW_PITCHES", few)
    stored.enlarge(12)
    flat = {(i, 0): Notes(real.onset, real.duration, real.pitch, np.full(len(real), 33)) for i, real in enumerate(stored.real)}
    stored.add("leaks", 0, flat)
    report = built(stored.close())
    assert [len(set(real.pitch.tolist())) for real in stored.real] == [4] * 12
    assert ("the true continuation" in [flag.name for flag in report.flags["leaks"]]) is (few == 3)
    assert take(stored.run.path).systems["leaks"].is_target is (few == 3)


def test_what_was_given_the_true_continuation_is_no_open_place(stored: Stored) -> None:
    stored.enlarge(12)
    for name, by in (("leaks", 0), ("gan", 4), ("lstm", 9)):
        many_pieces(stored, name, lambda i, by=by: by)
    assert verdict(built(stored.close())).startswith(
        "In average pitch distance gan is significantly better than lstm; in velocity"
    )


def test_a_plugin_that_ignores_the_budget_has_a_flag_no_rank_and_no_part_in_the_one_budget(tmp_path: Path) -> None:
    run = Stored(tmp_path / "run", budget={"compute": {"updates": 500}}, seeds=[0])
    run.enlarge(12)
    shared = {**done(0, None)["training"], "updates": 500}
    held = {
        "training": {**shared, "history": [{"epoch": 1, "seconds": 1.0, "loss": 1.0, "notes": 9, "updates": 500, "share": 1.0}]}
    }
    loose = {"training": {**shared, "history": [{"epoch": 1, "seconds": 1.0, "loss": 1.0, "notes": 9}]}}
    over = {"training": {**held["training"], "share": 1.2}}
    before = {"training": {**shared, "history": [{"epoch": 1, "seconds": 1.0, "loss": 1.0, "notes": 9, "share": 5.0}]}}
    every = (
        ("lstm", 9, held),
        ("gan", 5, held),
        ("toy", 1, loose | {"remarks": ["It knows epochs only."]}),
        ("vae", 2, over),
        ("old", 2, before),
    )
    for system, by, more in every:
        made = {(i, 0): Notes.from_columns(r.onset, r.duration, r.pitch + by + i % 2, r.velocity) for i, r in enumerate(run.real)}
        run.add(system, 0, made, **more)
    folder = run.close()
    report = built(folder)
    assert [flag.name for flag in report.flags["toy"]] == ["not held to the budget"]
    assert [flag.name for flag in report.flags["vae"]] == ["not held to the budget"]
    assert [flag.name for flag in report.flags["old"]] == ["not held to the budget"], "its version stored what was logged alone"
    standing = report.standings["pitch_distance"]
    assert standing.ranks == {"gan": (1, 1), "lstm": (2, 2)}
    assert standing.best is None, "toy is better, and no row with a rank is better than every other"
    text = written(folder)["report.md"]
    assert (
        "One budget for lstm and gan: 500 updates. Exceptions: toy (not held to it); vae (not held to it); old (not held to it)."
        in text
    )
    assert "- toy, 1 of 1 trial: It knows epochs only.\n" in text

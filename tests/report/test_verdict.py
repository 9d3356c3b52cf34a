"""The verdict on the models: winners and losers, over training seeds and pieces."""

from __future__ import annotations

from pathlib import Path

from bench.music.notes import Notes
from bench.report.verdict import alone, verdicts
from bench.storage.samples import PieceName, Target, Targets, write_targets

from .stored_run import Stored, built, example, moved, notes


def test_a_real_difference_is_said(stored: Stored) -> None:
    report = built(example(stored.run.path))
    assert verdicts(report) == [
        ("Average Pitch Distance", "too few pieces to test."),
        ("Velocity Average Distance", "too few pieces to test."),
    ]


def many(tmp_path: Path, **by: tuple[int, int]) -> Path:
    """Models that are off by so many semitones on 20 pieces, with two seeds each."""

    stored = Stored(tmp_path / "many", seeds=[0, 1])
    real = [notes([60 + i % 3, 62, 64, 66]) for i in range(20)]
    for name, offsets in by.items():
        for seed, off in enumerate(offsets):
            made = {(i, 0): Notes.from_columns(r.onset, r.duration, r.pitch + off, r.velocity) for i, r in enumerate(real)}
            stored.add(name, seed, made)
    folder = stored.close()
    targets = tuple(Target(PieceName(i, str(i)), notes([40, 41]), r) for i, r in enumerate(real))
    write_targets(stored.run.targets, Targets(targets, test_pieces=20, usable=20))
    return folder


def test_the_winner_and_whom_it_beats_are_named(tmp_path: Path) -> None:
    report = built(many(tmp_path, lstm=(1, 1), gan=(5, 5), vae=(5, 5)))
    assert verdicts(report)[0] == (
        "Average Pitch Distance",
        "lstm is better than gan and vae; no significant difference between gan and vae.",
    )
    assert verdicts(report)[1][1] == "no significant difference between any two models."


def test_what_other_seeds_could_reverse_is_no_difference(tmp_path: Path) -> None:
    report = built(many(tmp_path, lstm=(1, 9), gan=(5, 12)))
    assert verdicts(report)[0][1] == "no significant difference between lstm and gan."


def test_one_model_alone_has_nothing_to_be_compared_with(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1))
    stored.add("gan", 0, None, error="it crashed")
    assert alone(built(stored.close())) == "lstm is the only model that has finished: there is no other to compare it with."

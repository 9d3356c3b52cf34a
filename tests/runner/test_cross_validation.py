"""A run whose pieces are held out in turn: straight, killed, and as its report tells it."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bench.benchmark import RunResult
from bench.errors import DataError
from bench.runner.held_out import hold_out
from bench.scoring.score import score_run
from bench.sound.clips import sources
from bench.specs.load import load_spec
from bench.storage.outcome import Done
from bench.storage.samples import read_target_file
from bench.system.paths import Places

from .conftest import PLUGINS, Bench, until, workers
from .test_kills import timeless

#: Of the toy's ten pieces two are too short for 10 + 20 notes.
FOLDS = {"prompt": 10, "notes": 20, "folds": "leave-one-out"}
BUDGET = {"epochs": 4, "timeout": 60}
ROWS = ["real", "markov"]
HARMONY = {"plugin": "markov", "harmony": {"key": "C major", "notes_per_chord": 4}}


def stamps(toy: Bench) -> dict[Path, int]:
    """When each fold that is done was finished."""
    return {path: path.stat().st_mtime_ns for path in sorted(toy.run_folder.glob("trials/*/outcome.json"))}


def without_clocks(outcome: Done) -> dict[str, Any]:
    """What no clock decides of an outcome with folds."""
    clocked = {"seconds", "core_seconds", "notes_per_second", "resumed", "folds", "history"}
    training = outcome.training
    return {
        **outcome.model_dump(include={"likelihood", "originality", "facts"}),
        "training": training.model_dump(exclude=clocked),
        "folds": [fold.model_dump(exclude=clocked) for fold in training.folds],
        "history": [{k: v for k, v in epoch.items() if k not in clocked} for epoch in training.history],
    }


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, RunResult]:
    """A run that nothing disturbed, and its table."""
    toy = Bench(tmp_path_factory.mktemp("straight"))
    toy.write({"steady": {"params": {"delay": 0.05}}}, protocol=FOLDS, budget=BUDGET, references=ROWS)
    return toy, toy.run(jobs=2)


def test_every_piece_is_continued_once_by_a_network_of_its_fold(straight: tuple[Bench, RunResult]) -> None:
    toy, result = straight
    assert result.failed == 0
    stored = read_target_file(toy.run_folder / "targets.npz")
    assert len(stored.targets) == 8
    samples = toy.notes("steady")
    assert sorted(samples.notes) == [(piece, 0) for piece in range(8)]
    # A held-out piece's likelihood is measured once; the two short pieces are never held out.
    assert samples.likelihood_piece is not None
    assert samples.likelihood_piece.tolist() == [t.piece.index for t in stored.targets]
    likelihood = toy.scored("steady").likelihood
    assert likelihood is not None
    assert likelihood.pieces == 8
    assert likelihood.bits_per_note == pytest.approx(28.0)  # four fields of log 128


def test_the_curves_of_all_folds_are_kept(straight: tuple[Bench, RunResult]) -> None:
    training = straight[0].scored("steady").training
    assert [(e["fold"], e["epoch"]) for e in training.history] == [(f, e) for f in range(1, 9) for e in range(1, 5)]
    assert [fold.fold for fold in training.folds] == list(range(1, 9))
    assert training.epochs == 4
    # The mean of a training, not the sum.
    assert training.seconds == pytest.approx(sum(f.seconds or 0 for f in training.folds) / 8)
    assert training.seconds is not None
    assert 0.1 <= training.seconds < 0.2 * 8
    # 10 pieces, of which one is held out and two choose: the notes of the other seven.
    notes = [(fold.notes or 0) / 4 for fold in training.folds]
    assert all(7 * 60 - 2 * 45 <= n <= 7 * 60 for n in notes)


def test_folds_share_neither_weights_nor_draws(straight: tuple[Bench, RunResult]) -> None:
    toy, _ = straight
    made = toy.notes("steady").notes
    assert len({made[piece, 0].pitch.tobytes() for piece in range(8)}) == 8
    markov = toy.notes("markov").notes
    assert len({markov[piece, 0].pitch.tobytes() for piece in range(8)}) == 8


def test_the_real_row_never_plays_the_piece_itself(straight: tuple[Bench, RunResult]) -> None:
    toy, _ = straight
    targets = read_target_file(toy.run_folder / "targets.npz").targets
    made = toy.notes("real").notes
    assert all(made[i, 0].pitch.tolist() != target.target.pitch.tolist() for i, target in enumerate(targets))
    # It does play a piece of the dataset.
    originality = toy.scored("real").originality
    assert originality is not None
    assert set(originality.samples.longest_training_run) == {20}
    assert max(originality.targets.longest_training_run) < 20


def test_the_report_says_how_pieces_were_held_out(straight: tuple[Bench, RunResult]) -> None:
    toy, _ = straight
    report = (toy.run_folder / "report.md").read_text()
    assert (
        "10 pieces (510 notes), 8 of them held out in turn in 8 folds (leave-one-out); pieces with the same composer and "
        "title stay together. For each fold every system is trained anew on 7 of the pieces, validated on 2 and tested on 1."
    ) in report
    assert "One training run per model, fold and seed (seeds: 0)" in report
    assert "2 of 10 pieces have fewer than 30 notes, too few to be continued: they are not compared." in report
    assert "its own split, and its remarks on that split, do not apply." in report
    assert "the mean over the folds, not their sum" in report
    assert "Validation: 0 pieces" not in report


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, RunResult]:
    """A run of the spec that the tests of kills interrupt."""
    toy = Bench(tmp_path_factory.mktemp("undisturbed"))
    write_interrupted(toy)
    return toy, toy.run(jobs=2)


def write_interrupted(toy: Bench) -> None:
    toy.write({"steady": {"params": {"delay": 0.1}}}, protocol=FOLDS | {"folds": 4}, budget=BUDGET, references=["markov"])


def test_killed_between_folds(toy: Bench, undisturbed: tuple[Bench, RunResult]) -> None:
    straight, result = undisturbed
    write_interrupted(toy)
    process = toy.start()
    # The same spec gives the same keys.
    places = [straight.trials()["steady", 0, fold].name for fold in range(1, 5)]
    outcomes = [toy.run_folder / "trials" / place / "outcome.json" for place in places]
    until(lambda: sum(path.exists() for path in outcomes) >= 2, 120)
    process.kill()
    for worker in workers(toy):
        worker.send_signal(signal.SIGKILL)
    process.wait()
    before = stamps(toy)
    done = [fold for fold, path in enumerate(outcomes, 1) if path in before]
    assert 2 <= len(done) <= 3
    again = toy.run()
    assert again.failed == 0
    # What was finished was not done again.
    assert {path: stamps(toy)[path] for path in before} == before
    seen = {e["label"] for e in toy.events if e["event"] == "epoch" and e["system"] == "steady"}
    assert seen == {f"steady, seed 0, fold {fold}" for fold in range(1, 5) if fold not in done}
    assert toy.samples() == straight.samples()
    assert timeless(again.table) == timeless(result.table)
    for name in ("steady", "markov"):
        assert without_clocks(toy.scored(name)) == without_clocks(straight.scored(name)), name


def test_killed_again_and_again(toy: Bench, undisturbed: tuple[Bench, RunResult]) -> None:
    straight, result = undisturbed
    write_interrupted(toy)
    draw = random.Random(7)
    for _ in range(3):
        process = toy.start()
        time.sleep(draw.uniform(0.8, 3.0))
        process.kill()
        process.wait()
    again = toy.run(jobs=2)
    assert (toy.samples(), timeless(again.table)) == (straight.samples(), timeless(result.table))
    assert not list(toy.run_folder.rglob(".*.tmp"))


def test_only_a_damaged_fold_is_done_again(toy: Bench) -> None:
    toy.write({"steady": {}}, protocol=FOLDS | {"folds": 4})
    toy.run()
    samples = toy.samples()
    (toy.trials()["steady", 0, 3] / "samples.npz").write_bytes(b"no archive")
    (toy.trials()["steady", 0, 4] / "outcome.json").unlink()
    assert toy.run().failed == 0
    assert {e["label"] for e in toy.events if e["event"] == "trial"} == {f"steady, seed 0, fold {fold}" for fold in (3, 4)}
    assert toy.samples() == samples


def test_a_fold_that_fails_fails_its_row_and_is_named(toy: Bench) -> None:
    toy.write({"faulty": {"params": {"how": "short"}}}, protocol=FOLDS)
    assert toy.run().failed == 1
    (trial,) = score_run(toy.run_folder)["faulty"].trials
    assert trial.error.startswith("fold 1: generate() returned")
    assert trial.key == toy.trials()["faulty", 0, 1].name


def test_a_fold_whose_samples_are_damaged_is_named(toy: Bench) -> None:
    toy.write({"steady": {}}, protocol=FOLDS | {"folds": 2}, seeds=[0, 1])
    assert toy.run(jobs=2).failed == 0
    (toy.trials()["steady", 0, 2] / "samples.npz").write_bytes(b"no archive")
    (toy.trials()["steady", 0, 1] / "outcome.json").unlink()
    assert [t.status for t in score_run(toy.run_folder)["steady"].trials] == ["not run", "done"]
    # What is heard is of the first seed with all its folds.
    heard = {source.midi.parent.parent for source in sources(toy.run_folder) if source.system == "steady"}
    assert heard == {toy.trials()["steady", 1, fold] for fold in (1, 2)}
    assert toy.run().failed == 0
    (toy.trials()["steady", 0, 2] / "samples.npz").write_bytes(b"no archive")
    trial = score_run(toy.run_folder)["steady"].trials[0]
    assert trial.error.startswith("fold 2: its samples can't be scored: ")
    assert trial.key == toy.trials()["steady", 0, 2].name


def test_a_constraint_follows_the_plan_of_each_fold_s_pieces(toy: Bench) -> None:
    toy.write({"markov+harmony": HARMONY}, protocol=FOLDS | {"folds": 3}, references=["markov"])
    assert toy.run().failed == 0
    harmony = toy.scored("markov+harmony").harmony
    assert harmony is not None
    assert len(harmony.plan_of_piece) == 8
    rows = score_run(toy.run_folder)
    constrained, free = (rows[name].cells["chord_tones"] for name in ("markov+harmony", "markov"))
    assert constrained.pieces == free.pieces == 8
    assert constrained.value is not None
    assert free.value is not None
    assert constrained.value > free.value


def test_fewer_folds_than_pieces(toy: Bench) -> None:
    toy.write({"steady": {}}, protocol=FOLDS | {"folds": 3, "validation": 0.4})
    toy.run()
    stored = read_target_file(toy.run_folder / "targets.npz")
    folds = stored.facts["folds"]["folds"]
    assert sorted(len(f["test"]) for f in folds) == [2, 3, 3]
    assert [len(f["validation"]) for f in folds] == [round(0.4 * (10 - len(f["test"]))) for f in folds]
    likelihood = toy.scored("steady").likelihood
    assert likelihood is not None
    assert likelihood.pieces == 8
    assert "in 3 folds (cross-validation)" in (toy.run_folder / "report.md").read_text()


def test_too_many_folds_stop_the_run_before_it_starts(toy: Bench) -> None:
    toy.write({"steady": {}}, protocol=FOLDS | {"folds": 9})
    with pytest.raises(DataError, match=r"asks for 9 folds, but 8 compositions \(of 10 pieces\) can be held out"):
        toy.run()


def test_prompts_say_which_fold_a_piece_is_in_and_a_folder_of_them_is_scored(toy: Bench) -> None:
    from bench.external.prompts import export_prompts
    from bench.external.score import score_folder

    toy.write({}, protocol=FOLDS | {"folds": 4})
    places = Places.find(toy.out, (), [PLUGINS])
    held_out = hold_out(load_spec(toy.spec, places.plugins, scale="cpu"), places)
    folder = toy.folder / "prompts"
    export_prompts(held_out, folder, scale="cpu", score="bench score", with_targets=True)
    index = json.loads((folder / "prompts.json").read_text())
    assert {piece["fold"] for piece in index["pieces"]} == {1, 2, 3, 4}
    assert "learned from no piece of its fold" in (folder / "README.txt").read_text()
    scored = score_folder(
        folder / "targets", toy.spec, name="perfect", prompts=folder, scale="cpu", plugins=[PLUGINS], out=toy.out
    )
    assert scored.complete
    row = score_run(scored.result.folder)["perfect"]
    assert row.cells["pitch_distance"].value == 0
    # The pieces themselves, which were learned from in every other fold: against their own fold they are new.
    assert row.cells["copied_run"].value is not None
    assert row.cells["copied_run"].value < 20


def test_the_gate_compares_a_run_with_folds(straight: tuple[Bench, RunResult], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from bench.cli.app import app

    toy, _ = straight
    call, baseline = CliRunner(), tmp_path / "baseline.json"
    saved = call.invoke(app, ["baseline", str(toy.run_folder), "--file", str(baseline)])
    print(saved.output)
    assert saved.exit_code == 0
    checked = call.invoke(app, ["check", str(toy.run_folder), "--baseline", str(baseline)])
    print(checked.output)
    assert checked.exit_code == 0

"""Results at shares of a budget that all models share, from one training: in real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.api import Notes
from bench.scoring.score import score_run
from bench.storage.run_folder import RunFolder, samples_file

from .conftest import PLUGINS, PROTOCOL, Bench

#: Shares 1/8, 1/4, 1/2, 3/4 and 1: updates 1, 2, 4, 6 and 8.
BUDGET: dict[str, Any] = {"compute": {"updates": 8}, "evaluations": 4, "stages": [0.125, 0.5], "timeout": 60}


def pitches(notes: list[Notes]) -> set[int]:
    return {int(pitch) for part in notes for pitch in part.pitch}


def staged(toy: Bench, system: str = "staged") -> dict[float, set[int]]:
    """The pitches of a system's samples at each stage and, as 1, at the end."""
    (trial,) = score_run(toy.run_folder)[system].trials
    run = RunFolder(toy.run_folder)
    parts = [stage.share for stage in trial.stages if stage.share < 1]
    made = {share: pitches([*run.samples(*trial.keys, stage=share).notes.values()]) for share in parts}
    return made | {1: pitches([*run.samples(*trial.keys).notes.values()])}


def test_stages_are_taken_stored_and_scored(toy: Bench) -> None:
    toy.write({"staged": {}}, budget=BUDGET, references=["untrained"], protocol={**PROTOCOL, "samples": 2})
    assert toy.run().failed == 0
    assert staged(toy) == {0.125: {41}, 0.5: {44}, 1: {48}}
    outcome = toy.outcome("staged")
    assert (outcome["training"]["updates"], outcome["training"]["stopped"]) == (8, "budget")
    assert [(s["share"], s["updates"], s["notes"]) for s in outcome["stages"]] == [(0.125, 1, 10), (0.5, 4, 40)]
    # One sample a piece at a stage; with the two at the end that is all that the model generated.
    assert outcome["facts"]["calls"] == 4
    (trial,) = score_run(toy.run_folder)["staged"].trials
    assert [stage.values["bits_per_note"] for stage in trial.stages] == pytest.approx([52.0, 34.0, 31.0])
    assert trial.values["bits_per_note"] == pytest.approx(31.0)
    assert toy.outcome("untrained staged")["stages"] == []
    assert [event["in_epochs"] for event in toy.events if event["event"] == "epoch"] == [False] * 5


def test_a_training_that_goes_on_after_its_end_is_no_row_at_the_budget(toy: Bench) -> None:
    own = toy.folder / "own"
    own.mkdir()
    late = (PLUGINS / "models" / "staged.py").read_text().replace("while share < due:", "while share < 1.5 * due:")
    (own / "late.py").write_text(late)
    toy.write({"staged": {}, "late": {}}, budget=BUDGET)
    assert toy.run(plugins=[PLUGINS, own / "late.py"]).failed == 0
    assert "The model took 1.5 times the budget: its row isn't one at this budget." in toy.outcome("late")["remarks"]
    table = score_run(toy.run_folder)
    assert [table[name].ignores_budget for name in ("staged", "late")] == [False, True]


def test_killed_while_a_stage_is_taken_it_resumes_to_the_same_results(toy: Bench) -> None:
    died = toy.folder / "died"
    toy.write({"staged": {"params": {"path": str(died)}}}, budget=BUDGET)
    assert toy.run().failed == 1
    folder = toy.trials()["staged", 0]
    assert died.exists()
    assert not samples_file(folder, 0.125).exists()
    (folder / "stages").mkdir(exist_ok=True)
    (folder / "stages" / ".0.125.npz.1.tmp").write_text("half written")
    assert toy.run().failed == 0
    assert staged(toy) == {0.125: {41}, 0.5: {44}, 1: {48}}
    assert sorted(path.name for path in (folder / "stages").iterdir()) == ["0.125.npz", "0.5.npz"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"rot")])
def test_a_result_that_is_lost_before_a_resume_is_taken_again(toy: Bench, damage: Callable[[Path], object]) -> None:
    died = toy.folder / "died"
    toy.write({"staged": {"params": {"path": str(died), "after": 1}}}, budget=BUDGET)
    assert toy.run().failed == 1
    damage(samples_file(toy.trials()["staged", 0], 0.125))
    assert toy.run().failed == 0
    assert staged(toy) == {0.125: {41}, 0.5: {44}, 1: {48}}
    assert any("trains from the start" in event.get("text", "") for event in toy.events)


def test_a_stage_compiles_once_for_all(toy: Bench) -> None:
    toy.write({"staged": {"params": {"compiles": True}}}, budget=BUDGET)
    toy.run()
    outcome = toy.outcome("staged")
    assert outcome["facts"]["calls"] == 3
    assert outcome["generation"]["compile_seconds"] > 0
    toy.write({"staged": {"params": {"compiles": True}}}, budget={**BUDGET, "stages": []})
    toy.run()
    assert toy.outcome("staged")["facts"]["calls"] == 2  # once in advance


def test_a_constrained_row_takes_its_stages_under_its_constraint(toy: Bench) -> None:
    harmony = {"key": "C major", "progression": ["I"], "notes_per_chord": 4}
    toy.write({"staged": {"harmony": harmony}}, budget=BUDGET)
    assert toy.run().failed == 0
    made = staged(toy)
    assert made[0.125] == made[0.5] == made[1]
    assert {pitch % 12 for pitch in made[1]} <= {0, 4, 7}


def test_folds_have_stages_together(toy: Bench) -> None:
    toy.write({"staged": {}}, budget=BUDGET, protocol={**PROTOCOL, "folds": 2, "pieces": 8})
    assert toy.run().failed == 0
    assert staged(toy) == {0.125: {41}, 0.5: {44}, 1: {48}}
    (trial,) = score_run(toy.run_folder)["staged"].trials
    assert [(stage.share, stage.updates) for stage in trial.stages] == [(0.125, 1.0), (0.5, 4.0), (1.0, 8.0)]


def test_a_plugin_that_knows_epochs_only_trains_one_and_says_so(toy: Bench) -> None:
    toy.write({"steady": {}}, budget=BUDGET)
    assert toy.run().failed == 0
    outcome = toy.outcome("steady")
    assert (outcome["training"]["epochs"], outcome["training"]["stopped"], outcome["stages"]) == (1, "early", [])
    (remark,) = outcome["remarks"]
    assert remark.startswith("The model logged no share of the budget: it seems to know epochs only.")


@pytest.mark.parametrize("budget", [{"epochs": 2}, BUDGET])
def test_a_model_that_logs_no_evaluation_may_have_learned_nothing_and_says_so(toy: Bench, budget: dict[str, Any]) -> None:
    ready = (PLUGINS / "models" / "ready.py").read_text()
    (toy.folder / "misspelt.py").write_text(ready.replace("PRETRAINED = True\n", "") + "\n    def fti(self): ...\n")
    toy.write({"misspelt": {}, "ready": {}}, budget=budget, references=["median", "ngram", "untrained"])
    assert toy.run(plugins=[PLUGINS, toy.folder / "misspelt.py"]).failed == 0
    said = {system: toy.outcome(system)["remarks"] for system, _ in toy.trials()}
    assert said.pop("misspelt") == ["fit() logged no evaluation: nothing shows that the model was trained."]
    assert said == {"ready": [], "median": [], "ngram": [], "untrained misspelt": []}

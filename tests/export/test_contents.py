"""What is exported, whichever tracker takes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.errors import BenchError, MachineError, UsageError
from bench.export.contents import failures_of, optional, read_contents
from bench.report import write_reports
from bench.storage.run_folder import RunFolder
from tests.report.stored_run import Stored, example, moved


def test_every_trial_that_ended(folder: Path) -> None:
    run = read_contents(folder)
    assert (run.name, run.spec, run.finished, run.ended - run.started) == ("table2-cpu", "table2", True, 600.0)
    assert run.started == 1735787045.0
    lstm = next(trial for trial in run.trials if trial.name == "lstm, seed 1")
    assert (lstm.key, lstm.status, lstm.tags["threads"]) == ("lstm-1", "done", "2")
    assert lstm.params == {
        "budget.epochs": 3,
        "budget.patience": 2,
        "system": "lstm",
        "kind": "model",
        "model": "lstm",
        "seed": 1,
    }
    assert (lstm.scores["pitch_distance"], lstm.scores["bits_per_note"]) == (10.0, 16.0)
    assert [(e.step, e.seconds, e.values["training/validation_bits"]) for e in lstm.history] == [(1, 30.0, 13.0), (2, 60.0, 12.0)]
    gan = [trial for trial in run.trials if trial.system == "gan"]
    assert [(trial.status, trial.tags.get("error")) for trial in gan] == [
        ("done", None),
        ("failed", "out of memory; peak was 900 MiB"),
    ]
    assert gan[1].scores == {}
    assert run.means["pitch_distance"]["lstm"] == 9.0
    assert [file.name for file in run.files][:3] == ["run.json", "report.md", "report.html"]


def test_a_hyperparameter_never_hides_a_fact_of_the_trial(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    stored.add("lstm", 0, moved(8), params={"kind": "stacked"})
    (trial,) = read_contents(stored.close()).trials
    assert (trial.params["kind"], trial.params["params.kind"]) == ("model", "stacked")


def test_folds_are_told_apart(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    history = [{"epoch": 1, "loss": 5.0, "notes": 10, "fold": fold} for fold in (1, 2)]
    stored.add("lstm", 0, moved(8), training={"folds": [{"fold": 1}, {"fold": 2}], "history": history, "resumed": 0})
    (trial,) = read_contents(stored.close()).trials
    assert [sorted(e.values) for e in trial.history] == [[f"training/fold {n}/loss", f"training/fold {n}/notes"] for n in (1, 2)]


def test_what_the_engine_counts_at_the_end_of_a_budget_is_no_curve(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    history = [{"epoch": number, "seconds": 1.0, "loss": 5.0, "notes": 10, "over": 1.0} for number in (1, 2)]
    stored.add("lstm", 0, moved(8), training={"history": history})
    (trial,) = read_contents(stored.close()).trials
    assert [sorted(e.values) for e in trial.history] == [["training/loss", "training/notes", "training/seconds"]] * 2


def test_the_identity_outlives_a_resumed_run_and_the_content_does_not(tmp_path: Path) -> None:
    folders = [tmp_path / place / "run" for place in ("one", "other")]
    example(folders[0])
    shutil.copytree(folders[0], folders[1])
    before, after = map(read_contents, folders)
    assert (before.identity, before.content) == (after.identity, after.content)
    write_reports(folders[1])
    later = read_contents(folders[1])
    assert later.identity == before.identity
    assert later.content != before.content
    run = RunFolder(folders[1])
    for other in ({"started": "2025-01-02T03:04:06Z"}, {"plugins": {"lstm": "other code"}}):
        run.write(run.read().change(**other))
        changed = read_contents(folders[1]).identity
        assert changed not in (before.identity, later.identity)
        later = read_contents(folders[1])
    record = run.read()
    keys = tuple(planned.model_copy(update={"key": f"{planned.key}-of-other-music"}) for planned in record.trials)
    assert record.change(trials=keys).identity("run") != record.identity("run")


def test_a_run_without_results(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "run")
    stored.add("lstm", 0, None)
    with pytest.raises(UsageError, match="nothing to export"):
        read_contents(stored.close())


def test_a_missing_library_says_the_command() -> None:
    with pytest.raises(UsageError, match="needs no_such_library") as refused:
        optional("no_such_library", "mlflow")
    assert refused.value.hint == "pip install 'midibench[mlflow]'"


def test_a_library_that_lacks_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MachineError, match="half_installed is damaged: it lacks no_such_part"):
        optional("half_installed", "trackio")


def test_what_a_library_raises_is_put_in_words_without_passwords() -> None:
    with (
        pytest.raises(MachineError, match="Tracker refused: ValueError: no http://host/x") as refused,
        failures_of("Tracker", "Try."),
    ):
        raise ValueError("no http://me:secret@host/x")
    assert refused.value.hint == "Try."
    with pytest.raises(BenchError, match="ours"), failures_of("Tracker", ""):
        raise BenchError("ours")

"""A real local MLflow store, read back by its own client."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import MachineError, UsageError
from bench.export.contents import RunContents, read_contents
from bench.export.mlflow import CONTENT, TRIAL, export
from bench.storage.run_folder import RunFolder
from tests.report.stored_run import Stored, moved

from .conftest import LACKS, Export

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'midibench[mlflow]'")


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, which takes MLflow seconds to make."""
    place = tmp_path_factory.mktemp("mlflow")
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
    return place


@pytest.fixture
def store(tmp_path: Path, empty: Path) -> Path:
    return shutil.copytree(empty, tmp_path / "store")


@pytest.fixture
def runs(store: Path) -> Callable[..., list[Any]]:
    """All runs of the experiment, the newest first."""

    def found(**options: Any) -> list[Any]:
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
        (experiment,) = client.search_experiments(filter_string="name LIKE 'midibench/%'")
        assert experiment.name == "midibench/table2"
        return list(client.search_runs([experiment.experiment_id], **options))

    return found


def test_a_parent_and_a_child_for_each_trial(run: RunContents, store: Path, runs: Callable[..., list[Any]]) -> None:
    assert export(run, str(store)).written
    parent = next(found for found in runs() if "mlflow.parentRunId" not in found.data.tags)
    assert (parent.info.run_name, parent.info.status) == ("table2-cpu", "FAILED")  # one trial of the GAN failed
    assert (parent.info.start_time, parent.info.end_time) == (1735787045000, 1735787645000)
    assert (parent.data.params["protocol.notes"], parent.data.params["seeds"]) == ("4", "[0, 1]")
    assert parent.data.metrics["pitch_distance/lstm"] == 9.0
    assert parent.data.tags["mlflow.source.git.commit"] == "0123abc"
    assert parent.data.tags["mlflow.source.name"].startswith("bench run table2 --scale cpu")
    children = {found.data.tags[TRIAL]: found for found in runs() if "mlflow.parentRunId" in found.data.tags}
    assert {found.data.tags["mlflow.parentRunId"] for found in children.values()} == {parent.info.run_id}
    assert set(children) == {trial.key for trial in run.trials}
    lstm = children["lstm-1"]
    assert lstm.data.params | {"seed": "1", "system": "lstm", "kind": "model", "budget.epochs": "3"} == lstm.data.params
    assert (lstm.data.metrics["pitch_distance"], lstm.data.metrics["bits_per_note"]) == (10.0, 16.0)
    assert (lstm.info.status, lstm.data.tags["device"]) == ("FINISHED", "Test CPU")
    failed = children["gan-1"]
    assert (failed.info.status, failed.data.metrics) == ("FAILED", {})
    assert failed.data.tags["error"] == "out of memory; peak was 900 MiB"


def test_what_a_training_logged_is_stepwise(run: RunContents, store: Path, runs: Callable[..., list[Any]]) -> None:
    export(run, str(store))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    (lstm,) = runs(filter_string=f"tags.`{TRIAL}` = 'lstm-1'")
    history = client.get_metric_history(lstm.info.run_id, "training/validation_bits")
    assert [(m.step, m.value, m.timestamp - lstm.info.start_time) for m in history] == [(1, 13.0, 30_000), (2, 12.0, 60_000)]
    (score,) = client.get_metric_history(lstm.info.run_id, "pitch_distance")
    assert (score.step, score.value) == (2, 10.0)


def test_the_reports_are_artifacts(run: RunContents, store: Path, runs: Callable[..., list[Any]], tmp_path: Path) -> None:
    export(run, str(store))
    (parent,) = runs(filter_string="attributes.run_name = 'table2-cpu'")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    artifacts = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert artifacts == {file.name for file in run.files}
    copy = Path(client.download_artifacts(parent.info.run_id, "report.csv", str(tmp_path)))
    assert copy.read_bytes() == (run.report.folder / "report.csv").read_bytes()


def test_twice_is_once(run: RunContents, store: Path, runs: Callable[..., list[Any]]) -> None:
    assert export(run, str(store)).written
    before = {found.info.run_id for found in runs()}
    assert not export(run, str(store)).written
    assert {found.info.run_id for found in runs()} == before


def test_a_run_that_was_resumed_is_replaced(tmp_path: Path, store: Path, runs: Callable[..., list[Any]]) -> None:
    stored = Stored(tmp_path / "run")
    stored.add("lstm", 0, moved(8))
    stored.add("lstm", 1, None)
    folder = stored.close()
    unfinished = RunFolder(folder)
    unfinished.write(unfinished.read().change(finished=None))
    export(read_contents(folder), str(store))
    assert sorted(found.info.status for found in runs()) == ["FINISHED", "RUNNING"]
    other = Stored(tmp_path / "other" / "run")
    other.add("lstm", 0, moved(8))
    other.add("lstm", 1, moved(9))
    resumed = RunFolder(other.close())
    resumed.write(resumed.read().change(token=unfinished.read().token))
    export(read_contents(resumed.path), str(store))
    assert [found.info.status for found in runs()] == ["FINISHED"] * 3


def test_an_interrupted_export_is_made_anew(run: RunContents, store: Path, runs: Callable[..., list[Any]]) -> None:
    export(run, str(store))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    parent = next(found for found in runs() if CONTENT in found.data.tags)
    client.delete_tag(parent.info.run_id, CONTENT)  # it is written last
    assert export(run, str(store)).written
    assert len(runs()) == 1 + len(run.trials)
    assert [found.data.tags[TRIAL] for found in runs() if TRIAL in found.data.tags].count("lstm-1") == 1


def test_names_that_mlflow_does_not_take(tmp_path: Path, store: Path, runs: Callable[..., list[Any]]) -> None:
    stored = Stored(tmp_path / "run")
    stored.add("lstm dropout=0.1", 0, moved(8), model="lstm", params={"dropout": 0.1, "sizes": [8, 16]})
    export(read_contents(stored.close()), str(store))
    assert {found.info.run_name for found in runs()} == {"run", "run: lstm dropout=0.1, seed 0"}
    parent = next(found for found in runs() if TRIAL not in found.data.tags)
    assert parent.data.metrics["pitch_distance/lstm dropout:0.1"] == 8.0
    child = next(found for found in runs() if TRIAL in found.data.tags)
    assert (child.data.params["dropout"], child.data.params["sizes"]) == ("0.1", "[8, 16]")


def test_many_params_and_a_long_one(tmp_path: Path, store: Path, runs: Callable[..., list[Any]]) -> None:
    stored = Stored(tmp_path / "run")
    stored.add("lstm", 0, moved(8), params={**{f"p{i}": i for i in range(250)}, "long": "x" * 20_000})
    export(read_contents(stored.close()), str(store))
    child = next(found for found in runs() if TRIAL in found.data.tags)
    assert child.data.params["p249"] == "249"
    assert set(child.data.params["long"]) == {"x"}


def test_the_place_is_mlflows_own_by_default(export: Export, tmp_path: Path) -> None:
    answer = export("latest", "--to", "mlflow")
    assert (answer.returncode, answer.stderr) == (3, LACKS)
    assert answer.stdout.splitlines() == [
        f"sqlite:///{tmp_path}/mlflow.db",
        f"Look at it: mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db",
    ]
    again = export("latest", "--to", "mlflow")
    assert again.stdout.splitlines()[0] == "This export is there already; nothing was written."
    other = export("latest", "--to", "mlflow", MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/other.db")
    assert other.stdout.splitlines()[0] == f"sqlite:///{tmp_path}/other.db"


def test_places_that_are_none(run: RunContents, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database, and long enough to be told from an empty one" * 10)
    with pytest.raises(UsageError, match="is a file"):
        export(run, str(tmp_path / "file"))
    for uri in (f"sqlite:///{tmp_path}/file", f"sqlite:///{tmp_path}/none/x.db"):
        with pytest.raises(UsageError, match="can't be used as a database"):
            export(run, uri)


def test_a_server_that_does_not_answer(export: Export) -> None:
    answer = export("latest", "--to", "mlflow", "--output", "http://me:secret@127.0.0.1:9")
    assert answer.returncode == 3
    assert "error: MLflow refused: " in answer.stderr
    assert "secret" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_deleted_experiment(run: RunContents, store: Path) -> None:
    export(run, str(store))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    client.delete_experiment(client.get_experiment_by_name("midibench/table2").experiment_id)
    with pytest.raises(UsageError, match="midibench/table2 was deleted") as refused:
        export(run, str(store))
    assert refused.value.hint == "mlflow experiments restore -x 1"


def test_an_unreadable_answer(run: RunContents) -> None:
    with pytest.raises(MachineError, match="MLflow refused"):
        export(run, "nonsense://x")

"""A run in MLflow: a parent run for the bench run, a child run for each trial.

=================  ===========================================================================================================
experiment         ``midibench/SPEC``
the parent         choices of the spec as params; means of the tested columns as metrics ``COLUMN/ROW``; versions, commit and
                   command as tags; run.json and the reports as artifacts
each child         hyperparameters, budget and seed as params; its scores as metrics; what its training logged as metrics
                   ``training/NAME`` by the number of the evaluation; versions and device as tags
=================  ===========================================================================================================

MLflow adds to a run and never takes away, so a run that was exported before is deleted there (as its users do: it can be restored
until ``mlflow gc``) and exported anew, unless it is there unchanged. What marks it as complete is written last.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.export.contents import Exported, Param, RunContents, TrialContents, failures_of, optional, without_password

#: Tags by which an export is found again: of which run, what it holds, and which trial a child run is.
RUN, CONTENT, TRIAL = "midibench.run", "midibench.content", "midibench.trial"

#: Most entries of one request, and most characters of a value, by MLflow's own limits.
MOST_METRICS, MOST_PARAMS, MOST_TAGS, LONGEST = 1000, 100, 100, 5000

#: Unless the user says otherwise: a server that doesn't answer is tried for seconds instead of minutes, and nobody is told.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}


def export(run: RunContents, place: str | None = None) -> Exported:
    """Write a run to an MLflow store.

    Parameters
    ----------
    run : RunContents
    place : str, optional
        A tracking URI, or a folder, which gets a database and the artifacts. By default MLflow's own choice: its variable
        MLFLOW_TRACKING_URI, else a database in the current folder.

    Raises
    ------
    UsageError
        If MLflow is not installed.
    MachineError
        If the store refuses.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    mlflow = optional("mlflow", "mlflow")
    uri, artifacts = _store(place)
    with failures_of("MLflow", "Check the place: --output, else $MLFLOW_TRACKING_URI."):
        uri = uri or mlflow.get_tracking_uri()
        _check_database(uri)
        written = _Export(mlflow, mlflow.MlflowClient(tracking_uri=uri), run).write(artifacts)
    shown = without_password(uri)
    view = "" if uri.startswith(("http:", "https:")) else f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
    return Exported(shown, view, written)


def _store(place: str | None) -> tuple[str | None, str | None]:
    """URI of the store, and of the artifacts of a new experiment; None for MLflow's own choice."""
    if place is None or re.match(r"[a-z][a-z0-9+.-]+:", place):
        return place, None
    folder = Path(place).absolute()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{place} is a file; MLflow needs a folder, or a tracking URI.", "Such as --output sqlite:///mlflow.db.")
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()


def _check_database(uri: str) -> None:
    """Refuse a file that can't be a database: MLflow would try for minutes."""
    if uri.startswith("sqlite:///"):
        path = uri.removeprefix("sqlite:///").partition("?")[0]
        try:
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA schema_version")
        except sqlite3.Error as error:
            raise UsageError(f"{path} can't be used as a database: {error}.", "Give another --output.") from error


class _Export:
    """An export to a client of MLflow."""

    def __init__(self, mlflow: Any, client: Any, run: RunContents) -> None:
        self.mlflow, self.client, self.run = mlflow, client, run
        self.started = round(run.started * 1000)

    def write(self, artifacts: str | None) -> bool:
        """Write the run; return False if it is there unchanged."""
        experiment = self._experiment(artifacts)
        mine = list(self._earlier(experiment))
        if any(found.data.tags.get(CONTENT) == self.run.content for found in mine):
            return False
        for found in mine:
            self.client.delete_run(found.info.run_id)
        parent = self._parent(experiment)
        for trial in self.run.trials:
            self._child(experiment, parent, trial)
        failed = any(trial.status == "failed" for trial in self.run.trials)
        if self.run.finished:
            self.client.set_terminated(parent, "FAILED" if failed else "FINISHED", self.started + round(self._seconds() * 1000))
        self.client.set_tag(parent, CONTENT, self.run.content)
        return True

    def _earlier(self, experiment: str) -> Iterator[Any]:
        """Yield what an earlier export left, by pages."""
        token = None
        while True:
            page = self.client.search_runs([experiment], f"tags.`{RUN}` = '{self.run.identity}'", page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _experiment(self, artifacts: str | None) -> str:
        name = f"midibench/{self.run.spec}"
        found = self.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise UsageError(
                f"The experiment {name} was deleted in MLflow.", f"mlflow experiments restore -x {found.experiment_id}"
            )
        return str(found.experiment_id if found is not None else self.client.create_experiment(name, artifact_location=artifacts))

    def _parent(self, experiment: str) -> str:
        run = self.run
        about = "\n\n".join(filter(None, (run.report.title, str(run.report.spec.get("description") or ""))))
        tags = {
            RUN: run.identity,
            "mlflow.source.name": run.tags["command"],
            "mlflow.source.type": "JOB",
            "mlflow.source.git.commit": run.tags.get("commit", ""),
            "mlflow.note.content": about,
            **run.tags,
        }
        made = self._create(experiment, run.name, tags)
        means = {f"{metric}/{row}": mean for metric, rows in run.means.items() for row, mean in rows.items()}
        self._log(made, run.params, [(name, value, 0, 0.0) for name, value in means.items()])
        for file in run.files:
            self.client.log_artifact(made, str(file))
        return made

    def _child(self, experiment: str, parent: str, trial: TrialContents) -> None:
        names = {"mlflow.parentRunId": parent, RUN: self.run.identity, TRIAL: trial.key}
        made = self._create(experiment, f"{self.run.name}: {trial.name}", {**names, **trial.tags})
        stepwise = [(name, x, e.step, e.seconds) for e in trial.history for name, x in e.values.items()]
        last = max((evaluation.step for evaluation in trial.history), default=0)
        scores = [(name, value, last, trial.seconds) for name, value in trial.scores.items()]
        self._log(made, trial.params, [*stepwise, *scores])
        ended = "FINISHED" if trial.status == "done" else "FAILED"
        self.client.set_terminated(made, ended, self.started + round(trial.seconds * 1000))

    def _create(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        """Make a run that began when the bench run did: when each trial began is not recorded."""
        first, *more = _chunks([(key, value[:LONGEST]) for key, value in tags.items()], MOST_TAGS)
        made = self.client.create_run(experiment, self.started, dict(first), name)
        entities = self.mlflow.entities
        for chunk in more:
            self.client.log_batch(made.info.run_id, tags=[entities.RunTag(*tag) for tag in chunk])
        return str(made.info.run_id)

    def _log(self, run: str, params: Mapping[str, Param], metrics: Sequence[tuple[str, float, int, float]]) -> None:
        """Log params, and metrics as (name, value, step, seconds since the start)."""
        entities = self.mlflow.entities
        for chunk in _chunks([(_plain(name), str(value)[:LONGEST]) for name, value in params.items()], MOST_PARAMS):
            self.client.log_batch(run, params=[entities.Param(*param) for param in chunk])
        made = [
            entities.Metric(_plain(n), value, self.started + round(1000 * seconds), step) for n, value, step, seconds in metrics
        ]
        for part in _chunks(made, MOST_METRICS):
            self.client.log_batch(run, metrics=part)

    def _seconds(self) -> float:
        return max(self.run.ended - self.run.started, 0.0)


def _plain(name: str) -> str:
    """Name as MLflow takes it, such as ``lstm dropout:0.1``.

    >>> _plain("pitch_distance/lstm dropout=0.1")
    'pitch_distance/lstm dropout:0.1'
    """
    return re.sub(r"[^\w.\- :/]", ":", name)


def _chunks(values: Iterable[Any], size: int) -> list[list[Any]]:
    every = list(values)
    return [every[i : i + size] for i in range(0, len(every), size)]

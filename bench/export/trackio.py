"""A run in a local Trackio project: a Trackio run for each trial, grouped by the bench run.

The project has the spec's name. A trial's config holds its hyperparameters, budget, seed and versions; its metrics are
``training/NAME`` by the number of the evaluation, and its scores at the last of them. The runs of an earlier export are deleted
first. Nothing is sent anywhere: ``trackio sync`` does that.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from pathlib import Path
from typing import Any

from bench.errors import MachineError
from bench.export.contents import Exported, RunContents, TrialContents, failures_of, optional

#: Key of the config by which an export is found again.
RUN = "midibench.run"


def export(run: RunContents, place: Path | None = None) -> Exported:
    """Write a run to Trackio's database.

    Parameters
    ----------
    run : RunContents
    place : Path, optional
        Folder of the database; by default Trackio's own choice, its variable TRACKIO_DIR. Trackio reads it as it is first
        imported, so a process can write to one folder only.

    Raises
    ------
    UsageError
        If Trackio is not installed.
    MachineError
        If it wrote less than it was given.
    """
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
        os.environ["TRACKIO_DIR"] = str(place.absolute())
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):  # by which runs would be sent to a server
        os.environ.pop(name, None)
    trackio = optional("trackio", "trackio")
    project = _project(run.spec)
    hint = "Is there room on the disk, and may you write there? Then give the same command again."
    with failures_of("Trackio", hint), contextlib.redirect_stdout(io.StringIO()):
        for earlier in _exported(trackio, project, run):
            earlier.delete()
        for trial in run.trials:
            _write(trackio, project, run, trial)
        kept = len(_exported(trackio, project, run))
    folder = Path(trackio.utils.TRACKIO_DIR)
    if kept != len(run.trials):  # Trackio only warns of what it can't write
        raise MachineError(f"Trackio kept {kept} of {len(run.trials)} trials in {folder}.", hint)
    show = f"trackio show --project {shlex.quote(project)}"
    return Exported(str(folder), show if place is None else f"TRACKIO_DIR={shlex.quote(str(folder))} {show}")


def _exported(trackio: Any, project: str, run: RunContents) -> list[Any]:
    """Find the runs of the project that are this run's trials."""
    try:
        every = list(trackio.Api().runs(project))
    except ValueError:  # there is no such project yet
        return []
    return [one for one in every if (one.config or {}).get(RUN) == run.identity]


def _write(trackio: Any, project: str, run: RunContents, trial: TrialContents) -> None:
    config = {**run.params, **trial.tags, **trial.params, "status": trial.status, RUN: run.identity}
    made = trackio.init(
        project,
        name=f"{run.name}: {trial.name}",
        group=run.name,
        config=config,
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    last = max((evaluation.step for evaluation in trial.history), default=0)
    for evaluation in trial.history:
        if evaluation.step < last:
            made.log(dict(evaluation.values), step=evaluation.step)
    ending = {name: value for e in trial.history if e.step == last for name, value in e.values.items()}
    made.log({**ending, **trial.scores}, step=last)
    trackio.finish()


def _project(spec: str) -> str:
    """Name of the project: some that end in an underscore and a word are reserved.

    >>> _project("my_system")
    'midibench-my-system'
    """
    return "midibench-" + re.sub("[^A-Za-z0-9]+", "-", spec)

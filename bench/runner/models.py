"""Tasks on the weights that a model comes with (find, fetch, verify), each in a child process of the model's interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.api import Verified
from bench.plugins.discovery import get_plugin
from bench.plugins.header import Plugin
from bench.runner.datasets import Sink, child_task, task_alone, usable
from bench.runner.processes import Signals
from bench.system import frameworks
from bench.system.paths import Places


class Located(NamedTuple):
    """Where the weights of a model are, and their identity."""

    source: str
    fingerprint: str


def locate_weights(
    plugin: Plugin, params: Mapping[str, Any], places: Places, file: Path, log: Path, signals: Signals, display: Sink
) -> Located:
    """Find a model's weights, for its trials.

    Raises
    ------
    BenchError
        If they are missing, with the command that fetches them.
    """
    job = _job("weights", plugin.name, params, places)
    result = child_task(job, f"the model {plugin.name!r}", file, log, signals, display, _python(plugin))
    with usable(f"The model {plugin.name!r}"):
        return Located(str(result["source"]), str(result["fingerprint"]))


def fetch_weights(name: str, *, params: Mapping[str, Any] | None = None, display: Sink | None = None, **where: Any) -> Path:
    """Download a model's weights into the cache.

    Parameters
    ----------
    name : str
    params : mapping, optional
        Hyperparameters of the model.
    display : callable, optional
        Called with each event.
    **where
        `out`, `plugins`, as for :func:`bench.run`.

    Returns
    -------
    Path
        The folder that holds them.
    """
    result = _alone("fetch weights", name, params, display, where)
    with usable(f"The model {name!r}"):
        return Path(result["folder"])


def verify_weights(name: str, *, params: Mapping[str, Any] | None = None, display: Sink | None = None, **where: Any) -> Verified:
    """Compare a model's weights with their known checksums; see :func:`fetch_weights`."""
    result = _alone("verify weights", name, params, display, where)
    with usable(f"The model {name!r}"):
        return Verified(**result["verified"] | {"differences": tuple(result["verified"]["differences"])})


def _alone(
    task: str, name: str, params: Mapping[str, Any] | None, display: Sink | None, where: Mapping[str, Any]
) -> dict[str, Any]:
    places = Places.find(**where)
    plugin = get_plugin("model", name, places.plugins)
    return task_alone(_job(task, name, params or {}, places), f"the model {name!r}", display, _python(plugin))


def _job(task: str, name: str, params: Mapping[str, Any], places: Places) -> dict[str, Any]:
    return {"task": task, "model": {"name": name, "params": dict(params)}, **places.job()}


def _python(plugin: Plugin) -> str:
    return frameworks.interpreter(tuple(plugin.header["REQUIRES"]))

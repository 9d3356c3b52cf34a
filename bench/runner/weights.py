"""Weights that models come with, in the worker: found, fetched and verified by the model's own methods, before any trial."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.api import Model, Verified
from bench.errors import DataError, PluginError, UsageError, fetch_command
from bench.plugins.discovery import get_plugin, load
from bench.plugins.header import Plugin
from bench.runner.contract import check_fingerprint
from bench.runner.prepare import Emit, make_cache, progress_events
from bench.storage.files import hold

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Weights:
    """A model with its hyperparameters, and the folders to search for its weights.

    Parameters
    ----------
    plugin : Plugin
    model : Model
    params : mapping
    roots : tuple of Path
        The user's folders of weights, in order.
    cache : Path
        `fetch` downloads into a folder of the model's name in it.
    """

    plugin: Plugin
    model: Model
    params: Mapping[str, Any]
    roots: tuple[Path, ...]
    cache: Path

    @classmethod
    def open(cls, job: Mapping[str, Any]) -> Weights:
        """Load the plug-in that a job names; hyperparameters that it does not accept are a PluginError."""
        name, params = job["model"]["name"], job["model"]["params"]
        plugin = get_plugin("model", name, [Path(p) for p in job["plugins"]])
        return cls(plugin, make_model(plugin, params), params, tuple(map(Path, job["weights"])), Path(job["cache"]))

    @property
    def folder(self) -> Path:
        """Where `fetch` puts them."""
        return self.cache / "weights" / self.plugin.name

    def require(self) -> Path:
        """Find the weights.

        Raises
        ------
        DataError
            If they are missing, with the command that fetches them: a run never does.
        """
        source = self.model.find([*self.roots, self.folder, self.folder.parent])
        if source is not None:
            return source
        searched = ", ".join(map(str, [*self.roots, self.folder]))
        params = {**{name: name.upper() for name in self.plugin.header["WEIGHTS"]}, **self.params}
        command = f"Run `{fetch_command(self.plugin.name, params, 'model')}` first, or name"
        name = command if self.plugin.header["NEEDS"] == "download" else "Name"
        raise DataError(
            f"The weights of the model {self.plugin.name!r} were not found in {searched}.",
            f"{name} the folder that holds them: $BENCH_WEIGHTS.",
        )


def make_model(plugin: Plugin, params: Mapping[str, Any]) -> Model:
    """Import a model plug-in and make its model with these hyperparameters.

    Raises
    ------
    PluginError
        If it does not accept them, or a method takes the contract's arguments in another order.
    """
    try:
        model = load(plugin)(**params)
    except TypeError as error:
        raise PluginError(f"The model {plugin.name!r} can't be made with {dict(params)}: {error}.") from error
    if not isinstance(model, Model):
        raise PluginError(f"{plugin.path}: its Model isn't a bench.api.Model.", "Derive it: `class Model(bench.api.Model):`.")
    for name, method in vars(Model).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            _check_order(plugin, name, [*inspect.signature(method).parameters][1:], getattr(model, name))
    return model


def _check_order(plugin: Plugin, name: str, expected: list[str], method: Any) -> None:
    """Refuse a method in which an argument of the contract has another's position, as all are given by position.

    A plug-in's own names are its own business, such as `_seed`.
    """
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # nothing that is called by a signature
        return
    given = [parameter.name for parameter in parameters if parameter.kind in _POSITIONAL]
    taken = [argument for argument in expected if argument != "constraint" or plugin.header["CONSTRAINT"]]
    if any(argument in taken and taken.index(argument) != place for place, argument in enumerate(given)):
        raise PluginError(
            f"{plugin.path}: {name}({', '.join(given)}) doesn't have its arguments in the order of bench.api.Model.",
            f"They are given by position: {name}({', '.join(expected)}).",
        )


def locate(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Find the weights and identify them."""
    weights = Weights.open(job)
    source = weights.require()
    return {"source": str(source), "fingerprint": check_fingerprint(weights.plugin, weights.model.fingerprint(source))}


def fetch(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Download the weights into the cache; a UsageError if there is nothing to download."""
    weights = Weights.open(job)
    if weights.plugin.header["NEEDS"] != "download":
        raise UsageError(f"The model {weights.plugin.name!r} has no weights to fetch.")
    make_cache(weights.cache)
    weights.folder.mkdir(parents=True, exist_ok=True)
    with hold(weights.folder / ".lock", weights.folder):
        weights.model.fetch(weights.folder, progress_events(emit, "fetch"))
    if weights.model.find([weights.folder]) is None:
        raise DataError(f"The weights of {weights.plugin.name!r} were downloaded into {weights.folder}, but not found there.")
    return {"folder": str(weights.folder)}


def verify(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Compare the weights that are there with their known checksums."""
    weights = Weights.open(job)
    if weights.plugin.header["NEEDS"] == "nothing":
        raise UsageError(f"The model {weights.plugin.name!r} has no weights to verify.")
    verified = weights.model.verify(weights.require(), progress_events(emit, "verify"))
    if not isinstance(verified, Verified):
        raise PluginError(f"verify() of the model {weights.plugin.name!r} returned {type(verified).__name__}, not Verified.")
    return {"verified": asdict(verified)}


#: By the name of the task.
TASKS = {"weights": locate, "fetch weights": fetch, "verify weights": verify}

"""Trials: everything that decides one outcome, as the runner writes it and the worker reads it."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from bench.config import Frozen
from bench.errors import SpecError
from bench.music.harmony import source_digest as source_digest_of_harmony
from bench.music.harmony.settings import Harmony
from bench.specs.schema import UNTRAINED, BudgetChoice, DatasetChoice, Protocol, Spec
from bench.storage.files import FORMAT
from bench.storage.records import MOST_TRIALS
from bench.storage.stored import Name

#: The model of every row of files that another system made, in place of a plug-in's name.
EXTERNAL = "external"

Kind = Literal["model", "reference", "untrained"]
Device = Literal["cpu", "cuda"]


class Trial(Frozen):
    """One system, one training seed and, in cross-validation, one fold."""

    system: Name = Field(description="The row it belongs to, e.g. `lstm`, `untrained lstm`, `median`.")
    kind: Kind
    cell_of: Name = Field(default="", description="The spec's row of which this is one cell of a grid search.")
    model: Name = Field(description="The model plug-in.")
    params: dict[str, Any] = Field(default_factory=dict)
    dataset: DatasetChoice
    protocol: Protocol
    budget: BudgetChoice
    seed: int = Field(ge=0)
    device: Device = "cpu"
    harmony: Harmony | None = None
    pretrained: bool = Field(default=False, description="Whether the model was trained elsewhere, perhaps on the test pieces.")
    velocity: bool = Field(default=True, description="Whether the model gives notes a velocity.")
    weights: str = Field(default="", description="Identity of the weights that its model comes with.")
    fold: int | None = Field(default=None, ge=1, description="Which fold is held out, counted from 1.")

    def digest(self, *more: str) -> str:
        """Hash the trial and whatever else decides its outcome (plug-in source, dataset, format version)."""
        # Features that a row doesn't use are left out, so that the trials of older specs keep their identity.
        unset = {name: True for name in ("harmony", "fold", "pretrained", "weights") if not getattr(self, name)}
        unset |= {"velocity": True} if self.velocity else {}
        left_out: dict[str, Any] = {"budget": {"timeout"}} | unset
        # Hyperparameters and options are given by name, so a spec's order is none of theirs; what is in one may have an order.
        dataset = self.dataset.model_copy(update={"options": dict(sorted(self.dataset.options.items()))})
        ordered = self.model_copy(update={"params": dict(sorted(self.params.items())), "dataset": dataset})
        text = "\x1f".join([ordered.model_dump_json(exclude=left_out), *more])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """Name in messages: ``lstm, seed 0``, or ``lstm, seed 0, fold 3``."""
        return f"{self.system}, seed {self.seed}" + (f", fold {self.fold}" if self.fold else "")


def trial_key(trial: Trial, code: str, music: str) -> str:
    """Hash everything that determines a trial's outcome.

    Parameters
    ----------
    trial : Trial
    code : str
        Hash of its plug-in's source, see :func:`bench.plugins.discovery.source_digest`.
    music : str
        Identity of the music, see :attr:`bench.storage.records.Prepared.music`.
    """
    harmony = [source_digest_of_harmony()] if trial.harmony else []
    return trial.digest(code, music, str(FORMAT), *harmony)


def unfold(spec: Spec, device: Device = "cpu", headers: Mapping[str, Mapping[str, Any]] | None = None) -> list[Trial]:
    """List all trials in an order that gives a useful table early: references, then the first seed of every model, and so on.

    `untrained` gives a row for each model, at the first seed only: what it shows differs little between seeds.

    Parameters
    ----------
    spec : Spec
        At the scale of the run.
    device : {"cpu", "cuda"}
        Where the models run; references always run on the CPU.
    headers : mapping, optional
        Headers of the model plug-ins by name. They tell which rows are not trained here (a reference row with a constraint of its
        own, and a pretrained model), and which have no velocity.

    Raises
    ------
    SpecError
        If they are more than a run may have.
    """
    rows = len({*spec.references} - {UNTRAINED}) + sum(max(1, number_of_cells(row, spec.grid)) for row in spec.models)
    check_number(rows * len(spec.seeds), "rows, cells of a grid, and seeds")  # before they fill the memory
    make = partial(Trial, dataset=spec.dataset, protocol=spec.protocol)
    clock = BudgetChoice(timeout=spec.budget.timeout)
    trials = [
        make(system=name, kind="reference", model=name, budget=clock, seed=seed)
        for seed in spec.seeds
        for name in spec.references
        if name != UNTRAINED
    ]
    own_headers = {row: (headers or {}).get(choice.plugin or row, {}) for row, choice in spec.models.items()}
    pretrained = {row for row, header in own_headers.items() if header.get("PRETRAINED")}
    # A reference row stays the same without training: it has none.
    trained = [row for row, h in own_headers.items() if h.get("ROLE") != "reference" and row not in pretrained]
    budgets = {row: choice.budget.over(spec.budget) for row, choice in spec.models.items()}
    for row in trained if UNTRAINED in spec.references else ():
        budget = BudgetChoice(epochs=0, timeout=budgets[row].timeout)
        system = f"{UNTRAINED} {row}"
        trials.append(_row(spec, make, row, system=system, kind=UNTRAINED, budget=budget, seed=spec.seeds[0], device=device))
    for seed in spec.seeds:
        for row in spec.models:
            budget = BudgetChoice(timeout=budgets[row].timeout) if row in pretrained else budgets[row]
            own = partial(make, kind="model", budget=budget, seed=seed, device=device, pretrained=row in pretrained)
            cells = combinations(row, spec.grid)
            trials += [_row(spec, own, row, cell, system=cell_name(row, cell), cell_of=row) for cell in cells]
            trials += [] if cells else [_row(spec, own, row, system=row)]
    mute = {model for model, header in (headers or {}).items() if not header.get("GIVES_VELOCITY", True)}
    return [trial.model_copy(update={"velocity": False}) if trial.model in mute else trial for trial in trials]


def in_folds(trials: Sequence[Trial], folds: Sequence[int]) -> list[Trial]:
    """Each trial once a fold; the trials themselves where the dataset's own split is used (no folds).

    Raises
    ------
    SpecError
        If they are more than a run may have.
    """
    check_number(len(trials) * max(1, len(folds)))
    return [trial.model_copy(update={"fold": fold}) for trial in trials for fold in folds] if folds else list(trials)


def check_number(trials: int, by: str = "rows, cells of a grid, seeds and folds") -> None:
    """Refuse more trials than a run may have.

    Raises
    ------
    SpecError
    """
    if trials > MOST_TRIALS:
        raise SpecError(
            f"The spec asks for {trials:,} trials ({by}); a run has at most {MOST_TRIALS:,}.", "Divide it into several."
        )


def _row(spec: Spec, make: Callable[..., Trial], row: str, changed: Mapping[str, Any] | None = None, **values: Any) -> Trial:
    choice = spec.models[row]
    params = {**choice.params, **(changed or {})}
    return make(model=choice.plugin or row, params=params, harmony=choice.harmony, **values)


def row_of(key: str) -> str:
    """Row that a key of a grid names: ``lstm`` in ``lstm.dropout``."""
    return key.partition(".")[0]


def combinations(row: str, grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """List the hyperparameters of each cell of `row`, the last one changing fastest; empty if the grid doesn't name the row.

    Examples
    --------
    >>> combinations("lstm", {"lstm.units": [8, 16], "lstm.dropout": [0.1], "gan.latent": [4, 8]})
    [{'units': 8, 'dropout': 0.1}, {'units': 16, 'dropout': 0.1}]
    """
    axes = _axes(row, grid)
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []


def number_of_cells(row: str, grid: Mapping[str, Sequence[Any]]) -> int:
    """Count what :func:`combinations` lists, which may be more than the memory holds."""
    axes = _axes(row, grid)
    return math.prod(map(len, axes.values())) if axes else 0


def _axes(row: str, grid: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    return {key.partition(".")[2]: values for key, values in grid.items() if row_of(key) == row}


def cell_name(row: str, params: Mapping[str, Any]) -> str:
    """Name of a cell's row, such as ``lstm dropout=0.1``."""
    return " ".join([row, *(f"{name}={value}" for name, value in params.items())])

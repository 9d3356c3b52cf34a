"""Baselines: every value of a run that a test needs, what it was measured on, and where.

Values are rounded to :data:`DIGITS` significant digits, also those of the run that is checked, so that equal music gives a
difference of exactly 0. The same run gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.formatting import listed
from bench.metrics import HEADLINE, METRICS, Metric, skill
from bench.music.harmony.settings import PLANNED
from bench.scoring.score import score_run
from bench.scoring.table import FEW_PITCHES, Cell, Row, Table, TrialScore
from bench.storage.records import MOST_TRIALS, Provenance
from bench.storage.run_folder import RunFolder

#: Significant digits of a stored value.
DIGITS = 9

#: What the values of a series belong to: pieces that were continued, all held-out pieces, or training seeds.
Over = Literal["pieces", "held-out pieces", "seeds"]


@dataclass(frozen=True)
class Series:
    """Values of one metric of one row.

    Parameters
    ----------
    value : float
        The row's mean, as in the report.
    over : {"pieces", "held-out pieces", "seeds"}
    seeds : tuple of int
        Training seeds with a value.
    at : tuple of int
        Indices of the pieces; empty over seeds.
    values : tuple of tuple of float or None
        A row for each of `seeds`: values of the pieces, None where it has none; over seeds, its only value. For a held-out piece,
        the contribution to the bits per note of all (:func:`bench.scoring.crossed.contributions`), so that plain means are these.
    weights : tuple of float, optional
        Weight of each piece in the mean; None for equal weights, and in files of older versions.
    """

    value: float
    over: Over
    seeds: tuple[int, ...]
    at: tuple[int, ...]
    values: tuple[tuple[float | None, ...], ...]
    weights: tuple[float, ...] | None = None

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Values as an array, (seeds, pieces) or (seeds, 1); NaN where there is none."""
        return np.array(self.values, np.float64)


@dataclass(frozen=True)
class System:
    """One row of a run.

    Parameters
    ----------
    kind : str
        ``model``, ``untrained`` or ``reference``.
    definition : dict
        What the spec says of it: plug-in, hyperparameters, budget (without the timeout). Of another system's files also how many
        samples a piece has; not in files of older versions.
    device : str
        ``cpu`` or ``cuda``.
    seeds : tuple of int
        Training seeds of the trials that are done.
    failed : dict of str to str
        By seed: why the trial failed or was not run.
    yardstick : dict of str to float
        By seed: seconds of the yardstick, where the trial has them.
    metrics : dict of str to Series
        By ``name@version``.
    undefined : dict of str to str
        By ``name@version``: why there is no value.
    pretrained : bool
        Whether its model was trained elsewhere, so that its seeds are draws of one training; False in files of older versions.
    processors : tuple of str
        Kinds of processor that the trials that are done ran on; empty in files of older versions.
    threads : tuple of int
        Numbers of threads that they had; empty in files of older versions.
    gpus : tuple of str
        Kinds of GPU that they ran on; empty in files of older versions.
    classes : tuple of int
        Time and duration classes of its bits; empty without any, and in files of older versions.
    likelihood : str
        Kind of its likelihood, ``exact`` or ``bound``; empty without one, and in files of older versions.
    exceeded : float
        Share of the common budget that a training took which went on beyond it, the most of any; 0 without one, and in files of
        older versions. A file names it ``over``.
    """

    kind: str
    definition: dict[str, Any]
    device: str
    seeds: tuple[int, ...]
    failed: dict[str, str] = field(default_factory=dict)
    yardstick: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, Series] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    pretrained: bool = False
    processors: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    likelihood: str = ""
    exceeded: Annotated[float, Field(alias="over")] = 0.0

    @property
    def beyond_budget(self) -> bool:
        """Whether a training went on beyond the common budget, by whatever share: it is compared with no row that kept to it."""
        return self.exceeded > 0

    @cached_property
    def continued(self) -> frozenset[int]:
        """Pieces with a sample, by their indices: of another system some may lack."""
        return frozenset(piece for series in self.metrics.values() if series.over == "pieces" for piece in series.at)

    @property
    def is_target(self) -> bool:
        """Whether more than half of its pieces are the true continuation: see :attr:`bench.scoring.table.Row.is_target`."""
        pitch, velocity, pitches = (self.metrics.get(METRICS[name].id) for name in (*HEADLINE, "unique_pitches"))
        if pitch is None or self.kind == "reference":
            return False
        same = np.nanmean(pitch.matrix, axis=0) == 0
        if velocity is not None and velocity.at == pitch.at:
            same_velocity = np.nanmean(velocity.matrix, axis=0) == 0
            various = pitches is not None and pitches.at == pitch.at and np.nanmean(pitches.matrix, axis=0) > FEW_PITCHES
            same &= same_velocity | various
        return bool(same.mean() > 0.5)

    def group(self, metric: Metric) -> str:
        """Name the rows whose noise tells of this one's, see :func:`group_of`."""
        return group_of(metric.name, self.kind, self.pretrained)


@dataclass(frozen=True)
class Baseline:
    """What the gate keeps of a run.

    Parameters
    ----------
    run : str
        Name of its folder.
    spec_hash : str
        Hash of everything in the resolved spec that decides an outcome.
    terms : dict
        Dataset, music, protocol, target and scale. Two runs that differ here can't be compared. Music is identified by its
        content, a hash over the held-out notes and the sizes of the splits, so that a baseline stays valid when other code reads
        the same notes.
    environment : dict
        Versions, processor, GPUs, system.
    pieces : tuple of str
        Names of the pieces that were continued.
    systems : dict of str to System
        Rows by name, in the table's order.
    """

    run: str
    spec_hash: str
    terms: dict[str, Any]
    environment: dict[str, Any]
    pieces: tuple[str, ...]
    systems: Annotated[dict[str, System], Field(max_length=MOST_TRIALS)]

    def plan_of(self, name: str) -> dict[str, Any] | None:
        """Choices of the chord plan by which a row's harmony columns are measured; None without one, or where several may.

        Those of its own constraint with its form, else of the same model's constrained rows, else of the run's only plan: see
        :class:`bench.scoring.chord_plans.StoredPlans`.
        """
        own = self.systems[name].definition
        if "harmony" in own:
            return _planned(own["harmony"], "form")
        plans = self._plans.get(_model(own)) or self._plans.get("", [])
        return plans[0] if len(plans) == 1 else None

    @cached_property
    def _plans(self) -> dict[str, list[dict[str, Any]]]:
        """Different plans of the constrained rows that have ended, by model, and of all; of more than two the first two."""
        found: dict[str, list[dict[str, Any]]] = {}
        for system in self.systems.values():
            if "harmony" in system.definition and system.seeds:
                for model in (_model(system.definition), ""):
                    plans = found.setdefault(model, [])
                    if len(plans) < 2 and (plan := _planned(system.definition["harmony"])) not in plans:
                        plans.append(plan)
        return found

    @property
    def incomplete(self) -> dict[str, str]:
        """Rows with trials that failed or did not run, and the first reason."""
        return {name: f"seed {seed}: {why}" for name, s in self.systems.items() for seed, why in list(s.failed.items())[:1]}


def _model(definition: Mapping[str, Any]) -> str:
    """Text of the model and the hyperparameters in a definition."""
    return json.dumps([definition.get(key) for key in ("model", "params")], sort_keys=True)


def _planned(harmony: object, *more: str) -> dict[str, Any]:
    """Take what says which chord is under which note from a constraint in a definition, where a file may hold anything."""
    choices = harmony if isinstance(harmony, dict) else {}
    return {key: choices[key] for key in (*PLANNED, *more) if choices.get(key) is not None}


def group_of(metric: str, kind: str, pretrained: bool) -> str:
    """Name the rows whose noise tells of each other's: those of one metric and kind. Draws don't tell of trainings."""
    return f"{metric} {'pretrained' if pretrained else kind}"


def rounded(value: float) -> float:
    """Round to :data:`DIGITS` significant digits.

    >>> rounded(1 / 3)
    0.333333333
    """
    return float(f"{value:.{DIGITS - 1}e}")


def take(folder: Path, table: Table | None = None) -> Baseline:
    """Take a baseline of the run in `folder`.

    Parameters
    ----------
    folder : Path
    table : Table, optional
        The run's scores; by default :func:`bench.scoring.score.score_run` of the folder.

    Raises
    ------
    DataError
        If the folder holds no run, or what it holds is damaged.
    """
    run = RunFolder(folder)
    record = run.read()
    spec = record.spec
    targets = run.read_targets()
    rows = (table or score_run(folder)).rows
    return Baseline(
        run=folder.resolve().name,
        spec_hash=_spec_hash(spec, record.scale),
        terms={
            "dataset": spec["dataset"],
            "music": {"held_out": targets.digest(), "pieces": record.dataset.pieces, "notes": record.dataset.notes},
            "protocol": spec["protocol"],
            "target": spec.get("target"),
            "scale": record.scale,
        },
        environment={**_environment(record.provenance, rows), "music": record.dataset.parsed[:16]},
        pieces=tuple(t.piece.id for t in targets.targets),
        systems={row.system: _system(row) for row in rows},
    )


def _system(row: Row) -> System:
    metrics, undefined = {}, {}
    for name, metric in METRICS.items():
        if name in skill.OF:  # a function of the distance, which is judged itself
            continue
        series = _series(name, row)
        if isinstance(series, Series):
            metrics[metric.id] = series
        else:
            undefined[metric.id] = series
    trial = row.trials[0].trial
    harmony = {} if row.harmony is None else {"harmony": row.harmony.model_dump(mode="json")}
    files = {"samples": trial.protocol.samples} if row.external else {}
    return System(
        kind=row.kind,
        definition={
            "model": row.model,
            "params": dict(row.params),
            "budget": trial.budget.model_dump(mode="json", exclude={"timeout"}),
            **harmony,
            **files,
        },
        device=trial.device,
        seeds=tuple(t.trial.seed for t in row.done),
        failed={str(t.trial.seed): t.error or "it has not run" for t in row.trials if t.status != "done"},
        yardstick={str(t.trial.seed): rounded(s) for t in row.done if (s := _yardstick(t)) is not None},
        metrics=metrics,
        undefined=undefined,
        pretrained=row.pretrained,
        processors=tuple(sorted(row.processors)),
        threads=tuple(sorted(row.threads)),
        gpus=tuple(sorted({machine.gpu for machine in row.machines if machine.gpu})),
        classes=row.classes if row.likelihood_kind or row.validates_bits else (),
        likelihood=row.likelihood_kind or row.prediction_kind,
        exceeded=rounded(max((t.exceeded for t in row.done), default=0.0)),
    )


def _series(name: str, row: Row) -> Series | str:
    """Take the values of one metric, or the reason why there are none."""
    cell = row.cells[name]
    if cell.value is None:
        return cell.reason
    if not cell.by_seed:
        by_seed = tuple((rounded(value),) for value in cell.seed_means.values())
        return Series(rounded(cell.value), "seeds", tuple(cell.seed_means), (), by_seed)
    pieces = tuple(cell.by_piece)
    rows = tuple(tuple(_contribution(cell, values.get(piece), piece) for piece in pieces) for values in cell.by_seed.values())
    over: Over = "pieces" if cell.weights is None else "held-out pieces"
    weights = None if cell.weights is None else tuple(rounded(cell.weights[piece]) for piece in pieces)
    return Series(rounded(cell.value), over, tuple(cell.by_seed), pieces, rows, weights)


def _contribution(cell: Cell, value: float | None, piece: int) -> float | None:
    """Value of a piece as it counts in the plain mean over pieces; None without a value."""
    if value is None or cell.weights is None or cell.value is None:
        return None if value is None else rounded(value)
    mean_weight = math.fsum(cell.weights[p] for p in cell.by_piece) / len(cell.by_piece)
    return rounded(cell.value + (value - cell.value) * cell.weights[piece] / mean_weight)


def _yardstick(trial: TrialScore) -> float | None:
    """Average the yardstick's seconds before and after; None where it was not measured."""
    speed = trial.result.yardstick
    return (speed.before + speed.after) / 2 if speed else None


def _spec_hash(spec: Mapping[str, Any], scale: str) -> str:
    """Hash what decides an outcome: neither titles nor thresholds."""
    ignored = {"name", "title", "description", "extends", "suits", "published", "gate", "scales", "search", "tuned"}
    text = json.dumps([scale, {key: spec[key] for key in sorted(spec) if key not in ignored}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _environment(provenance: Provenance, rows: Sequence[Row]) -> dict[str, Any]:
    machine = provenance.machine
    processors = sorted({processor for row in rows for processor in row.processors})
    return {
        "bench": provenance.bench,
        "cpu": listed(processors) or machine.cpu,  # a cluster's machines needn't have that of the one that submits
        "cores": machine.cores,
        "gpus": list(machine.gpus),
        "platform": machine.platform,
        **{f: {"python": i.python, **dict(sorted(i.packages.items()))} for f, i in sorted(provenance.interpreters.items())},
    }

"""Checks of a spec that need more than its schema: plug-ins, their parameters, grids, thresholds and constraints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bench.errors import did_you_mean
from bench.metrics.thresholds import unknown
from bench.plugins.header import Plugin
from bench.plugins.parameters import PASSWORD, accepts, holds_password, type_text
from bench.specs.document import Address, Document
from bench.specs.messages import no_effect, short_repr
from bench.specs.schema import UNTRAINED, DatasetChoice, ModelChoice, Spec
from bench.specs.trials import number_of_cells

#: Most cells in the grid of one row: more is a slip.
MOST_CELLS = 256

#: Of the shared codec. Fewer classes cost fewer bits whatever was learned: validation would always choose the coarsest.
_CLASSES = ("time_classes", "duration_classes")

_ROW = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


class ValidNames:
    """Valid names in a spec.

    Parameters
    ----------
    models, datasets : mapping of str to Plugin
        As :func:`bench.plugins.discovery.find_plugins` returns them.
    """

    def __init__(self, models: Mapping[str, Plugin], datasets: Mapping[str, Plugin]) -> None:
        references = [name for name, plugin in models.items() if plugin.header["ROLE"] == "reference"]
        self.references: tuple[str, ...] = (*references, UNTRAINED)
        self.models = {name: plugin for name, plugin in models.items() if name not in references}
        #: Plug-ins of a row with a harmonic constraint: the references too.
        self.constrained = dict(models)
        self.datasets = dict(datasets)


def check_names(spec: Spec, document: Document, names: ValidNames) -> None:
    """Check the names in a spec against the plug-ins: datasets, models, references, and the parameters of each.

    Raises
    ------
    SpecError
        At the first name that is unknown, or value of the wrong type.
    """
    _check_dataset(spec.dataset, document, names, ("dataset",))
    for row, choice in spec.models.items():
        if not _ROW.fullmatch(row) or row in names.references:
            reason = (
                "is the name of a reference"
                if row in names.references
                else "may hold only letters, digits and _ . + -, and begins with none of these signs"
            )
            raise document.error(("models", row), f"a model's row can't be named {row!r}: it {reason}.")
        at: Address = ("models", row, "plugin") if choice.plugin else ("models", row)
        name = choice.plugin or row
        plugins = names.constrained if choice.harmony else names.models
        if name not in plugins:
            raise document.error(at, f"unknown model {name!r}.", did_you_mean(name, names.models))
        _check_parameters(choice.params, plugins[name], document, ("models", row, "params"))
        if plugins[name].header["PRETRAINED"] and (idle := sorted(choice.budget.model_fields_set - {"timeout"})):
            raise document.error(
                ("models", row, "budget", idle[0]),
                f"it has no effect: the model {name!r} is pretrained.",
                "Remove it. Only a timeout counts.",
            )
        budget = choice.budget.over(spec.budget)
        if key := budget.without_effect(choice.budget.model_fields_set):
            raise no_effect(document, ("models", row, "budget"), key)
        if "epochs" in choice.budget.model_fields_set and budget.compute is not None:
            raise document.error(
                ("models", row, "budget", "epochs"),
                "epochs have no effect beside the spec's budget.compute.",
                "Remove them, or give the row compute: null.",
            )
        if choice.harmony:
            _check_harmony(choice, plugins[name], spec.protocol.notes, document, ("models", row, "harmony"))
    for index, name in enumerate(spec.references):
        if name not in names.references:
            raise document.error(("references", index), f"unknown reference {name!r}.", did_you_mean(name, names.references))
    _check_grid(spec, document, names)
    _check_search(spec, document, names)
    _check_gate(spec.gate, document)
    for key, values in (("seeds", spec.seeds), ("references", spec.references)):
        if len(set(values)) < len(values):
            raise document.error((key,), "the same is listed twice.")


def _check_dataset(dataset: DatasetChoice, document: Document, names: ValidNames, at: Address) -> None:
    if dataset.name not in names.datasets:
        raise document.error((*at, "name"), f"unknown dataset {dataset.name!r}.", did_you_mean(dataset.name, names.datasets))
    _check_parameters(dataset.options, names.datasets[dataset.name], document, (*at, "options"))


def _check_grid(spec: Spec, document: Document, names: ValidNames) -> None:
    if spec.grid and spec.protocol.folds is not None:
        raise document.error(
            ("grid",),
            "a grid search and protocol.folds can't be combined: one fold's validation pieces are another's test pieces, so a "
            "choice over all folds would see what it is tested on.",
            "Leave one of them out.",
        )
    for key, values in spec.grid.items():
        row, _, parameter = key.partition(".")
        if not parameter:
            raise document.error(("grid", key), f"expected row.hyperparameter, such as lstm.dropout, got {key!r}.")
        if row not in spec.models:
            raise document.error(("grid", key), f"the spec has no row {row!r}.", did_you_mean(row, spec.models))
        plugin = names.constrained[spec.models[row].plugin or row]  # the row was checked above; it may be a constrained reference
        _check_trains(plugin, document, ("grid", key))
        for value in values:
            _check_parameter(parameter, value, plugin, document, ("grid", key))
        if parameter in _CLASSES and len(values) > 1:
            raise document.error(
                ("grid", key),
                f"validation can't choose {parameter}: bits over other classes don't compare.",
                "Give each number of classes a row of its own.",
            )
        if any(value in values[:i] for i, value in enumerate(values)):  # 0 and 0.0 are one value
            raise document.error(("grid", key), "the same value is listed twice.")
    for row in spec.models:
        if (cells := number_of_cells(row, spec.grid)) > MOST_CELLS:
            raise document.error(("grid",), f"{cells:,} combinations for the row {row!r}; at most {MOST_CELLS} can be searched.")


def _check_search(spec: Spec, document: Document, names: ValidNames) -> None:
    """Check the music, rows and hyperparameters that `bench tune` would search; a row that was left out is no error."""
    if spec.search and spec.search.dataset:
        _check_dataset(spec.search.dataset, document, names, ("search", "dataset"))
    for row, space in spec.search.models.items() if spec.search else ():
        if row not in spec.models:
            continue
        at: Address = ("search", "models", row)
        plugin = names.constrained[spec.models[row].plugin or row]
        _check_trains(plugin, document, at)
        for i, size in enumerate(space.sizes):
            _check_parameters(size, plugin, document, (*at, "sizes", i))
        for name, span in space.ranges.items():
            _check_parameter(name, span.low, plugin, document, (*at, "ranges", name))
            if span.high < span.low:
                raise document.error((*at, "ranges", name), f"its high {span.high:g} is below its low {span.low:g}.")
        if wrong := [name for name in _CLASSES if name in space.ranges or any(name in size for size in space.sizes)]:
            raise document.error(at, f"validation can't choose {wrong[0]}: bits over other classes don't compare.")


def _check_trains(plugin: Plugin, document: Document, at: Address) -> None:
    if plugin.header["PRETRAINED"]:
        raise document.error(
            at,
            f"the model {plugin.name!r} is pretrained: a search chooses by the validation score of trainings, and it has none.",
            "Give each choice a row of its own.",
        )


def _check_gate(gate: Mapping[str, Any], document: Document) -> None:
    if not gate:
        return
    from bench.metrics import METRICS  # not needed by a spec without thresholds

    pattern = unknown(gate, METRICS)
    if pattern is not None:
        raise document.error(
            ("gate", pattern),
            f"no metric {'fits' if '*' in pattern else 'is named'} {pattern!r}.",
            did_you_mean(pattern.strip("*"), METRICS),
        )


def _check_harmony(choice: ModelChoice, plugin: Plugin, notes: int, document: Document, at: Address) -> None:
    """Check that a row can be constrained: it draws each pitch from a distribution, and its form holds the notes compared."""
    if not plugin.header["CONSTRAINT"]:
        raise document.error(
            at,
            f"the model {plugin.name!r} can't be constrained: it has no distribution of each note's pitch given the notes "
            "before (its header doesn't say CONSTRAINT = True).",
            "Leave harmony out of this row.",
        )
    form = choice.harmony.form if choice.harmony else None
    if form is not None and notes > form.length:
        raise document.error(
            (*at, "form"),
            f"{form.sections} has {form.length} notes, but protocol.notes compares {notes}.",
            "Make its sections longer, or compare fewer notes.",
        )


def _check_parameters(values: Mapping[str, Any], plugin: Plugin, document: Document, at: Address) -> None:
    for name, value in values.items():
        _check_parameter(name, value, plugin, document, (*at, name))


def _check_parameter(name: str, value: Any, plugin: Plugin, document: Document, at: Address) -> None:
    word = "hyperparameter" if plugin.kind == "model" else "option"
    if name not in plugin.parameters:
        valid = did_you_mean(name, plugin.parameters) or f"It has no {word}s."
        raise document.error(at, f"the {plugin.kind} {plugin.name!r} has no {word} {name!r}.", valid)
    parameter = plugin.parameters[name]
    if not accepts(parameter, value):
        raise document.error(at, f"expected {type_text(parameter)}, got {short_repr(value)}.")
    if holds_password(value):
        raise document.error(at, *PASSWORD)

"""Layers of a spec: the files that it extends, the file itself and the command line, each overlaid on those before.

At a scale, a file's own overrides for that scale follow the file: ``[parent, parent.scales[s], child, child.scales[s], command
line]``. So a key at the top of a file also replaces the overrides in the file that it extends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from bench.specs.document import Document


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Overlay `over` on `base`: mappings join key by key, everything else is replaced.

    An empty value leaves a mapping as it is.

    Examples
    --------
    >>> merge({"budget": {"epochs": 3, "patience": 5}, "seeds": [0, 1]}, {"budget": {"epochs": 9}, "seeds": [7]})
    {'budget': {'epochs': 9, 'patience': 5}, 'seeds': [7]}
    """
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, Mapping) and (isinstance(value, Mapping) or value is None):
            result[key] = merge(below, value or {})
        else:
            result[key] = value
    return result


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two layers of a spec; options and hyperparameters don't pass from one plug-in to another that replaces it.

    Nor does a budget pass to one in another unit: `compute` replaces the epochs below it, those of single rows too, and epochs
    replace a `compute`. What `bench tune` measured doesn't pass to a row of other hyperparameters, nor to other music; that
    it was searched does.

    Examples
    --------
    >>> overlay({"dataset": {"name": "chorales", "options": {"limit": 9}}}, {"dataset": {"name": "maestro"}})
    {'dataset': {'name': 'maestro'}}
    >>> overlay({"budget": {"epochs": 6, "timeout": 600}}, {"budget": {"compute": {"updates": 500}}})
    {'budget': {'timeout': 600, 'compute': {'updates': 500}}}
    >>> overlay({"models": {"lstm": {"budget": {"updates": 400}}}}, {"models": {"lstm": {"params": {"units": 512}}}})
    {'models': {'lstm': {'budget': {}, 'params': {'units': 512}}}}
    """
    kept = _without_other_unit(_without_measures(base, over), over)
    if _mapping(over, "dataset").get("name") not in (None, _mapping(base, "dataset").get("name")):
        kept.pop("dataset", None)
    rows, changes = _mapping(kept, "models"), _mapping(over, "models")
    if rows:
        kept["models"] = {row: _without_params(row, choice, _mapping(changes, row)) for row, choice in rows.items()}
    if spaces := _mapping(_mapping(kept, "search"), "models"):
        gone = {row for row in spaces if _is_replaced(row, rows.get(row), _mapping(changes, row))}
        kept["search"] = {**kept["search"], "models": {row: space for row, space in spaces.items() if row not in gone}}
    return merge(kept, over)


def _without_other_unit(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the budget, of the spec and of rows, that one of `over` in another unit replaces; the same again replaces none."""
    if _keeps_budget(base, over):
        over = {**over, "budget": {key: value for key, value in _mapping(over, "budget").items() if key != "compute"}}
    change, changes = _mapping(over, "budget"), _mapping(over, "models")
    shared = {"compute": change.get("compute")} if change.keys() & {"compute", "epochs"} else {}
    kept = {**base, "budget": _in_other_unit(base["budget"], change)} if "budget" in base else dict(base)
    for row, choice in _mapping(base, "models").items():
        if isinstance(choice, dict) and "budget" in choice:
            # A row's own compute stands, whatever the spec's epochs.
            from_spec = {} if _mapping(choice, "budget").get("compute") and not shared.get("compute") else shared
            own = _in_other_unit(choice["budget"], from_spec | _mapping(_mapping(changes, row), "budget"))
            kept["models"] = {**kept["models"], row: {**choice, "budget": own}}
    return kept


def _in_other_unit(budget: Any, change: Mapping[str, Any]) -> Any:
    """Drop the keys of a budget that `change` replaces by another unit, and what belongs to that unit."""
    dropped: tuple[str, ...] = ()
    if change.get("compute"):
        dropped = ("epochs", "compute", "updates")
    elif "epochs" in change or "compute" in change:
        dropped = ("compute", "updates", "evaluations", "stages")
    return {key: value for key, value in budget.items() if key not in dropped} if isinstance(budget, dict) else budget


def _without_measures(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Drop `updates` of the rows that `over` makes others: other hyperparameters, plug-in, music, budget; mark their `tuned`.

    What a search chose on stays known, as most of what it chose stays too.
    """
    name, changes = _mapping(over, "dataset").get("name"), _mapping(over, "models")
    all_rows = (
        not _keeps_budget(base, over) or name not in (None, _mapping(base, "dataset").get("name")) or _other_options(base, over)
    )
    rows, tuned = _mapping(base, "models"), _mapping(base, "tuned")
    replaced = {row for row, choice in rows.items() if _is_replaced(row, choice, _mapping(changes, row))}
    changed = {row for row in rows if all_rows or "params" in _mapping(changes, row)} | replaced
    kept = dict(base)
    for row in changed:
        if isinstance(rows[row], dict) and isinstance(rows[row].get("budget"), dict):
            own = {key: value for key, value in rows[row]["budget"].items() if key != "updates"}
            kept["models"] = {**kept["models"], row: {**rows[row], "budget": own}}
    if tuned:
        gone = replaced | _mapping(over, "tuned").keys()  # an entry is of one search
        kept["tuned"] = {
            row: {**entry, "former": True} if row in changed and isinstance(entry, dict) else entry
            for row, entry in tuned.items()
            if row not in gone
        }
    return kept


def _keeps_budget(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    """Whether `over` names no training budget, or the `compute` that the spec has."""
    change = _mapping(over, "budget")
    if not change.keys() & {"compute", "epochs"}:
        return True
    before = _mapping(_mapping(base, "budget"), "compute")
    return "epochs" not in change and bool(change["compute"]) and _mapping(change, "compute").items() <= before.items()


def _other_options(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    """Whether `over` selects other music of the same dataset."""
    options = _mapping(_mapping(over, "dataset"), "options")
    before = _mapping(_mapping(base, "dataset"), "options")
    return any(name not in before or before[name] != value for name, value in options.items())


def _without_params(row: str, choice: Any, change: Mapping[str, Any]) -> Any:
    """Drop the hyperparameters of a row if `change` names another plug-in."""
    if not isinstance(choice, dict) or not _is_replaced(row, choice, change):
        return choice
    return {key: value for key, value in choice.items() if key != "params"}


def _is_replaced(row: str, choice: Any, change: Mapping[str, Any]) -> bool:
    """Whether `change` names another plug-in for a row."""
    before = choice.get("plugin") if isinstance(choice, dict) else None
    return change.get("plugin") not in (None, before or row)


def _mapping(data: Any, key: str) -> dict[str, Any]:
    """Look up a mapping in a layer, which is not validated yet; empty if there is none."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def fold(layers: Sequence[Document]) -> Document:
    """Overlay each layer on those before it, and keep the positions of its keys; a SpecError for null instead of a row."""
    return reduce(_overlaid, layers)


def fold_at(layers: Sequence[Document], scale: str | None) -> Document:
    """Fold the layers with their overrides for one scale; with none of them if `scale` is None."""
    return fold(at_scale(layers, scale))


def at_scale(layers: Sequence[Document], scale: str | None) -> list[Document]:
    """List the layers, each followed by its overrides for one scale."""
    return [part for layer in layers for part in (layer.without("scales"), layer.within("scales", scale))]


def _overlaid(base: Document, over: Document) -> Document:
    rows = _mapping(base.data, "models")
    for row, choice in _mapping(over.data, "models").items():
        if choice is None and row in rows:  # it would stay as it is, and who writes this hardly means that
            raise over.error(
                ("models", row),
                f"null doesn't remove the row {row}: the spec has it already, and it would run as it is.",
                "Leave it out here, and name the rows to run: --models.",
            )
    # A key that no layer has is reported as missing from the first layer.
    marks = {address: mark for address, mark in over.marks.items() if address}
    return Document(overlay(base.data, over.data), base.marks | marks)

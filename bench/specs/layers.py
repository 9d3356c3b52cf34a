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

    Examples
    --------
    >>> overlay({"dataset": {"name": "chorales", "options": {"limit": 9}}}, {"dataset": {"name": "maestro"}})
    {'dataset': {'name': 'maestro'}}
    """
    kept = dict(base)
    if _mapping(over, "dataset").get("name") not in (None, _mapping(base, "dataset").get("name")):
        kept.pop("dataset", None)
    rows, changes = _mapping(base, "models"), _mapping(over, "models")
    if rows:
        kept["models"] = {row: _without_params(row, choice, _mapping(changes, row)) for row, choice in rows.items()}
    return merge(kept, over)


def _without_params(row: str, choice: Any, change: Mapping[str, Any]) -> Any:
    """Drop the hyperparameters of a row if `change` names another plug-in."""
    if not isinstance(choice, dict) or change.get("plugin") in (None, choice.get("plugin") or row):
        return choice
    return {key: value for key, value in choice.items() if key != "params"}


def _mapping(data: Any, key: str) -> Mapping[str, Any]:
    """Look up a mapping in a layer, which is not validated yet; empty if there is none."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def fold(layers: Sequence[Document]) -> Document:
    """Overlay each layer on those before it, and keep the positions of its keys."""
    return reduce(_overlaid, layers)


def fold_at(layers: Sequence[Document], scale: str | None) -> Document:
    """Fold the layers with their overrides for one scale; with none of them if `scale` is None."""
    return fold([part for layer in layers for part in (layer.without("scales"), layer.within("scales", scale))])


def _overlaid(base: Document, over: Document) -> Document:
    # A key that no layer has is reported as missing from the first layer.
    marks = {address: mark for address, mark in over.marks.items() if address}
    return Document(overlay(base.data, over.data), base.marks | marks)

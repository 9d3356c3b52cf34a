"""Whether two runs can be compared, and what else differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.gate.baseline import Baseline
from bench.metrics import METRICS

#: Stands for a key that one side lacks.
NOTHING = "nothing"


def obstacles(before: Baseline, now: Baseline) -> list[str]:
    """Why the runs can't be compared, a sentence each; empty if they can.

    Both must have measured on the same music by the same protocol, at the same scale; a row that both have must be the same
    plug-in with the same hyperparameters and budget. The plug-in's source may differ: its change is what the gate judges.
    """
    found = list(differences(before.terms, now.terms))
    if before.pieces != now.pieces and not found:
        found.append(f"the {len(now.pieces)} held-out pieces are not the baseline's {len(before.pieces)}")
    for name, system in now.systems.items():
        if name in before.systems:
            was = before.systems[name]
            found += [f"{name}: {text}" for text in differences(was.definition, system.definition)]
            found += [f"{name}: {text}" for text in differences({"kind": was.kind}, {"kind": system.kind})]
            found += [f"{name}: {text}" for text in differences({"device": was.device}, {"device": system.device})]
    return found


def warnings(before: Baseline, now: Baseline) -> list[str]:
    """What differs and may explain a change: spec, environment, seeds; and metrics that this version of bench has no more."""
    found = []
    if before.spec_hash != now.spec_hash:
        found.append(f"another spec: its hash is {now.spec_hash}, was {before.spec_hash}")
    found += [f"another environment: {text}" for text in differences(before.environment, now.environment)]
    for name, system in now.systems.items():
        if name in before.systems and (was := before.systems[name].seeds) != system.seeds:
            found.append(f"{name}: seeds are {_listed(system.seeds)}, were {_listed(was)}")
    measured = dict.fromkeys(key.split("@")[0] for system in before.systems.values() for key in system.metrics)
    return [*found, *(f"the baseline's {name} is not measured any more" for name in measured if name not in METRICS)]


def differences(before: Mapping[str, Any], now: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Each value that differs, with its key."""
    for key in dict.fromkeys((*before, *now)):
        was, is_now = before.get(key, NOTHING), now.get(key, NOTHING)
        name = f"{at}{key}"
        if isinstance(was, Mapping) and isinstance(is_now, Mapping):
            yield from differences(was, is_now, f"{name}.")
        elif was != is_now:
            yield f"{name} is {is_now}, was {was}"


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds)) or "none"

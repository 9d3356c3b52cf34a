"""Networks for the tests on a GPU: large enough for its kernels, small enough to be trained on a processor within seconds."""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from bench.api import Budget, Run  # noqa: E402
from bench.plugins.discovery import find_plugins, load  # noqa: E402
from tests.models.pieces import music  # noqa: E402

SHAPES: dict[str, dict[str, Any]] = {
    "transformer": {"layers": 2, "width": 64, "heads": 4, "window": 64, "batch": 16},
    "transformer-gan": {"layers": 2, "width": 64, "heads": 4, "window": 64, "batch": 16, "pretraining": 0.5},
    "music-transformer": {"layers": 2, "width": 64, "heads": 4, "window": 64, "span": 32, "distance": 24, "batch": 16},
    "vae": {"layers": 2, "width": 64, "latent": 16, "window": 64, "span": 16, "batch": 16},
    "midinet": {"latent": 16, "width": 32, "condition": 16, "critic_width": 8, "batch": 16},
    "event-transformer": {"layers": 2, "width": 64, "heads": 4, "distance": 24, "window": 128, "batch": 8},
    "event-lstm": {"layers": 2, "units": 64, "window": 128, "batch": 8},
    "frame-tcn": {"blocks": 2, "width": 32, "window": 64},
    "frame-transformer": {"layers": 2, "width": 64, "heads": 4, "window": 64},
    "gan": {"latent": 16, "width": 32, "dilations": [1, 2], "critic_widths": [32, 32, 48, 64], "window": 64, "batch": 16},
}
#: Those that assign a probability to a note.
LEARNERS = ("transformer", "music-transformer", "vae")

TRAIN = [music(i, 300) for i in range(8)]
VALID = [music(100, 150), music(101, 90)]


#: Queries in a block of the Music Transformer's attention on a GPU: fewer than there, so that a window has several, and a part of
#: a piece that is scored at once.
BLOCK = 16


@functools.cache
def plugin(name: str) -> Any:
    model = load(find_plugins("model")[name])
    if name == "music-transformer":
        sibling("_relative", model).BLOCK = BLOCK
    return model


def sibling(name: str, model: Any = None) -> Any:
    """A module that the PyTorch models share, ``_torch`` or ``_learner``, say: one that `model`, or the Transformer, imports."""
    return sys.modules[f"{(model or plugin('transformer')).__module__.rpartition('.')[0]}.{name}"]


def fit(name: str, folder: Path, device: str, budget: Budget, *, emit: Any = None, **params: Any) -> Any:
    model = plugin(name)(**SHAPES[name] | params)
    model.fit(TRAIN, VALID, Run(0, budget, folder, device=device, threads=1, emit=emit))
    return model


def network(model: Any) -> Any:
    """What a trained model generates with."""
    return model.generator if hasattr(model, "generator") else model.network


@functools.cache
def trained(name: str) -> Any:
    """A model that was trained on the processor, for a few updates: no weight is 0 any more."""
    with tempfile.TemporaryDirectory(prefix="gpu-tests-") as folder:
        return fit(name, Path(folder), "cpu", Budget(updates=12, evaluations=1))


def moved(name: str, device: str) -> Any:
    """The model of :func:`trained` on another device."""
    with tempfile.TemporaryDirectory(prefix="gpu-tests-") as folder:
        model = fit(name, Path(folder), device, Budget(0))
    network(model).load_state_dict(network(trained(name)).state_dict())
    return model


def distance(one: Any, other: Any) -> float:
    """Norm of the difference of two lists of tensors, relative to that of the second."""
    pairs = [(a.detach().double().cpu(), b.detach().double().cpu()) for a, b in zip(one, other, strict=True)]
    apart = sum(float((a - b).square().sum()) for a, b in pairs)
    return float((apart / sum(float(b.square().sum()) for _, b in pairs)) ** 0.5)

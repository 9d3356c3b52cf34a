"""Base of the PyTorch models of performance events: what they train on, likelihood, continuing prompts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.api import Notes, Piece

from . import _torch
from ._batches import to_device
from ._events import Segments, Vocabulary, check_splits, continued, joined, padded, segmented
from ._frames import batched
from ._unit_learner import Batch, UnitLearner

#: Events scored at once on a CPU and on a GPU: they limit memory, and don't affect results.
SCORED = {"cpu": 2**12, "cuda": 2**16}


class EventNetwork(Protocol):
    """What a network of events offers."""

    def __call__(self, events: Tensor) -> Tensor:
        """Log odds of each next event, (B, T, V), from events (B, T)."""

    def memory(self, batch: int) -> Any:
        """Make an empty memory of `batch` sequences."""

    def next(self, events: Tensor, memory: Any) -> Tensor:
        """Log odds of the next events, (B, V), from the last ones, (B,), and the memory of all before, which learns them."""


class Learner(UnitLearner):
    """A model whose network predicts the next performance event. A plug-in's dataclass derives from it.

    The plug-in declares the hyperparameters of :class:`UnitLearner`, `keys` and `augment`, and defines :meth:`make_network`. The
    likelihood is over segments of `window` events that don't overlap, all of each piece; each is predicted without the ones
    before it, as it was trained. Generation begins at the prompt's head and has no such borders.
    """

    keys: int
    augment: bool

    def prepare(self, *sizes: str) -> None:
        """Also choose the events. See :class:`UnitLearner`."""
        super().prepare(*sizes)
        self.vocabulary = Vocabulary(self.keys)

    @abstractmethod
    def make_network(self) -> nn.Module:
        """Make an :class:`EventNetwork` of these sizes; its weights are drawn now."""

    def sequences(self, train: Sequence[Piece], valid: Sequence[Piece], seed: int) -> Segments:
        """Prepare segments of `window` events. See :class:`UnitLearner`."""
        check_splits(self.name, self.vocabulary, train, valid)
        return Segments(train, self.vocabulary, self.window, self.augment, seed)

    def losses(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Negative log probability of each event, nats, (B, T)."""
        with self.autocast():
            odds = network(inputs)
        # As one row of events: of more dimensions a GPU's kernel doesn't repeat its sums.
        return F.cross_entropy(odds.float().flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)

    def autocast(self) -> Any:
        """Context of a forward pass in training."""
        return _torch.autocast(self.device)

    def precision(self) -> str:
        """Precision of the products in training."""
        return _torch.precision(self.device)

    def count_notes(self, batch: Batch) -> int:
        """Count the keys that go down."""
        _, targets, mask = batch
        return int(((targets < self.keys) & (mask > 0)).sum())

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each event, nats, (events,) for each piece. See :class:`bench.api.Model`."""
        network = self.trained()
        segments, owners = segmented(self.vocabulary, pieces, self.window)
        parts: list[NDArray[np.float64]] = [np.zeros(0)] * len(segments)
        with _torch.inference(network), parametrize.cached():
            for rows in batched([len(events) for events in segments], SCORED[self.device.type]):
                inputs, targets, _ = padded([segments[row] for row in rows], self.vocabulary.size)
                heard, wanted = to_device(self.device, inputs, targets)
                nats = network(heard).log_softmax(-1).gather(-1, wanted[..., None])[..., 0].double().cpu().numpy()
                for row, score in zip(rows, nats, strict=True):
                    parts[row] = score[: len(segments[row])]
        return joined(parts, owners, len(pieces))

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Continue each prompt by `n_notes` notes, all prompts together. See :class:`bench.api.Model`."""
        module = self.trained()
        network = cast("EventNetwork", module)
        with _torch.inference(module), parametrize.cached():
            memory = network.memory(len(prompts))

            def predict(events: NDArray[np.int16]) -> NDArray[np.float64]:
                (heard,) = to_device(self.device, events)
                odds: NDArray[np.float64] = network.next(heard, memory).double().cpu().numpy()
                return odds

            most, temperature = self.window, self.temperature
            return continued(predict, self.vocabulary, prompts, n_notes, seed, most=most, temperature=temperature)

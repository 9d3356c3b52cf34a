"""Base of the PyTorch models that are trained by likelihood: training, continuation of prompts, facts."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

import bench.api
from bench.api import FIELDS, NoteCodec, Notes, Piece, Run, TrialError

from . import _torch
from ._batches import to_device
from ._fields import FieldNetwork, Sampler, draw
from ._training import Windows, averaging, check_ranges, check_splits, initial_seed, warmed

#: Prompts continued at once: limits memory.
SEQUENCES = 256

#: Hyperparameters that count something, as far as a model has them.
SIZES = ("layers", "width", "heads", "latent", "window", "span", "distance", "batch")

#: Prefixes of the names of look-up tables, which have no weight decay.
TABLES = ("embed", "given", "place")

#: Endings of the names of matrices that no note's channels are multiplied by: shared rows, vectors of distances.
APART = (".shared", ".distances")

N = TypeVar("N", bound=FieldNetwork)


class Learner(bench.api.Model, Generic[N]):
    """A model whose network assigns a probability to the next note. A plug-in's dataclass derives from it.

    The plug-in declares the hyperparameters named here, calls :meth:`prepare` first in its ``__post_init__``, and defines
    :meth:`make_network`, :meth:`log_likelihood` and :meth:`states`.
    """

    #: The plug-in's name, for messages.
    name: ClassVar[str]
    window: int
    batch: int
    dropout: float
    learning_rate: float
    weight_decay: float
    warmup: int
    clip: float
    transpose: int
    stretch: float
    time_classes: int
    duration_classes: int
    temperature: float
    top_p: float

    def prepare(self) -> None:
        """Check the shared hyperparameters, and set up a model without weights.

        Raises
        ------
        PluginError
            If a size is below 1, or a rate or share is out of its range.
        """
        check_ranges(
            self.name,
            self,
            counts=[field for field in SIZES if hasattr(self, field)],
            positive=("learning_rate", "clip"),
            nonnegative=("weight_decay", "warmup", "transpose", "stretch"),
            shares=("dropout",),
        )
        self.codec = NoteCodec(self.time_classes, self.duration_classes)
        self.device = torch.device("cpu")
        self.network: N | None = None
        self.peak_gpu_bytes: int | None = None
        self.compiled = _torch.Compiled(lambda: None, "no: not trained")

    @abstractmethod
    def make_network(self) -> N:
        """Make a network of these sizes; its weights are drawn now."""

    @abstractmethod
    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each note's fields, nats, (n, 4) for each piece. See :class:`bench.api.Model`."""

    @abstractmethod
    def states(self, network: N, notes: Tensor, first: int, last: int, rng: torch.Generator) -> Iterator[tuple[int, Tensor]]:
        """Yield i and the state (B, C) that predicts note i, for i from `first` to `last` - 1.

        ``notes[:, i]`` is the input that predicts note i (so note i itself is at i + 1); it is read as late as possible: the
        caller writes each note before it requests the next state. Any further randomness is drawn from `rng`.
        """

    def extra(self, update: int) -> tuple[Tensor, ...]:
        """Further arguments of the network's `forward` in the update of that number, from 0."""
        return ()

    def validate(self, pieces: Sequence[Piece]) -> dict[str, float]:
        """Compute values to log at an evaluation; ``validation_bits``, bits per note, selects the best one."""
        scores = self.log_likelihood(pieces)
        return {"validation_bits": float(-np.concatenate(scores).sum(1).mean() / np.log(2))}

    # Training

    def training(self, network: N, windows: Windows, run: Run) -> Training[N]:
        """Prepare the training of `network`."""
        return Training(self, network, windows, run)

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train by AdamW on random windows; keep the averaged weights of the best evaluation by validation bits."""
        torch.set_num_threads(run.threads)
        self.device = _torch.choose_device(run.device)
        _torch.seed_all(initial_seed(run.seed, "weights"))
        network = self.network = self.make_network().to(self.device)
        self.peak_gpu_bytes = _torch.peak_gpu_bytes(self.device)
        if run.budget.untrained:
            run.begin()
            return
        check_splits(self.name, train, valid)
        windows = Windows(train, self.codec, self.window, self.transpose, self.stretch, initial_seed(run.seed, "order"))
        training = self.training(network, windows, run)
        self.network = training.averaged
        for _ in training.progress.evaluations():
            with _torch.training_precision():
                trained, notes = training.train()
            rate = training.optimizer.param_groups[0]["lr"]
            values = trained | self.validate(valid)
            score = values.pop("validation_bits")
            training.progress.finish(score=score, notes=notes, rate=rate, **values)
        training.progress.restore_best()
        self.peak_gpu_bytes = training.progress.peak_gpu_bytes

    # Generation

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Continue each prompt by `n_notes` notes, all prompts together. See :class:`bench.api.Model`."""
        network = self.trained()
        rng = _torch.generator(seed, self.device)
        weights = None if constraint is None else torch.as_tensor(constraint, dtype=torch.float32, device=self.device)
        results: list[Notes] = []
        with _torch.inference(network), parametrize.cached():
            for first in range(0, len(prompts), SEQUENCES):
                part = prompts[first : first + SEQUENCES]
                heard = torch.from_numpy(np.stack([self.codec.encode(p) for p in part]).astype(np.int64)).to(self.device)
                codes = self._continue(network, heard, n_notes, rng, weights).cpu().numpy()
                starts = [float(p.onset[-1]) if len(p) else 0.0 for p in part]
                results += [self.codec.decode(c, start) for c, start in zip(codes, starts, strict=True)]
        return results

    def _continue(self, network: N, heard: Tensor, n_notes: int, rng: torch.Generator, weights: Tensor | None) -> Tensor:
        """Continue prompts `heard` (B, P, 4); codes of the continuations, (B, n_notes, 4)."""
        B, P, _ = heard.shape
        notes = torch.empty(B, 1 + P + n_notes, len(FIELDS), dtype=torch.int64, device=self.device)
        notes[:, 0] = torch.tensor(self.codec.sizes, device=self.device)  # notes[:, i] is the input that predicts note i
        notes[:, 1 : P + 1] = heard
        self.draw_notes(network, notes, P, Sampler(rng, self.temperature, self.top_p), weights)
        return notes[:, P + 1 :]

    def draw_notes(self, network: N, notes: Tensor, first: int, sampler: Sampler, weights: Tensor | None = None) -> None:
        """Draw notes `first`, `first` + 1, ... of each sequence into `notes` (B, 1 + N, 4), where note i is ``notes[:, i + 1]``.

        ``notes[:, 0]`` is the input that predicts note 0. `weights` (N - first, 128) are added to the pitch logits.
        """
        for i, h in self.states(network, notes, first, notes.shape[1] - 1, sampler.generator):
            added = None if weights is None else weights[i - first]

            def choose(logits: Tensor, field: int, added: Tensor | None = added) -> Tensor:
                return sampler(logits, added if field == 0 else None)

            notes[:, i + 1] = draw(network, h, choose)

    # Facts

    def flops_per_note(self) -> float:
        """Floating-point operations of an update for each note: 6 a weight of its products, 2 forwards and 4 backwards.

        Kaplan et al. 2020, Scaling Laws for Neural Language Models, section 2.1. A subclass adds what has no weights.
        """
        named = self.trained().named_parameters()
        return 6.0 * sum(
            p.numel() for name, p in named if p.ndim > 1 and not name.startswith(TABLES) and not name.endswith(APART)
        )

    def facts(self) -> Mapping[str, Any]:
        """Parameters, precision of training (scores and generation are in float32), and result of compilation."""
        operations = {"flops_per_note": self.flops_per_note()} if self.device.type == "cuda" else {}
        return {
            "parameters": _torch.count_parameters(self.trained()),
            "peak_gpu_bytes": self.peak_gpu_bytes,
            "precision": _torch.precision(self.device),
            "compiled": self.compiled.note,
            "compile_seconds": round(self.compiled.seconds, 3),
            **operations,
        }

    def trained(self) -> N:
        """Return the network, which exists after `fit`.

        Raises
        ------
        TrialError
            Before that.
        """
        if self.network is None:
            raise TrialError(f"{self.name}: `fit` must come before this.")
        return self.network


class Training(Generic[N]):
    """State of a training run, and its steps.

    Parameters
    ----------
    model : Learner
    network : FieldNetwork
    windows : Windows
    run : Run
    modules : mapping of str to Module, optional
        What is trained besides the network.
    optimizers : mapping of str to Optimizer, optional
        Those of `modules`.
    anytime : bool
        See :class:`models._training.Progress`.
    """

    def __init__(
        self,
        model: Learner[N],
        network: N,
        windows: Windows,
        run: Run,
        *,
        modules: Mapping[str, nn.Module] | None = None,
        optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
        anytime: bool = True,
    ) -> None:
        self.model, self.network, self.windows = model, network, windows
        self.averaged = averaged(network)
        self.optimizer = adamw(network, model.learning_rate, model.weight_decay)
        self.progress = _torch.Progress(
            model.name,
            asdict(model),  # type: ignore[call-overload]  # every plug-in is a dataclass
            windows,
            model.batch,
            run,
            model.device,
            modules={"network": network, "averaged": self.averaged, **(modules or {})},
            optimizers={"network": self.optimizer, **(optimizers or {})},
            chosen="averaged",
            score="validation_bits",
            anytime=anytime,
        )
        _torch.seed_all(initial_seed(run.seed, "dropout"))
        model.compiled = _torch.compiled(network, model.device, self._attempt)

    def _attempt(self, forward: Callable[..., Any]) -> Tensor:
        B, T = self.model.batch, self.model.window
        notes = np.zeros((B, T, len(FIELDS)), np.int16)
        batch = to_device(self.model.device, notes, notes, np.ones((B, T), np.bool_))
        return self._likelihood(forward, batch, 0)

    def _likelihood(self, forward: Callable[..., Any], batch: tuple[Tensor, ...], update: int) -> Tensor:
        """Loss of a batch of inputs, targets (B, T, 4) and mask (B, T) by the network's own `forward`."""
        with _torch.autocast(self.model.device):
            loss: Tensor = forward(*batch, *self.model.extra(update))
        return loss

    def loss(self, batch: tuple[Tensor, ...], update: int) -> Tensor:
        """Loss of a batch whose gradient the update of that number follows."""
        return self._likelihood(self.model.compiled.module, batch, update)

    def train(self) -> tuple[dict[str, float], int]:
        """Train until the next evaluation; return the mean ``loss``, nats per note, and the number of notes trained on.

        Nothing in an update waits for a GPU: the next batch is drawn while it computes.
        """
        model, before = self.model, self.progress.notes_done
        self.network.train()
        losses = []
        batches = self.progress.batches(lambda epoch: self.windows.epoch(epoch, model.batch), lambda batch: int(batch[2].sum()))
        for update, arrays in batches:
            _torch.set_rate(self.optimizer, model.learning_rate * warmed(update, model.warmup))
            loss = self.loss(to_device(model.device, *arrays), update)
            torch.autograd.backward(loss)
            _torch.clip_gradients(self.network.parameters(), model.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            _torch.average(self.averaged, self.network, averaging(update))
            losses.append(loss.detach())
        return {"loss": float(torch.stack(losses).mean())}, self.progress.notes_done - before


def averaged(network: N) -> N:
    """Copy a network for the average of its weights, without gradients."""
    copied = copy.deepcopy(network).requires_grad_(False)
    for part in copied.modules():
        if isinstance(part, nn.RNNBase):
            part.flatten_parameters()  # else cuDNN would gather the weights anew at each call
    return copied


def adamw(network: nn.Module, rate: float, decay: float) -> torch.optim.AdamW:
    """Make the optimiser of a network, with weight decay where :func:`decayed` says so."""
    groups = [{"params": params, "weight_decay": d} for params, d in zip(decayed(network), (decay, 0.0), strict=True)]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)


def decayed(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters with weight decay, the matrices of products, and those without: biases, gains, tables, kernels."""
    named = list(network.named_parameters())
    products = {name for name, p in named if p.ndim == 2 and not name.startswith(TABLES)}
    return [p for name, p in named if name in products], [p for name, p in named if name not in products]


def padded(
    codes: Sequence[NDArray[np.int16]], sizes: Sequence[int], device: torch.device, most: int, shortest: int = 1
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Batch whole pieces, those of similar length together, at most `most` notes at once unless one piece has more.

    Parameters
    ----------
    codes : sequence of ndarray of int, shape (n, 4)
    sizes : sequence of int
        The start symbol.
    device : torch.device
    most, shortest : int
        A shorter piece counts as `shortest` notes.

    Yields
    ------
    rows : list of int
        Indices of the pieces.
    inputs, targets : Tensor, shape (B, T, 4)
        The note before each note, and the note; T is the longest piece's length, shorter ones end in zeros.
    """
    order = sorted((i for i, c in enumerate(codes) if len(c)), key=lambda i: len(codes[i]))
    while order:
        lanes = max(1, most // max(len(codes[order[-1]]), shortest))
        rows, order = order[-lanes:], order[:-lanes]
        notes = np.zeros((len(rows), 1 + len(codes[rows[-1]]), len(FIELDS)), np.int64)
        notes[:, 0] = sizes
        for row, i in zip(notes, rows, strict=True):
            row[1 : 1 + len(codes[i])] = codes[i]
        both = torch.from_numpy(notes).to(device)
        yield rows, both[:, :-1], both[:, 1:]

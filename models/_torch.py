"""What the PyTorch models share: seeds, device and precision, compilation, the frame of a training, checkpoints.

Checkpoints are safetensors files: tensors as they are, everything else as JSON in the file's metadata. Nothing is pickled,
so a checkpoint that somebody else wrote can't run code when it is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.api import Run, TrialError

from ._training import EarlyStopping, Windows, check_finite, cosine

#: Written into every checkpoint; another number is refused in words.
CHECKPOINT_FORMAT = 1


def seed_all(seed: int) -> None:
    """Seed PyTorch's generators, the CPU's and every GPU's."""
    torch.manual_seed(seed)


def generator(seed: int, device: torch.device) -> torch.Generator:
    """A generator of its own for one axis, on `device`."""
    return torch.Generator(device=device).manual_seed(seed)


def choose_device(name: str) -> torch.device:
    """The device that a run names.

    Raises
    ------
    TrialError
        If a GPU is asked for and PyTorch sees none: never silently the CPU.
    """
    if name != "cuda":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TrialError(
            f"The trial asks for a GPU, but PyTorch {torch.__version__} sees none.",
            "`bench doctor` says what is missing; `--scale cpu` runs without a GPU.",
        )
    # What is not in bfloat16 is float32 in full, without TensorFloat-32: scores, generation, and the GAN's second derivatives.
    # cuDNN's convolutions have a switch of their own, which is on by default.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.cuda.reset_peak_memory_stats()
    return torch.device("cuda")


def precision(device: torch.device) -> str:
    """``bfloat16`` where the hardware multiplies it (CUDA, compute capability 8 and up), else ``float32``.

    Never on a CPU: without AMX or AVX512-BF16, autocast there was measured 16 times slower than float32.
    """
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Context for the forward pass and the loss: bf16 autocast where :func:`precision` says so, else nothing."""
    if precision(device) == "bfloat16":
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Compiled:
    """A module to call, and what became of its compilation. Save and load the original module, not this one."""

    module: Callable[..., Any]
    #: ``yes``, or ``no: `` and the reason; for `facts`.
    note: str
    seconds: float = 0.0


def compiled(
    module: nn.Module,
    device: torch.device,
    attempt: Callable[[Callable[..., Any]], Tensor],
    backend: str | Callable[..., Any] | None = None,
) -> Compiled:
    """`module` compiled on CUDA, or as it is with the reason why not.

    Parameters
    ----------
    module : nn.Module
    device : torch.device
    attempt : callable
        Runs its argument once on data of the training's shape and returns a scalar loss. torch.compile is lazy: most of its
        failures (no C compiler, an unsupported GPU) come with the first forward or backward pass, so both are tried here.
        Arguments must be tensors of their own: one that is passed twice is compiled for that case only.
    backend : str or callable, optional
        Of torch.compile. By default Inductor on CUDA, and no compilation on a CPU.
    """
    if device.type != "cuda" and backend is None:
        return Compiled(module, "no: on a CPU it costs more than it gains")
    since = time.perf_counter()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        try:
            fast: Callable[..., Any] = torch.compile(module, backend=backend or "inductor")
            torch.autograd.backward(attempt(fast))
            note = "yes"
        # Whatever goes wrong in the compiler, training without it is right, only slower; the note says so.
        except Exception as error:
            fast, note = module, f"no: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    module.zero_grad(set_to_none=True)
    return Compiled(fast, note, time.perf_counter() - since)


def clip_gradients(parameters: Iterable[Tensor], norm: float) -> Tensor:
    """Scale the gradients down to a total Euclidean norm of at most `norm`; returns the norm before."""
    return nn.utils.clip_grad_norm_(parameters, norm, foreach=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all of `optimizer`'s parameters the learning rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def draw_classes(p: Tensor, rng: torch.Generator) -> Tensor:
    """A class from each row of `p` (..., n), nonnegative and of any positive sum, as (...).

    The inverse of the distribution function: one random number a row, not one a class. A product with a number below 1 is below
    the total, so the class found is never past the last, and never one of probability 0.
    """
    edges = p.cumsum(-1)
    point = torch.rand(*p.shape[:-1], 1, generator=rng, device=p.device) * edges[..., -1:]
    return (edges <= point).sum(-1)


def count_parameters(module: nn.Module) -> int:
    """Trainable numbers of `module`, shared ones once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def peak_gpu_bytes(device: torch.device) -> int | None:
    """Most GPU memory that tensors took since :func:`choose_device`; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def flat(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with `prefix` and a slash before each name."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unflat(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that :func:`flat` named with `prefix`, under their own names."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of `optimizer` (moments and step counts) as named tensors.

    Its hyperparameters are not included: they come from the model's own, so a resumed run builds the optimiser first.
    """
    state = optimizer.state_dict()["state"]
    return {f"{index}/{name}": torch.as_tensor(value) for index, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give a freshly built `optimizer` the state that :func:`optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def random_state(device: torch.device) -> dict[str, Tensor]:
    """State of the generators that dropout and noise draw from, as tensors for a checkpoint."""
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def set_random_state(tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`random_state` took."""
    torch.set_rng_state(tensors["cpu"].cpu())
    if "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"].cpu())


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill at any time leaves either the old one or the new one.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``.
    tensors : mapping of str to Tensor
        On any device.
    scalars : mapping of str to JSON values
        Epoch, best loss and the like. Infinity and NaN are kept (as Python's JSON writes them).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    # Clones: safetensors refuses tensors that share memory.
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    save_file(plain, temporary, metadata={"format": str(CHECKPOINT_FORMAT), "scalars": json.dumps(dict(scalars))})
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors (on the CPU) and scalars of a checkpoint; None if there is no such file.

    Raises
    ------
    TrialError
        If the file is damaged or of another format.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError) as error:
        raise TrialError(
            f"{path} is not a checkpoint that can be read ({error}).", "Delete it to train from the start."
        ) from error
    if metadata.get("format") != str(CHECKPOINT_FORMAT):
        raise TrialError(
            f"{path} has checkpoint format {metadata.get('format')!r}, this version reads {CHECKPOINT_FORMAT}.",
            "Delete it to train from the start.",
        )
    return tensors, json.loads(metadata["scalars"])


@contextlib.contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """`module` in evaluation mode and no gradients; afterwards it is as it was."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(training)


class Progress:
    """The frame of a training run: its epochs, its best weights, and a checkpoint that a killed run goes on from bit for bit.

    Parameters
    ----------
    name : str
        The model's, for messages.
    hyperparameters : mapping of str to JSON values
    windows : Windows
    batch : int
        Windows a step.
    run : Run
    device : torch.device
    modules : mapping of str to Module
        All that training changes.
    optimizers : mapping of str to Optimizer
    chosen : str
        The module whose weights of the best epoch are kept.
    score : str
        What chooses the best epoch, the less the better: ``validation_bits``, say.
    """

    def __init__(
        self,
        name: str,
        hyperparameters: Mapping[str, Any],
        windows: Windows,
        batch: int,
        run: Run,
        device: torch.device,
        *,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        chosen: str,
        score: str,
    ) -> None:
        self.name, self.windows, self.run, self.device = name, windows, run, device
        self.modules, self.optimizers, self.chosen, self.score = modules, optimizers, chosen, score
        # Lists, as JSON has no tuples.
        self.hyperparameters = {k: list(v) if isinstance(v, tuple) else v for k, v in hyperparameters.items()}
        self.steps = -(-windows.count() // batch)
        self.stopping = EarlyStopping(run.budget.patience)
        self.best = self._weights()
        self.path = run.folder / "checkpoint.safetensors"

    def epochs(self) -> Iterator[int]:
        """The epochs to train, after those of a checkpoint; begins the run's clock.

        At least one, then until the budget's epochs, patience or clock is used up.
        """
        done = self._resume()
        self.run.begin(done)
        for epoch in range(done + 1, self.run.budget.epochs + 1):
            if epoch > 1 and (self.stopping.exhausted(epoch - 1) or self.run.out_of_time):
                return
            yield epoch

    def rate(self, epoch: int, step: int, warmup: float) -> float:
        """Factor on the peak learning rate at `step`, from 0, of `epoch`: a cosine, with a `warmup` over that share of all."""
        total = self.run.budget.epochs * self.steps
        return cosine((epoch - 1) * self.steps + step, total, 1.0, max(1, round(warmup * total)))

    def finish(self, epoch: int, *, loss: float, score: float, notes: int, rate: float, **more: float) -> None:
        """Log the epoch and what `more` is known of it, remember the best weights, write the checkpoint.

        Raises
        ------
        TrialError
            If the training diverged.
        """
        check_finite(self.name, epoch, loss=loss, **{self.score: score})
        self.run.log(epoch, loss=loss, notes=notes, learning_rate=rate, **{self.score: score}, **more)
        if self.stopping.improved(epoch, score):
            self.best = self._weights()
        tensors = flat("best", self.best) | flat("random", random_state(self.device))
        for name, module in self.modules.items():
            tensors |= flat(f"module/{name}", module.state_dict())
        for name, optimizer in self.optimizers.items():
            tensors |= flat(f"optimizer/{name}", optimizer_tensors(optimizer))
        scalars = {"identity": self._identity, "epoch": epoch, "best": self.stopping.best, "best_epoch": self.stopping.best_epoch}
        save_checkpoint(self.path, tensors, scalars)

    def restore_best(self) -> None:
        """Give the chosen module its weights of the best epoch, and write them to a file of their own."""
        self.modules[self.chosen].load_state_dict(self.best)
        facts = {"hyperparameters": self.hyperparameters, "epoch": self.stopping.best_epoch}
        save_checkpoint(self.run.folder / "best.safetensors", self.best, facts)

    def _resume(self) -> int:
        """Take up the checkpoint, if there is one of this very training; the epochs that it holds."""
        found = load_checkpoint(self.path)
        if found is None or found[1]["identity"] != self._identity:
            return 0
        tensors, scalars = found
        self.best = unflat("best", tensors)
        for name, module in self.modules.items():
            module.load_state_dict(unflat(f"module/{name}", tensors))
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, unflat(f"optimizer/{name}", tensors))
        set_random_state(unflat("random", tensors))
        self.stopping.best, self.stopping.best_epoch = scalars["best"], scalars["best_epoch"]
        return int(scalars["epoch"])

    def _weights(self) -> dict[str, Tensor]:
        return {name: t.detach().clone() for name, t in self.modules[self.chosen].state_dict().items()}

    @property
    def _identity(self) -> dict[str, Any]:
        """What must agree for a checkpoint to be gone on from."""
        return {
            "hyperparameters": self.hyperparameters,
            "seed": self.run.seed,
            "epochs": self.run.budget.epochs,
            "notes": self.windows.notes,
        }

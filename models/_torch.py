"""PyTorch parts shared by its models: seeds, device and precision, compilation, checkpoints.

Checkpoints are safetensors files: tensors unchanged, everything else as JSON in the file's metadata. Nothing is pickled, so
reading a checkpoint from somebody else can't run code.
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
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.api import Run, TrialError, read_sealed, write_file, write_sealed

from . import _training
from ._training import B

#: Version of the checkpoint's layout; another one is refused.
CHECKPOINT_FORMAT = 1

#: Bytes of a checkpoint's header that are read; as Python's objects it takes up to thirty times as many.
MOST_HEADER = 16 << 20


def seed_all(seed: int) -> None:
    """Seed PyTorch's generators, the CPU's and every GPU's."""
    torch.manual_seed(seed)


def generator(seed: int, device: torch.device) -> torch.Generator:
    """Make a separate generator for one axis, on `device`."""
    return torch.Generator(device=device).manual_seed(seed)


def choose_device(name: str) -> torch.device:
    """Return the device that a run names.

    Raises
    ------
    TrialError
        If a GPU is requested and PyTorch sees none: it never falls back to the CPU silently.
    """
    if name != "cuda":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TrialError(
            f"The trial asks for a GPU, but PyTorch {torch.__version__} sees none.",
            "`bench doctor` tells what is missing; `--scale cpu` runs without a GPU.",
        )
    # Whatever isn't in bfloat16 is in full float32, without TensorFloat-32: scores, generation, and the GAN's second derivatives.
    # cuDNN's convolutions have a switch of their own, which is on by default.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    # The same run twice gives the same numbers: where no deterministic kernel exists, PyTorch raises. With warnings in its place
    # (`warn_only`) attention wouldn't take the deterministic kernels that it has. cuBLAS repeats with a workspace of fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Without it the compiler chooses some kernels by a stopwatch, and each process may choose others.
    torch._inductor.config.deterministic = True
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # its stub lacks it
    torch.cuda.reset_peak_memory_stats()
    return torch.device("cuda")


@contextlib.contextmanager
def training_precision() -> Iterator[None]:
    """Let cuDNN's recurrent layers use TensorFloat-32, forwards and backwards; outside of training they compute in float32.

    Autocast would run them in float16, in which small gradients become 0.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def precision(device: torch.device) -> str:
    """``bfloat16`` if the hardware multiplies it (CUDA, compute capability 8 and up), else ``float32``.

    Never on a CPU: without AMX or AVX512-BF16, autocast there was measured 16 times slower than float32.
    """
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Context for the forward pass and the loss: autocast to bfloat16 if that is the :func:`precision`, else nothing."""
    if precision(device) == "bfloat16":
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Compiled:
    """A module to call, and the result of its compilation. Save and load the original module, not this one."""

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
    """Compile `module` on CUDA, or return it unchanged with the reason.

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
    # Dynamo compiles a function for eight networks at most, and then runs it uncompiled without a word: one a fold, say.
    torch.compiler.reset()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        try:
            fast: Callable[..., Any] = torch.compile(module, backend=backend or "inductor")
            torch.autograd.backward(attempt(fast))
            note = "yes"
        except torch.OutOfMemoryError:  # of a GPU that others use too, say: the trial is tried again
            raise
        # Whatever goes wrong in the compiler, training without it is correct, only slower; the note records it.
        except Exception as error:
            fast, note = module, f"no: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    module.zero_grad(set_to_none=True)
    return Compiled(fast, note, time.perf_counter() - since)


def clip_gradients(parameters: Iterable[Tensor], norm: float) -> Tensor:
    """Scale the gradients down to a total Euclidean norm of at most `norm`; returns the norm before."""
    return nn.utils.clip_grad_norm_(parameters, norm, foreach=True)


@torch.no_grad()
def average(mean: nn.Module, module: nn.Module, weight: float) -> None:
    """Move the weights of `mean` towards those of `module` by the share `weight`."""
    torch._foreach_lerp_(list(mean.parameters()), list(module.parameters()), weight)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all of `optimizer`'s parameters the learning rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def count_parameters(module: nn.Module) -> int:
    """Count the weights of `module`, shared ones once; those of an average of weights too, which has no gradients."""
    return sum(p.numel() for p in module.parameters())


def peak_gpu_bytes(device: torch.device) -> int | None:
    """Peak GPU memory of tensors since :func:`choose_device` or :func:`reset_peak`, bytes; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def reset_peak(device: torch.device) -> None:
    """Begin anew to measure :func:`peak_gpu_bytes`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def flat(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Prepend `prefix` and a slash to each name."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unflat(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors that :func:`flat` named with `prefix`, under their own names."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of `optimizer` (moments and step counts) as named tensors.

    Its hyperparameters are not included: they follow from the model's, so a resumed run builds the optimiser first.
    """
    state = optimizer.state_dict()["state"]
    return {f"{index}/{name}": torch.as_tensor(value) for index, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set a newly built `optimizer` to the state from :func:`optimizer_tensors`."""
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
    """Restore the result of :func:`random_state`."""
    torch.set_rng_state(tensors["cpu"].cpu())
    if "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"].cpu())


def serialized(tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> bytes:
    """Return tensors on any device, and JSON values, in the format of safetensors.

    Infinity and NaN among the scalars are preserved (as Python's JSON writes them).
    """
    # Clones: safetensors refuses tensors that share memory.
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return save(plain, metadata={"format": str(CHECKPOINT_FORMAT), "scalars": json.dumps(dict(scalars))})


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
    """Write tensors and JSON values with a checksum, such that a kill at any time leaves either the old file or the new one."""
    write_sealed(path, serialized(tensors, scalars))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read tensors (to the CPU) and scalars of a checkpoint; None if there is no such file.

    Raises
    ------
    TrialError
        If the file is damaged or of another format.
    """
    if not path.exists():
        return None
    try:
        content = read_sealed(path)
        metadata, tensors = _metadata(content), load(content)
    except (SafetensorError, OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:  # the system refuses: the checkpoint may be fine
            raise
        raise TrialError(f"{path} is not a readable checkpoint ({error}).", "Delete it to train from the start.") from error
    if metadata.get("format") != str(CHECKPOINT_FORMAT):
        raise TrialError(
            f"{path} has checkpoint format {metadata.get('format')!r}, this version reads {CHECKPOINT_FORMAT}.",
            "Delete it to train from the start.",
        )
    return tensors, json.loads(metadata["scalars"])


def _metadata(content: bytes) -> dict[str, str]:
    """Metadata of a safetensors file in memory, which the library reads from a path only: JSON behind its length in 8 bytes."""
    length = int.from_bytes(content[:8], "little")
    if length > MOST_HEADER:
        raise ValueError(f"its header has {length:,} bytes, and may have {MOST_HEADER:,} at most")
    return dict(json.loads(content[8 : 8 + length]).get("__metadata__", {}))


@contextlib.contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Put `module` in evaluation mode without gradients; restore its mode at the end."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(training)


class Progress(_training.Progress):
    """Epochs of a PyTorch training, its checkpoint one safetensors file.

    Parameters
    ----------
    name : str
        The model's, for messages.
    hyperparameters : mapping of str to JSON values
    windows : Batches
    batch : int
        Windows a step.
    run : Run
    device : torch.device
    modules : mapping of str to Module
        All that training changes.
    optimizers : mapping of str to Optimizer
    chosen : str
        The module that is evaluated, and whose weights of the best evaluation are kept.
    score : str
    anytime : bool
        See :class:`models._training.Progress`.
    """

    def __init__(
        self,
        name: str,
        hyperparameters: Mapping[str, Any],
        windows: _training.Batches,
        batch: int,
        run: Run,
        device: torch.device,
        *,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        chosen: str,
        score: str,
        anytime: bool = True,
    ) -> None:
        self.hyperparameters, self.device = hyperparameters, device
        self.modules, self.optimizers, self.chosen = modules, optimizers, chosen
        self.path = run.folder / "checkpoint.safetensors"
        #: Most GPU memory of tensors while training, bytes; not in evaluations, whose batches the card decides on.
        self.peak_gpu_bytes = peak_gpu_bytes(device)
        steps = windows.updates(batch)
        identity: dict[str, Any] = {"hyperparameters": hyperparameters, "train_notes": windows.notes}
        super().__init__(name, run, score, steps=steps, anytime=anytime, **identity)

    def batches(self, epoch: Callable[[int], Iterator[B]], notes: Callable[[B], int]) -> Iterator[tuple[int, B]]:
        """See :class:`models._training.Progress`."""
        reset_peak(self.device)
        yield from super().batches(epoch, notes)
        self.peak_gpu_bytes = max(filter(None, (self.peak_gpu_bytes, peak_gpu_bytes(self.device))), default=None)

    def weights(self) -> dict[str, Tensor]:
        """Copy the chosen module's weights."""
        return {name: t.detach().clone() for name, t in self.modules[self.chosen].state_dict().items()}

    def use(self, weights: Mapping[str, Tensor]) -> None:
        """Give the chosen module these weights."""
        self.modules[self.chosen].load_state_dict(weights)

    def save(self, **scalars: Any) -> None:
        """Write modules, optimisers, best weights, random state and `scalars`."""
        tensors = flat("best", self.best) | flat("random", random_state(self.device))
        for name, module in self.modules.items():
            tensors |= flat(f"module/{name}", module.state_dict())
        for name, optimizer in self.optimizers.items():
            tensors |= flat(f"optimizer/{name}", optimizer_tensors(optimizer))
        save_checkpoint(self.path, tensors, scalars)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the checkpoint; None if there is none."""
        return load_checkpoint(self.path)

    def restore(self, arrays: Mapping[str, Tensor]) -> None:
        """Set modules, optimisers, best weights and random state to those of a checkpoint."""
        self.best = unflat("best", arrays)
        for name, module in self.modules.items():
            module.load_state_dict(unflat(f"module/{name}", arrays))
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, unflat(f"optimizer/{name}", arrays))
        set_random_state(unflat("random", arrays))

    def restore_best(self) -> None:
        """Give the chosen module the weights of its best evaluation, and write them to a file of their own."""
        super().restore_best()
        facts = {"hyperparameters": self.hyperparameters, "epoch": self.stopping.best_epoch}
        # Without a checksum in front, so that any program which knows the format reads it.
        write_file(self.run.folder / "best.safetensors", serialized(self.best, facts))

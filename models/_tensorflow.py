"""TensorFlow parts of both LSTMs: devices, compilation, one-vector optimisers, checkpoints in HDF5."""

from __future__ import annotations

import io
import json
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import h5py
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import bench.api
from bench.api import Notes, Run, TrialError, read_sealed, write_sealed

from . import _training
from ._training import B

# Whatever the user's keras.json says, which is for other programs.
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)

#: Version of the checkpoint's layout; another one is refused.
FORMAT = 2

#: Array of a checkpoint with its plain values as JSON, and bytes of it that are read.
_VALUES, MOST_VALUES = "values", 1 << 20


def prepare(device: str, threads: int) -> None:
    """Set threads and visible devices, and on a GPU deterministic kernels.

    TensorFlow takes these settings once in a process, before its first operation; later calls keep the first.

    Raises
    ------
    TrialError
        If ``device`` is "cuda" and TensorFlow sees no GPU.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device == "cuda" and not gpus:
        raise TrialError("The trial asks for a GPU and TensorFlow sees none.", "Run `bench doctor`, or use --scale cpu.")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        for gpu in gpus if device == "cuda" else ():
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:  # already started
        pass
    if device == "cuda":
        tf.config.experimental.enable_op_determinism()


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute products on a GPU in float32, not TensorFloat-32: scores and generation, as in every other model."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


class Compilable(Protocol):
    """A network that may run its LSTM layers on cuDNN."""

    cudnn: bool


N = TypeVar("N", bound=Compilable)


class Learner(bench.api.Model, Generic[N]):
    """A model whose scoring and generation are compiled by XLA. A plug-in's dataclass derives from it.

    The plug-in calls :meth:`check` in its ``__post_init__`` and :meth:`compile` with its network in ``fit``.
    """

    #: The plug-in's name, for messages.
    name: ClassVar[str]
    #: The first `generate` of a shape compiles: the worker times those after it.
    compiles = True

    def check(self, **limits: Sequence[str]) -> None:
        """Refuse hyperparameters out of range, see :func:`models._training.check_ranges`, and start without a network."""
        _training.check_ranges(self.name, self, **limits)
        self.compile_seconds = 0.0
        self.device = "cpu"
        self.peak_gpu_bytes: int | None = None
        self.xla = self.cudnn = "no: not trained"
        self._network: N | None = None

    @abstractmethod
    def score_zeros(self) -> None:
        """Score a batch of zeros, which traces and compiles."""

    @abstractmethod
    def _score_batch(self, *arguments: Any) -> Any:
        """Score one batch of a fixed shape: the body of ``self._score``."""

    @abstractmethod
    def _generate(self, heard: tf.Tensor, constraint: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Generate codes (batch, notes, 4): the body of ``self._loop``."""

    def compile(self, network: N, run: Run) -> None:
        """Take `network`, and compile whatever this device can; :meth:`outcome` reports what it can't."""
        self._network, self.device = network, run.device
        self.xla, self.cudnn = "yes", "yes" if network.cudnn else "no: on a CPU"
        self.peak_gpu_bytes = peak_gpu_bytes()
        self.define()
        if run.device == "cuda":
            self.try_gpu()

    def define(self) -> None:
        """Make the graph functions. Without autograph: the loops are written as tf.while_loop."""
        xla = self.xla == "yes"
        # XLA takes the precision when it compiles, other kernels when they run: both happen within these calls.
        self._score = full_precision()(
            tf.function(self._score_batch, autograph=False, jit_compile=xla and not self.network.cudnn)
        )
        self._loop = full_precision()(tf.function(self._generate, autograph=False, jit_compile=xla))

    def try_gpu(self) -> None:
        """Run one note through XLA and one batch through cuDNN; do without the one that fails on this GPU.

        Exhausted memory raises: it is no lack of the GPU's, and the trial is tried again.
        """
        try:
            self.generate([Notes.from_columns([], [], [], [])], 1, seed=0)
        except tf.errors.ResourceExhaustedError:
            raise
        except tf.errors.OpError as error:
            self.xla = _reason(error)
        try:
            self.score_zeros()
        except tf.errors.ResourceExhaustedError:
            raise
        except (tf.errors.OpError, ValueError) as error:
            self.cudnn, self.network.cudnn = _reason(error), False
        self.define()

    def try_update(self, define: Callable[[], None], update: Callable[[], None]) -> None:
        """Make a whole update on a GPU's cuDNN; do without cuDNN if it fails there.

        Its backward pass may fail where its forward pass, which :meth:`try_gpu` tries, does not. Exhausted memory raises.

        Parameters
        ----------
        define : callable
            Makes the training's graph functions anew.
        update : callable
            Makes an update.
        """
        try:
            update()
        except (tf.errors.OpError, ValueError) as error:
            if not self.network.cudnn or isinstance(error, tf.errors.ResourceExhaustedError):
                raise
            self.cudnn, self.network.cudnn = _reason(error), False
            self.define()
            define()
            update()

    @property
    def network(self) -> N:
        """The network; it exists after `fit`.

        Raises
        ------
        TrialError
            Before that.
        """
        if self._network is None:
            raise TrialError(f"{self.name} has no weights yet.", "Call fit first; zero epochs give an untrained network.")
        return self._network

    def outcome(self) -> dict[str, Any]:
        """Facts about precision, compilation, its seconds before training, and GPU memory."""
        gpus = tf.config.list_logical_devices("GPU")  # none in a trial on the CPU
        return {
            "precision": "float32, TensorFloat-32 in training" if gpus else "float32",
            "cudnn": self.cudnn,
            "compiled": ("XLA (generation)" if self.network.cudnn else "XLA") if self.xla == "yes" else self.xla,
            "compile_seconds": round(self.compile_seconds, 3),
            "peak_gpu_bytes": self.peak_gpu_bytes,
        }


def peak_gpu_bytes() -> int | None:
    """Peak GPU memory of tensors, bytes, so far or since :func:`reset_peak`; None in a trial on a CPU."""
    gpus = tf.config.list_logical_devices("GPU")
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"]) if gpus else None


def reset_peak() -> None:
    """Begin anew to measure :func:`peak_gpu_bytes`."""
    if tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")


def _reason(error: Exception) -> str:
    return f"no: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"


class Optimizer:
    """Base of optimisers that update all weights as one vector, with learning rate and bias corrections as arguments.

    Keras's own take 5 s to compile by XLA on a CPU.

    Parameters
    ----------
    variables : sequence of keras.Variable
    """

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        self.variables = variables
        self.sizes = [math.prod(v.shape) for v in variables]
        self.first, self.second = (tf.Variable(tf.zeros(sum(self.sizes))) for _ in range(2))

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Both moments of the gradient."""
        return {"first": self.first.numpy(), "second": self.second.numpy()}

    def restore(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Set both moments to those in `state`."""
        self.first.assign(state["first"])
        self.second.assign(state["second"])


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019) and a limit on the gradient's global norm.

    It keeps an average of the weights too, see :func:`models._training.averaging`.

    Parameters
    ----------
    variables : sequence of keras.Variable
    decay : float
        Not applied to biases.
    clip : float
        Largest global norm.
    """

    FIRST, SECOND, EPSILON = 0.9, 0.99, 1e-8

    def __init__(self, variables: Sequence[keras.Variable], *, decay: float, clip: float) -> None:
        super().__init__(variables)
        self.clip = clip
        self.average = tf.Variable(tf.zeros(sum(self.sizes)))
        self.decay = tf.Variable(
            np.repeat([0.0 if v.path.endswith("bias") else decay for v in variables], self.sizes), dtype=tf.float32
        )

    def rates(self, rate: float, update: int) -> NDArray[np.float32]:
        """Learning rate, bias corrections, and share of the new weights in their average, of an update counted from 1."""
        corrections = (1 / (1 - self.FIRST**update), 1 / (1 - self.SECOND**update))
        return np.array([rate, *corrections, _training.averaging(update - 1)], np.float32)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Both moments of the gradient, and the average."""
        return super().state() | {"average": self.average.numpy()}

    def restore(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Set moments and average to those in `state`."""
        super().restore(state)
        self.average.assign(state["average"])

    def averaged(self) -> dict[str, NDArray[np.float32]]:
        """Averaged weights, by path of their variable."""
        parts = np.split(self.average.numpy(), np.cumsum(self.sizes)[:-1])
        return {v.path: part.reshape(v.shape) for v, part in zip(self.variables, parts, strict=True)}

    def apply(self, gradients: Sequence[tf.Tensor], rates: tf.Tensor) -> None:
        """Make one update."""
        g = tf.concat([tf.reshape(x, (-1,)) for x in gradients], 0)  # (weights,)
        weights = tf.concat([tf.reshape(v.value, (-1,)) for v in self.variables], 0)  # (weights,)
        g *= tf.minimum(1.0, self.clip / (tf.norm(g) + 1e-6))
        first = self.first.assign(self.FIRST * self.first + (1 - self.FIRST) * g)
        second = self.second.assign(self.SECOND * self.second + (1 - self.SECOND) * g * g)
        weights -= rates[0] * (first * rates[1] / (tf.sqrt(second * rates[2]) + self.EPSILON) + self.decay * weights)
        self.average.assign_add(rates[3] * (weights - self.average))
        for variable, part in zip(self.variables, tf.split(weights, self.sizes), strict=True):
            variable.value.assign(tf.reshape(part, variable.shape))


class Progress(_training.Progress):
    """Evaluations of a TensorFlow training, its checkpoint one HDF5 file.

    Parameters
    ----------
    name, run, score, **options
        See :class:`models._training.Progress`.
    variables : sequence of keras.Variable
        Everything that determines a prediction.
    optimizer : Optimizer
    """

    def __init__(
        self, name: str, run: Run, score: str, variables: Sequence[keras.Variable], optimizer: Optimizer, **options: Any
    ) -> None:
        self.variables, self.optimizer = variables, optimizer
        self.path = run.folder / "checkpoint.h5"
        #: Weights to train on with, while others are evaluated.
        self.latest: dict[str, NDArray[Any]] = {}
        #: Most GPU memory of tensors while training, bytes; not in evaluations, whose batches the card decides on.
        self.peak_gpu_bytes: int | None = None
        super().__init__(name, run, score, **options)

    def batches(self, epoch: Callable[[int], Iterator[B]], notes: Callable[[B], int]) -> Iterator[tuple[int, B]]:
        """See :class:`models._training.Progress`."""
        reset_peak()
        yield from super().batches(epoch, notes)
        self.peak_gpu_bytes = max(filter(None, (self.peak_gpu_bytes, peak_gpu_bytes())), default=None)

    @contextmanager
    def evaluating(self, weights: Mapping[str, NDArray[Any]]) -> Iterator[None]:
        """Evaluate these weights, an average; training continues from its own weights at the end."""
        self.latest = snapshot(self.variables)
        restore(self.variables, {**self.latest, **weights})
        try:
            yield
        finally:
            restore(self.variables, self.latest)
            self.latest = {}

    def weights(self) -> dict[str, NDArray[Any]]:
        """Copy the values of all variables, by path."""
        return snapshot(self.variables)

    def use(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Give all variables these values."""
        restore(self.variables, weights)

    def save(self, **scalars: Any) -> None:
        """Write weights, best weights, moments and `scalars`."""
        groups = {"weights": self.latest or self.weights(), "best": self.best, "moments": self.optimizer.state()}
        write_checkpoint(self.path, groups, **scalars)

    def load(self) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, Any]] | None:
        """Read the checkpoint; None if there is none."""
        return read_checkpoint(self.path)

    def restore(self, arrays: Mapping[str, dict[str, NDArray[Any]]]) -> None:
        """Set weights, moments and best weights to those of a checkpoint."""
        restore(self.variables, arrays["weights"])
        self.optimizer.restore(arrays["moments"])
        self.best = arrays["best"]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Put weights and moments back at the end: for an update that is only made to compile it."""
        weights, moments = self.weights(), self.optimizer.state()
        try:
            yield
        finally:
            restore(self.variables, weights)
            self.optimizer.restore(moments)


def write_checkpoint(path: Path, groups: Mapping[str, Mapping[str, NDArray[Any]]], **values: Any) -> None:
    """Write groups of arrays and plain values to one HDF5 file, replaced in one step so that a kill leaves the old one."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as out:
        text = json.dumps({"format": FORMAT, **values})  # with Infinity and NaN, as Python writes them
        out.create_dataset(_VALUES, data=np.frombuffer(text.encode(), np.uint8))
        for name, arrays in groups.items():
            for key, array in arrays.items():
                out.create_dataset(f"{name}/{key}", data=array)
    write_sealed(path, memory.getvalue())


def read_checkpoint(path: Path) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, Any]] | None:
    """Read groups of arrays and plain values of a checkpoint; None if there is no such file.

    Raises
    ------
    TrialError
        If the file is damaged or of another format.
    """
    if not path.exists():
        return None
    again = "Delete it to train from the start."
    try:
        content = read_sealed(path)
        with h5py.File(io.BytesIO(content), "r") as file:
            # No attributes: a few bytes of one may stand for any number of texts.
            groups = _groups(file, len(content))
            values = json.loads(groups.pop(_VALUES)[""].tobytes()[:MOST_VALUES]) if _VALUES in groups else None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if getattr(error, "errno", None) is not None:  # the system refuses: the checkpoint may be fine
            raise
        raise TrialError(f"{path} is not a readable checkpoint ({error}).", again) from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise TrialError(f"{path} has another checkpoint format than this version reads, {FORMAT}.", again)
    return groups, values


def snapshot(variables: Sequence[keras.Variable]) -> dict[str, NDArray[Any]]:
    """Copy values by variable path."""
    return {v.path: np.asarray(v) for v in variables}


def restore(variables: Sequence[keras.Variable], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Assign values by variable path."""
    for variable in variables:
        variable.assign(arrays[variable.path])


def _groups(file: h5py.File, size: int) -> dict[str, dict[str, NDArray[Any]]]:
    """Read the arrays of each group of a file of `size` bytes, by path, if they are stored as :func:`write_checkpoint` does.

    A run may be someone else's, and HDF5 has arrays that are in other files, or that a few bytes stand for.
    """
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)  # follows no link
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    left = size
    for name, array in found.items():
        if array.dtype.kind not in "biuf" or array.shape is None:
            raise ValueError(f"{name} is no array of numbers")
        # Written in one piece, in this file. No two arrays share their bytes, so all of them are no larger than it.
        stored = array.id.get_create_plist()
        whole = stored.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) and not stored.get_external_count()
        left -= array.nbytes
        if not whole or array.id.get_storage_size() != array.nbytes or left < 0:
            raise ValueError(f"{name} isn't stored in one piece in this file")
        group, _, path = name.partition("/")
        groups.setdefault(group, {})[path] = array[()]
    return groups

"""The types that the engine and its plug-ins share. The engine and a model talk in notes, never in tokens.

A plug-in is one Python file. Its module docstring's first line says what it is; literals at its top say what it needs
(they are read without importing the file); its class is named ``Model`` or ``Dataset``.

Header of a model::

    FRAMEWORK = "pytorch"     # or "tensorflow", "numpy": which interpreter runs it
    FEATURES = "..."          # one line on the family, Table 2's last column
    PROMPT = True             # False: the family can't continue a prompt; the report says so
    LIKELIHOOD = "exact"      # or "bound", or None
    SEES_TARGET = False       # True only for reference rows made from the target itself
    CONSTRAINT = False        # True: `generate` draws each pitch by its `constraint`; or the KINDS of the file that do

Header of a dataset::

    TITLE = "..."             # name in reports
    LICENSE = "..."           # licence of the music
    NEEDS = "nothing"         # or "download" (has `fetch`), or "folder" (a path must be given)
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, DataError, PluginError, TrialError, fetch_command
from bench.music.codec import NoteCodec
from bench.music.notes import FIELDS, Notes

__all__ = [
    "FIELDS",
    "BenchError",
    "Budget",
    "DataError",
    "Dataset",
    "Model",
    "NoteCodec",
    "Notes",
    "Piece",
    "PluginError",
    "Progress",
    "Run",
    "Skipped",
    "Splits",
    "TrialError",
    "Verified",
    "fetch_command",
    "seed_for",
]


@dataclass(frozen=True)
class Piece:
    """One piece of music and where it comes from. Texts may hold anything a file or web page held: escape them."""

    notes: Notes
    id: str
    title: str = ""
    composer: str = ""
    source: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Splits:
    """A dataset split by composition, never by performance.

    Raises
    ------
    DataError
        If `entropy` isn't a number, finite and at least 0, for each field and for "total".
    """

    train: tuple[Piece, ...]
    validation: tuple[Piece, ...]
    test: tuple[Piece, ...]
    skipped: tuple[Skipped, ...] = ()
    #: Facts for the report, such as "velocities are rendered, not played".
    remarks: tuple[str, ...] = ()
    #: Where music is drawn from a known source: the bits per note that the source itself expects to need on the test pieces, by
    #: field of FIELDS and as "total". No model can expect fewer. None for all other music.
    entropy: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.entropy is None:
            return
        if set(self.entropy) != {*FIELDS, "total"}:
            raise DataError(f"Splits.entropy has {sorted(self.entropy)}, expected {', '.join(FIELDS)} and total.")
        for name, bits in self.entropy.items():
            if not 0 <= bits < math.inf:
                raise DataError(f"Splits.entropy[{name!r}] is {bits}, must be finite and at least 0 bits.")


#: Called with (done, total, what) while data is fetched or read; total 0 means unknown.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Verified:
    """What a dataset's `verify` found.

    Parameters
    ----------
    differences : tuple of str
        A line for each file that is missing or not as expected.
    compared : int
        Files that were compared with a checksum.
    there : int
        Files that are there and of which no checksum is known.
    remark : str
        What was looked at where nothing could be compared.
    """

    differences: tuple[str, ...] = ()
    compared: int = 0
    there: int = 0
    remark: str = ""


class Dataset(Protocol):
    """A dataset plug-in. Its selection (composer, year, ...) are keyword arguments of ``__init__``, literals in YAML."""

    def find(self, roots: Sequence[Path]) -> Path | None:
        """The folder that holds this dataset, looked for in `roots` in their order; None if it isn't there.

        A dataset that needs nothing has no `find`.
        """

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download into `folder` and verify. Only where ``NEEDS = "download"``."""

    def verify(self, folder: Path, progress: Progress) -> Verified:
        """Compare what is in `folder` with the known or locked checksums."""

    def fingerprint(self, source: Path | None) -> str:
        """Identity of what `load` would return, without parsing: it keys the corpus cache and every trial."""

    def load(self, source: Path | None, progress: Progress) -> Splits:
        """Parse. `source` is what `find` returned. Files that can't be used are skipped and listed, never a crash."""


class Model(Protocol):
    """A model plug-in. Its hyperparameters are keyword arguments of ``__init__``, literals in YAML.

    Attributes that a model may have:

    - ``compiles`` (bool): its first `generate` compiles. The engine then makes the first sample once before, off the clock, and
      stores the seconds as ``compile_seconds`` of the outcome's generation.
    - ``likelihood`` ("exact", "bound" or None): where it depends on the hyperparameters; goes before the header's.
    - ``reveal(targets)``: called before `generate` if the header says SEES_TARGET.
    """

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Learn from `train`, choosing by `valid` only. Zero epochs in the budget leave the network at its first weights.

        If `run.folder` holds a checkpoint of this very training, go on from it.
        """

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Continue each prompt by exactly `n_notes` notes.

        Parameters
        ----------
        prompts : sequence of Notes
            All of the same length, which may be 0.
        n_notes : int
            Notes of each continuation.
        seed : int
            The same seed gives the same notes.
        constraint : ndarray, shape (n_notes, 128), optional
            Log weights added to each note's pitch log probabilities; a temperature then applies to their sum.

        Returns
        -------
        list of Notes
            One a prompt, in the prompt's own clock: no onset lies before the prompt's last. A family that takes no prompt
            starts at 0 s.
        """

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of every note of each piece given all notes before it, nats, by field: shape (n, 4) a piece.

        Over the classes of :class:`NoteCodec`, the first note included. Only where ``LIKELIHOOD`` isn't None.
        """

    def facts(self) -> Mapping[str, Any]:
        """Optional: what is worth recording, such as ``parameters``, ``peak_gpu_bytes``, ``precision``, ``compiled``."""


@dataclass(frozen=True)
class Budget:
    """How long a model may train. Epochs and patience decide; the clock is a safety, as a stop by clock can't repeat.

    Parameters
    ----------
    epochs : int
        Most passes over the training notes; 0 leaves the network untrained.
    patience : int, optional
        Stop after so many epochs without a better validation loss; None never stops early.
    max_seconds : float, optional
        Stop after the epoch that crosses it, and say so.
    """

    epochs: int = 1
    patience: int | None = None
    max_seconds: float | None = None


@dataclass
class Run:
    """What the engine gives a model to train by: seed, budget, device, a folder that survives a kill, and a log.

    Parameters
    ----------
    seed : int
        For initial weights, data order, dropout and augmentation.
    budget : Budget
    folder : Path
        For checkpoints. It also holds ``history.jsonl``, a line an epoch.
    device : {"cpu", "cuda"}
    threads : int
        Threads that this trial may use.
    emit : callable, optional
        Takes each event (a dict) for the progress display.
    """

    seed: int
    budget: Budget
    folder: Path
    device: str = "cpu"
    threads: int = 1
    emit: Callable[[dict[str, Any]], None] = lambda event: None
    history: list[dict[str, Any]] = field(default_factory=list, init=False)
    _before: float = field(default=0.0, init=False)
    _since: float | None = field(default=None, init=False)

    def begin(self, epochs_done: int = 0) -> None:
        """Start the training clock; call right before the first step, or with the checkpoint's epoch when going on.

        Epochs that were logged after the checkpoint was written are forgotten: they are about to be trained again.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.history = [e for e in self._logged() if e["epoch"] <= epochs_done]
        _replace_text(self._file, "".join(json.dumps(e) + "\n" for e in self.history))
        self._before = self.history[-1]["seconds"] if self.history else 0.0
        self._since = time.perf_counter()

    def log(self, epoch: int, *, loss: float, notes: int, **values: float) -> None:
        """Record an epoch. Call it before that epoch's checkpoint is written.

        Parameters
        ----------
        epoch : int
            Counted from 1; each is higher than the one before.
        loss : float
            Training loss; nats per note for a likelihood.
        notes : int
            Notes trained on in this epoch.
        **values : float
            What else the family has. ``validation_bits`` (bits per note) and ``learning_rate`` are known to the report.

        Raises
        ------
        TrialError
            If `epoch` is below 1, or was logged before.
        """
        last = self.history[-1]["epoch"] if self.history else 0
        if not epoch > last:
            raise TrialError(
                f"run.log() was called with epoch {epoch} after epoch {last}.",
                "Epochs count from 1 and rise; begin(epochs_done) says where a resumed training goes on.",
            )
        entry = {"epoch": int(epoch), "seconds": self.seconds, "loss": float(loss), "notes": int(notes)}
        entry |= {k: float(v) for k, v in values.items()}
        self.history.append(entry)
        with self._file.open("a") as out:
            out.write(json.dumps(entry) + "\n")
        self.emit({"event": "epoch", "epochs": self.budget.epochs, **entry})

    @property
    def seconds(self) -> float:
        """Training seconds so far, those before a kill included."""
        return self._before + (time.perf_counter() - self._since if self._since is not None else 0.0)

    @property
    def out_of_time(self) -> bool:
        """Whether the budget's clock has run out."""
        return self.budget.max_seconds is not None and self.seconds >= self.budget.max_seconds

    @property
    def _file(self) -> Path:
        return self.folder / "history.jsonl"

    def _logged(self) -> list[dict[str, Any]]:
        """The epochs in history.jsonl up to the first line that a power cut or a full disk left torn."""
        entries: list[dict[str, Any]] = []
        for line in self._file.read_text(errors="replace").splitlines() if self._file.exists() else ():
            try:
                entry = json.loads(line)
                entries.append(entry | {"epoch": int(entry["epoch"]), "seconds": float(entry["seconds"])})
            except (ValueError, TypeError, KeyError):
                break
        return entries


def seed_for(*names: object) -> int:
    """A seed for one axis, hashed from the names that identify it: ``seed_for("generate", "lstm", 0)``. Below 2**31."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)

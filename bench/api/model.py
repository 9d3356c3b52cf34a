"""The base class of model plug-ins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bench.api.dataset import Piece, Progress, Verified
from bench.api.training import Run
from bench.api.weights import content_digest
from bench.errors import PluginError
from bench.music.notes import Notes


class Model(ABC):
    """Base class of a model plug-in. Its hyperparameters are keyword arguments of ``__init__``, literals in YAML.

    A plug-in defines :meth:`generate`; :meth:`fit` if it learns; :meth:`log_likelihood` if its header claims a LIKELIHOOD. The
    rest has defaults.
    """

    #: The literals at the top of the plug-in's file, with defaults filled in; the engine sets it when it loads the file.
    header: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    #: Whether the first `generate` compiles. The engine then generates the first sample once in advance, outside the timing, and
    #: stores the seconds as ``compile_seconds`` of the outcome's generation.
    compiles: bool = False
    #: The dataset's own, see :class:`bench.api.Splits`; set before `fit` if the header says SEES_SAMPLES.
    samples: tuple[Piece, ...] = ()
    #: What the prompts of the next `generate` really continue with; set by :meth:`reveal`.
    targets: tuple[Notes, ...] = ()
    #: The weights that it comes with: what :meth:`find` returned. Set before `fit` if the header's NEEDS isn't ``"nothing"``.
    weights: Path | None = None

    @property
    def likelihood(self) -> Literal["exact", "bound"] | None:
        """``"exact"``, ``"bound"`` or None: the header's. Override it where it depends on the hyperparameters."""
        return self.header.get("LIKELIHOOD")

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train on `train`; select by `valid` only. A budget of zero epochs leaves the network at its initial weights.

        If `run.folder` holds a checkpoint of this very training, resume from it. By default, nothing is learned.
        """
        return

    @abstractmethod
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
            Log weights added to each note's pitch log probabilities; a temperature then applies to their sum. Given only if the
            header says CONSTRAINT.

        Returns
        -------
        list of Notes
            One for each prompt, on the prompt's own time axis: no onset lies before the prompt's last. A model that takes no
            prompt starts at 0 s.
        """

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of every note of each piece given all notes before it, nats, by field: shape (n, 4) for each piece.

        It is over the classes of :class:`bench.api.NoteCodec` and includes the first note. Called only where :attr:`likelihood`
        isn't None.

        Of a model whose header's UNIT isn't ``"note"``: log probability of each frame or event that it predicts, shape
        (predictions,) for each piece. Such models are compared in nats a unit, not in bits a note.

        Raises
        ------
        PluginError
            If the plug-in doesn't define it.
        NoProbabilityError
            If a piece has something that it gives no probability: the trial then has no likelihood, and a remark says why.
        """
        raise PluginError(
            f"{type(self).__module__.rpartition('.')[2]} has no log_likelihood().",
            "Define it where its header claims a LIKELIHOOD, or set LIKELIHOOD = None.",
        )

    def facts(self) -> Mapping[str, Any]:
        """Facts worth recording, such as ``parameters``, ``peak_gpu_bytes``, ``precision``, ``compiled``; by default none.

        ``peak_gpu_bytes``: most GPU memory of tensors during the updates of the training, without its evaluations.
        ``flops_per_note``, on a GPU: floating-point operations that an update needs for each of its notes.
        """
        return {}

    def find(self, roots: Sequence[Path]) -> Path | None:
        """Search `roots` in their order for the file or folder of its weights; None if there is none.

        This and the following three concern a model that comes with weights, as the header's NEEDS says. They are called before
        any trial, on a model just made; a run never downloads.
        """
        return None

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the weights into `folder` and check them, see :func:`bench.api.download`. Only where NEEDS is "download"."""
        raise PluginError(f"{type(self).__module__.rpartition('.')[2]} has no fetch().", "Define it, as NEEDS is 'download'.")

    def verify(self, source: Path, progress: Progress) -> Verified:
        """Compare the weights in `source` with their known checksums; by default none is known."""
        return Verified()

    def fingerprint(self, source: Path) -> str:
        """Identity of the weights in `source`, part of the key of every trial; by default a hash of all files."""
        return content_digest(source)

    def reveal(self, targets: Sequence[Notes]) -> None:
        """Take what the prompts of the next `generate` really continue with, in their order.

        Called only if the header says SEES_TARGET, as those of some reference rows do.
        """
        self.targets = tuple(targets)

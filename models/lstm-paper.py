"""The LSTM of Mon (2025): many-to-one windows of 30 notes, three LSTM layers, three dense layers (TensorFlow/Keras).

Section, figure and algorithm numbers are the paper's ("LSTM-Based Music Generation Technologies", Computers 14(6), 229). Where
the text and the author's published code disagree, this file follows the text:

==================  ==========================================================  ===============================================
subject             text, followed here                                         published code
==================  ==========================================================  ===============================================
window              30 notes (Section 4, 1)                                     100 for training, 50 for generation
input               embedding of notes 0-127, MinMax-scaled numbers             index of the pitch or chord / number of them
layers              bidirectional, layer normalisation (Section 4, 2),          one direction, batch normalisation, residual
                    or batch normalisation (Algorithm 1)                        connections that the text doesn't have
batch               128 (Section 4, 3)                                          64
learning rate       cosine annealing (Section 4, 3)                             constant for 60 epochs, then exponential decay
best weights        by validation loss (Algorithm 1, lines 9-12)                by training loss
generation          the trained network (Algorithm 2, lines 2-3)                another one, of two layers of 128 units
==================  ==========================================================  ===============================================

Where the text gives no value, the code's is used: 512 units, dense layers of 1024 and 512, a dropout of 0.3 (one of Section 3's
three candidates), Adam's rate of 0.001, an L2 of 0.0001 (Section 4, 4 prints "12", for "l2").

Where both leave it open: Eq. 7 gives only the pitch's softmax, but Table 2 measures velocities, so each generated field has a
softmax of its own on the second dense layer. Given the window, the fields of a note are independent. The text's "pitch, rhythm,
and dynamics" (Section 4, 5) are pitch, time shift and duration, velocity. MinMax scaling is applied to the shared codec's
classes, whose time classes are log-spaced: next to one long rest, scaled seconds of ordinary notes would all be near 0.

The network is in ``_paper.py``, its training (Algorithm 1) in ``_paper_training.py``, its windows of past notes in ``_past.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.api import FIELDS, NoteCodec, Notes, Piece, PluginError, Run, TrialError

from . import _tensorflow as fast
from ._paper import HIDDEN_LAYERS, NORMALIZATIONS, Network
from ._paper_training import Optimizer, Training, cross_entropy
from ._past import PastWindows, extremes, last_notes
from ._recurrent import sample
from ._training import check_splits, initial_seed

REQUIRES = ("tensorflow",)
FEATURES = "the paper's network: windows of 30 past notes, three bidirectional LSTM layers; continues a prompt; exact likelihood"
PROMPT = True
LIKELIHOOD = "exact"
CONSTRAINT = True
TINY = {"units": 8, "embedding": 4, "dense": [12, 8], "window": 10, "batch": 16, "stride": 3, "learning_rate": 0.01}

#: Fields that are learned and generated: all four, or the pitch alone (the ablation of Figure 9).
FEATURE_SETS = ("pitch+duration+velocity", "pitch")

#: Windows scored in a call on each device: one shape, so one compilation, whatever the pieces.
SCORED = {"cpu": 256, "cuda": 2048}


@dataclass
class Model(fast.Learner[Network]):
    """The paper's network.

    Parameters
    ----------
    features : {"pitch+duration+velocity", "pitch"}
        Fields of the past notes that are input, and that are generated; the first includes the time shift, without which notes
        have no onset. With the second, velocity, duration and the interval between onsets are the training notes' medians, and
        there is no comparable likelihood.
    units : int
        Of each LSTM layer, in each direction.
    embedding : int
        Width of the pitch's embedding.
    dense : sequence of 2 int
        Widths of the two hidden dense layers; the third is as wide as the softmax.
    bidirectional : bool
    normalization : {"layer", "batch", "none"}
    dropout : float
        After each LSTM and hidden dense layer.
    l2 : float
        Of each kernel of an LSTM or dense layer.
    window, batch : int
        Past notes in a window, and windows in an update.
    stride : int
        Each epoch has every `stride`-th note as a target, from a random offset; the paper's is 1, more is for small machines.
    optimizer : {"adam", "rmsprop"}
    learning_rate : float
        At the first update; it falls along half a cosine to 0 at the end of the budget's epochs.
    temperature, top_p : float
        Sampling temperature; probability of the nucleus drawn from.
    time_classes, duration_classes : int
        Of the codec.

    Raises
    ------
    PluginError
        If one of them is out of range.
    """

    name: ClassVar[str] = "lstm-paper"

    features: str = "pitch+duration+velocity"
    units: int = 512
    embedding: int = 64
    dense: tuple[int, ...] = (1024, 512)
    bidirectional: bool = True
    normalization: str = "layer"
    dropout: float = 0.3
    l2: float = 1e-4
    window: int = 30
    batch: int = 128
    stride: int = 1
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    temperature: float = 1.0
    top_p: float = 1.0
    time_classes: int = 64
    duration_classes: int = 64

    def __post_init__(self) -> None:
        choices = {"features": FEATURE_SETS, "normalization": NORMALIZATIONS, "optimizer": Optimizer.KINDS}
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise PluginError(f"lstm-paper: {name} is {getattr(self, name)!r}.", f"Valid: {', '.join(valid)}.")
        self.dense = tuple(self.dense)
        if len(self.dense) != HIDDEN_LAYERS or min(self.dense) < 1:
            raise PluginError(f"lstm-paper: dense is {list(self.dense)}, must be two widths of at least 1.")
        self.check(
            counts=("units", "embedding", "window", "batch", "stride"),
            shares=("dropout",),
            positive=("learning_rate",),
            nonnegative=("l2",),
        )
        self.codec = NoteCodec(self.time_classes, self.duration_classes)
        self.constants = _Constants()

    @property
    def fields(self) -> tuple[str, ...]:
        """Predicted fields: the first ones of ``FIELDS``."""
        return FIELDS if self.features != "pitch" else FIELDS[:1]

    @property
    def likelihood(self) -> Literal["exact"] | None:
        """Exact over all four fields; None with the pitch alone."""
        return "exact" if self.fields == FIELDS else None

    # -- training ------------------------------------------------------------------------------------------------------

    def fit(self, train: Sequence[Piece], valid: Sequence[Piece], run: Run) -> None:
        """Train on `train`; keep the weights of the epoch with the best loss on `valid`. See ``bench.api.Model``."""
        fast.prepare(run.device, run.threads)
        codes = [self.codec.encode(p.notes) for p in train]
        self.constants = _Constants.of(train)
        self.compile(self._make_network(codes, run), run)
        if run.budget.untrained:
            run.begin()
            return
        check_splits("lstm-paper", train, valid)
        held_out = [self.codec.encode(p.notes) for p in valid]
        Training(self, PastWindows(codes, self.window), PastWindows(held_out, self.window), run).run()

    def _make_network(self, codes: Sequence[NDArray[np.int16]], run: Run) -> Network:
        low, high = extremes(codes)
        numbers = len(self.fields) - 1
        return Network(
            dict(zip(self.fields, self.codec.sizes, strict=False)),
            low[:numbers],
            high[:numbers],
            window=self.window,
            embedding=self.embedding,
            units=self.units,
            dense=self.dense,
            bidirectional=self.bidirectional,
            normalization=self.normalization,
            dropout=self.dropout,
            seed=initial_seed(run.seed, "weights"),
            cudnn=run.device == "cuda",
        )

    # -- likelihood ----------------------------------------------------------------------------------------------------

    def log_likelihood(self, pieces: Sequence[Piece]) -> list[NDArray[np.float64]]:
        """Log probability of each field of each note given the `window` notes before it, nats, shape (n, 4) a piece.

        Raises
        ------
        TrialError
            If only the pitch was learned.
        """
        if self.likelihood is None:
            raise TrialError("lstm-paper has no likelihood of whole notes with features 'pitch'.", f"Use {FEATURE_SETS[0]!r}.")
        windows = PastWindows([self.codec.encode(p.notes) for p in pieces], self.window)
        nats = self.nats(windows)
        return [nats[first:last] for first, last in zip(windows.bounds[:-1], windows.bounds[1:], strict=True)]

    def nats(self, windows: PastWindows) -> NDArray[np.float64]:
        """Log probability of each target's predicted fields, nats, shape (len(windows), len(fields))."""
        parts = [-self._score(past, after).numpy()[:count] for past, after, count in windows.in_order(SCORED[self.device])]
        return np.concatenate([np.zeros((0, len(self.fields))), *parts])  # also without a window

    def score_zeros(self) -> None:
        """Score a batch of zeros, which traces and compiles."""
        scored = SCORED[self.device]
        past, after = np.zeros((scored, self.window, len(FIELDS)), np.int16), np.zeros((scored, len(FIELDS)), np.int16)
        self._score(past, after).numpy()

    def _score_batch(self, past: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        return cross_entropy(self.network.logits(past), after)

    # -- generation ----------------------------------------------------------------------------------------------------

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Continue each prompt by exactly `n_notes` notes, all at once. See ``bench.api.Model``."""
        if not prompts or n_notes == 0:
            return [Notes.from_columns([], [], [], []) for _ in prompts]
        weights = np.zeros((n_notes, self.codec.sizes[0])) if constraint is None else constraint
        past = np.stack([last_notes(self.codec.encode(p), self.window) for p in prompts])
        noise = tf.random.stateless_uniform((n_notes, len(prompts), len(self.fields)), [seed, 0])
        self.network  # noqa: B018  (raises before a trace would)
        codes = self._loop(tf.constant(past, tf.int32), tf.constant(weights, tf.float32), noise).numpy()
        starts = [float(p.onset[-1]) if len(p) else 0.0 for p in prompts]
        if self.fields != FIELDS:
            return [self.constants.notes(c[:, 0], start) for c, start in zip(codes, starts, strict=True)]
        return [self.codec.decode(c, start) for c, start in zip(codes, starts, strict=True)]

    def _generate(self, past: tf.Tensor, constraint: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Codes (batch, notes, 4) after `past` (batch, window, 4); fields that aren't predicted are 0."""
        network, batch, notes = self.network, past.shape[0], constraint.shape[0]
        unknown = [tf.zeros(batch, tf.int32)] * (len(FIELDS) - len(self.fields))

        def body(t: tf.Tensor, past: tf.Tensor, drawn: Any) -> tuple[Any, ...]:
            uniform = noise[t]  # XLA took column 0 of noise[t, :, k : k + 1] for each k
            fields = [
                sample(logits, uniform[:, k : k + 1], self.temperature, self.top_p, constraint[t] if k == 0 else None)
                for k, logits in enumerate(network.logits(past, cudnn=False))
            ]
            note = tf.stack([*fields, *unknown], -1)  # (batch, 4)
            return t + 1, tf.concat([past[:, 1:], note[:, None]], 1), drawn.write(t, note)

        drawn = tf.TensorArray(tf.int32, notes, element_shape=(batch, len(FIELDS)))
        *_, drawn = tf.while_loop(lambda t, *_: t < notes, body, (0, past, drawn), maximum_iterations=notes)
        return tf.transpose(drawn.stack(), (1, 0, 2))

    # -- facts ---------------------------------------------------------------------------------------------------------

    def facts(self) -> Mapping[str, Any]:
        """Parameters, precision, use of cuDNN and XLA, seconds of compilation before training, and GPU memory."""
        return {
            "parameters": sum(math.prod(v.shape) for v in self.network.trained),
            **self.outcome(),
        }


@dataclass(frozen=True)
class _Constants:
    """Remaining fields of the notes of a model of pitches alone: the training notes' medians."""

    velocity: int = 64
    interval: float = 0.5
    duration: float = 0.5

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> _Constants:
        """Compute medians over all notes; the interval's only over those above 0.

        In chords most intervals are 0, and a median of 0 would put all notes on one onset.
        """
        if not any(len(p.notes) for p in pieces):
            return cls()
        interval = np.concatenate([np.diff(p.notes.onset) for p in pieces])
        velocity = np.concatenate([p.notes.velocity for p in pieces])
        duration = np.concatenate([p.notes.duration for p in pieces])
        apart = interval[interval > 0]
        return cls(
            round(np.median(velocity)), float(np.median(apart)) if len(apart) else cls.interval, float(np.median(duration))
        )

    def notes(self, pitches: NDArray[np.int32], start: float) -> Notes:
        """Make a line of notes of these pitches after `start`, seconds."""
        n = len(pitches)
        onset = start + self.interval * np.arange(1, n + 1)
        return Notes.from_columns(onset, np.full(n, self.duration), pitches, np.full(n, self.velocity))

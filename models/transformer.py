"""Transformer decoder over notes (Vaswani et al. 2017): pre-norm, rotary or learned positions, factorised heads.

Reading order, from the whole to its parts:

==================  ============================================================================================
this file           the model's hyperparameters
``_rotary.py``      its network: attention with rotary positions; likelihood and generation by windows; that of `transformer-gan`
``_decoder.py``     pre-norm blocks and the stack of them, shared with the Music Transformer
``_fields.py``      the network's two ends: embeddings of a note's four fields, and the heads that predict them
``_learner.py``     training by likelihood, continuing prompts, facts; shared with the VAE
``_draws.py``       draws of classes and look-ups that repeat bit for bit on a GPU too
``_training.py``    windows, augmentation, learning rate, early stopping, epochs; shared by all frameworks
``_batches.py``     batches on their way to a GPU, and how many notes are scored at once
``_torch.py``       seeds, device, precision, compilation, checkpoints
==================  ============================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._rotary import WindowedLearner

REQUIRES = ("torch",)
FEATURES = "Decoder-only attention, rotary or learned positions, every field of a note conditioned on those before it"
PROMPT = True
LIKELIHOOD = "exact"
CONSTRAINT = True
TINY = {"layers": 1, "width": 16, "heads": 2, "window": 16, "batch": 4}


@dataclass
class Model(WindowedLearner):
    """The Transformer baseline.

    For the context that a note is predicted from see :class:`WindowedLearner`.

    Parameters
    ----------
    layers, width, heads : int
        Blocks, channels, attention heads.
    window : int
        Notes seen at once, also in training; even.
    positions : {"rotary", "learned"}
    dropout : float
        In every block.
    batch : int
        Windows in a training step; the paper's 128.
    learning_rate, weight_decay : float
        AdamW's.
    warmup : int
        Updates over which the rate rises; then it is constant.
    clip : float
        Largest norm of the gradient.
    transpose : int
        Augmentation: semitones up or down, at most.
    stretch : float
        Augmentation: tempo by a factor of up to exp(stretch), or down to its inverse.
    time_classes, duration_classes : int
        Of the note codec.
    temperature, top_p : float
        Sampling temperature; probability of the nucleus drawn from.
    """

    name: ClassVar[str] = "transformer"

    layers: int = 4
    width: int = 128
    heads: int = 4
    window: int = 128
    positions: str = "rotary"
    dropout: float = 0.0
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup: int = 20
    clip: float = 1.0
    transpose: int = 5
    stretch: float = 0.1
    time_classes: int = 64
    duration_classes: int = 64
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        self.prepare()

"""Adversarial Transformer after Zhang 2020: trained by likelihood, then by likelihood and a discriminator's reward for each note.

Zhang, "Learning Adversarial Transformer for Symbolic Music Generation" (IEEE Transactions on Neural Networks and Learning Systems
2020), trains a Transformer by teacher forcing together with an adversarial objective: a discriminator with a local and a global
loss rewards each generated step, so that no search has to complete each unfinished sequence to learn what it is worth (as SeqGAN
does, Yu et al. 2017). Likelihood comes first, as rewards for noise teach little.

The reward reaches the network by policy gradient, with a baseline. The other way, a relaxed draw (Gumbel-softmax: Muhamed et al.
2021, "Symbolic Music Generation with Transformer-GANs"), needs the gradient through all steps of a generation: that of `gan` is
parallel, that of a Transformer is not. Differences to Zhang: notes of four fields, not events; the discriminator is a Transformer
of the generator's own size that also sees intervals between notes, and a true first half of each window; a note's reward is what
it adds to the local score. The discriminator begins with the reward, at chance, and the kept weights are those with the fewest
validation bits. In a small budget it can do little: of the 587 updates at scale cpu 117 have a reward, which cost as much as the
other 470, and with the same updates and no reward the network ended alike (8.00 and 7.99 bits a note, two seeds).

The network is that of `transformer`, in ``_rotary.py``; discriminator, reward and updates are in ``_adversarial.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._adversarial import AdversarialLearner

REQUIRES = ("torch",)
FEATURES = "The Transformer, after likelihood also rewarded note by note by a discriminator (Zhang 2020); exact likelihood"
PROMPT = True
LIKELIHOOD = "exact"
CONSTRAINT = True
TINY = {"layers": 1, "width": 16, "heads": 2, "window": 16, "batch": 4}


@dataclass
class Model(AdversarialLearner):
    """The adversarial Transformer.

    Its likelihood is exact, as the reward changes the weights and nothing else. The evaluation with the fewest validation bits is
    kept, as for `transformer`: the reward stays only if the likelihood doesn't get worse by it. For the context that a note is
    predicted from see :class:`WindowedLearner`.

    Parameters
    ----------
    layers, width, heads : int
        Blocks, channels, attention heads; the discriminator has as many.
    window : int
        Notes seen at once, also in training; even. With the reward the first half is given, the second drawn.
    positions : {"rotary", "learned"}
    dropout : float
        In every block.
    batch : int
        Windows in a training step; the paper's 128.
    learning_rate, weight_decay : float
        AdamW's.
    pretraining : float
        Share of the budget that is trained by likelihood alone. An update with a reward takes about five times as long, so in a
        budget of updates or notes the rest costs more than its share.
    reward : float
        Weight of the reward's gradient; the likelihood always has weight 1.
    discount : float
        Factor for each further note whose reward counts for a note's return; 0 counts its own alone.
    discriminator_learning_rate : float
    warmup : int
        Updates over which the rate rises; then it is constant.
    clip : float
        Largest norm of a network's gradient.
    transpose : int
        Augmentation: semitones up or down, at most.
    stretch : float
        Augmentation: tempo by a factor of up to exp(stretch), or down to its inverse.
    time_classes, duration_classes : int
        Of the note codec.
    temperature, top_p : float
        Sampling temperature; probability of the nucleus drawn from. The reward's draws are at temperature 1, from all classes.
    """

    name: ClassVar[str] = "transformer-gan"

    layers: int = 4
    width: int = 128
    heads: int = 4
    window: int = 128
    positions: str = "rotary"
    dropout: float = 0.0
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    pretraining: float = 0.5
    reward: float = 0.3
    discount: float = 0.9
    discriminator_learning_rate: float = 3e-3
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

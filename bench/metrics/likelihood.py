"""Likelihood: how well a system predicts held-out music, in bits per note over the classes of the shared codec.

Comparable between all systems with the same codec; one note repeated can't win it, copied music only as far as
pieces share passages. A family without a likelihood
(a GAN) has no value; an upper bound is marked as one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from bench.api import FIELDS
from bench.metrics.metric import Metric, Undefined, Value
from bench.storage.outcome import Likelihood

if TYPE_CHECKING:  # the readers of files come with it, which a list of metrics doesn't need
    from bench.storage.samples import Samples

METRICS = (
    Metric(
        "bits_per_note",
        "Bits per note",
        "bits",
        "lower",
        "Mean over the notes of all held-out pieces of -log2 of the probability given to the note that came.",
        "negative log-likelihood, Shannon 1948; classes of bench.api.NoteCodec",
        group="likelihood",
        tolerance=0.2,
        floor=0.02,
        every_seed=True,
    ),
    *(
        Metric(
            f"bits_{field}",
            f"Bits: {field}",
            "bits",
            "lower",
            f"The part of bits per note that the field {field} needs, given the fields before it in the note.",
            "chain rule",
            group="likelihood",
            tolerance=0.15,
            floor=0.02,
            every_seed=True,
        )
        for field in FIELDS
    ),
    Metric(
        "excess_bits",
        "Excess bits",
        "bits",
        "lower",
        "Bits per note above the entropy of the source that the music was drawn from, which no model can expect to beat.",
        "Kullback-Leibler divergence per note, Cover and Thomas, Elements of Information Theory, theorem 5.4.3",
        3,
        group="likelihood",
        tolerance=0.2,
        floor=0.02,
        every_seed=True,
    ),
)


#: The metrics that are measured on each held-out piece, weighted by its notes.
BY_PIECE = frozenset(("bits_per_note", *(f"bits_{field}" for field in FIELDS)))


def by_piece(samples: Samples) -> dict[str, dict[int, Value]]:
    """Compute the bits of each held-out piece from the sums that a trial stored; empty for a family without a likelihood."""
    if samples.likelihood_sum is None or samples.likelihood_notes is None or not samples.by_field:
        return {}
    bits = -samples.likelihood_sum / samples.likelihood_notes[:, None] / math.log(2)  # (pieces, 4)
    columns = {"bits_per_note": bits.sum(1), **{f"bits_{field}": bits[:, i] for i, field in enumerate(FIELDS)}}
    pieces = numbers(samples)
    return {name: dict(zip(pieces, column.tolist(), strict=True)) for name, column in columns.items()}


def numbers(samples: Samples) -> list[int]:
    """List the indices in the test split of the pieces that the likelihood is of, in its order."""
    assert samples.likelihood_notes is not None
    pieces = samples.likelihood_piece
    return list(range(len(samples.likelihood_notes))) if pieces is None else [int(piece) for piece in pieces]


def summarize(samples: Samples, kind: Literal["exact", "bound"] | None) -> Likelihood | None:
    """Bits per note over all notes of all held-out pieces, in all and by field, from the stored sums.

    Parameters
    ----------
    samples : Samples
    kind : {"exact", "bound"} or None
        None for a family without a likelihood. Of one that predicts other units, see :mod:`bench.metrics.prediction`.
    """
    if kind is None or samples.likelihood_sum is None or samples.likelihood_notes is None or not samples.by_field:
        return None
    notes = int(samples.likelihood_notes.sum())
    bits = -samples.likelihood_sum.sum(0) / notes / math.log(2)  # (4,)
    return Likelihood(
        kind=kind,
        pieces=len(samples.likelihood_notes),
        notes=notes,
        bits_per_note=float(bits.sum()),
        by_field=dict(zip(FIELDS, bits.tolist(), strict=True)),
    )


def evaluate(likelihood: Likelihood | None, entropy: Mapping[str, float] | None = None) -> dict[str, Value]:
    """Compute every metric of this module.

    Parameters
    ----------
    likelihood : Likelihood or None
        As a trial's outcome stored it.
    entropy : mapping of str to float, optional
        Expected bits per note of the music's source on the held-out pieces, see :class:`bench.api.Splits`; its "total" counts.

    Examples
    --------
    >>> stored = Likelihood(kind="exact", pieces=1, notes=9, bits_per_note=8.0, by_field=dict.fromkeys(FIELDS, 2.0))
    >>> evaluate(stored, entropy={"total": 7.5})["excess_bits"]
    0.5
    """
    if likelihood is None:
        return dict.fromkeys((m.name for m in METRICS), Undefined("this family has no likelihood"))
    bits = likelihood.bits_per_note
    return {
        "bits_per_note": bits,
        **{f"bits_{field}": likelihood.by_field[field] for field in FIELDS},
        "excess_bits": Undefined("the entropy of this music isn't known") if entropy is None else bits - entropy["total"],
    }

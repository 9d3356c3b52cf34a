"""Prediction in a model's own units: frames or performance events, whose published tables are in nats a unit.

Comparable between models with the same unit of the same music, and with a table that counts it alike; never with bits per note,
which are over the classes of the shared codec.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from bench.metrics.metric import Metric, Undefined, Value
from bench.storage.outcome import Prediction

if TYPE_CHECKING:
    from bench.api import Piece
    from bench.storage.samples import Samples

#: What a model's likelihoods are over.
Unit = Literal["note", "frame", "event"]

METRICS = (
    Metric(
        "nats_per_frame",
        "Nats per frame",
        "nats",
        "lower",
        "Mean over all predicted frames of all held-out pieces of -ln of the probability given to the keys that sounded, each of "
        "the 88 keys of a piano a Bernoulli variable given the frames before.",
        "Boulanger-Lewandowski, Bengio & Vincent 2012; counted as in Bai, Kolter & Koltun 2018, arXiv 1803.01271",
        3,
        group="prediction",
        tolerance=0.05,
        floor=0.02,
        every_seed=True,
    ),
    Metric(
        "nats_per_event",
        "Nats per event",
        "nats",
        "lower",
        "Mean over all performance events of all held-out segments of -ln of the probability given to the event that came.",
        "Oore et al. 2018, arXiv 1808.03715; Huang et al. 2019, arXiv 1809.04281",
        3,
        group="prediction",
        tolerance=0.05,
        floor=0.01,
        every_seed=True,
    ),
    Metric(
        "event_bits_per_note",
        "Bits of all events, per note",
        "bits",
        "lower",
        "-log2 of the probability of all events of the held-out pieces, divided by their notes: so vocabularies compare.",
        "negative log-likelihood, Shannon 1948",
        group="prediction",
        tolerance=0.05,
        floor=0.05,
        every_seed=True,
    ),
    Metric(
        "event_bits_per_second",
        "Bits of all events, per second",
        "bits/s",
        "lower",
        "-log2 of the probability of all events of the held-out pieces, divided by their duration: so vocabularies compare.",
        "negative log-likelihood, Shannon 1948",
        group="prediction",
        tolerance=0.05,
        floor=0.05,
        every_seed=True,
    ),
)

#: The metric of each unit. It is measured on each held-out piece, weighted by its predictions.
BY_UNIT = {"frame": "nats_per_frame", "event": "nats_per_event"}


def by_piece(samples: Samples, prediction: Prediction | None) -> dict[str, dict[int, Value]]:
    """Compute the nats of each held-out piece from the sums that a trial stored; empty for a model that predicts notes.

    Parameters
    ----------
    samples : Samples
        Its ``likelihood_sum`` has one column, its ``likelihood_notes`` are predictions.
    prediction : Prediction or None
        As the trial's outcome stored it.
    """
    sums, counts, pieces = samples.likelihood_sum, samples.likelihood_notes, samples.likelihood_piece
    if prediction is None or sums is None or counts is None or pieces is None:
        return {}
    nats = -sums[:, 0] / counts
    return {BY_UNIT[prediction.unit]: dict(zip(pieces.tolist(), nats.tolist(), strict=True))}


def summarize(
    samples: Samples, unit: Unit, kind: Literal["exact", "bound"] | None, pieces: Mapping[int, Piece]
) -> Prediction | None:
    """Sum the predictions of all held-out pieces.

    Parameters
    ----------
    samples : Samples
    unit : {"note", "frame", "event"}
    kind : {"exact", "bound"} or None
        None for a family without a likelihood.
    pieces : mapping of int to Piece
        The held-out ones, by their numbers. Those of which something was predicted count, from the first onset to the last end.

    Returns
    -------
    Prediction or None
        None for notes, and without a likelihood.
    """
    if (
        unit == "note"
        or kind is None
        or samples.likelihood_sum is None
        or samples.likelihood_notes is None
        or samples.likelihood_piece is None
    ):
        return None
    predicted = [pieces[number].notes for number in samples.likelihood_piece.tolist()]
    return Prediction(
        unit=unit,
        pieces=len(samples.likelihood_notes),
        predictions=int(samples.likelihood_notes.sum()),
        nats=-float(samples.likelihood_sum.sum()),
        notes=sum(map(len, predicted)),
        seconds=math.fsum(float((notes.onset + notes.duration).max() - notes.onset[0]) for notes in predicted),
        kind=kind,
    )


def evaluate(prediction: Prediction | None) -> dict[str, Value]:
    """Compute every metric of this module.

    Parameters
    ----------
    prediction : Prediction or None
        As a trial's outcome stored it.

    Examples
    --------
    >>> stored = Prediction(unit="frame", pieces=1, predictions=4, nats=34.0, notes=16, seconds=2.5)
    >>> evaluate(stored)["nats_per_frame"]
    8.5
    """
    values: dict[str, Value] = dict.fromkeys(
        (metric.name for metric in METRICS), Undefined("the model doesn't predict such units")
    )
    if prediction is not None:
        values[BY_UNIT[prediction.unit]] = prediction.nats / prediction.predictions
        if prediction.unit == "event":
            bits = prediction.nats / math.log(2)
            values["event_bits_per_note"] = bits / prediction.notes
            values["event_bits_per_second"] = bits / prediction.seconds if prediction.seconds else Undefined("it lasts no time")
    return values

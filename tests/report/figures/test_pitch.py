"""Validation loss in pitch alone."""

from __future__ import annotations

import math

from bench.report.figures import pitch

from ..stored_run import Stored, built, done, moved


def test_the_loss_in_pitch_of_networks_that_are_told_less_is_compared(stored: Stored) -> None:
    """ln 2 nats are one bit; the mean over two trainings of the least of each."""
    log2 = math.log(2)
    for row, seed, losses in (("pitch-only", 0, [4, 3]), ("pitch-only", 1, [4, 2, 5]), ("all", 0, [1.5])):
        history = [
            {"epoch": i, "seconds": 1.0 * i, "loss": 3.0, "notes": 10, "validation_pitch_loss": loss * log2}
            for i, loss in enumerate(losses, 1)
        ]
        stored.add(row, seed, moved(1), model="lstm-paper", training=done(seed, None)["training"] | {"history": history})
    found = pitch.gallery(built(stored.close()))
    assert found is not None
    assert found.note.endswith("Lowest bits per note, mean over trainings: pitch-only 2.50; all 1.50.")
    assert len(found.drawings) == 1


def test_one_network_alone_has_no_such_figure(stored: Stored) -> None:
    stored.add("lstm", 0, moved(1), bits=12.0)
    assert pitch.gallery(built(stored.close())) is None

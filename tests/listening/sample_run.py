"""A stored run that a listening test can be made of: two models, the references, twelve pieces."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from bench.music.notes import Notes
from tests.report.stored_run import Stored, many_pieces, notes

PIECES = 12


def run_for_listening(folder: Path, pieces: int = PIECES, without: str = "", pretrained: Collection[str] = ()) -> Path:
    """`without` is a row that the run lacks; `pretrained` are models that were trained elsewhere."""
    stored = Stored(folder)
    stored.enlarge(pieces)
    stored.real = [real.shifted(1.0) for real in stored.real]
    # In the order of the runner: references first. The further from the original, the worse; the GAN takes no prompt.
    for system, by, kind in (("real", 1, "reference"), ("ngram", 7, "reference"), ("lstm", 3, "model"), ("vae", 12, "model")):
        if system != without:
            if pieces == PIECES:
                many_pieces(stored, system, lambda i, by=by: by + i % 2, kind, pretrained=system in pretrained)
            else:
                music = {(i, 0): moved(real, by) for i, real in enumerate(stored.real)}
                stored.add(system, 0, music, kind=kind, pretrained=system in pretrained)
    stored.add("gan", 0, {(i, 0): notes([70, 75, 71, 80]) for i in range(pieces)}, pretrained="gan" in pretrained)
    return stored.close()


def moved(real: Notes, by: int) -> Notes:
    return Notes.from_columns(real.onset, real.duration, real.pitch + by, real.velocity)

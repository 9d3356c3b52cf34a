"""Reference row: the target itself, encoded and decoded, which shows what the codec's classes cost."""

from __future__ import annotations

from collections.abc import Sequence

import bench.api
from bench.api import NoteCodec, Notes

from ._references import end, revealed

ROLE = "reference"
FEATURES = "the target itself, encoded and decoded"
SEES_TARGET = True


class Model(bench.api.Model):
    """The target in the codec's classes of time and duration.

    Parameters
    ----------
    time_classes, duration_classes : int
        Classes of the shared codec.
    """

    def __init__(self, time_classes: int = 64, duration_classes: int = 64) -> None:
        self.codec = NoteCodec(time_classes, duration_classes)

    def generate(self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: object = None) -> list[Notes]:
        """Return the first `n_notes` notes of each target, encoded and decoded."""
        targets = revealed("codec", self.targets, prompts, n_notes)
        return [self._coded(*pair) for pair in zip(prompts, targets, strict=True)]

    def _coded(self, prompt: Notes, target: Notes) -> Notes:
        return self.codec.decode(self.codec.encode(target, prompt.onset[-1] if len(prompt) else None), end(prompt))

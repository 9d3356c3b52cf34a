"""Generation under a harmonic constraint: one chord plan per piece, the form of the piece, and the record in the outcome."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api import Model, Piece, seed_for
from bench.music.harmony.accompaniment import accompaniment
from bench.music.harmony.form import form_piece, layout
from bench.music.harmony.settings import Harmony
from bench.music.harmony.theory import find_key, make_plan
from bench.music.notes import Notes
from bench.runner.contract import check_samples
from bench.storage.outcome import ChordPlans
from bench.storage.samples import Target

#: Sources of a key, as the report names them.
GIVEN, PROMPT, TRAINING = "given", "the prompt", "the training music"


class Conductor:
    """A model constrained to a chord plan for each piece, with the interface of the model's `generate`.

    The key of a prompt determines its plan, so prompts of one key are continued together, under one constraint.

    Parameters
    ----------
    model : Model
    harmony : Harmony
    targets : sequence of Target
        Only their prompts are used, never what follows them.
    train : sequence of Piece
        Without prompts, all pieces are in the key of all training music together.
    takes_prompt : bool
        Whether the model continues its prompt.
    """

    def __init__(
        self, model: Model, harmony: Harmony, targets: Sequence[Target], train: Sequence[Piece], takes_prompt: bool = True
    ) -> None:
        self.model, self.harmony, self.targets, self.takes_prompt = model, harmony, targets, takes_prompt
        self.compiles = model.compiles
        self.key_from, keys = _keys(harmony, targets, train)
        plans = {key: make_plan(key, harmony) for key in sorted(set(keys))}
        self.plans = [plans[key] for key in keys]
        #: Complete pieces of the first sample, for its MIDI files.
        self.first: list[Notes] = []

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """Generate the first `n_notes` notes of a piece for each target, in order; see :class:`bench.api.Model`.

        `prompts` are those of the targets, and a given `constraint` is added to the plan's.
        """
        written = self.harmony.written(n_notes)
        melodies: dict[int, Notes] = {}
        groups = self._groups()
        # A model compiles anew for each number of prompts, so groups are padded to one size for a single compilation.
        size = max(map(len, groups.values())) if self.compiles else 0
        for key, group in groups.items():
            weights = self.plans[group[0]].log_weights(
                written, chord=self.harmony.chord, scale=self.harmony.scale, other=self.harmony.other
            )
            padded = [group[i % len(group)] for i in range(max(size, len(group)))]
            parts = self.model.generate(
                [prompts[i] for i in padded],
                written,
                seed_for("harmony", seed, key),
                weights if constraint is None else weights + constraint,
            )
            check_samples(parts, [self.targets[i] for i in padded], written, self.takes_prompt)
            melodies |= dict(zip(group, parts, strict=False))
        pieces = [form_piece(melodies[i], self.harmony.form) for i in range(len(prompts))]
        self.first = self.first or pieces
        return [piece[:n_notes] for piece in pieces]

    def tracks(self, piece: int) -> dict[str, Notes]:
        """Return melody, with the prompt before it, and accompaniment of a piece's first sample, by name of the track."""
        melody, plan = self.first[piece], self.plans[piece]
        prompt = [self.targets[piece].prompt] if self.takes_prompt else []
        chords = accompaniment(melody, plan, layout(self.harmony.form, len(melody)))
        return {"melody": Notes.concatenate([*prompt, melody]), "accompaniment": chords}

    def stored(self) -> ChordPlans:
        """Return the record for the outcome: the distinct plans, the plan of each piece, and the source of the keys."""
        distinct = list(dict.fromkeys(self.plans))
        return ChordPlans(
            key_from=self.key_from,
            plans=tuple(plan.stored() for plan in distinct),
            plan_of_piece=tuple(distinct.index(plan) for plan in self.plans),
        )

    def _groups(self) -> dict[str, list[int]]:
        """Group the pieces by key, keys in the order of their first piece."""
        groups: dict[str, list[int]] = {}
        for piece, plan in enumerate(self.plans):
            groups.setdefault(plan.key, []).append(piece)
        return groups


def _keys(harmony: Harmony, targets: Sequence[Target], train: Sequence[Piece]) -> tuple[str, list[str]]:
    """Find the key of each piece; return the source of the keys, and the keys."""
    if harmony.key != "auto":
        return GIVEN, [harmony.key] * len(targets)
    # The prompts are all of one length.
    if all(len(target.prompt) for target in targets):
        return PROMPT, [find_key([target.prompt]) for target in targets]
    return TRAINING, [find_key([piece.notes for piece in train])] * len(targets)

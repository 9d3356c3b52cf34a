"""A model that is made to follow a plan for each piece: constraint, form, and what the outcome tells of it."""

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
from bench.storage.records import ChordPlans
from bench.storage.samples import Target

#: Where a key came from, in words for the report.
GIVEN, PROMPT, TRAINING = "given", "the prompt", "the training music"


class Conductor:
    """Generates as the model does, under each piece's plan.

    A prompt's key decides its plan, so prompts of one key are continued together, with one constraint.

    Parameters
    ----------
    model : Model
    harmony : Harmony
    targets : sequence of Target
        Only their prompts are looked at, never what follows them.
    train : sequence of Piece
        Where no prompt is given, all pieces are in the key of the training music as a whole.
    takes_prompt : bool
        Whether the model continues its prompt.
    """

    def __init__(
        self, model: Model, harmony: Harmony, targets: Sequence[Target], train: Sequence[Piece], takes_prompt: bool = True
    ) -> None:
        self.model, self.harmony, self.targets, self.takes_prompt = model, harmony, targets, takes_prompt
        self.compiles = bool(getattr(model, "compiles", False))
        self.key_from, keys = _keys(harmony, targets, train)
        plans = {key: make_plan(key, harmony) for key in sorted(set(keys))}
        self.plans = [plans[key] for key in keys]
        #: The whole pieces of the first sample, which its MIDI files hold.
        self.first: list[Notes] = []

    def generate(
        self, prompts: Sequence[Notes], n_notes: int, seed: int, constraint: NDArray[np.float64] | None = None
    ) -> list[Notes]:
        """The first `n_notes` notes of a piece for each target, in order; see :class:`bench.api.Model`.

        `prompts` are the targets' own, and a further `constraint` is added to the plan's.
        """
        written = self.harmony.written(n_notes)
        melodies: dict[int, Notes] = {}
        groups = self._groups()
        # A model that compiles does so for each number of prompts: groups of one size need one compilation.
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
        """Melody, with the prompt before it, and accompaniment of a piece's first sample, by the track's name."""
        whole, plan = self.first[piece], self.plans[piece]
        prompt = [self.targets[piece].prompt] if self.takes_prompt else []
        chords = accompaniment(whole, plan, layout(self.harmony.form, len(whole)))
        return {"melody": Notes.concatenate([*prompt, whole]), "accompaniment": chords}

    def stored(self) -> ChordPlans:
        """For the outcome: the plans that were followed, which piece had which, and where the keys came from."""
        distinct = list(dict.fromkeys(self.plans))
        return ChordPlans(
            key_from=self.key_from,
            plans=tuple(plan.stored() for plan in distinct),
            plan_of_piece=tuple(distinct.index(plan) for plan in self.plans),
        )

    def _groups(self) -> dict[str, list[int]]:
        """Pieces by key, keys in the order of their first piece."""
        groups: dict[str, list[int]] = {}
        for piece, plan in enumerate(self.plans):
            groups.setdefault(plan.key, []).append(piece)
        return groups


def _keys(harmony: Harmony, targets: Sequence[Target], train: Sequence[Piece]) -> tuple[str, list[str]]:
    """Where the keys come from, and that of each piece."""
    if harmony.key != "auto":
        return GIVEN, [harmony.key] * len(targets)
    # The prompts are all of one length.
    if all(len(target.prompt) for target in targets):
        return PROMPT, [find_key([target.prompt]) for target in targets]
    return TRAINING, [find_key([piece.notes for piece in train])] * len(targets)

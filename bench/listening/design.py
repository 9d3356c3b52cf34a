"""Who hears what: forms of blind pairs, balanced and seeded.

A *form* is one listener's list of questions, each a pair of clips that continue one prompt. Over all forms together every pair of
systems is heard on every prompt once on either side; a few come once more to fill the last form, and of very many pairs not all
are heard. Some pairs come twice, with the sides swapped, and *catch pairs* have an answer: a composer's own continuation against
random notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bench.storage.samples import MOST_TARGETS
from bench.storage.stored import Stored

#: Clips of catch pairs, in the place of a contestant's index.
ORIGINAL, NOISE = -1, -2

#: Where in a form catch pairs come, as shares of its length: two in the first half, for those who stop there.
_CATCH_PLACES = ((0.05, 0.2), (0.25, 0.4), (0.6, 0.95))

#: Questions of a form beside its pairs: pairs that are asked again, and catch pairs.
REPEATS, CATCHES = 4, len(_CATCH_PLACES)

#: Most forms of a test; with very many pairs, not every one is heard on both sides of every prompt.
MOST_FORMS = 400


#: Index of a piece in targets.npz.
Piece = Annotated[int, Field(ge=0, lt=MOST_TARGETS)]


class Question(Stored):
    """One question of a form.

    Parameters
    ----------
    kind : {"pair", "repeat", "catch"}
    prompt : int
        Index of the piece in targets.npz.
    left, right : int
        Contestants by index; of a catch pair :data:`ORIGINAL` and :data:`NOISE`.
    of : int or None
        Of a repeat: place of the question in the form that it repeats with the sides swapped.
    """

    kind: Literal["pair", "repeat", "catch"]
    prompt: Piece
    left: int
    right: int
    of: int | None = None


Form = tuple[Question, ...]


def make_forms(contestants: int, prompts: Sequence[int], questions: int, seed: int | Sequence[int]) -> tuple[Form, ...]:
    """Make the forms of a test.

    Parameters
    ----------
    contestants : int
        At least two.
    prompts : sequence of int
        Pieces, by index.
    questions : int
        Pairs in a form, repeats and catch pairs not counted; fewer where there are not as many different ones.
    seed : int or sequence of int

    Returns
    -------
    tuple of Form
        As many as it takes for every pair to be heard on every prompt on both sides, at most :data:`MOST_FORMS`.
    """
    rng = np.random.default_rng(seed)
    cells = _cells(contestants, prompts, rng)
    length = min(questions, len(cells) // 2)
    forms = min(-(-len(cells) // length), MOST_FORMS)
    taken = [[cells[(form * length + i) % len(cells)] for i in range(length)] for form in range(forms)]
    return tuple(_form(part, prompts, rng) for part in taken)


def _cells(contestants: int, prompts: Sequence[int], rng: np.random.Generator) -> list[Question]:
    """Every pair on every prompt on both sides: in each run of as many cells as there are pairs, each pair once."""
    pairs = list(combinations(range(contestants), 2))
    order = [rng.permutation(prompts).tolist() for _ in pairs]  # each pair meets the prompts in an order of its own
    first_left = rng.integers(0, 2, len(pairs))
    # The same in both halves: so a pair on a prompt comes again after half of the cells, and no form has it twice.
    turns = [rng.permutation(len(pairs)).tolist() for _ in prompts]
    cells = []
    for turn in range(2 * len(prompts)):
        for i in turns[turn % len(prompts)]:
            # Sides alternate from prompt to prompt; in the second half each prompt has the other side.
            swapped = (turn + turn // len(prompts) * (1 + len(prompts) % 2) + first_left[i]) % 2
            left, right = pairs[i][::-1] if swapped else pairs[i]
            cells.append(Question(kind="pair", prompt=order[i][turn % len(prompts)], left=left, right=right))
    return cells


def _form(pairs: Sequence[Question], prompts: Sequence[int], rng: np.random.Generator) -> Form:
    """Order a form's pairs at random; repeats of some of its first half come in its second, catch pairs spread over it.

    Whoever stops half way has answered half of the pairs and the first two catch pairs, one on either side.
    """
    mixed = [pairs[i] for i in rng.permutation(len(pairs))]
    half = -(-len(mixed) // 2)
    repeats = min(REPEATS, half)
    # Not the last ones of the first half, if there are enough others: nobody should still have them in his ear.
    chosen = rng.choice(max(half - 2, repeats), repeats, replace=False)
    again = {_swapped(mixed[i]): mixed[i] for i in chosen.tolist()}
    later = [*mixed[half + 1 :], *again]
    asked = [*mixed[: half + 1], *(later[i] for i in rng.permutation(len(later)))]
    side = int(rng.integers(2))
    pieces = rng.permutation(prompts[:CATCHES]).tolist()
    for number, (low, high) in enumerate(_CATCH_PLACES):
        left, right = (NOISE, ORIGINAL) if (number + side) % 2 else (ORIGINAL, NOISE)
        catch = Question(kind="catch", prompt=pieces[number % len(pieces)], left=left, right=right)
        place = round(rng.uniform(low, high) * len(asked))
        # Of a short form, 0.4 may lie behind the last of the first half.
        asked.insert(place if low > 0.5 else min(place, half - 1 + number), catch)
    places = {id(question): place for place, question in enumerate(asked)}
    return tuple(q.model_copy(update={"of": places[id(again[q])]}) if q.kind == "repeat" else q for q in asked)


def _swapped(question: Question) -> Question:
    return Question(kind="repeat", prompt=question.prompt, left=question.right, right=question.left)

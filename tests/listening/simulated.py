"""Simulated listeners, who answer a real test's forms: with known preferences, carelessly, or always on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from bench.listening.design import NOISE, ORIGINAL, Question, make_forms
from bench.listening.key import ALWAYS, Contestant, Key
from bench.listening.preference import FIRST, TIE, probabilities
from bench.listening.votes import Answer, Ballot

ANSWERS: tuple[Answer, ...] = ("left", "tie", "right")


@dataclass(frozen=True)
class World:
    """What is true of systems, listeners and prompts.

    Parameters
    ----------
    worth : sequence of float
        Log worth of each system.
    between_listeners, between_prompts : float
        Standard deviations of a system's log worth between listeners and between prompts.
    log_tie : float
    """

    worth: Sequence[float]
    between_listeners: float = 0.4
    between_prompts: float = 0.4
    log_tie: float = -0.7

    def share(self, one: int, other: int) -> float:
        """Share of comparisons that a system wins, ties half, over all listeners and prompts that there could be."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        effects = nodes * np.sqrt(2 * (self.between_listeners**2 + self.between_prompts**2))
        chance = probabilities(self.worth[one] - self.worth[other] + effects, np.array(self.log_tie))
        return float(weights @ (chance[:, FIRST] + chance[:, TIE] / 2) / weights.sum())


def conditional(share: float) -> float:
    """Difference of log worths for one listener and prompt that gives this share over all, by the default effects of a world."""
    effects = np.random.default_rng(0).normal(0, np.sqrt(2 * (0.4**2 + 0.4**2)), 100_000)
    return float(optimize.brentq(lambda difference: np.mean(1 / (1 + np.exp(-difference - effects))) - share, 0, 30))


def key_of(systems: int, prompts: int = 12, questions: int = 20, seed: int = 0) -> Key:
    names = [*ALWAYS, *(f"s{i}" for i in range(systems))][:systems]
    contestants = tuple(Contestant(name=name, seed=0, digest="") for name in names)
    return Key(seconds=12.0, contestants=contestants, forms=make_forms(systems, range(prompts), questions, seed), clips={})


def attentive(key: Key, world: World, listeners: int, seed: int, slips: float = 0.0) -> list[Ballot]:
    """Listeners of these preferences, who hear the random notes but for a share of slips."""
    rng = np.random.default_rng(seed)
    by_prompt = rng.normal(0, world.between_prompts, (len(key.prompts), len(world.worth)))
    ballots = []
    for number in range(listeners):
        own = np.asarray(world.worth) + rng.normal(0, world.between_listeners, len(world.worth))
        form = int(rng.integers(len(key.forms)))
        given = []
        for question in key.forms[form]:
            if question.kind == "catch":
                right = "left" if question.left == ORIGINAL else "right"
                given.append(right if rng.random() >= slips else _any(rng))
                continue
            worth = own + by_prompt[key.prompts.index(question.prompt)]
            chance = probabilities(np.array(worth[question.left] - worth[question.right]), np.array(world.log_tie))
            given.append(ANSWERS[rng.choice(3, p=chance)])
        ballots.append(ballot(key, form, given, number))
    return ballots


def careless(key: Key, listeners: int, seed: int) -> list[Ballot]:
    """Listeners who press anything."""
    rng = np.random.default_rng(seed)
    forms = rng.integers(len(key.forms), size=listeners).tolist()
    return [ballot(key, form, [_any(rng) for _ in key.forms[form]], 10_000 + number) for number, form in enumerate(forms)]


def one_sided(key: Key, listeners: int, side: Answer = "left", catches: bool = False) -> list[Ballot]:
    """Listeners who always press the same side; if `catches`, but where one clip is noise."""

    def answer(question: Question) -> Answer:
        return ("right" if question.left == NOISE else "left") if catches and question.kind == "catch" else side

    forms = [number % len(key.forms) for number in range(listeners)]
    return [ballot(key, form, [answer(q) for q in key.forms[form]], 20_000 + number) for number, form in enumerate(forms)]


def ballot(key: Key, form: int, answers: Sequence[Answer | None], number: int) -> Ballot:
    return Ballot(
        bench_votes=1,
        test=key.test,
        form=form,
        listener=hashlib.sha256(str(number).encode()).hexdigest()[:32],
        answers=tuple(answers),
    )


def _any(rng: np.random.Generator) -> Answer:
    return ANSWERS[rng.integers(3)]

"""Figures of ``docs/listening-test.md``: ``python -m tests.listening.simulation``; 100 tests a line take some minutes."""

from __future__ import annotations

import sys

import numpy as np

from bench.listening.design import make_forms
from bench.listening.power import detectable
from bench.listening.preference import Preferences, prefer, votes_of
from bench.listening.screening import screen
from bench.listening.votes import Ballot
from tests.listening.simulated import World, attentive, careless, conditional, key_of, one_sided

DRAWS = 300
ALIKE, SPREAD = [0.0] * 5, [0.0, 0.4, 0.8, 1.2, 1.6]

#: Prompts, listeners, log worths, and their standard deviations between listeners and between prompts.
STUDIES = (
    (12, 10, ALIKE, 0.4, 0.4),
    (12, 20, ALIKE, 0.0, 0.0),
    (12, 20, SPREAD, 0.4, 0.4),
    (6, 6, [0.0, 0.5, 1.0, 1.5, 2.0], 0.6, 0.6),
    (12, 40, ALIKE, 0.4, 0.8),
    (12, 10, [0.0, 2.0, 4.0, 6.0, 8.0], 0.4, 0.4),
    (12, 10, [0.0, 3.0, 6.0, 9.0, 12.0], 0.4, 0.4),
    (12, 10, [0.0, 5.0, 10.0, 15.0, 20.0], 0.4, 0.4),
)


def result(world: World, prompts: int, listeners: int, seed: int) -> Preferences:
    key = key_of(len(world.worth), prompts, 20, seed)
    votes = votes_of(screen(attentive(key, world, listeners, seed * 7 + 1), key), key)
    return prefer(votes, len(world.worth), DRAWS, seed)


def coverage(tests: int) -> None:
    """How often intervals hold the truth, and how often a test tells systems apart that are alike.

    The truth is the share of comparisons that a system wins, ties half, of all listeners and prompts that there could be.
    """
    print(
        "| Prompts | Listeners | SD between listeners, prompts | Intervals that hold the truth | Tests with a false difference |"
    )
    for prompts, listeners, worth, between_listeners, between_prompts in STUDIES:
        world, covered, false = World(worth, between_listeners, between_prompts), [], 0
        for seed in range(tests):
            found = result(world, prompts, listeners, seed)
            true = [world.share(c.first, c.second) for c in found.comparisons]
            covered += [c.interval.low <= t <= c.interval.high for c, t in zip(found.comparisons, true, strict=True)]
            false += any(c.p < 0.05 for c in found.comparisons if worth[c.first] == worth[c.second])
        alike = f"{100 * false / tests:.1f} %" if worth == ALIKE else "–"
        next_to = f"; neighbours' shares {100 * world.share(1, 0):.0f} %" if worth[1] >= 2 else "; systems differ"
        spread = f"{between_listeners:g}, {between_prompts:g}{'' if worth == ALIKE else next_to}"
        print(f"| {prompts} | {listeners} | {spread} | {100 * np.mean(covered):.1f} % | {alike} |", flush=True)


def power(tests: int) -> None:
    """How often the preference is shown that `bench listen-test` says will be shown in 80 %."""
    print("| Systems | Listeners | Preference told | Shown |")
    for systems, listeners in ((5, 10), (5, 20), (5, 40), (8, 20)):
        share = detectable(listeners, systems, 12, 20)
        difference = conditional(share)
        world = World([difference, 0.0, *[difference / 2] * (systems - 2)])
        key, shown = key_of(systems), 0
        for seed in range(tests):
            votes = votes_of(screen(attentive(key, world, listeners, seed), key), key)
            shown += prefer(votes, systems, DRAWS, seed).against(0, 1).p < 0.05
        print(f"| {systems} | {listeners} | {100 * share:.0f} % | {100 * shown / tests:.0f} % |", flush=True)


def balance(tests: int = 100) -> None:
    """How evenly pairs are heard on prompts and sides, by listeners with numbers and by those without."""
    print("| Systems | Listeners | Forms | Pairs on a prompt heard | unheard | Share on the left |")
    for systems, listeners in ((5, 10), (5, 20), (8, 20)):
        for way in ("numbers", "chance"):
            rows = []
            for seed in range(tests):
                forms = make_forms(systems, range(12), 20, seed)
                drawn = np.random.default_rng(seed).integers(len(forms), size=listeners)
                taken = [number % len(forms) for number in range(listeners)] if way == "numbers" else drawn
                heard, left = np.zeros((systems, systems, 12), int), np.zeros((systems, systems))
                for question in (q for form in taken for q in forms[form] if q.kind == "pair"):
                    one, other = sorted((question.left, question.right))
                    heard[one, other, question.prompt] += 1
                    left[one, other] += question.left == one
                pairs = np.triu_indices(systems, 1)
                counts, shares = heard[pairs], left[pairs] / heard[pairs].sum(1)
                rows.append((counts.min(), counts.max(), 100 * np.mean(counts == 0), 100 * shares.min(), 100 * shares.max()))
            least, most, unheard, low, high = np.mean(rows, 0)
            heard_times = f"{least:.1f} to {most:.1f} times"
            print(
                f"| {systems} | {listeners} | by {way} | {heard_times} | {unheard:.0f} % | {low:.0f} to {high:.0f} % |",
                flush=True,
            )


def detection(listeners: int = 2000) -> None:
    """How many listeners of each kind are excluded."""
    key, world = key_of(5), World([1.5, 0.75, 0.0, -0.75, -1.5])
    press, listen = careless(key, listeners, 1), attentive(key, world, listeners, 1)
    kinds = {
        "press anything": press,
        "press anything, and stop half way": stopped(press),
        "press left": one_sided(key, listeners),
        "press left, but for catch pairs": one_sided(key, listeners, catches=True),
        "listen": listen,
        "listen, and stop half way": stopped(listen),
        "listen, and slip in 2 % of the catch pairs": attentive(key, world, listeners, 1, slips=0.02),
    }
    print("| Listeners who | Excluded |")
    for kind, ballots in kinds.items():
        print(f"| {kind} | {100 * np.mean([bool(each.reason) for each in screen(ballots, key)]):.1f} % |")


def stopped(ballots: list[Ballot]) -> list[Ballot]:
    """Take the first half of the answers."""
    halves = [(each, -(-len(each.answers) // 2)) for each in ballots]
    return [
        each.model_copy(update={"answers": (*each.answers[:half], *[None] * (len(each.answers) - half))}) for each, half in halves
    ]


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    balance()
    coverage(number)
    power(number)
    detection()

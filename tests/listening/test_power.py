"""The power that is told beforehand is about what a test then has."""

from __future__ import annotations

from itertools import pairwise

from bench.listening.power import detectable
from bench.listening.preference import prefer, votes_of
from bench.listening.screening import screen
from tests.listening.simulated import World, attentive, conditional, key_of


def test_power_grows_with_listeners_and_falls_with_systems() -> None:
    shares = [detectable(listeners, 5, 12, 20) for listeners in (5, 10, 20, 40)]
    assert all(0.5 < more < fewer <= 1 for fewer, more in pairwise(shares))
    assert shares[0] == 1.0, "with five listeners no preference is strong enough"
    assert detectable(20, 8, 12, 20) > shares[2]
    assert detectable(20, 5, 24, 20) < shares[2]


def test_the_power_that_is_told_is_about_what_a_test_has() -> None:
    """Of two systems that differ as much as is said, eight of ten tests show it; the other systems lie between them."""
    share = detectable(20, 4, 12, 20)
    difference = conditional(share)
    key, shown = key_of(4), 0
    for seed in range(20):
        world = World([difference, 0.0, difference / 2, difference / 2])
        preferences = prefer(votes_of(screen(attentive(key, world, 20, seed), key), key), 4, draws=100, seed=seed)
        shown += preferences.against(0, 1).p < 0.05
    assert shown >= 11  # 0.8 of 20, less three standard errors

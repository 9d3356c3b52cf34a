"""The work that times are compared with."""

import time

import numpy as np
import pytest

from bench.system import speed


def test_the_work_is_the_same_every_time():
    assert speed.work(3, 10) == speed.work(3, 10)
    # 0 + 1 + ... + 7, 0, 1 of the additions; no product leaves the ones as they are.
    assert speed.work(0, 10) == 1.0 + 28 + 1


def test_nothing_grows_nor_dies_away():
    """Infinities and denormal numbers take another time."""
    assert speed.work(1, 0) == pytest.approx(1, abs=1e-6)
    assert speed.work(additions=0) == pytest.approx(1, abs=0.01)


def test_it_leaves_random_numbers_alone():
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    speed.measure()
    assert np.random.random() == expected


def test_it_is_a_part_of_what_it_takes():
    start = time.perf_counter()
    seconds, _ = speed.measure()
    assert 0 < seconds * speed.REPEATS / 2 < time.perf_counter() - start


def test_twice_the_work_is_twice_the_time():
    """The best of many, as other work goes on beside the tests."""

    def best(products, additions):
        spent = []
        for _ in range(7):
            start = time.process_time()
            speed.work(products, additions)
            spent.append(time.process_time() - start)
        return min(spent)

    assert 1.3 < best(0, 600_000) / best(0, 300_000) < 3

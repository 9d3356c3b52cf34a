"""A fixed piece of work, timed beside each training: what a second was worth on this machine at that moment.

A training's seconds say little on a shared or another machine. Divided by the seconds of this work, done right before and right
after in the same process, they can be compared. It measures one core: for a trial on a GPU it says nothing.
"""

from __future__ import annotations

import time

import numpy as np

#: Side of the matrices, products, and additions in Python: about 0.05 s of each on a core of our day. Larger matrices would be
#: shared among threads that wait for each other; beside other work that takes ten times as long, which no training does.
SIZE, PRODUCTS, ADDITIONS = 64, 8000, 1_000_000

#: The work is done so often and the median counts: one interruption changes nothing.
REPEATS = 3


def measure() -> float:
    """Seconds that the work takes now, the median of :data:`REPEATS`. It draws no random number of anybody's."""
    # Once off the clock: the linear algebra library gets ready.
    work(1, 1)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[REPEATS // 2]


def work(products: int = PRODUCTS, additions: int = ADDITIONS) -> float:
    """Matrix products, as in a network's step, then additions, as in the Python around it; the same number every time."""
    weights = np.add.outer(np.arange(SIZE), np.arange(SIZE)).astype(np.float32)
    matrix = weights / weights.sum(1, keepdims=True)  # rows sum to 1: nothing grows, nothing dies away
    state = np.ones_like(matrix)
    for _ in range(products):
        state = matrix @ state
    total = 0
    for i in range(additions):
        total += i & 7
    return float(state[0, 0]) + total

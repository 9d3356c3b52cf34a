"""A fixed workload, timed before and after each training, as a reference for the speed of the machine at that moment.

Training times can't be compared directly between machines, nor on a shared machine. Divided by the time of this workload, which
runs in the same process right before and after, they can. It measures one core and says nothing about a trial on a GPU.
"""

from __future__ import annotations

import time

import numpy as np

#: Side of the matrices, number of matrix products, number of additions in Python: about 0.05 s each on a core of 2025. Larger
#: matrices would be split among threads that wait for each other: on a busy machine ten times as long, unlike training.
SIZE, PRODUCTS, ADDITIONS = 64, 8000, 1_000_000

#: Seconds of processor time of the workload on the machine whose seconds are yardstick-seconds.
STANDARD = 0.1

#: Repetitions. Of the seconds the median counts, so that one interruption changes nothing; of the processor time the least, as
#: whatever shares the core, such as another guest of the same host, only adds to it.
REPEATS = 3


def measure() -> tuple[float, float]:
    """Time the workload: seconds, median of :data:`REPEATS`, and processor time, their least. Draws no random numbers."""
    # Warm up the linear algebra library outside the timing.
    work(1, 1)
    seconds, core_seconds = [], []
    for _ in range(REPEATS):
        start, core_start = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - start)
        core_seconds.append(time.process_time() - core_start)
    return sorted(seconds)[REPEATS // 2], min(core_seconds)


def work(products: int = PRODUCTS, additions: int = ADDITIONS) -> float:
    """Do matrix products, as a network's step does, then additions, as the Python around it does; the result is constant."""
    weights = np.add.outer(np.arange(SIZE), np.arange(SIZE)).astype(np.float32)
    matrix = weights / weights.sum(1, keepdims=True)  # rows sum to 1, so values neither grow nor vanish
    state = np.ones_like(matrix)
    for _ in range(products):
        state = matrix @ state
    total = 0
    for i in range(additions):
        total += i & 7
    return float(state[0, 0]) + total

"""Batches on their way to a device, and their sizes where nothing is trained (PyTorch)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Notes scored at once on a CPU, and the most on a GPU: they limit memory, and don't affect results.
SCORED_NOTES, MOST_SCORED = 2**14, 2**18

#: GPU memory for each note scored at once, bytes: twice what the largest networks at scale gpu need.
NOTE_BYTES = 2**17


def to_device(device: torch.device, *arrays: NDArray[Any]) -> tuple[Tensor, ...]:
    """Copy the arrays of a batch to `device`; small integers, of half the bytes or less, become int64 there.

    The tensors are contiguous copies of their own: other strides, or one tensor twice, would compile a network again. From pinned
    memory a GPU fetches them when its queue reaches them; from other memory the host would wait for all that is queued.
    """
    tensors = []
    for array in arrays:
        host = torch.from_numpy(np.array(array, order="C"))
        if device.type == "cuda":
            host = host.pin_memory()
        moved = host.to(device, non_blocking=True)
        tensors.append(moved.long() if moved.dtype == torch.int16 else moved)
    return tuple(tensors)


def scored_notes(device: torch.device) -> int:
    """Choose the number of notes to score at once on `device`, by its memory.

    By all of its memory, not what is free at the moment: the same GPU always gives the same numbers to the last bit.
    """
    if device.type != "cuda":
        return SCORED_NOTES
    return notes_within(torch.cuda.get_device_properties(device).total_memory)


def notes_within(memory: int) -> int:
    """Choose the number of notes to score at once in `memory` bytes of a GPU: a power of two.

    Examples
    --------
    >>> [notes_within(gigabytes * 2**30) for gigabytes in (1, 8, 24, 80)]
    [16384, 65536, 131072, 262144]
    """
    return min(MOST_SCORED, max(SCORED_NOTES, (1 << (memory // NOTE_BYTES).bit_length()) >> 1))

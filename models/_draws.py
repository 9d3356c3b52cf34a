"""Draws of classes, and look-ups by class, that repeat bit for bit on a GPU as well (PyTorch).

On a GPU some operations have no deterministic kernel, cumulative sums among them, and others only a slow one. Products have both.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own name for it)
from torch import Tensor


def on_gpu(tensor: Tensor) -> bool:
    """Whether a GPU's way is taken; the tests take it on a processor too."""
    return tensor.is_cuda


def draw_classes(p: Tensor, rng: torch.Generator) -> Tensor:
    """Draw a class from each row of `p` (..., n), nonnegative with any positive sum; shape (...).

    By the inverse of the distribution function: one random number for each row, not for each class. The product of the total and
    a number below 1 is below the total, so the class is never past the last, and never one of probability 0.
    """
    edges = sums(p)
    if on_gpu(p):
        return _first_past(edges.masked_fill(p <= 0, 0), rng)
    point = torch.rand(*p.shape[:-1], 1, generator=rng, device=p.device) * edges[..., -1:]
    return (edges <= point).sum(-1)


def _first_past(edges: Tensor, rng: torch.Generator) -> Tensor:
    """Draw as :func:`draw_classes`, at two to four times its cost, from edges that are 0 for classes of probability 0.

    A GPU adds up each class's sum in another order, so that a class of probability 0 may get a step of one rounding.
    """
    point = torch.rand(*edges.shape[:-1], 1, generator=rng, device=edges.device) * edges.amax(-1, keepdim=True)
    return (edges > point).to(torch.uint8).argmax(-1)


def sums(p: Tensor) -> Tensor:
    """Cumulative sums of the rows of `p` (..., n), of one shape with it; on a GPU as a product, as its cumsum may not repeat."""
    return p @ _triangle(p.shape[-1], p.device) if on_gpu(p) else p.cumsum(-1)


@functools.cache
def _triangle(n: int, device: torch.device) -> Tensor:
    """Ones where the row, (n, n), is not after the column."""
    with torch.inference_mode(mode=False):  # a tensor of inference mode would be of no use in training
        return torch.ones(n, n, device=device).triu()


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """Rows of `table` (classes, C) at `index` (...), shape (..., C).

    On a GPU the gradient is a product with the one-hot index. A table has few rows for the notes of a batch, and a deterministic
    sum of the gradients of each row by PyTorch sorts them first, then adds them one by one.
    """
    if not (on_gpu(table) and table.requires_grad):
        return F.embedding(index, table)
    rows: Tensor = _Rows.apply(table, index)  # type: ignore[no-untyped-call]
    return rows


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.classes = table.shape[0]
        return F.embedding(index, table)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        hot = index.flatten()[:, None] == torch.arange(ctx.classes, device=index.device)  # (notes, classes)
        with torch.autocast(index.device.type, enabled=False):  # sums of many notes: in float32, as the table is
            return torch.mm(hot.t().to(upstream.dtype), upstream.flatten(0, -2)), None

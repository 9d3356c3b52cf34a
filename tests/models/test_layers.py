"""Recurrent layers of PyTorch, one module a layer."""

from __future__ import annotations

import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from bench.plugins.discovery import find_plugins, load  # noqa: E402

layers = sys.modules[load(find_plugins("model")["vae"]).__module__.replace(".vae", "._layers")]


def both(kind: Any, number: int) -> tuple[Any, Any]:
    """PyTorch's own module of several layers, and ours, from the same generator."""
    torch.manual_seed(0)
    one = kind(5, 7, number, batch_first=True, dropout=0.4)
    torch.manual_seed(0)
    return one, layers.Recurrent(kind, 5, 7, number, 0.4)


@pytest.mark.parametrize("kind", [torch.nn.GRU, torch.nn.LSTM])
def test_they_are_pytorchs_module_of_several_layers(kind: Any) -> None:
    """Weights, dropout, outputs and gradients to the bit, so that on a processor nothing has changed."""
    one, ours = both(kind, 3)
    x = torch.randn(2, 11, 5)
    for module in (one, ours):
        torch.manual_seed(1)
        torch.autograd.backward(module(x)[0].square().sum())
    torch.manual_seed(1)
    expected, _ = one(x)
    torch.manual_seed(1)
    found, _ = ours(x)
    assert torch.equal(found, expected)
    for a, b in zip(one.parameters(), ours.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("kind", [torch.nn.GRU, torch.nn.LSTM])
def test_they_go_on_from_a_state(kind: Any) -> None:
    _, ours = both(kind, 2)
    ours.eval()
    x = torch.randn(2, 11, 5)
    whole, _ = ours(x)
    begun, state = ours(x[:, :4])
    rest, _ = ours(x[:, 4:], state)
    torch.testing.assert_close(torch.cat([begun, rest], 1), whole)

"""How far the posteriors of latents are from a standard normal prior: each one, and all together."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), nats, elementwise. Kingma & Welling 2014, appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def discrepancy(mean: Tensor, variance: Tensor, present: Tensor | None = None) -> Tensor:
    """Squared maximum mean discrepancy of a mixture of normal posteriors to the standard normal prior. Gretton et al. 2012.

    The kernel is ``k(x, y) = exp(-|x - y| ** 2 / (2 Z))``: two draws of the prior are 2 Z apart on average, squared. For it all
    expectations are integrals of normal densities, so nothing is drawn, neither from the prior nor from the posteriors. Pairs of
    one posterior with itself are left out, so that a batch estimates the value for all music without bias; it may be below 0.

    Parameters
    ----------
    mean, variance : Tensor, shape (N, Z)
        Of each posterior.
    present : Tensor of bool, shape (N,), optional
        Which of them count; all by default.

    Returns
    -------
    Tensor
        A scalar in (-2, 2).

    Examples
    --------
    >>> round(float(discrepancy(torch.zeros(3, 2), torch.ones(3, 2))), 6)  # each the prior itself
    0.0
    """
    N, Z = mean.shape
    some = torch.ones(N, device=mean.device) if present is None else present.float()
    pairs = some[:, None] * some * (1 - torch.eye(N, device=mean.device))
    apart, spread = mean[:, None] - mean, variance[:, None] + variance  # (N, N, Z)
    within = (_kernel(apart, spread) * pairs).sum() / pairs.sum().clamp(min=1)
    across = (_kernel(mean, variance + 1) * some).sum() / some.sum().clamp(min=1)
    # The difference of two draws of the prior has variance 2 in each dimension.
    prior: float = (Z / (Z + 2)) ** (Z / 2)
    return within - 2 * across + prior


def _kernel(mean: Tensor, variance: Tensor) -> Tensor:
    """Compute the expectation of ``exp(-|d| ** 2 / (2 Z))`` for a normal d with `mean` and `variance` (..., Z); shape (...)."""
    wide = mean.shape[-1] + variance
    return torch.exp(-0.5 * (mean.square() / wide + (wide / mean.shape[-1]).log()).sum(-1))

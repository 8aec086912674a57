"""The max-norm constraint on the incoming weights of each unit."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def apply_max_norm(network: nn.Module, max_norm: float) -> None:
    """Shrinks, in place, each unit's incoming weight vector whose Euclidean norm exceeds ``max_norm``; shorter ones stay.

    Applies to every parameter with two or more dimensions, whose first dimension counts the units; biases are left alone
    (Hinton et al. 2012, *Improving neural networks by preventing co-adaptation of feature detectors*, appendix A.1).
    Raises ValueError where ``max_norm`` is not above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm}, expected a number above 0")
    for weight in network.parameters():
        if weight.ndim >= 2:
            norms = weight.flatten(1).norm(dim=1).clamp_(min=torch.finfo(weight.dtype).tiny)
            factors = (max_norm / norms).clamp_(max=1.0)
            weight.mul_(factors.view(-1, *[1] * (weight.ndim - 1)))

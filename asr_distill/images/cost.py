"""What training and running a network cost, counted and not timed, so that equal cost means the same on any machine."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

TRAINING_PASSES = 3  # forward, and twice as much backward


@torch.no_grad()
def multiply_accumulates(network: nn.Module, input_dim: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one input: all but a hundredth of the work."""
    total = 0

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output[0].numel() * module.in_features

    handles = [module.register_forward_hook(count) for module in network.modules()]
    was_training = network.training
    try:
        parameter = next(network.parameters())
        network.eval()(torch.zeros(1, input_dim, device=parameter.device))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return total

"""The optimiser and its learning rate, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from asr_distill.training.adam import ChunkedAdam
from asr_distill.training.configuration import TrainingConfig


def build_optimiser(config: TrainingConfig, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser that the configuration names; weights decay, biases do not."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        momentum = config.momentum
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=momentum, nesterov=config.nesterov)
    betas, decoupled = (config.beta1, config.beta2), config.optimizer == "adamw"
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    fused = _fused_option(parameters[0].device)
    if not fused and parameters[0].device.type == "cpu":
        return ChunkedAdam(groups, lr=config.learning_rate, betas=betas, decoupled=decoupled)
    return kind(groups, lr=config.learning_rate, betas=betas, **fused)


def _fused_option(device: torch.device) -> dict[str, Any]:
    """The option by which torch's Adam updates all arrays in one pass, where this torch has it for the device."""
    option: dict[str, Any] = {"fused": True}
    try:
        torch.optim.AdamW([torch.zeros(1, device=device, requires_grad=True)], **option)
    except (TypeError, RuntimeError):
        return {}
    return option


@torch.no_grad()
def clip_gradients(network: nn.Module, limit: float) -> None:
    """Scales all gradients so that their norm together is at most ``limit``, as `torch.nn.utils.clip_grad_norm_` does.

    On a CPU gradients within the limit are left alone: multiplying them all by 1 costs as much as the norm itself.
    """
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    if not gradients:
        return
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    if factor.device.type != "cpu" or not factor >= 1:
        for gradient in gradients:
            gradient.mul_(factor)


def rate_factor(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """The share of the learning rate at ``step`` (from 0, over all epochs), newbob's halvings apart.

    Linear warm-up, then 1, or with ``cosine`` r + (1 - r) (1 + cos(pi s)) / 2 with r the final ratio and s the share of the
    steps after warm-up that are done.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule != "cosine":
        return 1.0
    share = min(1.0, (step - warmup) / max(1.0, config.epochs * steps_per_epoch - warmup))
    return config.final_rate_ratio + (1 - config.final_rate_ratio) * 0.5 * (1 + math.cos(math.pi * share))


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state as named tensors, numbers as 0-dimensional float64: what `restore_optimiser` reads back."""
    tensors = {}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:
                known = isinstance(value, torch.Tensor)
                tensors[f"{index}.{name}"] = value if known else torch.tensor(value, dtype=torch.float64)
    return tensors


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Puts the state of `optimiser_tensors` back; the optimiser must be over the same parameters in the same order."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})

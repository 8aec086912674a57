"""A small problem that a network can learn, without files: what the loop's tests train on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


class Clusters:
    """``num_examples`` points around ``num_classes`` centres in ``input_dim`` dimensions."""

    def __init__(
        self, num_examples: int = 300, num_classes: int = 5, input_dim: int = 12, seed: int = 0, noise: float = 0.7
    ) -> None:
        self.num_examples, self.num_classes, self.input_dim = num_examples, num_classes, input_dim
        centres = torch.randn(num_classes, input_dim, generator=torch.Generator().manual_seed(99))
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(num_classes, (num_examples,), generator=generator)
        self.inputs = centres[self.labels] + noise * torch.randn(num_examples, input_dim, generator=generator)
        self.seed = seed

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        return iter(torch.randperm(self.num_examples, generator=generator).split(batch_size)[start_step:])

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        inputs = self.inputs[indices]
        if generator is not None:  # a perturbation, so that a resume must restore its random numbers
            inputs = inputs + 0.01 * torch.randn(inputs.shape, generator=generator)
        return {"inputs": inputs, "labels": self.labels[indices], "frame_indices": indices}

    def describe(self) -> dict[str, Any]:
        return {"clusters": self.num_examples, "seed": self.seed}

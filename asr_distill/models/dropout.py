"""Dropout that is cheap on a CPU: eight bits decide, so one 64-bit draw decides for eight units."""

from __future__ import annotations

import torch
from torch import nn


class ByteDropout(nn.Module):
    """Sets each unit to 0 with the given probability while training, and scales the others so that the mean is kept.

    On a CPU the probability is rounded to a multiple of 1/256 (0.2 becomes 0.19921875) and the units kept are scaled by
    exactly that probability's factor; torch's own dropout spends most of a small network's step on random numbers. On other
    devices it is `torch.nn.functional.dropout`. The random numbers come from torch's default generator of the device.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"a dropout probability of {probability}: expected 0 <= probability < 1")
        self.probability = probability

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Same shape and dtype as ``inputs``."""
        if not self.training or self.probability == 0:
            return inputs
        if inputs.device.type != "cpu":
            return nn.functional.dropout(inputs, self.probability)
        dropped = min(max(round(self.probability * 256), 1), 255)
        words = torch.empty((inputs.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        keep = (words.view(torch.uint8)[: inputs.numel()] >= dropped).view(inputs.shape)
        return inputs * keep.to(inputs.dtype).mul_(256 / (256 - dropped))

    def extra_repr(self) -> str:
        return f"probability={self.probability}"

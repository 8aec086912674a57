"""The acoustic model of the paper's section 3: rectified linear layers from a window of filterbank frames to senones."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn.utils import skip_init

from asr_distill.models.dropout import ByteDropout
from asr_distill.models.registry import register_network


@dataclass(frozen=True)
class ModelConfig:
    """What a `SenoneDnn` is made of; ``num_senones`` and ``input_dim`` usually come from the data.

    dropout: probability for the hidden units; input_dropout: for the inputs. Both 0 <= p < 1.
    """

    num_senones: int
    layers: int = 8
    width: int = 2560
    input_dim: int = 1040
    dropout: float = 0.0
    input_dropout: float = 0.0

    @property
    def num_weights(self) -> int:
        """Weights and biases of all layers."""
        if not self.layers:
            return (self.input_dim + 1) * self.num_senones
        hidden = (self.input_dim + 1) * self.width + (self.layers - 1) * (self.width + 1) * self.width
        return hidden + (self.width + 1) * self.num_senones

    def __post_init__(self) -> None:
        for name, least in (("num_senones", 1), ("layers", 0), ("width", 1), ("input_dim", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}")
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 <= probability < 1")


class SenoneDnn(nn.Module):
    """``layers`` hidden layers of ``width`` rectified linear units and a linear layer of senones.

    Maps ``(N, input_dim)`` float inputs to ``(N, num_senones)`` logits (natural logarithm of unnormalised probabilities).
    With 8 layers of 2560 and 14,000 senones it has 84.4 million parameters (Hinton et al. 2015, section 3).

    generator: draws the initial weights, He et al. (2015): normal, variance 2 / fan-in for hidden layers, 1 / fan-in for
    the linear output; biases 0. Without it torch's default generator is used. On the device ``meta`` nothing is drawn.
    Raises ValueError on sizes below 1 and probabilities outside 0 <= p < 1.
    """

    def __init__(
        self,
        num_senones: int,
        layers: int = 8,
        width: int = 2560,
        input_dim: int = 1040,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        *,
        generator: torch.Generator | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        self.config = ModelConfig(num_senones, layers, width, input_dim, dropout, input_dropout)
        sizes = [input_dim] + [width] * layers
        self.input_dropout = ByteDropout(input_dropout)
        self.hidden = nn.ModuleList(
            skip_init(nn.Linear, inputs, outputs, device=device) for inputs, outputs in itertools.pairwise(sizes)
        )
        self.dropout = ByteDropout(dropout)
        self.output = skip_init(nn.Linear, sizes[-1], num_senones, device=device)
        if torch.device(device).type != "meta":
            self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator | None) -> None:
        for gain, layers in ((2.0, self.hidden), (1.0, [self.output])):
            for layer in (cast(nn.Linear, module) for module in layers):
                layer.weight.normal_(0.0, math.sqrt(gain / layer.in_features), generator=generator)
                layer.bias.zero_()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """``(N, input_dim)`` inputs to ``(N, num_senones)`` logits."""
        activations = self.input_dropout(inputs)
        for layer in self.hidden:
            activations = self.dropout(torch.relu_(layer(activations)))
        return self.output(activations)


@register_network("senone_dnn", ModelConfig, lambda config: config.num_weights)
def _build(config: ModelConfig, generator: torch.Generator | None) -> nn.Module:
    return SenoneDnn(**vars(config), generator=generator)

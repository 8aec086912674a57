"""A mixture of experts with a learned gate (Jacobs, Jordan, Nowlan, Hinton 1991), over `ImageCnn`s."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from asr_distill.images.networks import ImageCnn, ImageCnnConfig
from asr_distill.models import register_network


@dataclass(frozen=True)
class ImageMixtureConfig:
    """``experts`` convolutional classifiers over all classes, and a gate that looks at the same image.

    num_senones: classes. input_dim: pixels. channels, hidden, batch_norm, dropout: of each expert, as in `ImageCnnConfig`.
    gate_channels, gate_hidden: of the gate.
    """

    num_senones: int
    input_dim: int
    experts: int = 4
    channels: tuple[int, ...] = (32, 64, 128)
    hidden: int = 256
    batch_norm: bool = False
    dropout: float = 0.0
    gate_channels: tuple[int, ...] = (8, 16, 32)
    gate_hidden: int = 64

    def __post_init__(self) -> None:
        if self.experts < 2:
            raise ValueError(f"experts is {self.experts}, expected 2 or more: a gate chooses")


class ImageMixture(nn.Module):
    """p(c | x) = sum over experts of g_e(x) p_e(c | x): all experts and the gate learn together, on all images.

    Maps ``(N, input_dim)`` pixels to ``(N, num_senones)`` log-probabilities, whose softmax they are: every loss takes them for
    logits. That is the cost of it beside specialists: no expert can be trained before, or without, the others.
    """

    def __init__(self, config: ImageMixtureConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        pixels, batch_norm = config.input_dim, config.batch_norm
        expert = ImageCnnConfig(config.num_senones, pixels, config.channels, config.hidden, batch_norm, config.dropout)
        gate = ImageCnnConfig(config.experts, pixels, config.gate_channels, config.gate_hidden, batch_norm)
        self.experts = nn.ModuleList(ImageCnn(expert, generator) for _ in range(config.experts))
        self.gate = ImageCnn(gate, generator)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """``(N, input_dim)`` pixels to ``(N, num_senones)`` float32 log-probabilities."""
        weights = self.gate(inputs).float().log_softmax(dim=1)
        experts = torch.stack([expert(inputs).float().log_softmax(dim=1) for expert in self.experts], dim=1)
        return (experts + weights.unsqueeze(2)).logsumexp(dim=1)


@register_network("image_mixture", ImageMixtureConfig)
def _build_mixture(config: ImageMixtureConfig, generator: torch.Generator | None) -> nn.Module:
    return ImageMixture(config, generator)

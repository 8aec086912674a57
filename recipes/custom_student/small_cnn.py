"""A student of one's own: any module from (N, 1040) inputs to (N, senones) logits, made known to the toolkit by a name.

asr-distill distill --import recipes/custom_student/small_cnn.py --config recipes/custom_student/small_cnn.yaml \
    --train frames/train --dev frames/dev --inventory senones/senones.json --priors senones/priors.json \
    --soft-targets targets/train --temperature 2 --output models/small_cnn

Commands that open the bundle (accuracy, decode, ...) take the same --import; in Python, import this file before Student.load.
"""

from dataclasses import dataclass

import torch
from torch import nn

from asr_distill.models import register_network


@dataclass(frozen=True)
class SmallCnnConfig:
    """num_senones and input_dim come from the data; the rest is what a configuration or --set network.channels=16 says."""

    num_senones: int
    input_dim: int
    channels: int = 32
    hidden: int = 256
    mel_bins: int = 40


class SmallCnn(nn.Module):
    """Two convolutions over a window of 26 frames of 40 filterbank values, oldest frame first, and a hidden layer."""

    def __init__(self, config: SmallCnnConfig) -> None:
        super().__init__()
        self.shape = (1, config.input_dim // config.mel_bins, config.mel_bins)  # an image: frames high, frequencies wide
        image = [nn.Conv2d(1, config.channels, (3, 5), stride=(1, 2), padding=(1, 2)), nn.ReLU()]
        image += [nn.Conv2d(config.channels, 2 * config.channels, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()]
        units = nn.Sequential(*image)(torch.zeros(1, *self.shape)).shape[1]
        self.layers = nn.Sequential(
            *image, nn.Linear(units, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.num_senones)
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs.unflatten(1, self.shape))


@register_network("small_cnn", SmallCnnConfig)
def build(config: SmallCnnConfig, generator: torch.Generator | None) -> nn.Module:
    return SmallCnn(config)  # torch's layers draw their weights from its default generator, which training seeds

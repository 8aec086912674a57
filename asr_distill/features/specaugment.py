"""SpecAugment (Park et al. 2019) without time warping: bands of frequency and spans of time set to a value."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from asr_distill.base import UserError


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Masks per example. Widths are drawn uniformly from 0 to the maximum (Mel bins, frames), then their places.

    ``max_time_share`` bounds a time mask by that share of the example's frames. ``fill`` is the value of a masked cell:
    0 is the mean of normalised features. ``probability`` is the share of examples that are masked at all.
    """

    frequency_masks: int = 2
    max_frequency_width: int = 8
    time_masks: int = 1
    max_time_width: int = 5
    max_time_share: float = 0.2
    fill: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        if min(self.frequency_masks, self.max_frequency_width, self.time_masks, self.max_time_width) < 0:
            raise ValueError("numbers and widths of masks must not be negative")
        if not (0 <= self.max_time_share <= 1 and 0 <= self.probability <= 1):
            raise ValueError("max_time_share and probability lie between 0 and 1")


class SpecAugment:
    """Masks a batch of windows ``(B, width * D)`` or of utterances ``(B, T, D)``; each example has masks of its own."""

    def __init__(self, config: SpecAugmentConfig | None = None, num_bins: int = 40) -> None:
        self.config = config or SpecAugmentConfig()
        self.num_bins = num_bins

    def __call__(self, inputs: torch.Tensor, generator: torch.Generator, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """A masked copy of ``inputs``, same shape, dtype and device.

        inputs: ``(B, width * num_bins)`` windows, oldest frame first, or ``(B, T, num_bins)`` utterances.
        generator: draws the masks, on its own device; the same state gives the same masks.
        lengths: ``(B,)`` frames of each padded utterance; time masks lie inside them.
        Raises `UserError` where the last dimension does not fit ``num_bins``.
        """
        if (
            inputs.ndim not in (2, 3)
            or inputs.shape[-1] % self.num_bins
            or (inputs.ndim == 3 and inputs.shape[-1] != self.num_bins)
        ):
            raise UserError(
                f"SpecAugment expected (B, width * {self.num_bins}) or (B, T, {self.num_bins}), found {tuple(inputs.shape)}"
            )
        if inputs.numel() == 0:
            return inputs.clone()
        frames = inputs.reshape(len(inputs), -1, self.num_bins)
        mask = self.mask(len(frames), frames.shape[1], generator, lengths).to(inputs.device)
        return frames.masked_fill(mask, self.config.fill).reshape(inputs.shape)

    def mask(
        self, batch: int, num_frames: int, generator: torch.Generator, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``(batch, num_frames, num_bins)`` bool, True where a cell is masked, on the generator's device."""
        config, device = self.config, generator.device
        extents = torch.full((batch,), num_frames, device=device) if lengths is None else lengths.to(device)
        bins = torch.full((batch,), self.num_bins, device=device)
        longest = torch.clamp((extents * config.max_time_share).long(), max=config.max_time_width)
        widest = torch.full((batch,), min(config.max_frequency_width, self.num_bins), device=device)
        across = self._spans(bins, widest, self.num_bins, config.frequency_masks, generator)
        along = self._spans(extents, longest, num_frames, config.time_masks, generator)
        chosen = torch.rand(batch, generator=generator, device=device) < config.probability
        return (across[:, None, :] | along[:, :, None]) & chosen[:, None, None]

    @staticmethod
    def _spans(extents: torch.Tensor, longest: torch.Tensor, size: int, count: int, generator: torch.Generator) -> torch.Tensor:
        """``(B, size)`` bool: ``count`` spans in each row, widths uniform in 0..longest, places uniform inside the extent."""
        draws = torch.rand((2, count, len(extents)), generator=generator, device=generator.device)
        widths = torch.floor(draws[0] * (longest + 1)).long()
        starts = torch.floor(draws[1] * (extents - widths + 1)).long()
        positions = torch.arange(size, device=generator.device)
        inside = (positions >= starts[..., None]) & (positions < (starts + widths)[..., None])
        return inside.any(dim=0)

"""The context window: 26 frames of 40 make the 1040 inputs of a senone network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from asr_distill.base import UserError

Array = TypeVar("Array", np.ndarray, torch.Tensor)
_MOST = 1000  # frames on one side, ten seconds


@dataclass(frozen=True)
class ContextWindow:
    """Stacks each frame with ``left`` earlier and ``right`` later ones, oldest first.

    Calling it turns ``(T, D)`` features of one utterance into ``(T, (left + 1 + right) * D)`` inputs; the first and last frame
    are repeated past the edges. With the defaults an input predicts the 21st of its 26 frames. numpy arrays and torch
    tensors (any device, differentiable) come back as what they were, dtype kept.
    """

    left: int = 20
    right: int = 5

    def __post_init__(self) -> None:
        if not (0 <= self.left <= _MOST and 0 <= self.right <= _MOST):
            raise ValueError(f"a window of {self.left} left and {self.right} right frames: expected 0 to {_MOST} each")

    @property
    def width(self) -> int:
        """Frames in one window."""
        return self.left + 1 + self.right

    def __call__(self, features: Array) -> Array:
        """``(T, D)`` to ``(T, width * D)``. Raises `UserError` where the features are not two-dimensional; T may be 0."""
        if features.ndim != 2:
            raise UserError(f"expected the features (T, D) of one utterance, found shape {tuple(features.shape)}")
        num_frames, dim = features.shape
        if num_frames == 0:
            return features.reshape(0, self.width * dim)
        if isinstance(features, torch.Tensor):
            positions = torch.arange(num_frames, device=features.device)[:, None] + torch.arange(
                -self.left, self.right + 1, device=features.device
            )
            return features[positions.clamp_(0, num_frames - 1)].reshape(num_frames, self.width * dim)
        rows = np.arange(num_frames)[:, None] + np.arange(-self.left, self.right + 1)
        return features[np.clip(rows, 0, num_frames - 1)].reshape(num_frames, self.width * dim)

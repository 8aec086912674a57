"""What a student is compared with, frame by frame: labels and dense soft targets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

IGNORE_INDEX = -100

MASS_TOLERANCE = 0.1
"""Nats by which the log of a sum of probabilities may differ from 0: bfloat16 log-posteriors do by up to 0.03, logits and
probabilities that were given for log-probabilities by whole nats."""


def checked_mass(mass: torch.Tensor, name: str, mask: torch.Tensor | None = None, first: int = 0) -> torch.Tensor:
    """``mass`` (B,), the sums of distributions that should be 1, where they are.

    Raises ValueError naming the first frame (the first of the block is ``first``) that has another and counts: ``mask`` is
    true there, or None. On a GPU, where every step would wait for the answer, the mass of such a frame becomes NaN instead, and
    so does its loss.
    """
    wrong = ~(mass.log().abs() <= MASS_TOLERANCE)  # NaN is wrong too
    if mass.device.type != "cpu":
        return mass.masked_fill(wrong, torch.nan)
    if mask is not None:
        wrong = wrong & mask
    if bool(wrong.any()):
        frame = int(wrong.nonzero()[0])
        found = float(mass[frame])
        if math.isnan(found):
            raise ValueError(f"{name}: frame {first + frame} holds NaN or infinity, or nothing but -inf: it is no distribution")
        raise ValueError(
            f"{name}: the probabilities of frame {first + frame} sum to {found:.4g}, expected 1; pass logits through"
            " log_softmax first, and probabilities through log"
        )
    return mass


@dataclass(frozen=True)
class LabelTarget:
    """One class per frame: ``labels`` (N,) int64; a frame labelled -100 has no target."""

    labels: torch.Tensor

    def block(self, rows: slice, dtype: torch.dtype) -> LabelBlock:
        """See `frame_losses.Target`."""
        labels = self.labels[rows]
        known = labels != IGNORE_INDEX
        return LabelBlock(torch.where(known, labels, 0).unsqueeze(1), known.to(dtype))


@dataclass(frozen=True)
class LabelBlock:
    """``classes`` (B, 1) int64 and ``known`` (B,), 1 or 0."""

    classes: torch.Tensor
    known: torch.Tensor

    def mass(self) -> torch.Tensor:
        """1 where there is a label."""
        return self.known

    def cross_entropy(self, shifted: torch.Tensor, log_sums: torch.Tensor) -> torch.Tensor:
        """Minus the log-probability of the label; 0 where there is none."""
        losses = log_sums - shifted.gather(1, self.classes).squeeze(1)
        return losses.masked_fill_(self.known == 0, 0.0)

    def subtract_from(self, gradient: torch.Tensor, scale: torch.Tensor) -> None:
        """One entry per frame."""
        gradient.scatter_add_(1, self.classes, -scale * self.known.unsqueeze(1))


@dataclass(frozen=True)
class DenseTarget:
    """A distribution per frame: ``scores`` (N, C), log-probabilities where ``temperature`` is None, else logits to soften.

    mask: ``(N,)`` bool or None, the frames whose scores must be such. `block` raises ValueError where they are not.
    """

    scores: torch.Tensor
    temperature: float | None = None
    mask: torch.Tensor | None = None

    def block(self, rows: slice, dtype: torch.dtype) -> DenseBlock:
        """See `frame_losses.Target`."""
        scores = self.scores[rows].to(dtype)
        if self.temperature is None:
            probs = scores.exp()
        else:
            probs = torch.softmax(scores if self.temperature == 1 else scores / self.temperature, dim=1)
        name = "soft_log_probs" if self.temperature is None else "teacher_logits"
        mask = None if self.mask is None else self.mask[rows]
        return DenseBlock(probs, checked_mass(probs.sum(dim=1), name, mask, rows.start or 0))


@dataclass(frozen=True)
class DenseBlock:
    """``probs`` (B, C) and their sums ``total`` (B,)."""

    probs: torch.Tensor
    total: torch.Tensor

    def mass(self) -> torch.Tensor:
        """The rows' sums: not quite 1 for targets that were stored in 16 bits."""
        return self.total

    def cross_entropy(self, shifted: torch.Tensor, log_sums: torch.Tensor) -> torch.Tensor:
        """A class that the target excludes adds 0, also where the student gives it -inf."""
        products = self.probs * shifted
        sums = products.sum(dim=1)
        if sums.is_cuda or bool(sums.isnan().any()):
            sums = products.masked_fill_(self.probs == 0, 0.0).sum(dim=1)
        return self.mass() * log_sums - sums

    def subtract_from(self, gradient: torch.Tensor, scale: torch.Tensor) -> None:
        """The whole block."""
        gradient.addcmul_(self.probs, scale, value=-1.0)

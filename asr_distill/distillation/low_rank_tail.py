"""A target of `frame_losses` whose tail has a shape of its own in each frame, made block by block from a few coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from asr_distill.distillation.targets import DenseBlock


@dataclass(frozen=True)
class LowRankTail:
    """The classes outside a frame's ``ids`` (N, K) share ``exp(log_mass)`` (N,) as ``shape + coefficients @ basis`` says.

    shape (C,), coefficients (N, R) and basis (R, C): log-probabilities, but for a constant per frame.
    """

    ids: torch.Tensor
    log_mass: torch.Tensor
    shape: torch.Tensor
    coefficients: torch.Tensor
    basis: torch.Tensor

    def scores(self, rows: slice, dtype: torch.dtype) -> torch.Tensor:
        """``(B, C)``: the logs of the tail's classes relative to the most probable of them, -inf at the ids."""
        basis, shape = self.basis.to(dtype), self.shape.to(dtype)
        # whoever computes the loss inside autocast wants it in ``dtype``
        with torch.autocast(basis.device.type, enabled=False):
            scores = torch.addmm(shape, self.coefficients[rows].to(dtype), basis)
        scores.scatter_(1, self.ids[rows], -torch.inf)
        largest = scores.amax(dim=1, keepdim=True)
        return scores.sub_(largest.masked_fill_(largest == -torch.inf, 0.0))


@dataclass(frozen=True)
class LowRankRows:
    """A target: ``probs`` (N, K) of the tail's ids, which add up where an id occurs twice, and the ``tail``."""

    probs: torch.Tensor
    tail: LowRankTail

    def block(self, rows: slice, dtype: torch.dtype) -> DenseBlock:
        """See `frame_losses.Target`."""
        shares = self.tail.scores(rows, dtype).exp_()
        sums = shares.sum(dim=1)
        mass = self.tail.log_mass[rows].to(dtype).exp() * (sums > 0)
        # a tail that is there has a sum of 1 at least, that of its most probable class
        shares.mul_((mass / sums.clamp(min=1.0)).unsqueeze(1))
        probs = self.probs[rows]
        return DenseBlock(shares.scatter_add_(1, self.tail.ids[rows], probs), probs.sum(dim=1) + mass)


def dense_log_probs(log_probs: torch.Tensor, tail: LowRankTail, dtype: torch.dtype) -> torch.Tensor:
    """``(N, C)``: the tail's log-probabilities, and ``log_probs`` (N, K) at its ids, added up where an id occurs twice."""
    scores = tail.scores(slice(None), dtype)
    # where nothing is outside the ids all scores are -inf, and stay so
    sums = scores.exp().sum(dim=1).clamp(min=1.0)
    scores.add_((tail.log_mass.to(dtype) - sums.log()).unsqueeze(1))
    same = tail.ids.unsqueeze(2) == tail.ids.unsqueeze(1)
    named = log_probs.to(dtype).unsqueeze(1).masked_fill(~same, -torch.inf).logsumexp(dim=2)
    return scores.scatter_(1, tail.ids, named)

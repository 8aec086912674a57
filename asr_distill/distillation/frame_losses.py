"""Cross-entropies of one student with several targets: values and closed-form gradient together, block by block.

The gradient of a cross-entropy is known, (1/T)(m p - q) for a target q of total mass m, so it is computed while a block of
frames is still in the cache, and the backward pass has nothing left to do. Of shape (N, C) only the gradient itself is made,
where recorded operations make half a dozen arrays, which at 14,000 classes are fetched page by page at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

BLOCK_ELEMENTS = 2**18
"""Scores in a block, a megabyte in float32: smaller ones pay more for calls than they gain from the cache."""


class BlockTarget(Protocol):
    """The target q of a block of B frames."""

    def mass(self) -> torch.Tensor:
        """``(B,)``: the sum of q over the classes; 1 for a distribution, 0 for a frame without target."""
        ...

    def cross_entropy(self, shifted: torch.Tensor, log_sums: torch.Tensor) -> torch.Tensor:
        """``(B,)``: minus the sum over classes of q times the student's log-probabilities, with 0 log 0 = 0.

        These are ``shifted`` (B, C), at most 0, less ``log_sums`` (B,), at least 0: both parts add up, and nothing cancels.
        """
        ...

    def subtract_from(self, gradient: torch.Tensor, scale: torch.Tensor) -> None:
        """Takes ``scale`` (B, 1) times q from ``gradient`` (B, C), in place."""
        ...


class Target(Protocol):
    """The targets of all N frames."""

    def block(self, rows: slice, dtype: torch.dtype) -> BlockTarget:
        """Those of the frames `rows`, in the precision of the computation."""
        ...


class Term(Protocol):
    """One summand of the loss."""

    def add(
        self, scores: torch.Tensor, rows: slice, scale: torch.Tensor, gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The loss of the frames `rows` and its gradient, both times ``scale`` (B,).

        scores: the student's logits ``(B, C)``, read only. Returns ``(B,)`` and ``(B, C)``, or None where no gradient is
        asked.
        """
        ...


@dataclass(frozen=True)
class CrossEntropies:
    """The sum of ``weight * CE(target, softmax(z / temperature))`` over targets that share one softmax of the student."""

    temperature: float
    targets: Sequence[tuple[float, Target]]

    def add(
        self, scores: torch.Tensor, rows: slice, scale: torch.Tensor, gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `Term.add`."""
        # by hand, since log_softmax and then exp would take the exponential of every score twice
        shifted = scores - scores.amax(dim=1, keepdim=True)
        if self.temperature != 1:
            shifted.div_(self.temperature)
        result = shifted.exp()
        sums = result.sum(dim=1)
        log_sums = sums.log()
        losses, mass = torch.zeros_like(scale), torch.zeros_like(scale)
        blocks = [(weight, target.block(rows, scores.dtype)) for weight, target in self.targets]
        for weight, block in blocks:
            losses.add_(block.cross_entropy(shifted, log_sums), alpha=weight)
            mass.add_(block.mass(), alpha=weight)
        losses.mul_(scale)
        if not gradient:
            return losses, None
        scale = scale / self.temperature
        result.mul_((scale * mass / sums).unsqueeze(1))
        for weight, block in blocks:
            block.subtract_from(result, (scale * weight).unsqueeze(1))
        return losses, result


def frame_losses(
    student_logits: torch.Tensor, terms: Sequence[Term], reduction: str, mask: torch.Tensor | None
) -> torch.Tensor:
    """The sum of the terms, reduced: ``(N,)`` for none, a scalar for sum and mean (over the frames where the mask is true).

    Computed in float32, in float64 where the logits ``(N, C)`` are float64. Differentiable once, with respect to the logits.
    """
    dtype = computing_dtype(student_logits)
    num_frames = student_logits.shape[0]
    weights = torch.ones(num_frames, dtype=dtype, device=student_logits.device) if mask is None else mask.to(dtype)
    if reduction == "mean":
        weights = weights / weights.sum().clamp(min=1)
    wanted = torch.is_grad_enabled() and student_logits.requires_grad
    losses = _FrameLosses.apply(student_logits, tuple(terms), weights, mask, wanted)
    return losses if reduction == "none" else losses.sum()


def computing_dtype(logits: torch.Tensor) -> torch.dtype:
    """float64 for float64, float32 for everything narrower."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


class _FrameLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student_logits: torch.Tensor,
        terms: tuple[Term, ...],
        weights: torch.Tensor,
        mask: torch.Tensor | None,
        wanted: bool,
    ) -> torch.Tensor:
        num_frames, num_classes = student_logits.shape
        losses = torch.zeros_like(weights)
        # float16 would lose the small gradients of single frames before a loss scale lifts them
        kept = torch.float32 if student_logits.dtype == torch.float16 else student_logits.dtype
        make = torch.empty if terms else torch.zeros
        gradient = make(student_logits.shape if wanted else (0, 0), dtype=kept, device=student_logits.device)
        step = num_frames if student_logits.is_cuda else max(1, BLOCK_ELEMENTS // max(1, num_classes))
        for start in range(0, num_frames, max(1, step)):
            rows = slice(start, start + step)
            scores = student_logits[rows].to(weights.dtype)
            total = None
            for term in terms:
                part, slope = term.add(scores, rows, weights[rows], wanted)
                losses[rows] += part
                if slope is not None:
                    total = slope if total is None else total.add_(slope)
            if total is not None:
                gradient[rows].copy_(total)
        if mask is not None:
            # a weight of 0 is not enough: whatever stands in a frame that does not count, NaN too, has no effect
            losses.masked_fill_(~mask, 0.0)
            if wanted:
                gradient.masked_fill_(~mask.unsqueeze(1), 0.0)
        ctx.save_for_backward(gradient)
        ctx.dtype = student_logits.dtype
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("the distillation losses are differentiable once, by closed form: no create_graph=True")
        (gradient,) = ctx.saved_tensors
        if upstream.is_cuda or not bool((upstream == 1).all()):
            gradient = gradient * upstream.unsqueeze(1)
        return gradient.to(ctx.dtype), None, None, None, None

"""The named losses: which student temperature, which factor and which targets each of them means."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from asr_distill.distillation.frame_losses import CrossEntropies, Target, Term
from asr_distill.distillation.targets import IGNORE_INDEX, DenseBlock, DenseTarget, LabelTarget, checked_mass

VARIANTS: dict[str, str] = {
    "paper": "s T^2 CE(softmax(v/T), softmax(z/T)) + h CE(y, softmax(z))",
    "convex": "alpha T^2 CE(softmax(v/T), softmax(z/T)) + (1 - alpha) CE(y, softmax(z)), with s = alpha and h = 1 - alpha",
    "student_at_one": "s CE(softmax(v/T), softmax(z)) + h CE(y, softmax(z))",
    "corrected": "s T^2 CE(swap(softmax(v/T), y), softmax(z/T)) + h CE(y, softmax(z))",
    "logits": "s/(2C) sum_i ((z_i - mean z) - (v_i - mean v))^2 + h CE(y, softmax(z))",
}
"""Name to equation: z the student's logits, v the teacher's, y the label, T the temperature, s and h the two weights."""


def soft_and_hard(
    soft: Target, labels: torch.Tensor | None, student_temperature: float, soft_weight: float, hard_weight: float
) -> list[Term]:
    """``s T^2 CE(q, softmax(z/T)) + h CE(y, softmax(z))`` at the student's T. The target of a weight of 0 is not read."""
    hard = hard_terms(labels, hard_weight)
    if soft_weight == 0:
        return [*hard]
    entry = (soft_weight * student_temperature**2, soft)
    if student_temperature == 1 and hard:
        return [CrossEntropies(1.0, [entry, *hard[0].targets])]  # one softmax of the student serves both
    return [CrossEntropies(student_temperature, [entry]), *hard]


def hard_terms(labels: torch.Tensor | None, hard_weight: float) -> list[CrossEntropies]:
    """``h CE(y, softmax(z))``, or nothing."""
    return [] if labels is None or hard_weight == 0 else [CrossEntropies(1.0, [(hard_weight, LabelTarget(labels))])]


@dataclass(frozen=True)
class CorrectedTarget:
    """Soft targets in which the label's probability and the largest one change places wherever the teacher is wrong.

    The probability shift of Wen, Lai and Qian (2019, *Preparing Lessons: Improve Knowledge Distillation with Better
    Supervision*): the true class comes first, and the shape stays. Softening keeps the order of the classes, so the swap is
    the same at every temperature. A frame without label, or whose label ties with the largest, is left as it is.
    """

    target: DenseTarget
    labels: torch.Tensor

    def block(self, rows: slice, dtype: torch.dtype) -> DenseBlock:
        """See `frame_losses.Target`."""
        block = self.target.block(rows, dtype)
        labels = self.labels[rows].unsqueeze(1)
        largest, best = block.probs.max(dim=1, keepdim=True)
        classes = torch.where(labels == IGNORE_INDEX, best, labels)
        own = block.probs.gather(1, classes)
        # where the two are equal, or one class, this writes what is there
        block.probs.scatter_(1, best, own).scatter_(1, classes, largest)
        return block


@dataclass(frozen=True)
class LogitMatching:
    """``weight / (2C) * sum_i ((z_i - mean z) - (v_i - mean v))**2``; ``scores`` (N, C) times ``factor`` are the teacher's v.

    Its gradient is (z - v) / C of the centred logits. A class that the teacher excludes (-inf) has no logit to match: it is
    left out of the sum and of both means, and still counts in C. On the CPU a teacher's NaN or +inf in a frame that counts
    (``mask``) raises ValueError, as in `targets.checked_mass`.
    """

    weight: float
    scores: torch.Tensor
    factor: float
    mask: torch.Tensor | None = None

    def add(
        self, scores: torch.Tensor, rows: slice, scale: torch.Tensor, gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `frame_losses.Term`."""
        teacher = self.scores[rows].to(scores.dtype) * self.factor
        excluded = teacher == -torch.inf
        counts = (scores.shape[1] - excluded.sum(dim=1, keepdim=True)).clamp(min=1)
        difference = (scores - teacher).masked_fill_(excluded, 0.0)
        difference.sub_(difference.sum(dim=1, keepdim=True) / counts).masked_fill_(excluded, 0.0)
        scale = scale * (self.weight / scores.shape[1])
        losses = difference.square().sum(dim=1).mul_(0.5 * scale)
        if losses.device.type == "cpu" and not bool(losses.isfinite().all()):
            good = (teacher < torch.inf).all(dim=1)  # NaN is not
            checked_mass(
                torch.where(good, 1.0, torch.nan),
                "teacher_logits",
                None if self.mask is None else self.mask[rows],
                rows.start or 0,
            )
        return losses, difference.mul_(scale.unsqueeze(1)) if gradient else None

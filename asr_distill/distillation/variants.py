"""The named losses: which student temperature, which factor and which targets each of them means."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from asr_distill.distillation.frame_losses import CrossEntropies, Target, Term
from asr_distill.distillation.targets import IGNORE_INDEX, DenseTarget, LabelTarget

VARIANTS: dict[str, str] = {
    "paper": r"s T^2 CE(softmax(v/T), softmax(z/T)) + h CE(y, softmax(z))",
    "convex": r"\alpha T^2 CE(softmax(v/T), softmax(z/T)) + (1-\alpha) CE(y, softmax(z)), with s = \alpha, h = 1-\alpha",
    "student_at_one": r"s CE(softmax(v/T), softmax(z)) + h CE(y, softmax(z))",
    "corrected": r"s T^2 CE(swap_y(softmax(v/T)), softmax(z/T)) + h CE(y, softmax(z))",
    "logits": r"s 1/(2C) \sum_i ((z_i-\bar z) - (v_i-\bar v))^2 + h CE(y, softmax(z))",
}
"""Name to equation: z the student's logits, v the teacher's, y the label, T the temperature, s and h the two weights."""


def soft_and_hard(
    soft: Target, labels: torch.Tensor | None, *, temperature: float, soft_weight: float, hard_weight: float, variant: str
) -> list[Term]:
    """The terms of a variant whose soft part is a cross-entropy; a term of weight 0 is left out, and its target never read."""
    student_temperature = 1.0 if variant == "student_at_one" else temperature
    hard = hard_terms(labels, hard_weight)
    if soft_weight == 0:
        return hard
    entry = (soft_weight * student_temperature**2, soft)
    if student_temperature == 1 and hard:
        return [CrossEntropies(1.0, [entry, *hard[0].targets])]  # one softmax of the student serves both
    return [CrossEntropies(student_temperature, [entry]), *hard]


def hard_terms(labels: torch.Tensor | None, hard_weight: float) -> list[CrossEntropies]:
    """The cross-entropy with the labels at T = 1, or nothing."""
    return [] if labels is None or hard_weight == 0 else [CrossEntropies(1.0, [(hard_weight, LabelTarget(labels))])]


@dataclass(frozen=True)
class CorrectedTarget:
    """Soft targets in which the label's probability and the largest one change places wherever the teacher is wrong.

    The probability shift of Wen, Lai and Qian (2019, *Preparing Lessons*): the true class comes first, the shape stays. To
    soften and to swap commute, so one rule serves every temperature. A frame without label, or whose label ties with the
    largest, is left as it is.
    """

    target: DenseTarget
    labels: torch.Tensor

    def block(self, rows: slice, dtype: torch.dtype) -> object:
        """See `frame_losses.Target`."""
        block = self.target.block(rows, dtype)
        labels = self.labels[rows]
        largest, winners = block.probs.max(dim=1, keepdim=True)
        classes = torch.where(labels == IGNORE_INDEX, winners.squeeze(1), labels).unsqueeze(1)
        own = block.probs.gather(1, classes)
        classes = torch.where(own == largest, winners, classes)
        own = torch.where(own == largest, largest, own)
        block.probs.scatter_(1, winners, own)
        block.probs.scatter_(1, classes, largest)
        return block


@dataclass(frozen=True)
class LogitMatching:
    r"""``weight / (2C) * sum_i ((z_i - mean z) - (v_i - mean v))**2`` with the gradient ``(z - v) / C`` of centred logits.

    The limit of T^2 CE for T to infinity (Eq. 4 of the paper); matching logits is Bucila, Caruana and Niculescu-Mizil (2006).
    A class that the teacher excludes (-inf) has no logit to match: it has no part, in the means neither.
    """

    weight: float
    scores: torch.Tensor
    temperature: float = 1.0

    def add(
        self, scores: torch.Tensor, rows: slice, scale: torch.Tensor, gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `frame_losses.Term`."""
        teacher = self.scores[rows].to(scores.dtype) * self.temperature
        given = teacher != -torch.inf
        difference = (scores - teacher).masked_fill_(~given, 0.0)
        mean = difference.sum(dim=1, keepdim=True) / given.sum(dim=1, keepdim=True).clamp(min=1)
        difference.sub_(mean).masked_fill_(~given, 0.0)
        scale = scale * (self.weight / scores.shape[1])
        losses = difference.square().sum(dim=1).mul_(0.5 * scale)
        return losses, difference.mul_(scale.unsqueeze(1)) if gradient else None

"""What every loss here asks of its arguments: each mistake is a ValueError that says what was found and what was expected."""

from __future__ import annotations

import math

import torch

from asr_distill.distillation.targets import IGNORE_INDEX
from asr_distill.distillation.variants import VARIANTS

REDUCTIONS = ("mean", "sum", "none")


def check_options(soft_weight: float, hard_weight: float, variant: str, reduction: str) -> None:
    """The names and the weights."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown; the variants are {', '.join(VARIANTS)}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction {reduction!r} is unknown; the reductions are {', '.join(REDUCTIONS)}")
    for name, weight in (("soft_weight", soft_weight), ("hard_weight", hard_weight)):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name} must be finite and at least 0, found {weight!r}")
    if variant == "convex" and abs(soft_weight + hard_weight - 1.0) > 1e-6:
        raise ValueError(
            "variant 'convex' is alpha * soft + (1 - alpha) * hard: expected weights that sum to 1,"
            f" found soft_weight {soft_weight} and hard_weight {hard_weight}"
        )


def check_student(student_logits: torch.Tensor, mask: torch.Tensor | None) -> None:
    """Logits (N, C) of one class or more, and a mask that fits them."""
    if student_logits.ndim != 2 or student_logits.shape[1] == 0 or not student_logits.is_floating_point():
        raise ValueError(f"student_logits: expected floating-point (N, C), found {described(student_logits)}")
    expected = student_logits.shape[:1]
    if mask is not None and (mask.dtype != torch.bool or mask.shape != expected):
        raise ValueError(f"mask: expected bool {tuple(expected)}, true for the frames that count; found {described(mask)}")


def check_soft(name: str, soft: torch.Tensor, student_logits: torch.Tensor) -> None:
    """A dense soft target has the student's shape."""
    if soft.shape != student_logits.shape or not soft.is_floating_point():
        expected = tuple(student_logits.shape)
        raise ValueError(f"{name}: expected floating-point {expected} like student_logits, found {described(soft)}")


def checked_labels(
    labels: torch.Tensor | None,
    mask: torch.Tensor | None,
    student_logits: torch.Tensor,
    hard_weight: float,
    variant: str,
) -> torch.Tensor | None:
    """int64 labels, -100 also where the mask is false; None where none are given and none are needed."""
    if labels is None:
        if hard_weight > 0:
            raise ValueError(
                f"labels is None, but hard_weight is {hard_weight}: give labels ({IGNORE_INDEX} where a frame has none)"
                " or hard_weight=0"
            )
        if variant == "corrected":
            raise ValueError(f"variant 'corrected' needs labels ({IGNORE_INDEX} where a frame has none)")
        return None
    num_frames, num_classes = student_logits.shape
    if labels.shape != (num_frames,) or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels: expected integers ({num_frames},), found {described(labels)}")
    labels = labels.to(torch.int64)
    if mask is not None:
        labels = labels.masked_fill(~mask, IGNORE_INDEX)
    # Elsewhere to read the values would make the step wait, and gather has a check of its own.
    if labels.device.type == "cpu":
        wrong = ((labels < 0) & (labels != IGNORE_INDEX)) | (labels >= num_classes)
        if bool(wrong.any()):
            frame = int(wrong.nonzero()[0])
            raise ValueError(
                f"labels: {int(labels[frame])} at frame {frame} is outside 0 to {num_classes - 1};"
                f" a frame without label has {IGNORE_INDEX}"
            )
    return labels


def described(tensor: torch.Tensor) -> str:
    """Its dtype and shape."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"

"""The distillation loss: a student is taught by a teacher's softened posteriors and, where there are any, by labels."""

from __future__ import annotations

import math
from typing import cast

import torch

from asr_distill.distillation.combine import check_temperature
from asr_distill.distillation.frame_losses import Target, Term, frame_losses
from asr_distill.distillation.targets import IGNORE_INDEX, DenseTarget
from asr_distill.distillation.variants import VARIANTS, CorrectedTarget, LogitMatching, hard_terms, soft_and_hard

REDUCTIONS = ("mean", "sum", "none")


def distillation_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor | None = None,
    *,
    temperature: float,
    soft_weight: float = 1.0,
    hard_weight: float = 0.5,
    reduction: str = "mean",
    mask: torch.Tensor | None = None,
    variant: str = "paper",
) -> torch.Tensor:
    r"""Soft targets at a temperature and hard labels, as in section 2 of Hinton, Vinyals and Dean (2015).

    For one frame, with the student's logits :math:`z`, the teacher's :math:`v`, the label :math:`y` and the temperature :math:`T`,

    .. math::

        L = s\,T^2 \Big( -\sum_{i=1}^{C} q_i \log p_i \Big) + h\,\big( -\log \mathrm{softmax}(z)_y \big), \qquad
        q = \mathrm{softmax}(v / T), \quad p = \mathrm{softmax}(z / T)

    where :math:`s` is ``soft_weight`` and :math:`h` is ``hard_weight``. The gradient of the soft term is

    .. math:: s\,T^2 \cdot \tfrac{1}{T} (p - q),

    so :math:`T^2` keeps its size, and with it the balance of the two terms, when :math:`T` changes. It tends to
    :math:`s\,(z - v) / C` for large :math:`T` and centred logits (Eq. 4 of the paper); the error falls as :math:`1/T`. The soft term is a
    cross-entropy, not a divergence: its least value is :math:`s\,T^2` times the entropy of :math:`q`, not 0.

    Args:
        student_logits: ``(N, C)``, any floating dtype: N frames, C classes. The only argument that gets a gradient.
        teacher_logits: ``(N, C)`` logits, log-probabilities or log-likelihoods at temperature 1 (a constant per frame makes no
            difference), any floating dtype, a constant to autograd. For targets already softened see `soft_target_loss`.
        labels: ``(N,)`` integers from 0 to C - 1, or -100 for a frame without label, which then has no hard term. None where
            no frame has one, and ``hard_weight`` is 0.
        temperature: T, finite and above 0. At 1 both terms see the same softmax.
        soft_weight: s, at least 0. At 0 the teacher isn't read.
        hard_weight: h, at least 0. Both weights are plain factors: "a weight of 0.5" on the labels as in the paper is
            ``soft_weight=1, hard_weight=0.5``. The convex form :math:`\alpha\,\text{soft} + (1-\alpha)\,\text{hard}` is
            ``soft_weight=alpha, hard_weight=1 - alpha``, and ``variant="convex"`` makes sure of it.
        reduction: ``mean``: the sum over the frames divided by their number N, labelled or not; ``sum``; ``none``: ``(N,)``.
        mask: ``(N,)`` bool, true for the frames that count. The others add 0, get no gradient, whatever they hold (NaN too), and
            are not in the N of ``mean``. With no frame left the mean is 0.
        variant: ``paper`` or another name of `VARIANTS`; see `soft_target_loss`.

    Returns:
        The loss in nats (times :math:`T^2`), float32; float64 where ``student_logits`` is. Differentiable once, by the closed form.

    Everything is computed in float32 (bfloat16 and float16 logits are widened first), so logits of ±1e4 and temperatures from 0.5 to 1000
    are safe; a gradient at T = 1000 is right to about four digits. A class to which the teacher gives -inf has :math:`q_i = 0` and adds
    nothing, also where the student gives it -inf (0 log 0 = 0); a student's -inf on a class with :math:`q_i > 0` is an infinite loss. A
    teacher's row of nothing but -inf is no distribution: NaN.

    Raises ValueError for shapes that differ, integer logits, labels that are not integers or are outside 0 to C - 1 (checked on the CPU; other devices check
    themselves), ``labels=None`` with a hard weight above 0, a temperature or weight out of range, and unknown names.

    Two frames, the second without a label; soft terms 4 · CE(q, p) at T = 2, a hard term for the first:

    >>> import torch
    >>> student = torch.tensor([[2.0, 0.0, -2.0], [0.0, 0.0, 0.0]], requires_grad=True)
    >>> teacher = torch.tensor([[4.0, 0.0, -torch.inf], [0.0, 2.0, 0.0]])
    >>> labels = torch.tensor([0, -100])
    >>> distillation_loss(student, teacher, labels, temperature=2.0, reduction="none").detach()
    tensor([2.1787, 4.3944])
    >>> loss = distillation_loss(student, teacher, labels, temperature=2.0)
    >>> loss.backward()
    >>> round(loss.item(), 4), student.grad[1]  # the second frame: (1/2 frames) · (1/T)(p - q) · T²
    (3.2866, tensor([ 0.1214, -0.2428,  0.1214]))
    """
    _check_pair(student_logits, teacher_logits, "teacher_logits")
    temperature = check_temperature(temperature)
    soft = DenseTarget(teacher_logits.detach(), temperature)
    terms = _dense_terms(student_logits, soft, labels, mask, temperature, soft_weight, hard_weight, variant, reduction)
    return frame_losses(student_logits, terms, reduction, mask)


def soft_target_loss(
    student_logits: torch.Tensor,
    soft_log_probs: torch.Tensor,
    labels: torch.Tensor | None = None,
    *,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
    variant: str = "paper",
    reduction: str = "mean",
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""`distillation_loss` for targets that are softened already: read from a store, or combined from an ensemble.

    soft_log_probs: ``(N, C)``, :math:`\log q` at the temperature T, any floating dtype, -inf allowed. T is applied to the student only. A row
    whose probabilities sum to :math:`m \ne 1` (a store in 16 bits) is used as it stands; its gradient is :math:`s\,T (m p - q)`.
    Everything else as in `distillation_loss`, which names the symbols. The variants, for one frame:

    * ``paper``: :math:`s\,T^2\,\mathrm{CE}(q, \mathrm{softmax}(z/T)) + h\,\mathrm{CE}(y, \mathrm{softmax}(z))`
    * ``convex``: the same with :math:`s = \alpha`, :math:`h = 1 - \alpha`; other weights raise. The gradient of each term keeps its size at
      any T, so :math:`\alpha` means the same at any T.
    * ``student_at_one``: :math:`s\,\mathrm{CE}(q, \mathrm{softmax}(z)) + h\,\mathrm{CE}(y, \mathrm{softmax}(z))`. The student itself learns the softened
      distribution; its gradient :math:`s\,(p - q)` has no :math:`1/T` in it, so there is no :math:`T^2` to make up for it.
    * ``corrected``: as ``paper``, with the probabilities of the label and of the teacher's best class exchanged in :math:`q` where these are two classes
      (Wen, Lai and Qian 2019, *Preparing Lessons*). A frame without label keeps its :math:`q`; labels=None raises.
    * ``logits``: :math:`s \frac{1}{2C} \sum_i ((z_i - \bar z) - (v_i - \bar v))^2 + h\,\mathrm{CE}(y, \mathrm{softmax}(z))` with :math:`v = T \log q`: logit matching
      (Bucila, Caruana and Niculescu-Mizil 2006), the limit of ``paper`` for large T up to a constant of the targets. The logits are centred over the classes; a class at -inf is left out.

    Raises ValueError as `distillation_loss` does.

    >>> import torch
    >>> from asr_distill.distillation import soften
    >>> student, teacher = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[3.0, 0.0, 0.0]])
    >>> targets = soften(teacher, 4.0)
    >>> soft_target_loss(student, targets, temperature=4.0, soft_weight=1.0, hard_weight=0.0).item() == distillation_loss(
    ...     student, teacher, temperature=4.0, hard_weight=0.0
    ... ).item()
    True
    """
    _check_pair(student_logits, soft_log_probs, "soft_log_probs")
    temperature = check_temperature(temperature)
    soft = DenseTarget(soft_log_probs.detach(), None)
    terms = _dense_terms(student_logits, soft, labels, mask, temperature, soft_weight, hard_weight, variant, reduction)
    return frame_losses(student_logits, terms, reduction, mask)


def check_common(
    student_logits: torch.Tensor,
    labels: torch.Tensor | None,
    mask: torch.Tensor | None,
    soft_weight: float,
    hard_weight: float,
    variant: str,
    reduction: str,
) -> None:
    """What every loss here asks of its arguments; ValueError with what was found otherwise."""
    if student_logits.ndim != 2 or not student_logits.is_floating_point():
        raise ValueError(
            f"student_logits: expected floating-point (N, C), found {student_logits.dtype} {_shape(student_logits)}"
        )
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown; the variants are {', '.join(VARIANTS)}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction {reduction!r} is unknown; the reductions are {', '.join(REDUCTIONS)}")
    for name, weight in (("soft_weight", soft_weight), ("hard_weight", hard_weight)):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name} must be finite and at least 0, found {weight!r}")
    if variant == "convex" and abs(soft_weight + hard_weight - 1.0) > 1e-6:
        raise ValueError(
            f"variant 'convex' is alpha * soft + (1 - alpha) * hard: expected weights that sum to 1, found soft_weight {soft_weight}"
            f" and hard_weight {hard_weight}"
        )
    if labels is None and hard_weight > 0:
        raise ValueError(
            f"labels is None and hard_weight {hard_weight}: give labels (-100 where a frame has none) or hard_weight=0"
        )
    if labels is None and variant == "corrected":
        raise ValueError("variant 'corrected' needs labels (-100 where a frame has none)")
    num_frames, num_classes = student_logits.shape
    if mask is not None and (mask.dtype != torch.bool or mask.shape != (num_frames,)):
        raise ValueError(
            f"mask: expected bool ({num_frames},), true for the frames that count; found {mask.dtype} {_shape(mask)}"
        )
    if labels is not None:
        _check_labels(labels, num_frames, num_classes, mask)


def _check_labels(labels: torch.Tensor, num_frames: int, num_classes: int, mask: torch.Tensor | None) -> None:
    if labels.shape != (num_frames,) or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels: expected integers ({num_frames},), found {labels.dtype} {_shape(labels)}")
    if labels.device.type != "cpu":
        return  # reading the values would make the step wait; an accelerator's gather has a check of its own
    wrong = ((labels < 0) & (labels != IGNORE_INDEX)) | (labels >= num_classes)
    if bool(wrong.any()):
        frame = int(wrong.nonzero()[0])
        raise ValueError(
            f"labels: {int(labels[frame])} at frame {frame} is outside 0 to {num_classes - 1}; a frame without label has {IGNORE_INDEX}"
        )


def _check_pair(student_logits: torch.Tensor, other: torch.Tensor, name: str) -> None:
    if student_logits.shape != other.shape:
        raise ValueError(f"{name} has shape {_shape(other)}, student_logits {_shape(student_logits)}; expected one (N, C)")
    if not other.is_floating_point():
        raise ValueError(f"{name}: expected floating-point (N, C), found {other.dtype}")


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _dense_terms(
    student_logits: torch.Tensor,
    soft: DenseTarget,
    labels: torch.Tensor | None,
    mask: torch.Tensor | None,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
    variant: str,
    reduction: str,
) -> list[Term]:
    check_common(student_logits, labels, mask, soft_weight, hard_weight, variant, reduction)
    if labels is not None:
        labels = labels.to(torch.int64)
    if variant == "logits":
        # log-probabilities at T, times T, are logits but for a constant, which the centring removes
        scale = 1.0 if soft.temperature is not None else temperature
        matching: list[Term] = [LogitMatching(soft_weight, soft.scores, scale)] if soft_weight > 0 else []
        return matching + hard_terms(labels, hard_weight)
    target: Target = soft
    if variant == "corrected":
        target = CorrectedTarget(soft, cast(torch.Tensor, labels))
    return soft_and_hard(
        target, labels, temperature=temperature, soft_weight=soft_weight, hard_weight=hard_weight, variant=variant
    )

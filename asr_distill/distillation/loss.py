"""The distillation loss: a student is taught by a teacher's softened posteriors and, where there are any, by labels."""

from __future__ import annotations

from typing import cast

import torch

from asr_distill.distillation.checks import check_options, check_soft, check_student, checked_labels
from asr_distill.distillation.combine import check_temperature
from asr_distill.distillation.frame_losses import Target, Term, computing_dtype, frame_losses
from asr_distill.distillation.targets import DenseTarget, checked_mass
from asr_distill.distillation.variants import CorrectedTarget, LogitMatching, hard_terms, soft_and_hard


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

    For one frame, with the student's logits :math:`z`, the teacher's :math:`v`, the label :math:`y`, the temperature
    :math:`T` and the weights :math:`s` (``soft_weight``) and :math:`h` (``hard_weight``),

    .. math::

        L = s\,T^2 \Big( -\sum_{i=1}^{C} q_i \log p_i \Big) + h\,\big( -\log \mathrm{softmax}(z)_y \big), \qquad
        q = \mathrm{softmax}(v / T), \quad p = \mathrm{softmax}(z / T).

    The gradient of the soft term is

    .. math:: s\,T^2 \cdot \tfrac{1}{T} (p - q):

    the factor :math:`T^2` keeps its size, and the balance with the hard term, when :math:`T` changes. For logits that are
    centred over the classes it tends to :math:`s\,(z - v) / C` with an error that falls as :math:`1/T` (Eq. 2 to 4 of the
    paper). The soft term is a cross-entropy, not a divergence: it is least at :math:`p = q`, and there :math:`s\,T^2` times
    the entropy of :math:`q`, not 0.

    Args:
        student_logits: ``(N, C)``, any floating dtype: N frames, C classes. The only argument that gets a gradient.
        teacher_logits: ``(N, C)`` logits or log-probabilities at temperature 1 (a constant per frame makes no
            difference), any floating dtype. For targets that are softened already see `soft_target_loss`.
        labels: ``(N,)`` integers from 0 to C - 1, or -100 for a frame without label, which then has no hard term. None where
            no frame has one; ``hard_weight`` must be 0 then.
        temperature: T, from 1e-6 to 1e6 (`asr_distill.distillation.combine.check_temperature` says why).
        soft_weight: s, at least 0. At 0 the teacher is not read.
        hard_weight: h, at least 0. Both weights are plain factors: the paper's "weight of 0.5" on the labels is
            ``soft_weight=1, hard_weight=0.5``. The convex form :math:`\alpha\,\text{soft} + (1 - \alpha)\,\text{hard}` is
            ``soft_weight=alpha, hard_weight=1 - alpha``, and ``variant="convex"`` refuses anything else.
        reduction: ``mean``: the sum over the frames divided by their number N, labelled or not; ``sum``; ``none``: ``(N,)``.
        mask: ``(N,)`` bool, true for the frames that count. The others add 0 and get no gradient, whatever they hold (NaN
            too), and are not in the N of ``mean``. Where no frame counts, the mean is 0.
        variant: ``paper``, or another of `VARIANTS`: see `soft_target_loss`.

    Returns:
        The loss in nats, float32 (float64 where ``student_logits`` is). Differentiable once: by the closed form above,
        computed together with the value; ``create_graph=True`` raises RuntimeError.

    Everything is computed in float32, bfloat16 and float16 being widened first: logits of ±1e4 and temperatures from 0.5 to
    1000 are safe, though at T = 1000 the gradient has four digits, and the value is no finer than 1e-7 of T². A class to
    which the teacher gives -inf has :math:`q_i = 0` and adds nothing, also where the student gives it -inf
    (:math:`0 \log 0 = 0`); a student's -inf where :math:`q_i > 0` is an infinite loss. A teacher's row that holds NaN or +inf
    (float16 logits that overflowed), or nothing but -inf, is no distribution.

    Raises ValueError for shapes that differ, logits that are not floating-point, labels that are no integers or outside 0 to
    C - 1 (on the CPU; other devices have a check of their own), a teacher's row that is no distribution (on the CPU; on other
    devices, which would have to wait for the answer, the loss of its frame is NaN), ``labels=None`` with a hard weight above 0,
    a temperature or a weight out of range, and unknown names.

    Two frames, the second without label. The first has 4 CE(q, p) = 2.1072 and half of the label's 0.1429:

    >>> import torch
    >>> student = torch.tensor([[2.0, 0.0, -2.0], [0.0, 0.0, 0.0]], requires_grad=True)
    >>> teacher = torch.tensor([[4.0, 0.0, -torch.inf], [0.0, 2.0, 0.0]])
    >>> labels = torch.tensor([0, -100])
    >>> distillation_loss(student, teacher, labels, temperature=2.0, reduction="none").detach()
    tensor([2.1787, 4.3944])
    >>> loss = distillation_loss(student, teacher, labels, temperature=2.0)
    >>> loss.backward()
    >>> round(loss.item(), 4), student.grad[1]  # 1/2 for the mean of two frames, times T (p - q)
    (3.2866, tensor([ 0.1214, -0.2428,  0.1214]))
    """
    temperature = check_temperature(temperature)
    check_soft("teacher_logits", teacher_logits, student_logits)
    soft = DenseTarget(teacher_logits.detach(), temperature, mask)
    return _dense_loss(student_logits, soft, labels, temperature, soft_weight, hard_weight, variant, reduction, mask)


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

    soft_log_probs: ``(N, C)``, :math:`\log q` at the temperature T, any floating dtype, -inf allowed; T is applied to the
    student only. A row whose probabilities sum to :math:`m \ne 1` (a store in 16 bits) is taken as it stands, and the
    gradient of its soft term is :math:`s\,T (m p - q)`; one whose :math:`\log m` is not within 0.1 of 0 is refused, for it is
    of probabilities or raw logits. All else is as in `distillation_loss`, which names the symbols. The
    variants, for one frame:

    ``paper``
        :math:`s\,T^2\,\mathrm{CE}(q, \mathrm{softmax}(z/T)) + h\,\mathrm{CE}(y, \mathrm{softmax}(z))`
    ``convex``
        The same with :math:`s = \alpha` and :math:`h = 1 - \alpha`: weights that do not sum to 1 raise. :math:`T^2` stays
        with the soft term, so that one :math:`\alpha` means the same at every T.
    ``student_at_one``
        :math:`s\,\mathrm{CE}(q, \mathrm{softmax}(z)) + h\,\mathrm{CE}(y, \mathrm{softmax}(z))`: the student itself learns the
        softened distribution. Its gradient :math:`s\,(p - q)` has no :math:`1/T`, so there is no :math:`T^2` to make up for
        it.
    ``corrected``
        ``paper``, where in :math:`q` the probabilities of the label and of the teacher's best class are exchanged if these
        are two (the probability shift of Wen, Lai and Qian 2019). A frame without label keeps its :math:`q`; ``labels=None``
        raises.
    ``logits``
        :math:`s \frac{1}{2C} \sum_i ((z_i - \bar z) - (v_i - \bar v))^2 + h\,\mathrm{CE}(y, \mathrm{softmax}(z))` with
        :math:`v = T \log q`, which is the teacher's logits but for a constant: logit matching (Bucila, Caruana and
        Niculescu-Mizil 2006), to whose gradient :math:`s\,(z - v) / C` that of ``paper`` tends for large T. T itself makes no
        difference. Classes at -inf have no part in it.

    Raises ValueError as `distillation_loss` does.

    >>> import torch
    >>> from asr_distill.distillation import soften
    >>> student, teacher = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[3.0, 0.0, 0.0]])
    >>> round(distillation_loss(student, teacher, temperature=4.0, hard_weight=0.0).item(), 4)
    17.9094
    >>> targets = soften(teacher, 4.0)
    >>> round(soft_target_loss(student, targets, temperature=4.0, soft_weight=1.0, hard_weight=0.0).item(), 4)
    17.9094
    """
    temperature = check_temperature(temperature)
    check_soft("soft_log_probs", soft_log_probs, student_logits)
    soft = DenseTarget(soft_log_probs.detach(), mask=mask)
    return _dense_loss(student_logits, soft, labels, temperature, soft_weight, hard_weight, variant, reduction, mask)


def _dense_loss(
    student_logits: torch.Tensor,
    soft: DenseTarget,
    labels: torch.Tensor | None,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
    variant: str,
    reduction: str,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    check_options(soft_weight, hard_weight, variant, reduction)
    check_student(student_logits, mask)
    labels = checked_labels(labels, mask, student_logits, hard_weight, variant)
    terms: list[Term]
    if variant == "logits":
        scale = temperature if soft.temperature is None else 1.0
        if soft_weight > 0 and soft.temperature is None:
            dtype = computing_dtype(student_logits)
            checked_mass(soft.scores.to(dtype).logsumexp(dim=1).exp(), "soft_log_probs", mask)
        matching: list[Term] = [LogitMatching(soft_weight, soft.scores, scale, mask)] if soft_weight > 0 else []
        terms = [*matching, *hard_terms(labels, hard_weight)]
    else:
        target: Target = soft
        if variant == "corrected":
            target = CorrectedTarget(soft, cast(torch.Tensor, labels))
        student_temperature = 1.0 if variant == "student_at_one" else temperature
        terms = soft_and_hard(target, labels, student_temperature, soft_weight, hard_weight)
    return frame_losses(student_logits, terms, reduction, mask)

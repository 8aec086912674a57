"""Soft targets given by a few classes and the rest's mass, and their loss without an (N, C) target."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from asr_distill.distillation.checks import check_options, check_student, checked_labels, described
from asr_distill.distillation.combine import check_temperature
from asr_distill.distillation.frame_losses import Target, computing_dtype, frame_losses
from asr_distill.distillation.low_rank_tail import LowRankRows, LowRankTail, dense_log_probs
from asr_distill.distillation.targets import checked_mass
from asr_distill.distillation.variants import soft_and_hard

_NOTHING_LEFT = 1e-10
"""A shape with no more than this outside a frame's ids has nothing outside: what is found is rounding."""


@dataclass(frozen=True, eq=False)
class SparseTargets:
    r"""Distributions over C classes for N frames: K classes each by name, the others by their mass and how they share it.

    .. math::

        q_i = \sum_{k:\,\mathrm{id}_k = i} e^{\ell_k} \ \text{where } i \text{ is among the ids}, \qquad
        q_i = e^{t} \frac{w_i}{\sum_{j \notin \mathrm{ids}} w_j} \ \text{elsewhere}

    ids: ``(N, K)`` int64. log_probs: ``(N, K)`` float, :math:`\ell`, softened to the temperature. tail_log_mass: ``(N,)``
    float, :math:`t`, the log of the softened mass outside the ids; -inf for none. tail_shape: ``(C,)`` float, :math:`\log w`,
    common to all frames; -inf for a class that no tail holds. temperature: the one that all of it is softened to.

    tail_coefficients ``(N, R)`` and tail_basis ``(R, C)``, float, where each frame has a shape of its own, of low rank:

    .. math:: \log w_{ni} = \mathrm{tail\_shape}_i + \sum_r \mathrm{tail\_coefficients}_{nr}\, \mathrm{tail\_basis}_{ri}

    An id may occur twice in a row: its probabilities add up, so that a shorter row is filled up with any of its ids at -inf.
    Where the shape has nothing outside the ids (K = C, for example) the tail's mass is left out, and the target sums to less
    than 1. Raises ValueError for shapes and dtypes that do not fit.
    """

    ids: torch.Tensor
    log_probs: torch.Tensor
    tail_log_mass: torch.Tensor
    tail_shape: torch.Tensor
    temperature: float
    tail_coefficients: torch.Tensor | None = None
    tail_basis: torch.Tensor | None = None

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.ids.ndim != 2 or self.ids.dtype != torch.int64:
            raise ValueError(f"ids: expected int64 (N, K), found {described(self.ids)}")
        for name, shape in (("log_probs", self.ids.shape), ("tail_log_mass", self.ids.shape[:1])):
            found = getattr(self, name)
            if found.shape != shape or not found.is_floating_point():
                raise ValueError(f"{name}: expected float {tuple(shape)}, found {described(found)}")
        if self.tail_shape.ndim != 1 or not self.tail_shape.is_floating_point():
            raise ValueError(f"tail_shape: expected float (C,), found {described(self.tail_shape)}")
        coefficients, basis = self.tail_coefficients, self.tail_basis
        if coefficients is None or basis is None:
            if coefficients is not basis:
                raise ValueError("tail_coefficients and tail_basis: expected both or neither")
            return
        if coefficients.ndim != 2 or len(coefficients) != len(self) or not coefficients.is_floating_point():
            raise ValueError(f"tail_coefficients: expected float ({len(self)}, R), found {described(coefficients)}")
        if basis.shape != (coefficients.shape[1], self.num_classes) or not basis.is_floating_point():
            expected = (coefficients.shape[1], self.num_classes)
            raise ValueError(f"tail_basis: expected float {expected}, found {described(basis)}")

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def num_classes(self) -> int:
        """C."""
        return self.tail_shape.shape[0]

    def to(self, device: torch.device | str) -> SparseTargets:
        """The same on another device."""
        return replace(
            self,
            ids=self.ids.to(device),
            log_probs=self.log_probs.to(device),
            tail_log_mass=self.tail_log_mass.to(device),
            tail_shape=self.tail_shape.to(device),
            tail_coefficients=None if self.tail_coefficients is None else self.tail_coefficients.to(device),
            tail_basis=None if self.tail_basis is None else self.tail_basis.to(device),
        )

    @property
    def low_rank_tail(self) -> LowRankTail | None:
        """The tail of frames that have a shape of their own."""
        if self.tail_coefficients is None or self.tail_basis is None:
            return None
        return LowRankTail(self.ids, self.tail_log_mass, self.tail_shape, self.tail_coefficients, self.tail_basis)

    def target(self, dtype: torch.dtype, mask: torch.Tensor | None = None) -> Target:
        """As a target of `frame_losses` in the precision ``dtype``.

        Raises ValueError where the ids and the tail of a frame that counts (``mask``) do not sum to 1: see `checked_mass`.
        """
        probs = self.log_probs.to(dtype).exp()
        mass = probs.sum(dim=1) + self.tail_log_mass.to(dtype).exp()
        checked = checked_mass(mass, "targets", mask)
        if checked is not mass:
            probs = probs.masked_fill(checked.isnan().unsqueeze(1), torch.nan)
        tail = self.low_rank_tail
        return SparseRows(self, probs) if tail is None else LowRankRows(probs, tail)

    def dense(self, num_classes: int | None = None) -> torch.Tensor:
        """``(N, C)`` float32 log-probabilities, float64 for float64; -inf for classes without. ValueError for another C."""
        if num_classes not in (None, self.num_classes):
            raise ValueError(f"dense({num_classes}): these targets have {self.num_classes} classes")
        dtype = torch.float64 if self.log_probs.dtype == torch.float64 else torch.float32
        tail = self.low_rank_tail
        if tail is not None:
            return dense_log_probs(self.log_probs, tail, dtype)
        block = SparseRows(self, self.log_probs.to(dtype).exp()).block(slice(None), dtype)
        if block.shape is None:
            result = torch.zeros((len(self), self.num_classes), dtype=dtype, device=self.ids.device)
        else:
            result = block.tail.unsqueeze(1) * block.shape
        result.scatter_(1, self.ids, 0.0).scatter_add_(1, self.ids, block.probs)
        return result.log_()


class SparseRows:
    """`SparseTargets` of a common shape as a target of `frame_losses`; what concerns it is computed once, not once a block.

    probs: ``(N, K)``, the exponentials of the targets' ``log_probs``.
    """

    def __init__(self, targets: SparseTargets, probs: torch.Tensor) -> None:
        dtype = probs.dtype
        # a shape of nothing but -inf, where no frame has a tail, is no distribution
        shape = torch.softmax(targets.tail_shape.to(torch.float64), dim=0).nan_to_num(0.0)
        # an id that occurs twice leaves the shape once; in float64, for what is left may be little
        ordered = targets.ids.sort(dim=1).values
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        outside = 1.0 - (shape[ordered] * first).sum(dim=1)
        mass = torch.where(outside > _NOTHING_LEFT, targets.tail_log_mass.to(torch.float64).exp(), 0.0)
        self._ids = targets.ids
        self._probs = probs
        self._mass = probs.sum(dim=1) + mass.to(dtype)
        self._tail = (mass / outside.clamp(min=_NOTHING_LEFT)).to(dtype)
        # without any tail, as where the targets were sampled, the classes outside the ids need not be visited
        self._shape = None if mass.device.type == "cpu" and not bool(mass.any()) else shape.to(dtype)

    def block(self, rows: slice, dtype: torch.dtype) -> SparseBlock:
        """See `frame_losses.Target`; `dtype` is the one given before."""
        return SparseBlock(self._ids[rows], self._probs[rows], self._mass[rows], self._tail[rows], self._shape)


@dataclass(frozen=True)
class SparseBlock:
    """``probs`` (B, K) of the ``ids`` (B, K); any other class has ``tail`` (B,) times ``shape`` (C,), None for no tail at all.

    ``total`` (B,) is the sum over all classes.
    """

    ids: torch.Tensor
    probs: torch.Tensor
    total: torch.Tensor
    tail: torch.Tensor
    shape: torch.Tensor | None

    def mass(self) -> torch.Tensor:
        """The named probabilities and the tail's."""
        return self.total

    def cross_entropy(self, shifted: torch.Tensor, log_sums: torch.Tensor) -> torch.Tensor:
        """One gather and one weighted sum; ``shifted`` is changed in between and given back as it was."""
        named = shifted.gather(1, self.ids)
        head = (self.probs * named).masked_fill_(self.probs == 0, 0.0).sum(dim=1)
        if self.shape is None:
            return self.total * log_sums - head
        shifted.scatter_(1, self.ids, 0.0)
        products = shifted * self.shape
        rest = products.sum(dim=1)
        if rest.is_cuda or bool(rest.isnan().any()):
            rest = products.masked_fill_(self.shape == 0, 0.0).sum(dim=1)
        shifted.scatter_(1, self.ids, named)
        return self.total * log_sums - head - torch.where(self.tail > 0, self.tail * rest, 0.0)

    def subtract_from(self, gradient: torch.Tensor, scale: torch.Tensor) -> None:
        """The ids' entries are put back before their own share is taken: a difference of large shares would be rounded."""
        if self.shape is not None:
            named = gradient.gather(1, self.ids)
            gradient.addcmul_(scale * self.tail.unsqueeze(1), self.shape.unsqueeze(0), value=-1.0)
            gradient.scatter_(1, self.ids, named)
        gradient.scatter_add_(1, self.ids, -scale * self.probs)


def sparse_distillation_loss(
    student_logits: torch.Tensor,
    targets: SparseTargets,
    labels: torch.Tensor | None = None,
    *,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
    variant: str = "paper",
    reduction: str = "mean",
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """`soft_target_loss` for sparse targets: the value and gradient of ``targets.dense()``, to rounding, without making it.

    student_logits: ``(N, C)``. temperature: that of ``targets``; it is asked for so that targets of another one are seen.
    variant: ``paper``, ``convex`` or ``student_at_one``; the others need a target for every class: `soft_target_loss` with
    ``targets.dense()``. All else is as in `distillation_loss`.

    A shape common to all frames is never spread over (N, C). Where each frame has its own (``tail_coefficients``), its sum over
    the classes asks for all of them: on the CPU the target is made for a block of frames at a time (`BLOCK_ELEMENTS` scores of
    the student), on a GPU for all N at once, one array of the size of the logits, at R multiplications an element.

    In float32 the loss of a frame is the dense path's to 1e-5 of itself, and its gradient to T times 1e-6 (for a soft weight
    of 1). Raises ValueError as `distillation_loss` does, and for targets of another N, C or temperature.

    >>> import torch
    >>> targets = SparseTargets(
    ...     ids=torch.tensor([[2, 0]]), log_probs=torch.tensor([[0.5, 0.2]]).log(), tail_log_mass=torch.tensor([0.3]).log(),
    ...     tail_shape=torch.tensor([0.4, 0.2, 0.3, 0.1]).log(), temperature=2.0,
    ... )
    >>> targets.dense().exp()
    tensor([[0.2000, 0.2000, 0.5000, 0.1000]])
    >>> student = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    >>> round(sparse_distillation_loss(student, targets, temperature=2.0, soft_weight=1.0, hard_weight=0.0).item(), 4)
    6.1494
    """
    check_options(soft_weight, hard_weight, variant, reduction)
    check_student(student_logits, mask)
    labels = checked_labels(labels, mask, student_logits, hard_weight, variant)
    if variant in ("corrected", "logits"):
        raise ValueError(f"variant {variant!r} needs a target for every class: soft_target_loss with targets.dense()")
    if student_logits.shape != (len(targets), targets.num_classes):
        raise ValueError(
            f"student_logits: expected ({len(targets)}, {targets.num_classes}) like the targets,"
            f" found {described(student_logits)}"
        )
    temperature = check_temperature(temperature)
    if abs(temperature - targets.temperature) > 1e-6 * temperature:
        raise ValueError(f"temperature is {temperature:g}, but the targets are softened to {targets.temperature:g}")
    soft = targets.target(computing_dtype(student_logits), mask)
    student_temperature = 1.0 if variant == "student_at_one" else temperature
    terms = soft_and_hard(soft, labels, student_temperature, soft_weight, hard_weight)
    return frame_losses(student_logits, terms, reduction, mask)

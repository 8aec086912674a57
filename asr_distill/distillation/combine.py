"""The mean of several models, in log space, and the temperature that is put on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from asr_distill.distillation.targets import MASS_TOLERANCE

MODES = ("arithmetic", "geometric", "weighted", "best")

LEAST_TEMPERATURE, MOST_TEMPERATURE = 1e-6, 1e6
"""Between these float32 can say what the temperature does. The gradient T (p - q) loses 1.6e-8 T of itself to rounding, 2 % at
the upper end and all of it some hundred times above, and T^2 overflows at 2e19; far below the lower end scores / T overflow."""


@torch.no_grad()
def combine_posteriors(
    log_probs: torch.Tensor | Sequence[torch.Tensor],
    mode: str = "arithmetic",
    weights: torch.Tensor | Sequence[float] | None = None,
) -> torch.Tensor:
    r"""The log-posteriors of an ensemble from those of its M members, ``(M, ..., C)`` to normalised ``(..., C)``.

    ============== =====================================================================
    ``arithmetic`` :math:`\log \frac1M \sum_m p_m`, the mean of the probabilities
    ``geometric``  :math:`\frac1M \sum_m \log p_m`, normalised: the mean of the logits
    ``weighted``   :math:`\log \sum_m w_m p_m`, weights scaled to sum to 1
    ``best``       the member with the largest weight (the first of equals), alone
    ============== =====================================================================

    log_probs: natural logarithms at temperature 1, any floating dtype and device, -inf allowed; or a sequence of M tensors
    ``(..., C)``, which spares the copy that stacks them. Logits are refused where the mode needs probabilities. weights: M
    finite numbers >= 0 with a positive sum, for ``weighted`` and ``best`` only (there, say, the members' frame accuracies on
    dev).

    Returns float32 (float64 for float64), every row's probabilities summing to 1; a constant to autograd. A class that one
    member excludes is excluded from a geometric mean, and stays in an arithmetic one. Raises ValueError for an unknown mode,
    missing, needless or unusable weights, members of different shapes or without a class, NaN or +inf, probabilities that do
    not sum to 1, and frames in which a geometric mean leaves no class at all.

    >>> import torch
    >>> members = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    >>> combine_posteriors(members).exp()
    tensor([0.7000, 0.3000])
    >>> combine_posteriors(members, "geometric").exp()
    tensor([0.7500, 0.2500])
    """
    members = list(log_probs)
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown; the modes are {', '.join(MODES)}")
    _check_members(members)
    numbers = _member_weights(mode, weights, len(members))
    dtype = torch.float64 if members[0].dtype == torch.float64 else torch.float32
    # a member of weight 0 is left out, so that nothing in it, NaN neither, can matter
    used = [(member.to(dtype), weight) for member, weight in zip(members, numbers, strict=True) if weight > 0]
    if mode == "geometric":
        combined = used[0][0] * used[0][1]
        for member, weight in used[1:]:
            combined = combined.add_(member, alpha=weight)
    elif len(used) == 1:
        combined = used[0][0]
    else:
        combined = _log_of_mean(used)
    log_sums = combined.logsumexp(dim=-1, keepdim=True)
    if bool(log_sums.isnan().any()) or bool((log_sums == torch.inf).any()):
        raise ValueError("log_probs: a frame holds NaN or +inf, expected log-probabilities")
    if mode == "geometric":
        if bool((log_sums == -torch.inf).any()):
            raise ValueError(
                "a geometric mean leaves nothing of a frame in which every class is excluded (-inf) by some member;"
                " take the arithmetic mean"
            )
    elif bool((log_sums.abs() > MASS_TOLERANCE).any()):
        worst = float(log_sums.flatten()[log_sums.abs().argmax()])
        raise ValueError(
            f"log_probs: the probabilities of a frame sum to {math.exp(min(worst, 700.0)):.4g}, expected 1;"
            " pass logits through log_softmax first"
        )
    return combined - log_sums


def soften(log_probs: torch.Tensor, temperature: float) -> torch.Tensor:
    r"""Posteriors at a temperature: :math:`\log \mathrm{softmax}(\log p / T)` over the last dimension.

    log_probs: ``(..., C)`` logits or log-probabilities (a constant per row makes no difference), -inf allowed. Returns the
    same shape in float32 (float64 for float64); differentiable. Raises ValueError for a temperature that `check_temperature`
    refuses.

    >>> import torch
    >>> soften(torch.tensor([0.8, 0.2]).log(), 2.0).exp()
    tensor([0.6667, 0.3333])
    """
    check_temperature(temperature)
    scores = log_probs.to(torch.float64 if log_probs.dtype == torch.float64 else torch.float32)
    return torch.log_softmax(scores / temperature, dim=-1)


def check_temperature(temperature: float) -> float:
    """The temperature as a float; ValueError unless it is from `LEAST_TEMPERATURE` to `MOST_TEMPERATURE`."""
    value = float(temperature)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"temperature must be finite and above 0, found {temperature!r}")
    if not LEAST_TEMPERATURE <= value <= MOST_TEMPERATURE:
        raise ValueError(
            f"temperature {value!r} is outside {LEAST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}, beyond which a float32 gradient"
            " is rounding error or nothing; the limit of high temperatures is the loss 'logits', that of low ones hard labels"
        )
    return value


def _log_of_mean(used: list[tuple[torch.Tensor, float]]) -> torch.Tensor:
    """log of sum of weight * exp(member), relative to each class's largest member: no (M, ..., C) temporary."""
    largest = used[0][0]
    for member, _ in used[1:]:
        largest = torch.maximum(largest, member)
    shift = largest.masked_fill(largest == -torch.inf, 0.0)
    total = torch.zeros_like(shift)
    for member, weight in used:
        total.add_((member - shift).exp_(), alpha=weight)
    return total.log_().add_(shift)


def _check_members(members: list[torch.Tensor]) -> None:
    if not members:
        raise ValueError("log_probs has no member; expected (M, ..., C) with M of at least 1")
    for position, member in enumerate(members):
        if member.ndim < 1 or member.shape != members[0].shape or not member.shape[-1] or not member.is_floating_point():
            raise ValueError(
                "log_probs: expected one floating-point (..., C) for all members, C at least 1,"
                f" found {tuple(members[0].shape)} at member 0"
                f" and {member.dtype} {tuple(member.shape)} at member {position}"
            )


def _member_weights(mode: str, weights: torch.Tensor | Sequence[float] | None, size: int) -> list[float]:
    """M numbers that sum to 1."""
    if mode in ("arithmetic", "geometric"):
        if weights is not None:
            raise ValueError(f"mode {mode!r} takes no weights; 'weighted' is the arithmetic mean with weights")
        return [1.0 / size] * size
    if weights is None:
        raise ValueError(f"mode {mode!r} needs weights, one per member ({size})")
    numbers = [float(weight) for weight in weights]
    total = sum(numbers)
    usable = all(math.isfinite(number) and number >= 0 for number in numbers) and 0 < total < math.inf
    if len(numbers) != size or not usable:
        raise ValueError(f"weights must be {size} finite numbers >= 0 with a positive sum, found {numbers}")
    if mode == "best":
        best = numbers.index(max(numbers))
        return [float(position == best) for position in range(size)]
    return [number / total for number in numbers]

"""The mean of members that answer one after the other, and the weights of a mixture that fit dev best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

_STEPS, _TOLERANCE = 100, 1e-6


class RunningMean:
    """`asr_distill.distillation.combine_posteriors` member by member: two ``(N, C)`` arrays in memory however many members.

    mode: ``geometric`` is a mean of logarithms, any other a mean of probabilities. Never underflows: the logarithm of a sum
    is kept, so that a high temperature finds the small probabilities whole.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._total: torch.Tensor | None = None

    def add(self, log_probs: torch.Tensor, weight: float) -> None:
        """Adds log-probabilities ``(N, C)``, whose memory may be overwritten; all weights together sum to 1, each above 0."""
        if self.mode == "geometric":
            share = log_probs.mul_(weight)
            self._total = share if self._total is None else self._total.add_(share)
        else:
            share = log_probs.add_(math.log(weight))
            self._total = share if self._total is None else torch.logaddexp(self._total, share, out=self._total)

    def result(self) -> torch.Tensor:
        """Log-probabilities ``(N, C)`` of what was added, rows normalised. Raises ValueError where nothing was."""
        if self._total is None:
            raise ValueError("a mean of no members")
        return torch.log_softmax(self._total, dim=1) if self.mode == "geometric" else self._total


def member_weights(mode: str, weights: Sequence[float] | None, members: Sequence[int], size: int) -> list[float]:
    """What each of ``members`` (numbers below ``size``) counts, summing to 1.

    Equal without weights; of ``best`` 1 for the one with the largest weight. Raises ValueError where the weights of these
    members are all 0.
    """
    numbers = [1.0] * size if weights is None else [float(weight) for weight in weights]
    chosen = [numbers[member] for member in members]
    if mode == "best":
        best = chosen.index(max(chosen))
        return [float(position == best) for position in range(len(chosen))]
    total = sum(chosen)
    if not total > 0:
        raise ValueError(f"the weights of members {list(members)} are all 0")
    return [number / total for number in chosen]


def mixture_weights(label_log_probs: torch.Tensor) -> list[float]:
    r"""Weights of an arithmetic mean that maximise :math:`\sum_t \log \sum_m w_m p_m(y_t)`, M of them, summing to 1.

    label_log_probs: ``(M, F)``, what each member gives the label of each frame; frames that no member thinks possible are left
    out. By expectation maximisation from equal weights; the sum is concave in w, so that is its maximum.
    """
    joint = label_log_probs.double()
    joint = joint[:, (joint > -torch.inf).any(0)]
    weights = torch.full((len(joint),), 1 / len(joint), dtype=torch.float64)
    if joint.shape[1] == 0:
        return weights.tolist()
    for _ in range(_STEPS):
        after = torch.softmax(joint + weights.log()[:, None], dim=0).mean(1)
        moved = float((after - weights).abs().max())
        weights = after
        if moved < _TOLERANCE:
            break
    return weights.tolist()

"""A shift of the logits of some classes together, as the paper does for digits that the transfer set had none or too many of.

An image is given to the group as soon as the shift exceeds its margin, the best logit outside the group less the best inside;
so everything about all shifts follows from sorted margins, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def predict(logits: torch.Tensor, group: Sequence[int] = (), shift: float = 0.0) -> torch.Tensor:
    """``(N, C)`` logits to ``(N,)`` int64 classes, the logits of ``group`` raised by ``shift`` first."""
    scores = logits.double()
    if group:
        scores[:, list(group)] += shift
    return scores.argmax(dim=1)


def fit_to_frequency(logits: torch.Tensor, group: Sequence[int], share: float) -> float:
    """The shift at which ``share`` (0 to 1) of the images is given to the group: needs to know how frequent it is, no label."""
    ordered = _margins(logits, group)[0].sort().values
    count = round(share * len(ordered))
    edges = torch.cat([ordered[:1] - 1, ordered, ordered[-1:] + 1])
    return float((edges[count] + edges[count + 1]) / 2)


def fit_to_labels(logits: torch.Tensor, labels: torch.Tensor, group: Sequence[int]) -> float:
    """The shift with the fewest errors; of several, the middle of the widest range of shifts that all have as few."""
    margins, errors_inside, errors_outside = _errors(logits, labels, group)
    order = margins.argsort()
    ordered = margins[order]
    # errors with the first k images given to the group, k = 0 to N
    change = (errors_inside - errors_outside)[order].cumsum(0)
    errors = errors_outside.sum() + torch.cat([change.new_zeros(1), change])
    edges = torch.cat([ordered[:1] - 1, ordered, ordered[-1:] + 1])
    best = (errors == errors.min()) & (edges[1:] > edges[:-1])  # images with equal margins change sides together
    widths = torch.where(best, edges[1:] - edges[:-1], -1.0)
    widest = int(widths.argmax())
    return float((edges[widest] + edges[widest + 1]) / 2)


def error_curve(logits: torch.Tensor, labels: torch.Tensor, group: Sequence[int], shifts: torch.Tensor) -> torch.Tensor:
    """``(S,)`` int64: errors at each of ``shifts`` (S,)."""
    margins, errors_inside, errors_outside = _errors(logits, labels, group)
    inside = shifts.double()[:, None] > margins[None]
    return torch.where(inside, errors_inside, errors_outside).sum(dim=1)


def _margins(logits: torch.Tensor, group: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(N,)`` margins, float64, and the best class inside and outside the group."""
    inside = torch.zeros(logits.shape[1], dtype=torch.bool)
    inside[list(group)] = True
    scores = logits.double()
    best_inside = scores.masked_fill(~inside, -torch.inf).max(dim=1)
    best_outside = scores.masked_fill(inside, -torch.inf).max(dim=1)
    return best_outside.values - best_inside.values, best_inside.indices, best_outside.indices


def _errors(
    logits: torch.Tensor, labels: torch.Tensor, group: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(N,)`` margins, and whether (1 or 0) each image is wrong when it is given to the group, and when it is not."""
    margins, inside, outside = _margins(logits, group)
    return margins, (inside != labels).long(), (outside != labels).long()

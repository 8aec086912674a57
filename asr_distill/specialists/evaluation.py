"""The paper's Tables 3 and 4: top-1 and conditional accuracy, and the gain by how many specialists cover the true class.

All is counted example by example, so that a paired bootstrap can resample the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from asr_distill.base import UserError


def top_one(log_probs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """``(N,)`` bool: whether the most probable of ``(N, C)`` is the label ``(N,)``."""
    return log_probs.max(dim=1).indices == labels


def conditional_counts(
    log_probs: torch.Tensor, labels: torch.Tensor, clusters: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Correct ones, and out of how many, for each example, both ``(N,)`` int64, pooled over the specialists.

    An example counts once for each cluster (class ids) that has its label; it is correct there where the most probable of
    that cluster's classes is the label. Conditional accuracy is the sum of the first over the sum of the second.
    """
    correct, total = torch.zeros_like(labels), torch.zeros_like(labels)
    for ids in clusters:
        rows = torch.isin(labels, ids.to(labels.device)).nonzero().flatten()
        chosen = ids.to(labels.device)[log_probs[rows][:, ids].max(dim=1).indices]
        correct[rows] += (chosen == labels[rows]).to(correct.dtype)
        total[rows] += 1
    return correct, total


def conditional_accuracy(log_probs: torch.Tensor, labels: torch.Tensor, clusters: Sequence[torch.Tensor]) -> float:
    """Per cent. Raises `UserError` where no label is in any cluster."""
    correct, total = conditional_counts(log_probs, labels, clusters)
    if not int(total.sum()):
        raise UserError("no test example is of a class that a specialist has: check that clusters and labels belong together")
    return 100 * int(correct.sum()) / int(total.sum())


def gain_by_coverage(
    generalist_correct: torch.Tensor,
    combined_correct: torch.Tensor,
    labels: torch.Tensor,
    coverage: torch.Tensor,
    most: int = 10,
) -> list[dict[str, Any]]:
    """The rows of Table 4: the gain by the number of specialists that cover the true class; ``most`` means so many or more.

    generalist_correct, combined_correct: (N,) bool. coverage: (C,), `ClassClusters.coverage`.
    A row has ``specialists``, ``examples``, ``delta`` (correct ones more), both accuracies and their difference in per
    cent, and ``relative_change`` in per cent of the generalist's correct ones; None where that would divide by 0.
    """
    covered = coverage[labels].clamp(max=most)
    rows: list[dict[str, Any]] = []
    for number in range(most + 1):
        there = covered == number
        count = int(there.sum())
        before, after = int(generalist_correct[there].sum()), int(combined_correct[there].sum())
        rows.append(
            {
                "specialists": number,
                "examples": count,
                "delta": after - before,
                "generalist_accuracy": 100 * before / count if count else None,
                "combined_accuracy": 100 * after / count if count else None,
                "difference": 100 * (after - before) / count if count else None,
                "relative_change": 100 * (after - before) / before if before else None,
            }
        )
    return rows

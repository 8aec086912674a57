"""What is kept of a system's predictions, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from asr_distill.models import load_tensors, save_tensors
from asr_distill.specialists import conditional_counts


@dataclass(frozen=True)
class Predictions:
    """Of one system on one part, each ``(N,)`` int64.

    predicted: the most probable classes. in_five: 1 where the true class is among the first five. conditional_total: how many
    clusters have the true class, and conditional_correct: in how many of them it is the most probable of the cluster's
    classes, see `asr_distill.specialists.conditional_counts`.
    """

    predicted: torch.Tensor
    in_five: torch.Tensor
    conditional_correct: torch.Tensor
    conditional_total: torch.Tensor

    def save(self, path: str | Path) -> None:
        """Writes them as safetensors."""
        save_tensors(path, vars(self))

    @classmethod
    def load(cls, path: str | Path) -> Predictions:
        """Reads what `save` wrote. Raises `UserError` where it is missing or damaged."""
        return cls(**load_tensors(path))

    @classmethod
    def joined(cls, batches: Sequence[Predictions]) -> Predictions:
        """Those of all batches, in their order."""
        return cls(**{name: torch.cat([vars(batch)[name] for batch in batches]) for name in vars(batches[0])})


def count(log_probs: torch.Tensor, labels: torch.Tensor, clusters: Sequence[torch.Tensor]) -> Predictions:
    """Of a batch. log_probs: ``(N, C)``, in any scale that keeps their order. labels: ``(N,)`` int64, the true classes."""
    best = log_probs.topk(min(5, log_probs.shape[1]), dim=1).indices
    in_five = (best == labels.unsqueeze(1)).any(dim=1).to(torch.int64)
    return Predictions(best[:, 0].contiguous(), in_five, *conditional_counts(log_probs, labels, clusters))

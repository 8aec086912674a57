"""What is minimised: handed to the loop, so that distillation and sequence training are other objects, not other loops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional

from asr_distill.base import UserError


class Objective(Protocol):
    """Called once a step. May hold state of its own (a teacher, a store), but must give the same result after a resume."""

    def __call__(self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of one batch.

        logits: ``(N, C)``, of whatever precision the network ran in. batch: ``inputs`` (N, D) as the network saw them,
        ``labels`` (N,) int64 with negative values where there is none, ``frame_indices`` (N,) int64 into the store.
        Returns the mean loss per frame (a differentiable scalar, nats) and detached scalar sums over the batch: ``correct``
        frames out of ``labelled`` ones, where labels are known.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that decide the result: a resume is refused where they differ."""
        ...


@dataclass(frozen=True)
class HardLabels:
    """Cross-entropy with the aligned senones, averaged over the labelled frames; frames with a negative label have no part.

    With ``label_smoothing`` e the target is (1 - e) on the label plus e / C on each class.
    """

    label_smoothing: float = 0.0

    def __call__(self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """``(N, C)`` logits to the mean loss in nats; 0 where no frame of the batch has a label."""
        labels = batch["labels"]
        check_labels(labels, logits.shape[1])
        labelled = labels >= 0
        scores = logits.float()
        total = functional.cross_entropy(
            scores,
            torch.where(labelled, labels, -100),
            ignore_index=-100,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return total / labelled.sum().clamp(min=1), frame_counts(scores, labels)

    def describe(self) -> dict[str, Any]:
        """Its name and parameters."""
        return {"name": "hard_labels", "label_smoothing": self.label_smoothing}


def check_labels(labels: torch.Tensor, classes: int) -> None:
    """Raises `UserError` where labels on the CPU are no class; on a GPU torch checks that, and no step waits."""
    if labels.device.type == "cpu" and len(labels) and int(labels.max()) >= classes:
        raise UserError(
            f"label {int(labels.max())} at example {int(labels.argmax())} of a batch, expected 0 to {classes - 1}, the"
            " network's outputs, or a negative number where there is none"
        )


@torch.no_grad()
def frame_counts(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sums over the labelled frames: ``correct`` ones, where the largest logit is the label's, and ``labelled`` ones.

    Give float32 logits: on a CPU their maximum is ten times as fast as bf16's, and max is faster than argmax.
    """
    return {"correct": (logits.max(dim=1).indices == labels).sum(), "labelled": (labels >= 0).sum()}

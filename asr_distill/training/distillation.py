"""Training towards a teacher: the objective, and the teacher that is a store of soft targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from asr_distill.base import UserError
from asr_distill.data import FrameStore
from asr_distill.distillation import SoftTargetStore, SparseTargets, soft_target_loss, sparse_distillation_loss
from asr_distill.training.objectives import frame_counts


class Teacher(Protocol):
    """Says what the targets of a batch are, softened to ``temperature`` already."""

    temperature: float

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor | SparseTargets:
        """Log-probabilities ``(N, C)`` float32, or the most probable classes of each frame and the rest's mass."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that decide the targets: the teacher's hash, how its members are combined."""
        ...


class Distillation:
    """Soft and hard targets in one loss, equation by ``variant``; see `asr_distill.distillation.soft_target_loss`.

    teacher: gives the soft targets of a batch. soft_weight, hard_weight: of the two terms (of the ``paper`` variant both are
    explicit). Frames without a label have a soft term only. Sparse targets stay sparse but for ``corrected``, which needs a
    target for every class; ``logits`` refuses them by `UserError`.
    """

    def __init__(self, teacher: Teacher, *, soft_weight: float = 1.0, hard_weight: float = 0.5, variant: str = "paper") -> None:
        self.teacher, self.variant = teacher, variant
        self.soft_weight, self.hard_weight = soft_weight, hard_weight

    def __call__(self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """``(N, C)`` logits to the mean loss over all frames in nats, and the counts of labelled and correct frames."""
        labels = batch["labels"]
        targets = self.teacher(batch)
        scores = logits.float()
        hard = torch.where(labels >= 0, labels, -100) if self.hard_weight > 0 or self.variant == "corrected" else None
        if isinstance(targets, SparseTargets):
            check_targets(self.variant, "sparse", "the teacher")
            if self.variant == "corrected":
                targets = targets.dense()
        temperature, soft_weight, hard_weight = self.teacher.temperature, self.soft_weight, self.hard_weight
        options: dict[str, Any] = {"soft_weight": soft_weight, "hard_weight": hard_weight, "variant": self.variant}
        try:
            if isinstance(targets, SparseTargets):
                loss = sparse_distillation_loss(scores, targets, hard, temperature=temperature, **options)
            else:
                loss = soft_target_loss(scores, targets, hard, temperature=temperature, **options)
        except ValueError as error:  # the teacher's answer, or a label, is not what it should be
            raise UserError(f"distillation: {error}") from None
        return loss, frame_counts(scores, labels)

    def describe(self) -> dict[str, Any]:
        """Its name, weights and teacher."""
        return {
            "name": "distillation",
            "variant": self.variant,
            "temperature": self.teacher.temperature,
            "soft_weight": self.soft_weight,
            "hard_weight": self.hard_weight,
            "teacher": self.teacher.describe(),
        }


def check_targets(variant: str, mode: str, where: str) -> None:
    """Raises `UserError` for ``logits`` with targets of another mode than ``dense``: they hold no logit for every class."""
    if variant == "logits" and mode != "dense":
        raise UserError(
            f"the loss logits matches the logits of all classes, and the targets of {where} are {mode}: drawn or tail classes"
            " have none of their own. Next: write the store again with `asr-distill soft-targets --mode dense`, or ask the"
            " model itself with --teacher DIR"
        )


class StoredTeacher:
    """Soft targets read from a store, by the cut and the frame that each example comes from.

    targets: an open store. frames: the frame store that the batches come from; every one of its cuts must have targets.
    Raises `UserError` where a cut has none or has another number of frames, the targets were made of other features or
    with another normalisation (a store that does not say is taken as it is), or it cannot be read at the temperature.
    """

    def __init__(
        self,
        targets: SoftTargetStore,
        frames: FrameStore,
        temperature: float,
        device: str | torch.device = "cpu",
    ) -> None:
        self.store, self.temperature, self.device = targets, temperature, torch.device(device)
        lengths = [cut.end - cut.start for cut in frames]
        self._rows = torch.as_tensor(targets.rows(frames.cut_ids, lengths))
        _check_same_frames(targets, frames)
        self._sparse = targets.mode != "dense"
        self({"frame_indices": torch.zeros(1, dtype=torch.int64)})  # an undeclared temperature is refused here, not in training

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor | SparseTargets:
        """The targets of the batch's ``frame_indices``, on the device."""
        rows = self._rows[batch["frame_indices"].cpu()]
        if self._sparse:
            return self.store.sparse_targets(rows, self.temperature).to(self.device)
        return self.store.targets(rows, self.temperature).to(self.device)

    def describe(self) -> dict[str, Any]:
        """The store's hash (which covers the teacher's) and mode."""
        return {"store": self.store.hash, "mode": self.store.mode}


def _check_same_frames(targets: SoftTargetStore, frames: FrameStore) -> None:
    made_of, given = targets.frames, frames.identity
    if made_of is None or made_of["hash"] == given["hash"]:
        return
    ours, theirs = _leaves(made_of), _leaves(given)
    differing = [name for name in {**ours, **theirs} if name != "hash" and ours.get(name) != theirs.get(name)]
    listed = "; ".join(f"{name}: {ours.get(name)} and {theirs.get(name)}" for name in differing)
    raise UserError(
        f"the soft targets {targets.path} were made of other frames than those of {frames.path}: {made_of['hash']} and"
        f" {given['hash']} ({listed}). Next: train on the store that the teacher saw, or `asr-distill soft-targets --frames"
        f" {frames.path}`"
    )


def _leaves(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested keys as ``a.b``."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _leaves(item, f"{above}{key}.") if isinstance(item, Mapping) else {f"{above}{key}": item}
    return found

"""A teacher that is asked while the student trains: it sees exactly the input that the student sees, masks and all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from asr_distill.base import UserError
from asr_distill.data import FrameStore
from asr_distill.features import ContextWindow
from asr_distill.student.accuracy import check_store
from asr_distill.student.ensemble import Ensemble
from asr_distill.student.student import Student


class ModelTeacher:
    """A bundle or an ensemble as the `Teacher` of `asr_distill.training.distillation.Distillation`.

    soften: ``ensemble`` combines the members at T = 1 and softens the result; ``members`` softens each and then combines.

    The model answers in the precision that it was loaded with. `asr-distill distill --teacher` loads it with the student's
    ``autocast``, by default bf16 where the processor has it, while `asr-distill soft-targets` writes in float32 by default.
    Against such a dense store, one 4x512 network of 300 senones on 3,240 frames of AN4's dev set at T = 1, unperturbed:
    in float32 the total variation of a frame is at most 0.0003 (the store's 16 bits), in bf16 at most 0.026, on average
    0.002, with a mean divergence KL(store || on the fly) of 3.4e-5 nats. ``--set autocast=off`` has float32 for both networks.
    """

    def __init__(self, model: Student | Ensemble, temperature: float, soften: str = "ensemble") -> None:
        self.model = model if isinstance(model, Ensemble) else Ensemble([model])
        self.temperature, self.soften = temperature, soften

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log-probabilities ``(N, C)`` float32 at the temperature for the batch's ``inputs``, on their device."""
        return self.model.soft_log_posteriors(batch["inputs"], self.temperature, soften=self.soften)

    def describe(self) -> dict[str, Any]:
        """The hash over the members, and how they are combined and softened."""
        return {"model": self.model.hash, "mode": self.model.mode, "soften": self.soften}


def check_frames(teacher: Student, frames: FrameStore, window: ContextWindow | None = None) -> None:
    """Raises `UserError` unless the store holds what the teacher was trained on: senones, features, normalisation.

    A store without labels has no senones to compare; folds must have an entry for each of its cuts. window: of the student
    whose inputs the teacher is to see; windows of one width that reach to other frames would be answered, and wrongly, and
    folds cannot be.
    """
    check_store(teacher, frames, labelled=False, who="the teacher")
    if isinstance(teacher, Ensemble):
        if window is not None:
            teacher.check_on_the_fly()
        teacher.check_folds_of(((cut.id, cut.speaker) for cut in frames), str(frames.path))
    if window is not None and (window.left, window.right) != (teacher.window.left, teacher.window.right):
        raise UserError(
            f"the student sees {window.left} frames before and {window.right} after each, the teacher {teacher.window.left} and"
            f" {teacher.window.right}: on the fly both see one input. Next: --set window.left={teacher.window.left} --set"
            f" window.right={teacher.window.right}, or a store (`asr-distill soft-targets`), which knows no windows"
        )

"""A teacher asked while the student trains: it sees exactly the input that the student sees, masks and all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from asr_distill.student.ensemble import Ensemble
from asr_distill.student.student import Student


class ModelTeacher:
    """A bundle or an ensemble as the `Teacher` of `asr_distill.training.distillation.Distillation`.

    soften: ``ensemble`` combines the members at T = 1 and softens the result; ``members`` softens each and then combines.
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

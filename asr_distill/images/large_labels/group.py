"""The generalist and its specialists on a batch of images: each specialist runs on the images that call it, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_distill.base import hash_of_file, hash_of_object
from asr_distill.distillation import soften
from asr_distill.images.cost import multiply_accumulates
from asr_distill.models import count_parameters, load_network
from asr_distill.models.checkpoint import WEIGHTS_FILE
from asr_distill.specialists import Member, combine, member_log_probs


class SpecialistGroup:
    """``log_probs(inputs)`` gives what `asr_distill.specialists.combine` takes."""

    def __init__(
        self, generalist: nn.Module, members: Sequence[Member], top_n: int, device: str | torch.device = "cpu"
    ) -> None:
        self.generalist, self.members, self.top_n = generalist.eval().to(device), members, top_n
        for member in members:
            member.network.eval().to(device)

    @classmethod
    def load(cls, generalist: Path, folders: Sequence[Path], top_n: int, device: str | torch.device = "cpu") -> SpecialistGroup:
        """From model directories; a specialist's ``config.json`` holds its classes and correction."""
        return cls(load_network(generalist)[0], [Member.load(folder) for folder in folders], top_n, device)

    @torch.no_grad()
    def log_probs(self, inputs: torch.Tensor) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """``(N, D)`` to the generalist's ``(N, C)`` and, of each specialist, its classes and ``(N, m + 1)``, on the CPU.

        Rows in which a specialist is not active hold a uniform distribution, which nobody reads.
        """
        generalist = self.generalist(inputs).float().log_softmax(dim=1).cpu()
        return generalist, member_log_probs(self.members, inputs, generalist, self.top_n)

    @property
    def parameters(self) -> int:
        """Of all networks."""
        return count_parameters(self.generalist) + sum(count_parameters(member.network) for member in self.members)

    def multiply_accumulates(self, input_dim: int, calls: float) -> float:
        """For an image of ``input_dim`` pixels that calls so many specialists on average."""
        one = multiply_accumulates(self.members[0].network, input_dim)
        return multiply_accumulates(self.generalist, input_dim) + calls * one


class CombinedTeacher:
    """`asr_distill.training.distillation.Teacher`: what generalist and specialists say about the very images of a batch.

    temperature: the combined distribution is softened to it. folders: of generalist and specialists, for the hash.
    """

    def __init__(self, group: SpecialistGroup, temperature: float, folders: Sequence[Path]) -> None:
        self.group, self.temperature = group, temperature
        self._hash = hash_of_object([hash_of_file(folder / WEIGHTS_FILE) for folder in folders])

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log-probabilities ``(N, C)`` float32, softened, on the batch's device."""
        combined = combine(*self.group.log_probs(batch["inputs"]), self.group.top_n, tolerance=1e-6)
        return soften(combined, self.temperature).to(batch["inputs"].device)

    def describe(self) -> dict[str, Any]:
        """The hash over all networks, and how they are combined."""
        return {"hash": self._hash, "mode": "specialists", "top_n": self.group.top_n}

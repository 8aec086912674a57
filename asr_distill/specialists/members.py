"""Trained specialists as members of a group: each runs on the rows that call it, and on no others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from asr_distill.base import UserError
from asr_distill.models import load_network
from asr_distill.specialists.combining import active_specialists
from asr_distill.specialists.objectives import corrected_log_probs


@dataclass(frozen=True)
class Member:
    """A specialist: its classes (m,), its network with m + 1 outputs or all C, and what is added to the dustbin's logit."""

    class_ids: torch.Tensor
    network: nn.Module
    dustbin_correction: float
    full_softmax: bool = False

    @classmethod
    def load(cls, folder: str | Path) -> Member:
        """From the model directory of `train_specialist`. Raises `UserError` where it is none or not whole."""
        network, config = load_network(folder)
        try:
            own = config["specialist"]
            return cls(torch.tensor(own["class_ids"]), network, float(own["dustbin_correction"]), bool(own["full_softmax"]))
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{folder} holds a network, but config.json says nothing of a specialist's classes") from None

    def to(self, device: str | torch.device) -> Member:
        """The same with its network there, in evaluation mode."""
        self.network.eval().to(device)
        return self


@torch.no_grad()
def member_log_probs(
    members: Sequence[Member], inputs: torch.Tensor, generalist_log_probs: torch.Tensor, top_n: int = 1
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of each specialist its classes and its log-probabilities ``(N, m + 1)`` on the CPU: what `combine` takes.

    inputs: (N, D), on the device of the members' networks. generalist_log_probs: (N, C) on the CPU, which decide who is asked.
    Rows in which a specialist is not active hold a uniform distribution, which nobody reads.
    """
    active = active_specialists(generalist_log_probs, [member.class_ids for member in members], top_n)
    found = []
    for number, member in enumerate(members):
        outputs = len(member.class_ids) + 1
        table = torch.full((len(inputs), outputs), -math.log(outputs))
        rows = active[:, number].nonzero().flatten()
        if len(rows):
            logits = member.network(inputs[rows.to(inputs.device)]).cpu()
            table[rows] = corrected_log_probs(logits, member.class_ids, member.dustbin_correction, member.full_softmax)
        found.append((member.class_ids, table))
    return found

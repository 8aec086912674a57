"""Section 6.1: soft targets against the specialists' overfitting.

A specialist with hard targets is trained like any network: `HardLabels` over `SpecialistExamples`, the dustbin being a class.
Here examples of its own classes keep their hard labels, and all others are trained towards what the generalist says about
them, so that what the generalist knows of the other classes is not unlearnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from asr_distill.base import UserError
from asr_distill.distillation import soft_target_loss, soften
from asr_distill.distillation.combine import check_temperature
from asr_distill.training.objectives import frame_counts


class GeneralistTargets(Protocol):
    """What the generalist says about a batch."""

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log-probabilities ``(N, C)`` at T = 1."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that decide the targets."""
        ...


class NetworkTargets:
    """`GeneralistTargets` by running the network on the very inputs of the batch, perturbed as they are.

    network: ``(N, D)`` to logits ``(N, C)``; put into evaluation mode. identity: tells it from others, such as the hash of its
    weights.
    """

    def __init__(self, network: nn.Module, identity: str) -> None:
        self.network, self.identity = network.eval(), identity

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """See `GeneralistTargets`."""
        return self.network(batch["inputs"]).float().log_softmax(dim=1)

    def describe(self) -> dict[str, Any]:
        """The identity."""
        return {"network": self.identity}


def sum_into_dustbin(log_probs: torch.Tensor, class_ids: torch.Tensor) -> torch.Tensor:
    """``(N, C)`` log-probabilities to ``(N, m + 1)``: those of the class ids, and the log of all others' sum, last."""
    others = torch.ones(log_probs.shape[1], dtype=torch.bool, device=log_probs.device)
    others[class_ids.to(log_probs.device)] = False
    dustbin = log_probs[:, others].logsumexp(dim=1, keepdim=True)
    return torch.cat([log_probs[:, class_ids.to(log_probs.device)], dustbin], dim=1)


def corrected_log_probs(
    logits: torch.Tensor, class_ids: torch.Tensor, correction: float, full_softmax: bool = False
) -> torch.Tensor:
    """What `combine` takes, ``(N, m + 1)`` with the dustbin last, from a specialist's logits and `dustbin_correction`.

    logits: (N, m + 1) with the dustbin last; or (N, C) with ``full_softmax``: its other classes are summed into the dustbin.
    The correction is added to the dustbin, then all are normalised.
    """
    log_probs = logits.float().log_softmax(dim=1)
    if full_softmax:
        log_probs = sum_into_dustbin(log_probs, class_ids)
    return torch.cat([log_probs[:, :-1], log_probs[:, -1:] + correction], dim=1).log_softmax(dim=1)


class SpecialistDistillation:
    """Hard labels for the special classes, the generalist's soft targets for all other examples; an `Objective`.

        L = CE(y, softmax(z)) + own_soft_weight T^2 CE(g, softmax(z / T))   for an example of a special class,
        L = soft_weight T^2 CE(g, softmax(z / T))                           for any other,

    g being the generalist's distribution at the temperature T. A network with all C outputs keeps the full softmax, as the
    paper has it; for one of m + 1 outputs the generalist's other classes are summed into the dustbin before T softens them.

    generalist: gives the targets. class_ids: the specialist's. full_softmax: the network has C outputs, and labels are classes;
    the same as of `SpecialistExamples`. soft_weight: above 0. own_soft_weight: 0 or more.
    Raises `UserError` on other weights, or a temperature that `asr_distill.distillation.combine.check_temperature` refuses.
    """

    def __init__(
        self,
        generalist: GeneralistTargets,
        class_ids: torch.Tensor,
        *,
        full_softmax: bool = False,
        temperature: float = 2.0,
        soft_weight: float = 1.0,
        own_soft_weight: float = 0.0,
    ) -> None:
        if not (soft_weight > 0 and own_soft_weight >= 0):
            raise UserError(f"soft_weight {soft_weight}, own_soft_weight {own_soft_weight}: expected above 0, and 0 or more")
        try:
            check_temperature(temperature)
        except ValueError as error:
            raise UserError(f"specialists' soft targets: {error}") from None
        self.generalist, self.class_ids, self.temperature = generalist, class_ids, temperature
        self.full_softmax, self.soft_weight, self.own_soft_weight = full_softmax, soft_weight, own_soft_weight

    def __call__(self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """``(N, C)`` or ``(N, m + 1)`` logits to the mean loss in nats, and the counts of labelled and correct examples."""
        labels, scores = batch["labels"], logits.float()
        targets = self.generalist(batch)
        if self.full_softmax:
            special = torch.isin(labels, self.class_ids.to(labels.device))
        else:
            special = (labels >= 0) & (labels < len(self.class_ids))
            targets = sum_into_dustbin(targets, self.class_ids)
        hard = torch.where(special, labels, torch.full_like(labels, -100))
        losses = soft_target_loss(
            scores,
            soften(targets, self.temperature),
            temperature=self.temperature,
            soft_weight=1.0,
            hard_weight=0.0,
            reduction="none",
        )
        weights = torch.where(special, self.own_soft_weight, self.soft_weight).to(losses.dtype)
        entropies = nn.functional.cross_entropy(scores, hard, ignore_index=-100, reduction="sum")
        return ((weights * losses).sum() + entropies) / len(labels), frame_counts(scores, labels)

    def describe(self) -> dict[str, Any]:
        """Its name, weights, temperature and the generalist."""
        return {
            "name": "specialist_distillation",
            "full_softmax": self.full_softmax,
            "temperature": self.temperature,
            "soft_weight": self.soft_weight,
            "own_soft_weight": self.own_soft_weight,
            "generalist": self.generalist.describe(),
        }

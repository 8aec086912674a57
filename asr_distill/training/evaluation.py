"""Loss and frame accuracy of a network on examples that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from asr_distill.training.examples import Examples
from asr_distill.training.objectives import check_labels
from asr_distill.training.precision import precision


@torch.no_grad()
def evaluate(
    network: Callable[[torch.Tensor], torch.Tensor],
    examples: Examples,
    *,
    bf16: bool = False,
    device: torch.device | None = None,
    batch_size: int = 2048,
) -> dict[str, float]:
    """Cross-entropy with the labels (nats per frame) and frame accuracy (per cent), over the labelled frames.

    A module is put into evaluation mode and left so. Returns ``loss``, ``accuracy`` and ``frames`` (labelled ones); with no
    labelled frame the first two are NaN.
    """
    if isinstance(network, nn.Module):
        network.eval()
    device = device or torch.device("cpu")
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    for start in range(0, examples.num_examples, batch_size):
        batch = examples.batch(torch.arange(start, min(start + batch_size, examples.num_examples)))
        with precision(bf16, device):
            logits = network(batch["inputs"])
        logits, labels = logits.float(), batch["labels"]
        check_labels(labels, logits.shape[1])
        labelled = labels >= 0
        loss = functional.cross_entropy(logits, torch.where(labelled, labels, -100), ignore_index=-100, reduction="sum")
        sums += torch.stack([loss.double(), (logits.max(dim=1).indices == labels).sum().double(), labelled.sum().double()])
    loss_sum, correct, frames = sums.tolist()
    nan = float("nan")
    return {
        "loss": loss_sum / frames if frames else nan,
        "accuracy": 100 * correct / frames if frames else nan,
        "frames": frames,
    }

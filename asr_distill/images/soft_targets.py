"""A teacher's soft targets over a whole image set, in the store that the speech half uses: one cut, an image a frame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_distill.base import UserError, hash_of_file
from asr_distill.distillation.soft_target_store import SoftTargetStore
from asr_distill.images.image_set import ImageSet
from asr_distill.models import load_network

_CUT = "images"


@torch.no_grad()
def image_logits(network: nn.Module, image_set: ImageSet, batch_size: int = 2000) -> torch.Tensor:
    """``(N, C)`` float32 logits of the images as they are; the network is put into evaluation mode."""
    network.eval()
    batches = image_set.images.flatten(1).split(batch_size)
    return torch.cat([network(batch.float().div_(255)).float() for batch in batches])


def write_soft_targets(model_dir: str | Path, image_set: ImageSet, path: str | Path) -> None:
    """The model's log-probabilities of every image at T = 1, any temperature later; nothing to do where they are there."""
    weights = Path(model_dir) / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{model_dir} is no trained model; train the teacher first")
    writer = SoftTargetStore.create(
        path,
        mode="dense",
        num_classes=image_set.num_classes,
        senones_hash=None,
        teacher={"hash": hash_of_file(weights), "members": 1},
        source={"images": image_set.hash},
    )
    with writer:
        if not writer.done(_CUT):
            writer.add(_CUT, image_logits(load_network(model_dir)[0], image_set).log_softmax(dim=1))


class ImageTeacher:
    """`asr_distill.training.distillation.Teacher` over a store of `write_soft_targets`; decoded once, ``(N, C)`` float32.

    Raises `UserError` where the store's targets are those of other images.
    """

    def __init__(self, path: str | Path, image_set: ImageSet, temperature: float) -> None:
        self.store, self.temperature = SoftTargetStore.open(path), temperature
        source = self.store.meta["source"]
        if source != {"images": image_set.hash}:
            raise UserError(f"{path} holds the soft targets of other images ({source}); remove it and run again")
        self._log_probs = self.store.log_probs(_CUT, temperature)

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log-probabilities ``(N, C)`` float32, softened, of the batch's rows of the whole set."""
        return self._log_probs[batch["frame_indices"]]

    def describe(self) -> dict[str, Any]:
        """The store's hash, which covers the teacher's."""
        return {"store": self.store.hash, "mode": self.store.mode}

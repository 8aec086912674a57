"""Images as the training loop wants them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from asr_distill.base import UserError, hash_of_object
from asr_distill.data import FrameSampler
from asr_distill.images.augmentation import Augmentation
from asr_distill.images.image_set import ImageSet


class ImageExamples:
    """`asr_distill.training.Examples` over an image set; an example's input is its pixels, 0 to 1, row after row.

    augmentation: perturbs the images, only where `batch` gets a generator. rows: ``(M,)`` int64, the images that are examples;
    all where it is None. ``frame_indices`` of a batch are rows of the whole set, so that a soft-target store of the whole set
    serves any choice from it. Raises `UserError` where there is no image.
    """

    def __init__(
        self,
        image_set: ImageSet,
        device: str | torch.device = "cpu",
        *,
        augmentation: Augmentation | None = None,
        rows: torch.Tensor | None = None,
    ) -> None:
        self.image_set, self.augmentation, self.device = image_set, augmentation, torch.device(device)
        self.num_examples = len(image_set) if rows is None else len(rows)
        if self.num_examples == 0:
            raise UserError(f"{image_set.name}: no image is chosen; keep at least one class that has images")
        self.num_classes, self.input_dim = image_set.num_classes, image_set.images[0].numel()
        self._rows = rows
        self._images, self._labels = image_set.images.to(self.device), image_set.labels.to(self.device)

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """Shuffled over the whole set; see `FrameSampler`."""
        return iter(FrameSampler(self.num_examples, batch_size, seed, epoch, start_step=start_step))

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """``inputs`` (N, H * W) float32, ``labels`` and ``frame_indices`` (N,) int64, on the device."""
        rows = (indices if self._rows is None else self._rows[indices]).to(self.device)
        images = self._images[rows].float().div_(255)
        if self.augmentation is not None and generator is not None:
            images = self.augmentation(images, generator)
        return {"inputs": images.flatten(1), "labels": self._labels[rows], "frame_indices": rows}

    def describe(self) -> dict[str, Any]:
        """Counts, the augmentation, and hashes over the set and the choice of rows."""
        return {
            "frames": self.num_examples,
            "image_set_hash": self.image_set.hash,
            "chosen_hash": None if self._rows is None else hash_of_object(self._rows.tolist()),
            "augmentation": None if self.augmentation is None else self.augmentation.describe(),
        }

"""Where the loop's batches come from: frames of a store with their windows gathered on the device, or a source of one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from asr_distill.base import UserError, hash_of_object
from asr_distill.features import ContextWindow, SpecAugment, SpecAugmentConfig

if TYPE_CHECKING:
    from asr_distill.data import FrameStore


class Examples(Protocol):
    """A set of examples that the loop can order and fetch."""

    num_examples: int
    num_classes: int
    input_dim: int

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """The batches of one epoch as ``(N,)`` int64 indices, from batch ``start_step`` on: the same for the same seed."""
        ...

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """``inputs`` (N, input_dim) float, ``labels`` (N,) int64 (-1 where none) and ``frame_indices`` (N,) int64, on the device.

        With a generator the inputs may be perturbed by what is drawn from it; without one they are as they are.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that tell these examples from others."""
        ...


class FrameExamples:
    """Every frame of a frame store is an example; its input is the window around it, its label the aligned senone.

    store: an open `FrameStore`; num_senones: of the inventory, for the store's labels to be checked against.
    spec_augment: masks for training; they are drawn only where `batch` gets a generator.
    Raises `UserError` where a label is outside the inventory or the store is empty.
    """

    def __init__(
        self,
        store: FrameStore,
        num_senones: int,
        window: ContextWindow | None = None,
        device: str | torch.device = "cpu",
        spec_augment: SpecAugmentConfig | None = None,
    ) -> None:
        from asr_distill.data import WindowGatherer

        self.store, self.window, self.device = store, window or ContextWindow(), torch.device(device)
        num_bins = store.features.shape[1]
        self.num_examples = len(store.labels)
        self.num_classes = num_senones
        self.input_dim = self.window.width * num_bins
        if self.num_examples == 0:
            raise UserError("the frame store holds no frames; write it again from cuts that have features")
        self._labels = torch.tensor(store.labels, dtype=torch.int64)
        largest = int(self._labels.max())
        if largest >= num_senones:
            raise UserError(
                f"the frame store has the label {largest}, but the senone inventory ends at {num_senones - 1};"
                " label the cuts with the inventory in use and write the store again"
            )
        self._digest = hash_of_object([self.num_examples, hashlib.sha256(np.ascontiguousarray(store.labels, dtype=np.int32).tobytes()).hexdigest(), len(store.cut_ids)])
        self._labels = self._labels.to(self.device)
        self._gatherer = WindowGatherer(store, left=self.window.left, right=self.window.right, device=self.device)
        self._augment = SpecAugment(spec_augment, num_bins) if spec_augment else None

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """Frames of the whole corpus, shuffled; see `FrameSampler`."""
        from asr_distill.data import FrameSampler

        sampler = FrameSampler(self.num_examples, batch_size, seed=seed, epoch=epoch)
        return sampler.batches(start_step)

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Windows ``(N, input_dim)`` float32, labels and indices of the given frames, on the device."""
        indices = indices.to(self.device)
        inputs = self._gatherer.gather(indices)
        if self._augment is not None and generator is not None:
            inputs = self._augment(inputs, generator)
        return {"inputs": inputs, "labels": self._labels[indices], "frame_indices": indices}

    def describe(self) -> dict[str, Any]:
        """Counts, the window, and a hash over labels and size."""
        return {
            "frames": self.num_examples,
            "cuts": len(self.store.cut_ids),
            "window": [self.window.left, self.window.right],
            "labels_hash": self._digest,
            "senones_hash": self.store.meta.get("senones_hash"),
        }

"""Where the loop's batches come from: frames of a store with their windows gathered on the device, or a source of one's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch

from asr_distill.base import UserError, hash_of_object
from asr_distill.data import FrameSampler, FrameStore, WindowGatherer
from asr_distill.features import ContextWindow, SpecAugment, SpecAugmentConfig


class Examples(Protocol):
    """A set of examples that the loop can order and fetch.

    With a method ``cuts_of(indices)``, as `FrameExamples` has, the report of a run that diverged has ids instead of numbers.
    """

    num_examples: int
    num_classes: int
    input_dim: int

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """The batches of one epoch, ``(N,)`` int64 example numbers, from ``start_step`` on: the same for the same seed."""
        ...

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """``inputs`` (N, input_dim) float, ``labels`` and ``frame_indices`` (N,) int64, on the device.

        A negative label is that of an example without one.

        With a generator the inputs may be perturbed by what is drawn from it; without one they are as they are.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that tell these examples from others."""
        ...


class FrameExamples:
    """Frames of a frame store; an example's input is the window around its frame, its label the aligned senone.

    store: an open `FrameStore`. num_senones: of the inventory, for the store's labels to be checked against.
    spec_augment: masks on the windows, drawn only where `batch` gets a generator.
    frames: ``(M,)`` indices of the frames that are examples; all of the store where it is None.
    Raises `UserError` where a label is outside the inventory, or there is no frame.
    """

    def __init__(
        self,
        store: FrameStore,
        num_senones: int,
        window: ContextWindow | None = None,
        device: str | torch.device = "cpu",
        *,
        spec_augment: SpecAugmentConfig | None = None,
        frames: np.ndarray | None = None,
    ) -> None:
        self.store, self.window = store, window or ContextWindow()
        self.num_classes, self.input_dim = num_senones, self.window.width * store.dim
        self.num_examples = store.num_frames if frames is None else len(frames)
        if self.num_examples == 0:
            raise UserError(f"{store.path} has no frame to train on; label its cuts and run `asr-distill frames` again")
        largest = int(store.labels.max())
        if largest >= num_senones:
            raise UserError(
                f"{store.path} has the label {largest}, but the senone inventory ends at {num_senones - 1};"
                " label the cuts with the inventory in use and write the store again with `asr-distill frames`"
            )
        self._frames = None if frames is None else torch.from_numpy(np.asarray(frames, dtype=np.int64))
        self._gatherer = WindowGatherer(store, self.window.left, self.window.right, device)
        self._augment = SpecAugment(spec_augment, store.dim) if spec_augment else None

    @property
    def num_labelled(self) -> int:
        """How many of the examples have a label."""
        labels = self.store.labels if self._frames is None else self.store.labels[self._frames.numpy()]
        return int((labels >= 0).sum())

    def with_frames(self, frames: np.ndarray) -> FrameExamples:
        """Other frames ``(M,)`` of the same store; what lies in memory is shared."""
        other = copy.copy(self)
        other._frames, other.num_examples = torch.from_numpy(np.asarray(frames, dtype=np.int64)), len(frames)
        return other

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """Shuffled over the whole corpus; see `FrameSampler`."""
        return iter(FrameSampler(self.num_examples, batch_size, seed, epoch, start_step=start_step))

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Windows ``(N, input_dim)`` float32, labels (-100 where none) and indices into the store, on the device."""
        batch = self._gatherer.batch(indices if self._frames is None else self._frames[indices])
        if self._augment is not None and generator is not None:
            batch["inputs"] = self._augment(batch["inputs"], generator)
        return batch

    def cuts_of(self, indices: torch.Tensor) -> list[str]:
        """The ids of the cuts that examples ``(N,)`` come from, each once, in the store's order."""
        frames = indices.cpu() if self._frames is None else self._frames[indices.cpu()]
        numbers = np.unique(np.searchsorted(self.store.offsets, frames.numpy(), side="right") - 1)
        return [self.store.cut_ids[number] for number in numbers]

    def describe(self) -> dict[str, Any]:
        """Counts, the window, and hashes over the store, its senones and the choice of frames."""
        return {
            "frames": self.num_examples,
            "cuts": self.store.num_cuts,
            "window": [self.window.left, self.window.right],
            "store_hash": self.store.hash,
            "senones_hash": self.store.senones_hash,
            "chosen_hash": None if self._frames is None else hash_of_object(self._frames.tolist()),
        }

"""Whole utterances as examples of the loop, which counts frames: a step is some utterances, batch_size about its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError, hash_of_object
from asr_distill.training.examples import FrameExamples


class UtteranceExamples:
    """Frames of chosen cuts of a frame store, in batches that are made of whole cuts.

    Examples are frames, numbered cut after cut in the order of the store, so that the loop's frames, rates and checkpoints
    mean what they always mean. source: examples of the store, whose windows and masks are used; which frames it chose does not
    matter. cuts: numbers of the store's cuts that are examples; all where it is None. Raises `UserError` where there is none.
    """

    def __init__(self, source: FrameExamples, cuts: Sequence[int] | None = None) -> None:
        self.store = store = source.store
        self.cuts = np.arange(store.num_cuts) if cuts is None else np.unique(np.asarray(cuts, dtype=np.int64))
        if not len(self.cuts):
            raise UserError(f"{store.path} has no utterance to train on")
        self.lengths = np.diff(store.offsets)[self.cuts]
        self._starts = np.concatenate(([0], np.cumsum(self.lengths)))
        frames = np.repeat(store.offsets[self.cuts] - self._starts[:-1], self.lengths) + np.arange(self._starts[-1])
        self._frames = source.with_frames(frames)
        self.num_examples = self._frames.num_examples
        self.num_classes, self.input_dim = source.num_classes, source.input_dim

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """The frames of some whole utterances at a time, utterances shuffled, ``ceil(num_examples / batch_size)`` batches.

        A batch has the utterances that begin within its ``batch_size`` frames, so it holds up to one utterance more. Raises
        `UserError` where an utterance is longer than ``batch_size``.
        """
        longest = int(self.lengths.max())
        if longest > batch_size:
            name = self.store.cut_ids[int(self.cuts[self.lengths.argmax()])]
            raise UserError(
                f"batch_size is {batch_size} frames, the utterance {name!r} has {longest}; sequence training takes whole"
                f" utterances: set batch_size={max(4 * longest, 2000)}, or leave out long ones (--max-frames)"
            )
        generator = np.random.default_rng([abs(seed), int(seed < 0), epoch])
        order = generator.permutation(len(self.cuts))
        for members in self._batches(order, batch_size)[start_step:]:
            yield torch.from_numpy(np.concatenate([np.arange(self._starts[i], self._starts[i + 1]) for i in members]))

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """What `FrameExamples` gives, and ``cuts`` (N,) int64 on the CPU: the number in the store of each frame's cut."""
        batch = self._frames.batch(indices, generator)
        places = np.searchsorted(self._starts, indices.cpu().numpy(), side="right") - 1
        return {**batch, "cuts": torch.from_numpy(self.cuts[places])}

    def cuts_of(self, indices: torch.Tensor) -> list[str]:
        """The ids of the cuts that examples ``(N,)`` come from."""
        return self._frames.cuts_of(indices)

    def describe(self) -> dict[str, Any]:
        """As `FrameExamples`, and which cuts."""
        chosen = None if len(self.cuts) == self.store.num_cuts else hash_of_object(self.cuts.tolist())
        return {**self._frames.describe(), "utterances": len(self.cuts), "chosen_hash": chosen}

    def _batches(self, order: np.ndarray, batch_size: int) -> list[np.ndarray]:
        """Exactly as many batches as the loop counts steps; no utterance is longer than a batch, so none stays empty."""
        starts = np.concatenate(([0], np.cumsum(self.lengths[order])))[:-1]
        count = -(-self.num_examples // batch_size)
        # The last utterance may begin before the last batch does: then one utterance each is kept for the last batches.
        batch = np.maximum(starts // batch_size, count - len(order) + np.arange(len(order)))
        return np.split(order, np.flatnonzero(np.diff(batch)) + 1)

"""A global shuffle of frames whose memory does not grow with the corpus, and which can begin at any step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from asr_distill.base import UserError

_ROUNDS = 8
_CHUNK = 1 << 16  # positions that are permuted at once


class PseudoRandomPermutation:
    """A permutation of 0..size-1 that is computed, not stored: a Feistel network with cycle walking (Black and Rogaway 2002).

    The network permutes a power of two at or above ``size``; a value at or above ``size`` is sent through again, until it
    falls below. So any place of the permutation is known at once, in memory that does not depend on ``size``.
    """

    def __init__(self, size: int, seed: int, epoch: int = 0) -> None:
        if size < 1:
            raise UserError(f"nothing to shuffle: {size} frames")
        self.size = size
        bits = max(2, (size - 1).bit_length())
        self._low = bits // 2
        self._high = bits - self._low
        keys = np.random.SeedSequence([abs(int(seed)), int(seed < 0), int(epoch)]).generate_state(_ROUNDS, np.uint64)
        self._keys = [np.uint64(key) for key in keys]

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """The values ``(K,)`` int64 at the positions ``(K,)`` (0..size-1)."""
        values = self._encrypt(positions.astype(np.uint64))
        outside = np.flatnonzero(values >= self.size)
        while len(outside):
            values[outside] = self._encrypt(values[outside])
            outside = outside[values[outside] >= self.size]
        return values.astype(np.int64)

    def _encrypt(self, values: np.ndarray) -> np.ndarray:
        # An unbalanced network: the halves swap places and, with them, widths from round to round.
        left_bits, right_bits = np.uint64(self._high), np.uint64(self._low)
        left, right = values >> right_bits, values & ((np.uint64(1) << right_bits) - np.uint64(1))
        for key in self._keys:
            mask = (np.uint64(1) << left_bits) - np.uint64(1)
            left, right = right, left ^ (_mix(right ^ key) & mask)
            left_bits, right_bits = right_bits, left_bits
        return (left << right_bits) | right


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every input bit reaches every output bit. Overflow wraps, as it should."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class FrameSampler:
    """Batches of frame indices for one epoch: every frame once, shuffled over the whole corpus.

    num_frames: frames of the store; or ``frames``, the indices ``(M,)`` to choose from (such as the labelled ones).
    seed, epoch: the same two give the same batches on any machine. start_step: the batches to skip, for resuming.
    drop_last: leave out a last batch that is not full. Iterating gives ``(B,)`` int64 tensors; ``len`` counts the steps of the
    whole epoch, those skipped included.
    """

    def __init__(
        self,
        num_frames: int,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        *,
        start_step: int = 0,
        drop_last: bool = False,
        frames: np.ndarray | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size {batch_size}: expected 1 or more")
        self.size = num_frames if frames is None else len(frames)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.start_step = start_step
        self._frames = frames
        self._permutation = PseudoRandomPermutation(self.size, seed, epoch)

    def __len__(self) -> int:
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return self.batches(self.start_step)

    def batches(self, start_step: int = 0) -> Iterator[torch.Tensor]:
        """The batches from step ``start_step`` on. Raises `UserError` for a step that the epoch does not have."""
        if not 0 <= start_step <= len(self):
            raise UserError(f"cannot start at step {start_step} of {len(self)}: was the data or the batch size changed?")
        return self._batches(start_step)

    def _batches(self, start_step: int) -> Iterator[torch.Tensor]:
        steps = max(1, _CHUNK // self.batch_size)
        end = min(self.size, len(self) * self.batch_size)
        for first in range(start_step * self.batch_size, end, steps * self.batch_size):
            values = self._permutation(np.arange(first, min(first + steps * self.batch_size, end)))
            if self._frames is not None:
                values = self._frames[values]
            yield from torch.from_numpy(values.astype(np.int64, copy=False)).split(self.batch_size)

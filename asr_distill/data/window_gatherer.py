"""Gathers 26-frame windows of any frames of a store, on the device; windows are never stored."""

from __future__ import annotations

import numpy as np
import torch

from asr_distill.base import UserError
from asr_distill.data.frame_store import IGNORE_INDEX, FrameStore

_RESIDENT_BYTES = 4 << 30  # features up to this size are kept in memory


class WindowGatherer:
    """``gather(frames (B,))`` gives ``(B, (left + 1 + right) * D)`` float32 on the device, edges repeated within each cut.

    Resident (the default up to 4 GiB): the features lie on the device with each cut's first frame repeated ``left`` times
    before it and its last ``right`` times after it, so that every window is one contiguous run of memory and a batch is one
    ``index_select`` over overlapping rows. Otherwise windows are read from the mapped file, and only the batch is in memory.

    resident: True, False, or None to decide by ``resident_bytes``.
    Raises `UserError` for negative sizes, and naming the cut and frame of features that are not finite.
    """

    def __init__(
        self,
        store: FrameStore,
        left: int = 20,
        right: int = 5,
        device: str | torch.device = "cpu",
        *,
        resident: bool | None = None,
        resident_bytes: int = _RESIDENT_BYTES,
    ) -> None:
        if left < 0 or right < 0:
            raise UserError(f"a window of {left} left and {right} right frames: neither may be negative")
        store.check_finite()
        self.store = store
        self.left, self.right = left, right
        self.device = torch.device(device)
        self.num_frames = store.num_frames
        self.input_dim = (left + 1 + right) * store.dim
        self._offsets = torch.from_numpy(store.offsets).to(self.device)
        size = (store.num_frames + store.num_cuts * (left + right)) * store.dim * store.features.dtype.itemsize
        self.resident = size <= resident_bytes if resident is None else resident
        if self.resident:
            padded = torch.from_numpy(self._padded()).to(self.device)
            self._windows = padded.as_strided((len(padded) - left - right, self.input_dim), (store.dim, 1))
            self._labels = torch.from_numpy(_batch_labels(store.labels)).to(self.device)

    def gather(self, frames: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Windows ``(B, width * D)`` float32 of the frames ``(B,)`` int64, oldest frame first, on the device.

        out: a tensor to fill instead of a new one (resident float32 stores; saves the allocation).
        """
        if not self.resident:
            return self._gather_mapped(frames)
        frames = frames.to(self.device)
        rows = frames + (self._cut_of(frames) * (self.left + self.right))
        if out is not None and out.dtype == self._windows.dtype:
            return torch.index_select(self._windows, 0, rows, out=out)
        return self._windows.index_select(0, rows).float()

    def labels(self, frames: torch.Tensor) -> torch.Tensor:
        """Labels ``(B,)`` int64 of the frames on the device; -100 where there is none."""
        if self.resident:
            return self._labels.index_select(0, frames.to(self.device)).long()
        picked = self.store.labels[frames.cpu().numpy()]
        return torch.from_numpy(_batch_labels(picked)).to(self.device).long()

    def batch(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        """``{"inputs": (B, width * D), "labels": (B,), "frame_indices": (B,)}``, all on the device."""
        return {"inputs": self.gather(frames), "labels": self.labels(frames), "frame_indices": frames.to(self.device)}

    def utterance(self, which: int | str) -> torch.Tensor:
        """Windows ``(T, width * D)`` of one cut, by number or id; a view without a copy where the store is resident."""
        index = self.store.index_of(which)
        start, end = int(self.store.offsets[index]), int(self.store.offsets[index + 1])
        if self.resident:
            shift = index * (self.left + self.right)
            return self._windows[start + shift : end + shift].float()
        return self._gather_mapped(torch.arange(start, end))

    def _cut_of(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.searchsorted(self._offsets, frames, right=True) - 1

    def _gather_mapped(self, frames: torch.Tensor) -> torch.Tensor:
        indices = frames.cpu().numpy()
        cuts = np.searchsorted(self.store.offsets, indices, side="right") - 1
        first, last = self.store.offsets[cuts][:, None], self.store.offsets[cuts + 1][:, None] - 1
        rows = np.clip(indices[:, None] + np.arange(-self.left, self.right + 1), first, last)
        windows = np.ascontiguousarray(self.store.features[rows]).reshape(len(indices), self.input_dim)
        return torch.from_numpy(windows).to(self.device).float()

    def _padded(self) -> np.ndarray:
        """``(F + N * (left + right), D)``: the features with every cut's edges repeated."""
        lengths = np.diff(self.store.offsets)
        repeats = np.ones(self.num_frames, dtype=np.int64)
        np.add.at(repeats, self.store.offsets[:-1], self.left)
        np.add.at(repeats, self.store.offsets[1:] - 1, self.right)
        padded = np.empty((int(repeats.sum()), self.store.dim), dtype=self.store.features.dtype)
        if int(lengths.min()) < 1:
            raise UserError(f"{self.store.path} has a cut without frames; write it again")
        np.take(self.store.features, np.repeat(np.arange(self.num_frames), repeats), axis=0, out=padded)
        return padded


def _batch_labels(labels: np.ndarray) -> np.ndarray:
    return np.where(labels < 0, IGNORE_INDEX, labels).astype(np.int32)

"""The soft-target store: what the teacher said about every frame, written once, read many times.

A folder; ``soft_target_shards.py`` names its files, ``soft_target_modes.py`` says what a frame's record holds.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError, hash_of_file, hash_of_object, read_array
from asr_distill.distillation.soft_target_modes import NUM_SAMPLES, TAIL_RANK, TEMPERATURES, TOP_K, Encoding
from asr_distill.distillation.soft_target_shards import (
    AGAIN,
    META,
    SETTING_TYPES,
    TAIL_BASIS,
    TAIL_SHAPE,
    Shard,
    read_meta,
)
from asr_distill.distillation.soft_target_writer import SoftTargetWriter
from asr_distill.distillation.sparse import SparseTargets

_RESIDENT_BYTES = 4 << 30  # records up to this size are kept in memory
_TAIL_FILES = {TAIL_SHAPE: "tail_shape_sha256", TAIL_BASIS: "tail_basis_sha256"}  # what meta.json calls their checksums


class SoftTargetStore:
    """A finished store, read-only: `open` it; `create` gives the writer of one.

    mode, num_classes (C), temperatures (those that can be read; empty: any), senones_hash, teacher: as written.
    cut_ids: N; offsets: ``(N + 1,)`` int64, the rows (frames of the whole store) where each cut begins and ends.
    """

    def __init__(
        self,
        path: Path,
        meta: dict[str, Any],
        device: str | torch.device = "cpu",
        resident_bytes: int = _RESIDENT_BYTES,
    ) -> None:
        self.path, self.meta, self.device = path, meta, torch.device(device)
        self.encoding = Encoding(
            *(meta["mode"], meta["num_classes"], tuple(meta["temperatures"]), meta["top_k"], meta["num_samples"]),
            tail_rank=meta.get("tail_rank", 0),
        )
        # where there are no ranks there is neither the setting nor the file, as in stores from before them
        self._settings = [*SETTING_TYPES, *(["tail_rank"] if self.encoding.tail_rank else [])]
        self._tail_files = {file: name for file, name in _TAIL_FILES.items() if meta.get(name) is not None}
        self.mode, self.num_classes, self.temperatures = self.encoding.mode, meta["num_classes"], self.encoding.temperatures
        self.senones_hash: str | None = meta["senones_hash"]
        self.teacher: dict[str, Any] = meta["teacher"]
        settings_hash = hash_of_object({name: meta[name] for name in self._settings})
        self._shards = [Shard.load(path, index, settings_hash) for index in range(len(meta["shards"]))]
        for shard, expected in zip(self._shards, meta["shards"], strict=True):
            if shard.hash != expected:
                raise UserError(f"{path}/shard-{shard.index:05d}.json is not the one that was written with the store; {AGAIN}")
        self.cut_ids = [cut_id for shard in self._shards for cut_id in shard.cut_ids]
        lengths = np.concatenate([np.diff(shard.offsets) for shard in self._shards])
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if self.num_frames != meta["num_frames"] or len(self.cut_ids) != meta["num_cuts"]:
            raise UserError(f"{path}: its shards do not add up to the {meta['num_frames']} frames of {META}; {AGAIN}")
        self._index = {cut_id: index for index, cut_id in enumerate(self.cut_ids)}
        self._starts = np.concatenate([[0], np.cumsum([shard.num_frames for shard in self._shards])])
        self._maps = [shard.records(path, self.bytes_per_frame) for shard in self._shards]
        self._checked: set[int] = set()  # shards whose bytes were compared with their checksums
        self._checking = threading.Lock()
        self._tail_shape, self._tail_basis = self._read_tail()
        self._resident = self._in_memory() if self.num_frames * self.bytes_per_frame <= resident_bytes else None

    @staticmethod
    def create(
        path: str | Path,
        *,
        mode: str,
        num_classes: int,
        senones_hash: str | None,
        teacher: dict[str, Any],
        temperatures: Sequence[float] = TEMPERATURES,
        top_k: int = TOP_K,
        tail_rank: int = TAIL_RANK,
        num_samples: int = NUM_SAMPLES,
        source: dict[str, Any] | None = None,
        frames: dict[str, Any] | None = None,
        shard_frames: int | None = None,
        seed: int = 0,
    ) -> SoftTargetWriter:
        """The writer of a store, or of the rest of one that was begun with the same settings.

        mode: ``dense``, ``topk`` or ``sampled``. senones_hash: of the inventory whose senones the classes are, None where they
        are no senones. teacher: what says whose targets these are (its hash, members, combination), any plain values.
        temperatures: that can be read from topk (1 is always among them); the one at which sampled draws.
        tail_rank: of the description of each frame's tail, one byte a rank, no more than a tail has classes; at 0 all frames
        have the store's mean tail. The directions are found from the first cuts, at 14,000 classes 4,793 frames, which wait in
        memory. source: what says whose frames they are. frames: the identity of the frame store (`FrameStore.identity`), by
        which a trainer sees that its inputs are those of the targets; it follows from the source and is no part of the hash.
        shard_frames: a shard ends with the cut that reaches so many.
        seed: of the draws. Raises `UserError` where the folder holds something else or was begun with other settings.
        """
        encoding = Encoding.choose(mode, num_classes, temperatures, top_k, num_samples, tail_rank)
        options: dict[str, Any] = {"source": source, "frames": frames, "shard_frames": shard_frames, "seed": seed}
        return SoftTargetWriter(path, encoding, senones_hash=senones_hash, teacher=teacher, **options)

    @classmethod
    def open(
        cls, path: str | Path, *, device: str | torch.device = "cpu", resident_bytes: int = _RESIDENT_BYTES
    ) -> SoftTargetStore:
        """Opens a finished store; its targets are returned on ``device``.

        resident_bytes: up to this size the records are read into the device's memory and their checksums compared; above it
        they stay in mapped files, and a shard's checksum is compared before the first of its records is read: the first pass
        reads each shard twice, and as a batch of random rows meets many shards, most of that falls to the first batches.
        The checksums of the tail's files are always compared here. Threads may read one store together.
        Raises `UserError` naming the folder or the file that is absent, foreign, unfinished, of another version, cut short or,
        where it is read, changed.
        """
        path = Path(path)
        meta = read_meta(path)
        if not meta["complete"]:
            raise UserError(f"{path} is not finished: run the same `asr-distill soft-targets` again to continue it")
        return cls(path, meta, device, resident_bytes)

    def verify(self) -> None:
        """Reads every byte and raises `UserError` naming the files that are not what was written."""
        wrong = [f"shard-{shard.index:05d}.npy" for shard in self._shards if not shard.verify(self.path)]
        wrong += [file for file, name in self._tail_files.items() if hash_of_file(self.path / file) != self.meta[name]]
        if wrong:
            raise UserError(f"{self.path}: {', '.join(wrong)} changed since the store was written; {AGAIN}")

    @property
    def frames(self) -> dict[str, Any] | None:
        """The identity of the frame store that was scored; None in a store that was written without it."""
        return self.meta.get("frames")

    @property
    def hash(self) -> str:
        """SHA-256 over the settings, the teacher's description included, and the checksums of all files."""
        names = {"shards", "tail_shape_sha256", *self._settings, *self._tail_files.values()}
        return hash_of_object({name: self.meta[name] for name in names})

    @property
    def num_frames(self) -> int:
        """F, the frames of all cuts."""
        return int(self.offsets[-1])

    @property
    def bytes_per_frame(self) -> int:
        """The size of one frame's record."""
        return self.encoding.bytes_per_frame

    def __contains__(self, cut_id: object) -> bool:
        return cut_id in self._index

    def __len__(self) -> int:
        return len(self.cut_ids)

    def log_probs(self, cut_id: str, temperature: float) -> torch.Tensor:
        """Targets ``(T, C)`` float32 of one cut, softened to ``temperature``, each row normalised, nats.

        Raises `UserError` for a cut that is absent or a temperature that cannot be read.
        """
        index = self._index_of(cut_id)
        return self.targets(torch.arange(int(self.offsets[index]), int(self.offsets[index + 1])), temperature)

    def rows(self, cut_ids: Sequence[str], lengths: Sequence[int] | np.ndarray) -> torch.Tensor:
        """The rows ``(sum of lengths,)`` int64 of these cuts one after the other, for `targets` of any of their frames.

        lengths: frames of each cut. Raises `UserError` naming a cut that is absent or has another length here.
        """
        indices = np.array([self._index_of(cut_id) for cut_id in cut_ids], dtype=np.int64)
        expected, starts = np.asarray(lengths, dtype=np.int64), self.offsets[indices]
        if len(expected) != len(indices):
            raise UserError(f"{self.path}: {len(indices)} cuts with {len(expected)} lengths; give a length for each cut")
        found = self.offsets[indices + 1] - starts
        wrong = np.flatnonzero(found != expected)
        if len(wrong):
            first = int(wrong[0])
            raise UserError(
                f"{self.path}: cut {cut_ids[first]!r} has {found[first]} frames here, {expected[first]} are asked for"
                f" ({len(wrong)} such cuts): the targets were made from other features; write both from the same frame store"
            )
        within = np.arange(int(found.sum())) - np.repeat(np.cumsum(found) - found, found)
        return torch.from_numpy(np.repeat(starts, found) + within)

    def targets(self, rows: torch.Tensor, temperature: float) -> torch.Tensor:
        """Dense targets ``(N, C)`` float32 of the rows ``(N,)`` int64, softened to ``temperature``, each row normalised.

        Raises `UserError` for a temperature that cannot be read.
        """
        if self.mode != "dense":
            return self.sparse_targets(rows, temperature).dense(self.num_classes)
        value = self.encoding.check_temperature(temperature, str(self.path))
        return self.encoding.decode_dense(self._records(rows), value)

    def sparse_targets(self, rows: torch.Tensor, temperature: float) -> SparseTargets:
        """Targets of the rows ``(N,)`` int64 as ids, log-probabilities and a tail, softened to ``temperature``.

        Raises `UserError` for a dense store, or a temperature that cannot be read.
        """
        if self.mode == "dense":
            raise UserError(f"{self.path} holds dense targets: read them with `targets`, or write it again with --mode topk")
        value = self.encoding.check_temperature(temperature, str(self.path))
        shape = self._tail_shape[self.temperatures.index(value)]
        return self.encoding.decode(self._records(rows), value, shape, self._tail_basis)

    def _index_of(self, cut_id: str) -> int:
        index = self._index.get(cut_id)
        if index is None:
            raise UserError(
                f"{self.path} has no cut {cut_id!r} ({len(self)} cuts: {', '.join(self.cut_ids[:3])}, ...); write the targets"
                " of all cuts with `asr-distill soft-targets`"
            )
        return index

    def _records(self, rows: torch.Tensor) -> torch.Tensor:
        """``(N, bytes_per_frame)`` uint8 on the device."""
        if rows.device.type == "cpu" and len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < self.num_frames):
            raise IndexError(f"rows {int(rows.min())} to {int(rows.max())}, expected 0 to {self.num_frames - 1}")
        if self._resident is not None:
            return self._resident.index_select(0, rows.to(self.device))
        wanted = rows.cpu().numpy()
        # In the order of the file, for the disk's sake; the loop is over the shards that occur.
        order = np.argsort(wanted, kind="stable")
        in_order = wanted[order]
        bounds = np.searchsorted(in_order, self._starts)
        records = np.empty((len(wanted), self.bytes_per_frame), dtype=np.uint8)
        for shard in np.flatnonzero(np.diff(bounds)):
            part = slice(bounds[shard], bounds[shard + 1])
            self._check(int(shard))
            records[order[part]] = self._maps[shard][in_order[part] - self._starts[shard]]
        return torch.from_numpy(records).to(self.device)

    def _in_memory(self) -> torch.Tensor:
        records = np.empty((self.num_frames, self.bytes_per_frame), dtype=np.uint8)
        for shard, start, part in zip(self._shards, self._starts, self._maps, strict=False):
            self._check(shard.index)
            records[start : start + len(part)] = part
        return torch.from_numpy(records).to(self.device)

    def _check(self, index: int) -> None:
        """Compares a shard's checksum the first time; a thread that finds it being compared waits for the outcome."""
        if index in self._checked:
            return
        with self._checking:
            if index in self._checked:
                return
            if not self._shards[index].verify(self.path):
                raise UserError(f"{self.path}/shard-{index:05d}.npy changed since the store was written; {AGAIN}")
            self._checked.add(index)

    def _read_tail(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(temperatures, C)`` and the directions ``(R, C)``; what has no tail gets the uniform one, which nothing uses."""
        if self.mode != "topk":
            uniform = torch.full((max(1, len(self.temperatures)), self.num_classes), -float(np.log(self.num_classes)))
            return uniform.to(self.device), None
        shape = self._read_array(TAIL_SHAPE, len(self.temperatures))
        rank = self.encoding.tail_rank
        return shape, self._read_array(TAIL_BASIS, 1 + rank)[1:] if rank else None

    def _read_array(self, file: str, rows: int) -> torch.Tensor:
        array = read_array(self.path / file, (rows, self.num_classes), "float32", again=AGAIN)
        if hash_of_file(self.path / file) != self.meta.get(_TAIL_FILES[file]):
            raise UserError(f"{self.path / file} changed since the store was written; {AGAIN}")
        return torch.from_numpy(array).to(self.device)

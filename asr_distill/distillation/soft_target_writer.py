"""Writes a soft-target store shard by shard; one that was stopped continues at the shard it was in."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError, atomic_path, hash_of_file, hash_of_object, write_json
from asr_distill.distillation.soft_target_modes import Encoding, seed_of
from asr_distill.distillation.soft_target_shards import (
    KIND,
    META,
    SCHEMA,
    SHARD_KIND,
    TAIL_SHAPE,
    Shard,
    read_meta,
    shard_path,
)
from asr_distill.distillation.soft_target_tail import TailSums

SHARD_FRAMES, SHARD_BYTES = 1 << 18, 256 << 20  # whichever is reached first; a shard is gathered in memory
_TAIL_SUMS = ".tail-sums.npy"
_TOLERANCE = 1e-2  # nats by which a given row may fail to be normalised, as a sum in bf16 may


class SoftTargetWriter:
    """A context manager: `add` the cuts, in any order but the same one each time; leaving it in peace finishes the store.

    Where ``path`` holds an unfinished store of the same settings, its shards stay and `done` tells which cuts they hold; the
    others have to be added. Use `SoftTargetStore.create`, whose arguments these are.
    """

    def __init__(
        self,
        path: str | Path,
        encoding: Encoding,
        *,
        senones_hash: str | None,
        teacher: dict[str, Any],
        source: dict[str, Any] | None = None,
        frames: dict[str, Any] | None = None,
        shard_frames: int | None = None,
        seed: int = 0,
    ) -> None:
        self.path, self.encoding, self.seed = Path(path), encoding, seed
        self.shard_frames = shard_frames or max(1, min(SHARD_FRAMES, SHARD_BYTES // encoding.bytes_per_frame))
        if self.shard_frames < 1:
            raise UserError(f"{path}: shards of {shard_frames} frames, expected at least 1")
        settings = {
            "mode": encoding.mode,
            "num_classes": encoding.num_classes,
            "temperatures": list(encoding.temperatures),
            "top_k": encoding.top_k,
            "num_samples": encoding.num_samples,
            "bytes_per_frame": encoding.bytes_per_frame,
            "senones_hash": senones_hash,
            "teacher": teacher,
            "source": source,
            "seed": seed,
            "shard_frames": self.shard_frames,
        }
        self.settings_hash = hash_of_object(settings)
        self._shards: list[Shard] = []
        self._meta = {"kind": KIND, "schema": SCHEMA, "complete": False, **settings, "frames": frames}
        self._continue_or_begin(settings)
        self._done = {cut_id for shard in self._shards for cut_id in shard.cut_ids}
        self._cut_ids: list[str] = []
        self._records: list[np.ndarray] = []
        self._offsets = [0]
        self._tail = self._new_sums()

    @property
    def complete(self) -> bool:
        """Whether the store was finished already: there is nothing to add."""
        return bool(self._meta["complete"])

    def done(self, cut_id: str) -> bool:
        """Whether the targets of this cut are there already."""
        return cut_id in self._done

    def add(self, cut_id: str, log_probs: torch.Tensor) -> None:
        """Stores the targets of one cut: ``(T, C)`` float32 log-probabilities at T = 1, nats, each row normalised.

        Raises `UserError` naming the cut where the shape is another, a row is not a distribution, or the cut is there already.
        """
        if self.complete:
            raise UserError(f"{self.path} is finished and has no cut {cut_id!r}; name another folder for other cuts")
        if cut_id in self._done:
            raise UserError(f"{self.path} has the cut {cut_id!r} already; give each cut an id of its own")
        rows = self._checked(cut_id, log_probs)
        records = self.encoding.encode(rows, seed_of(self.seed, cut_id), self._tail).numpy()
        self._records.append(records)
        self._cut_ids.append(cut_id)
        self._offsets.append(self._offsets[-1] + len(records))
        self._done.add(cut_id)
        if self._offsets[-1] >= self.shard_frames:
            self._write_shard()

    def finish(self) -> None:
        """Writes the last shard and the tail's shape, and declares the store finished. Raises `UserError` if it is empty."""
        if not self.complete:
            if self._cut_ids:
                self._write_shard()
            if not self._shards:
                raise UserError(f"{self.path}: no cut was added; there are no soft targets to store")
            tail_hash = self._write_tail_shape()
            self._meta.update(
                complete=True,
                num_cuts=len(self._done),
                num_frames=sum(shard.num_frames for shard in self._shards),
                tail_shape_sha256=tail_hash,
                shards=[shard.hash for shard in self._shards],
            )
            write_json(self.path / META, self._meta)
        for leftover in self.path.glob(f"shard-*{_TAIL_SUMS}"):
            leftover.unlink()

    def __enter__(self) -> SoftTargetWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.finish()

    def _continue_or_begin(self, settings: dict[str, Any]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file, expected the name of a folder to write; name another place")
        if not self.path.is_dir() or not any(self.path.iterdir()):
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / META, self._meta)
            return
        found = read_meta(self.path)
        for name, value in settings.items():
            if found.get(name) != value:
                raise UserError(
                    f"{self.path} was begun with {name} {found.get(name)!r}, now it is {value!r}: to continue it use the same"
                    " settings, else name another folder or remove this one"
                )
        found.setdefault("frames", self._meta["frames"])  # begun before stores said so
        self._meta = found
        for temporary in self.path.glob(".*-*"):  # of a writer that was killed
            if temporary.is_file():
                temporary.unlink()
        count = len(list(self.path.glob("shard-*.json")))
        self._shards = [Shard.load(self.path, index, self.settings_hash) for index in range(count)]

    def _checked(self, cut_id: str, log_probs: torch.Tensor) -> torch.Tensor:
        rows = log_probs.detach().float().cpu()
        expected = self.encoding.num_classes
        if rows.ndim != 2 or rows.shape[1] != expected or len(rows) == 0:
            raise UserError(
                f"cut {cut_id!r}: soft targets {tuple(rows.shape)}, expected (frames, {expected}) with a frame or more"
            )
        sums = rows.logsumexp(1, keepdim=True)
        wrong = ~(sums.abs() <= _TOLERANCE)  # also where a row holds NaN or +inf, or nothing but -inf
        if bool(wrong.any()):
            first = int(wrong.int().argmax())
            raise UserError(
                f"cut {cut_id!r}, frame {first}: not log-probabilities (their log sum is {float(sums[first]):g}, expected 0);"
                " give log_softmax of the teacher's logits"
            )
        return rows - sums

    def _new_sums(self) -> TailSums | None:
        is_topk = self.encoding.mode == "topk"
        return TailSums(len(self.encoding.temperatures), self.encoding.num_classes) if is_topk else None

    def _write_shard(self) -> None:
        index = len(self._shards)
        path = shard_path(self.path, index)
        if self._tail is not None:
            self._tail.save(shard_path(self.path, index, _TAIL_SUMS))
        with atomic_path(path) as temporary:
            with open(temporary, "wb") as stream:
                np.save(stream, np.concatenate(self._records))
            size, digest = temporary.stat().st_size, hash_of_file(temporary)
        shard = Shard(SHARD_KIND, SCHEMA, self.settings_hash, index, self._cut_ids, self._offsets, size, digest)
        shard.save(self.path)
        self._shards.append(shard)
        self._cut_ids, self._records, self._offsets, self._tail = [], [], [0], self._new_sums()

    def _write_tail_shape(self) -> str | None:
        total = self._new_sums()
        if total is None:
            return None
        shape = (len(self.encoding.temperatures), self.encoding.num_classes)
        for shard in self._shards:
            total.merge(TailSums.load(shard_path(self.path, shard.index, _TAIL_SUMS), *shape))
        with atomic_path(self.path / TAIL_SHAPE) as temporary:
            with open(temporary, "wb") as stream:
                np.save(stream, total.log_shape())
            return hash_of_file(temporary)

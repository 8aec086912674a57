"""Writes a soft-target store shard by shard; one that was stopped continues at the shard it was in."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError, atomic_path, hash_of_file, hash_of_object, only_writer, write_json
from asr_distill.base.digests import DIGESTS_FILE, TEMPORARY
from asr_distill.distillation.soft_target_basis import SAMPLE_FRAMES, SAMPLE_VALUES, TailBasis
from asr_distill.distillation.soft_target_modes import Encoding, seed_of
from asr_distill.distillation.soft_target_shards import (
    KIND,
    LOW_RANK_SCHEMA,
    META,
    SCHEMA,
    SHARD_KIND,
    TAIL_SHAPE,
    Shard,
    read_meta,
    save_array,
    shard_path,
)
from asr_distill.distillation.soft_target_tail import TailSums

SHARD_FRAMES, SHARD_BYTES = 1 << 18, 256 << 20  # whichever is reached first; a shard is gathered in memory
_TAIL_SUMS = ".tail-sums.npy"
_TOLERANCE = 1e-2  # nats by which a given row may fail to be normalised
_HALF_TOLERANCE = 0.1  # the same for rows in bf16 or fp16, as `combine_posteriors` has it


class SoftTargetWriter:
    """A context manager: `add` the cuts, in any order but the same one each time; leaving it in peace finishes the store.

    Where ``path`` holds an unfinished store of the same settings, its shards stay and `done` tells which cuts they hold; the
    others have to be added. Use `SoftTargetStore.create`, whose arguments these are.

    Where the tails have a rank the first cuts wait in memory until they are enough to find the directions from; a writer that
    is stopped before that begins anew. As a context manager it keeps other processes out of the folder.
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
        if shard_frames is not None and shard_frames < 1:
            raise UserError(f"{path}: shards of {shard_frames} frames, expected at least 1")
        self.shard_frames = shard_frames or max(1, min(SHARD_FRAMES, SHARD_BYTES // encoding.bytes_per_frame))
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
        if encoding.tail_rank:
            settings["tail_rank"] = encoding.tail_rank
        self.settings_hash = hash_of_object(settings)
        self._shards: list[Shard] = []
        schema = LOW_RANK_SCHEMA if encoding.tail_rank else SCHEMA
        self._meta = {"kind": KIND, "schema": schema, "complete": False, **settings, "frames": frames}
        self._basis: TailBasis | None = None
        self._continue_or_begin(settings)
        self._done = {cut_id for shard in self._shards for cut_id in shard.cut_ids}
        self._cut_ids: list[str] = []
        self._records: list[np.ndarray] = []
        self._offsets = [0]
        self._tail = self._new_sums()
        self._waiting: list[tuple[str, torch.Tensor]] = []
        self._entered = ExitStack()
        self._sample_frames = max(1, min(SAMPLE_FRAMES, SAMPLE_VALUES // encoding.num_classes))

    @property
    def complete(self) -> bool:
        """Whether the store was finished already: there is nothing to add."""
        return bool(self._meta["complete"])

    def done(self, cut_id: str) -> bool:
        """Whether the targets of this cut are there already."""
        return cut_id in self._done

    def add(self, cut_id: str, log_probs: torch.Tensor) -> None:
        """Stores the targets of one cut: ``(T, C)`` log-probabilities at T = 1, nats, rows normalised as well as the dtype can.

        Raises `UserError` naming the cut where the shape is another, a row is not a distribution, or the cut is there already.
        """
        if self.complete:
            raise UserError(f"{self.path} is finished and has no cut {cut_id!r}; name another folder for other cuts")
        if cut_id in self._done:
            raise UserError(f"{self.path} has the cut {cut_id!r} already; give each cut an id of its own")
        rows = self._checked(cut_id, log_probs)
        self._done.add(cut_id)
        if self._basis is None and self.encoding.tail_rank:
            self._waiting.append((cut_id, rows))
            if sum(len(waiting) for _, waiting in self._waiting) >= self._sample_frames:
                self._find_basis()
        else:
            self._encode(cut_id, rows)

    def finish(self) -> None:
        """Writes the last shard and the tail's shape, and declares the store finished. Raises `UserError` if it is empty."""
        if not self.complete:
            if self._waiting:
                self._find_basis()
            if self._cut_ids:
                self._write_shard()
            if not self._shards:
                raise UserError(f"{self.path}: no cut was added; there are no soft targets to store")
            if self._basis is None:
                self._meta["tail_shape_sha256"] = self._write_tail_shape()
            self._meta.update(
                complete=True,
                num_cuts=len(self._done),
                num_frames=sum(shard.num_frames for shard in self._shards),
                shards=[shard.hash for shard in self._shards],
            )
            write_json(self.path / META, self._meta)
            self._remove_leftovers()

    def __enter__(self) -> SoftTargetWriter:
        locked = only_writer(self.path / META, f"writing soft targets to {self.path}")
        if self.complete:  # nothing will be written, perhaps nothing can be
            with suppress(UserError, OSError), locked:
                self._remove_leftovers()
            return self
        self._entered.enter_context(locked)
        if len(list(self.path.glob("shard-*.json"))) != len(self._shards):  # since this writer looked
            self._entered.close()
            raise UserError(f"{self.path}: another process has written a shard meanwhile; run this again to continue its work")
        self._remove_leftovers()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._entered:
            if kind is None:
                self.finish()

    def _remove_leftovers(self) -> None:
        """What writers who were killed left unfinished."""
        for leftover in [*self.path.glob(f"{TEMPORARY}*"), *(self.path.glob(f"shard-*{_TAIL_SUMS}") if self.complete else ())]:
            if leftover.is_file() and leftover.suffix != ".lock":
                leftover.unlink()

    def _continue_or_begin(self, settings: dict[str, Any]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file, expected the name of a folder to write; name another place")
        names = sorted(
            file.name for file in self.path.glob("*") if not file.name.startswith(TEMPORARY) and file.name != DIGESTS_FILE
        )
        if not names:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / META, self._meta)
            return
        if not (self.path / META).is_file():
            raise UserError(
                f"{self.path} has files but no {META} ({', '.join(names[:3])}, ...): it is not a store that could be continued;"
                " name another folder, or move these files away"
            )
        found = read_meta(self.path)
        expected = {**settings, "tail_rank": self.encoding.tail_rank}
        expected["bytes_per_frame"] = expected.pop("bytes_per_frame")  # last, for it follows from the others
        for name, value in expected.items():
            begun = found.get(name, 0 if name == "tail_rank" else None)
            if begun != value:
                raise UserError(
                    f"{self.path} was begun with {name} {begun!r}, now it is {value!r}: to continue it use the same"
                    " settings, else name another folder or remove this one"
                )
        found.setdefault("frames", self._meta["frames"])  # begun before stores said so
        self._meta = found
        count = len(list(self.path.glob("shard-*.json")))
        self._shards = [Shard.load(self.path, index, self.settings_hash) for index in range(count)]
        if not self.complete:
            self._check_records()
        if self.encoding.tail_rank and not self.complete and "tail_basis_sha256" in self._meta:
            sizes = (len(self.encoding.temperatures), self.encoding.num_classes, self.encoding.tail_rank)
            self._basis = TailBasis.load(self.path, *sizes, self._meta)

    def _check_records(self) -> None:
        """Raises `UserError` naming a shard that was altered: else a teacher's hours would end in a store nobody can read."""
        for shard in self._shards:
            if not shard.verify(self.path):
                last = len(self._shards) - 1
                which = f"shard-{shard.index:05d}.*" + (f" to shard-{last:05d}.*" if shard.index < last else "")
                raise UserError(
                    f"{shard_path(self.path, shard.index)} changed since it was written: its checksum is another. Next: remove"
                    f" {which} of {self.path} and run this again, which writes them anew"
                )

    def _checked(self, cut_id: str, log_probs: torch.Tensor) -> torch.Tensor:
        rows = log_probs.detach().float().cpu()
        expected = self.encoding.num_classes
        if rows.ndim != 2 or rows.shape[1] != expected or len(rows) == 0:
            raise UserError(
                f"cut {cut_id!r}: soft targets {tuple(rows.shape)}, expected (frames, {expected}) with a frame or more"
            )
        sums = rows.logsumexp(1, keepdim=True)
        tolerance = _HALF_TOLERANCE if log_probs.dtype in (torch.bfloat16, torch.float16) else _TOLERANCE
        wrong = ~(sums.abs() <= tolerance)  # also where a row holds NaN or +inf, or nothing but -inf
        if bool(wrong.any()):
            first = int(wrong.int().argmax())
            raise UserError(
                f"cut {cut_id!r}, frame {first}: not log-probabilities (their log sum is {float(sums[first]):g}, expected 0);"
                " give log_softmax of the teacher's logits"
            )
        return rows - sums

    def _encode(self, cut_id: str, rows: torch.Tensor) -> None:
        records = self.encoding.encode(rows, seed_of(self.seed, cut_id), self._tail, self._basis).numpy()
        self._records.append(records)
        self._cut_ids.append(cut_id)
        self._offsets.append(self._offsets[-1] + len(records))
        if self._offsets[-1] >= self.shard_frames:
            self._write_shard()

    def _find_basis(self) -> None:
        """From the cuts that wait, in whole or as many of their frames as are asked for; then they are encoded."""
        sample = torch.cat([rows for _, rows in self._waiting])[: self._sample_frames]
        self._basis = TailBasis.fit(sample, self.encoding.top_k or 0, self.encoding.temperatures, self.encoding.tail_rank)
        # written before any frame's coefficients are, so that a writer that continues has the directions they refer to
        self._meta.update(self._basis.save(self.path))
        write_json(self.path / META, self._meta)
        waiting, self._waiting = self._waiting, []
        for cut_id, rows in waiting:
            self._encode(cut_id, rows)

    def _new_sums(self) -> TailSums | None:
        needed = self.encoding.mode == "topk" and not self.encoding.tail_rank
        return TailSums(len(self.encoding.temperatures), self.encoding.num_classes) if needed else None

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
        return save_array(self.path / TAIL_SHAPE, total.log_shape())

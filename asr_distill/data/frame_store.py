"""The frame store: features and senone labels of a CutSet, every frame once, in numpy files that are mapped into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from asr_distill.base import (
    DIGESTS_FILE,
    UserError,
    atomic_directory,
    check_file,
    check_replaceable,
    check_space,
    found_instead,
    free_name,
    hash_of_file,
    hash_of_object,
    read_array,
    read_json,
    read_jsonl,
    track,
    write_json,
    write_jsonl,
)
from asr_distill.data.array_stream import array_stream
from asr_distill.data.cut_features import (
    NO_LABEL,
    check_features,
    find_feature_config,
    gather_normalisation,
    load_features,
    normalisation_speaker,
    senone_labels,
    speaker_of,
)
from asr_distill.features import Fbank40Config, Normalisation, NormalisationKind
from asr_distill.features.audio import name_of
from asr_distill.features.frame_counts import num_frames_of

KIND = "asr_distill frame store"
SCHEMA = 1
IGNORE_INDEX = -100  # what torch's cross entropy leaves out
META = "meta.json"
_CHECKED_FRAMES = 1 << 15  # at a time


@dataclass(frozen=True)
class StoredCut:
    """One cut of a store: its id, its speaker (or None) and its frames ``start`` to ``end`` (end excluded)."""

    id: str
    speaker: str | None
    start: int
    end: int


class FrameStore:
    """A frame store on disk, read-only. `open` it; `asr_distill.data.write_frame_store` makes one (`create` calls that).

    offsets: ``(N + 1,)`` int64, where each cut begins; cut_ids and speakers: N each; meta: what `meta.json` says.
    """

    def __init__(self, path: Path, meta: dict[str, Any]) -> None:
        self.path = path
        self.meta = meta
        self._features = self._map("features.npy", (meta["num_frames"], meta["dim"]), meta["dtype"])
        self._labels = self._map("labels.npy", (meta["num_frames"],), "int32")
        for name in ("offsets.npy", "cuts.jsonl"):
            self._check(name)
        self.offsets = np.array(self._map("offsets.npy", (meta["num_cuts"] + 1,), "int64"))
        rows = list(read_jsonl(path / "cuts.jsonl"))
        self.cut_ids: list[str] = [row["id"] for row in rows]
        self.speakers: list[str | None] = [row["speaker"] for row in rows]
        if len(rows) != meta["num_cuts"] or self.offsets[0] != 0 or self.offsets[-1] != meta["num_frames"]:
            raise UserError(f"{path}: its parts do not belong together; write the store again with `asr-distill frames`")
        if (np.diff(self.offsets) <= 0).any():
            raise UserError(f"{path}: cut boundaries out of order; write the store again with `asr-distill frames`")

    @staticmethod
    def create(path: str | Path, cuts: Any, normalisation: Any = "none", **options: Any) -> FrameStore:
        """Writes a store; see `asr_distill.data.write_frame_store` for the arguments."""
        return write_frame_store(path, cuts, normalisation, **options)

    @classmethod
    def open(cls, path: str | Path) -> FrameStore:
        """Opens a store. Raises `UserError` where it is absent, foreign, of another version, or a file was cut short."""
        path = Path(path)
        if not (path / META).is_file():
            again = f"write one with `asr-distill frames --output {free_name(path)}`"
            raise UserError(f"{path} is not a frame store (it has no {META}); {found_instead(path, again)}")
        meta = read_json(path / META)
        if not isinstance(meta, dict) or meta.get("kind") != KIND:
            raise UserError(f"{path / META} does not describe a frame store; give the folder that `asr-distill frames` wrote")
        if meta.get("schema") != SCHEMA:
            raise UserError(f"{path} is a frame store of version {meta.get('schema')}, expected {SCHEMA}; write it again")
        for name, entry in meta["files"].items():
            file = path / name
            found = file.stat().st_size if file.is_file() else None
            if found != entry["bytes"]:
                state = "is missing" if found is None else f"has {found} bytes instead of {entry['bytes']}"
                raise UserError(f"{file} {state}: the store is damaged; write it again with `asr-distill frames`")
        return cls(path, meta)

    def verify(self) -> None:
        """Reads every byte and raises `UserError` naming the first file that is not what was written."""
        for name in self.meta["files"]:
            self._check(name)

    @cached_property
    def features(self) -> np.ndarray:
        """``(F, D)`` float32 or float16, normalised already, memory-mapped; checked when first asked for, every byte."""
        self._check("features.npy")
        return self._features

    @cached_property
    def labels(self) -> np.ndarray:
        """``(F,)`` int32, -1 where there is none; memory-mapped and checked like the features."""
        self._check("labels.npy")
        return self._labels

    @property
    def hash(self) -> str:
        """SHA-256 over the checksums of the store's files."""
        return hash_of_object({name: entry["sha256"] for name, entry in self.meta["files"].items()})

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the inputs that the store gives for a cut, as plain values: features and normalisation.

        Labels and the choice of cuts are no part of it, but that statistics of the normalisation are taken over the cuts.
        ``hash``: SHA-256 over the rest.
        """
        parts = {"features": self.feature_config.to_dict(), "normalisation": self.meta["normalisation"]}
        return {**parts, "hash": hash_of_object(parts)}

    @property
    def num_frames(self) -> int:
        """F, the frames of all cuts."""
        return int(self.meta["num_frames"])

    @property
    def num_cuts(self) -> int:
        """N."""
        return int(self.meta["num_cuts"])

    @property
    def dim(self) -> int:
        """D, the values of one frame."""
        return int(self.meta["dim"])

    @property
    def senones_hash(self) -> str | None:
        """The hash of the inventory that the labels belong to; None where there are no labels."""
        return self.meta["senones_hash"]

    @property
    def feature_config(self) -> Fbank40Config:
        """The configuration of the filterbank."""
        return Fbank40Config.from_dict(self.meta["feature_config"])

    @cached_property
    def normalisation(self) -> Normalisation:
        """The normalisation that the features went through, with its statistics."""
        for name in ("normalisation.json", "normalisation.safetensors"):
            self._check(name)
        return Normalisation.load(self.path)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {cut_id: index for index, cut_id in enumerate(self.cut_ids)}

    def __len__(self) -> int:
        return self.num_cuts

    def __iter__(self) -> Iterator[StoredCut]:
        return (self.cut(index) for index in range(self.num_cuts))

    def cut(self, which: int | str) -> StoredCut:
        """A cut by its number or its id. Raises `UserError` for an id that the store does not have."""
        index = self.index_of(which)
        return StoredCut(self.cut_ids[index], self.speakers[index], int(self.offsets[index]), int(self.offsets[index + 1]))

    def index_of(self, which: int | str) -> int:
        """The number of a cut, given its id or, unchanged, its number. Raises `UserError` for one that is not there."""
        index = self._index.get(which, -1) if isinstance(which, str) else which
        if not 0 <= index < self.num_cuts:
            raise UserError(f"{self.path} has no cut {which!r} ({self.num_cuts} cuts: {', '.join(self.cut_ids[:3])}, ...)")
        return index

    def utterance(self, which: int | str) -> tuple[np.ndarray, np.ndarray]:
        """Features ``(T, D)`` and labels ``(T,)`` of one cut, by number or id; views into the files."""
        cut = self.cut(which)
        return self.features[cut.start : cut.end], self.labels[cut.start : cut.end]

    def check_finite(self) -> None:
        """Raises `UserError` naming the first cut and frame whose features hold NaN or infinity; reads all of them, once."""
        if self._not_finite is not None:
            frame = self._not_finite
            index = int(np.searchsorted(self.offsets, frame, side="right")) - 1
            value = self.features[frame][~np.isfinite(self.features[frame])][0]
            raise UserError(
                f"{self.path}: frame {frame - self.offsets[index]} of cut {self.cut_ids[index]!r} holds {value}, expected"
                " finite features; look at its audio, and write the store again with `asr-distill frames`"
            )

    @cached_property
    def _not_finite(self) -> int | None:
        for start in range(0, self.num_frames, _CHECKED_FRAMES):
            finite = np.isfinite(self.features[start : start + _CHECKED_FRAMES])
            if not finite.all():
                return start + int(np.flatnonzero(~finite.all(axis=1))[0])
        return None

    def labelled_frames(self) -> np.ndarray:
        """Indices ``(M,)`` int64 of the frames that have a label."""
        return np.flatnonzero(self.labels != NO_LABEL)

    def label_counts(self, num_senones: int | None = None) -> np.ndarray:
        """How often each senone occurs, ``(C,)`` int64; C is the inventory's size where the store knows it."""
        size = num_senones or self.meta.get("num_senones") or 0
        return np.bincount(self.labels[self.labels != NO_LABEL], minlength=size)

    def _map(self, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        again = "write the store again with `asr-distill frames`"
        return read_array(self.path / name, shape, dtype, mapped=True, checked=False, again=again)

    def _check(self, name: str) -> None:
        """By the store's own checksums, which its `hash` is made of: a list of digests is not there in every store."""
        check_file(self.path / name, digest=self.meta["files"][name]["sha256"])


def write_frame_store(
    path: str | Path,
    cuts: Iterable[Any],
    normalisation: NormalisationKind | Normalisation = "none",
    *,
    feature_config: Fbank40Config | None = None,
    senones_hash: str | None = None,
    num_senones: int | None = None,
    labels_field: str = "senones",
    dtype: Literal["float32", "float16"] = "float32",
) -> FrameStore:
    """Writes the features, and the labels where there are any, of ``cuts`` as a frame store, and opens it.

    cuts: with lhotse features, one speaker each where ``normalisation`` is per speaker, and optionally a temporal array
      ``labels_field`` of senones (negative: none). Cuts without it are stored without labels.
    normalisation: a kind, whose statistics are then gathered from these cuts, or statistics that exist already.
    feature_config: by default what `fbank.json` beside the stored features says.
    senones_hash: the hash of the inventory that the labels belong to, for labels without one cannot be trusted later.
    num_senones: the inventory's size; larger labels are refused.
    Raises `UserError` naming the cut whose features are missing, not finite, or differ in length from its labels.
    """
    check_replaceable(path, kind=META)
    cuts = list(cuts)
    if not cuts:
        raise UserError("there are no cuts to store; run the stage that writes them again")
    config = feature_config or find_feature_config(cuts)
    check_features(cuts, config)
    chosen = gather_normalisation(cuts, normalisation) if isinstance(normalisation, str) else normalisation
    with atomic_directory(path, kind=META) as folder:
        offsets = np.concatenate([[0], np.cumsum([num_frames_of(cut) for cut in cuts])]).astype(np.int64)
        num_frames, dim = int(offsets[-1]), config.num_mel_bins
        check_space(path, num_frames * (dim * np.dtype(dtype).itemsize + np.dtype(np.int32).itemsize), "the frame store")
        num_labelled = 0
        with (
            array_stream(folder / "features.npy", (num_frames, dim), dtype) as features,
            array_stream(folder / "labels.npy", (num_frames,), "int32") as labels,
        ):
            for cut, length in zip(track(cuts, f"frame store {path}", len(cuts), "cuts"), np.diff(offsets), strict=True):
                rows = chosen.apply(load_features(cut), normalisation_speaker(cut)).astype(dtype)
                if dtype == "float16" and not np.isfinite(rows).all():
                    raise UserError(f"{name_of(cut)}: features beyond the range of float16; use float32")
                features(rows)
                senones = senone_labels(cut, labels_field, int(length), num_senones, senones_hash)
                labels(senones)
                num_labelled += int((senones != NO_LABEL).sum())
        if num_labelled and senones_hash is None:
            raise UserError(
                "the cuts have senone labels; name their inventory (senones_hash, or --senones on the command line)"
            )
        np.save(folder / "offsets.npy", offsets)
        write_jsonl(folder / "cuts.jsonl", ({"id": cut.id, "speaker": speaker_of(cut)} for cut in cuts))
        chosen.save(folder)
        meta = {
            "kind": KIND,
            "schema": SCHEMA,
            "num_cuts": len(cuts),
            "num_frames": num_frames,
            "num_labelled": num_labelled,
            "dim": dim,
            "dtype": dtype,
            "feature_config": config.to_dict(),
            "normalisation": chosen.describe(),
            "senones_hash": senones_hash if num_labelled else None,
            "num_senones": num_senones if num_labelled else None,
            "files": {
                file.name: {"bytes": file.stat().st_size, "sha256": hash_of_file(file)}
                for file in sorted(folder.iterdir())
                if file.name != DIGESTS_FILE
            },
        }
        write_json(folder / META, meta)
    return FrameStore.open(path)

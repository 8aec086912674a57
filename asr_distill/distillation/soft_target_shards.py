"""The files of a soft-target store: names, and what makes a shard whole.

meta.json                  the settings; when the store is finished also its shards with their checksums
tail_shape.npy             (temperatures, C) float32, mode topk only; of rank 0 when finished, else before the first shard
tail_basis.npy             (1 + tail_rank, C) float32, mean and directions, where tail_rank is above 0; before the first shard
shard-00000.npy            (frames, bytes_per_frame) uint8, the records of whole cuts
shard-00000.json           ids and boundaries of its cuts, size and SHA-256; written last: without it there is no shard
shard-00000.tail-sums.npy  what tail_shape.npy is made of at rank 0, until then

A store whose tails have a rank is of version 2, every other one of version 1, as it was before there were ranks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import (
    UserError,
    found_instead,
    free_name,
    from_mapping,
    hash_of_file,
    hash_of_object,
    read_array,
    read_json,
    write_array,
    write_json,
)

KIND = "asr_distill soft-target store"
SHARD_KIND = "asr_distill soft-target shard"
SCHEMA = 1
META = "meta.json"
LOW_RANK_SCHEMA = 2
TAIL_SHAPE, TAIL_BASIS = "tail_shape.npy", "tail_basis.npy"
AGAIN = "remove its folder and write the store again with `asr-distill soft-targets`"

_NONE = type(None)
SETTING_TYPES: dict[str, Any] = {
    "mode": str,
    "num_classes": int,
    "temperatures": list,
    "top_k": (int, _NONE),
    "num_samples": (int, _NONE),
    "bytes_per_frame": int,
    "senones_hash": (str, _NONE),
    "teacher": dict,
    "source": (dict, _NONE),
    "seed": int,
    "shard_frames": int,
}
_FINISHED_TYPES: dict[str, Any] = {"num_cuts": int, "num_frames": int, "shards": list, "tail_shape_sha256": (str, _NONE)}


@dataclass(frozen=True)
class Shard:
    """``shard-NNNNN.json``: offsets (cuts + 1) in frames within the shard; settings_hash: of the store that it belongs to."""

    kind: str
    schema: int
    settings_hash: str
    index: int
    cut_ids: list[str]
    offsets: list[int]
    bytes: int
    sha256: str

    @property
    def num_frames(self) -> int:
        """Frames of all its cuts."""
        return self.offsets[-1]

    @property
    def hash(self) -> str:
        """SHA-256 over its ids, boundaries and the checksum of its records."""
        return hash_of_object(asdict(self))

    def save(self, folder: Path) -> None:
        """Writes the JSON."""
        write_json(shard_path(folder, self.index, ".json"), asdict(self))

    @classmethod
    def load(cls, folder: Path, index: int, settings_hash: str) -> Shard:
        """Reads the JSON and looks at the size of the records. Raises `UserError` naming a file that is not of this store."""
        path = shard_path(folder, index, ".json")
        values = read_json(path) if path.is_file() else None
        if values is None:
            raise UserError(f"{path} is missing: the store is damaged; {AGAIN}")
        if not isinstance(values, dict) or values.get("kind") != SHARD_KIND or values.get("schema") != SCHEMA:
            raise UserError(f"{path} does not describe a shard of version {SCHEMA}; {AGAIN}")
        shard = from_mapping(cls, values, str(path))
        if shard.settings_hash != settings_hash or shard.index != index:
            raise UserError(
                f"{path} belongs to another store (settings {shard.settings_hash}, shard {shard.index}), expected"
                f" {settings_hash}, shard {index}; {AGAIN}"
            )
        offsets = np.asarray(shard.offsets)
        if len(offsets) != len(shard.cut_ids) + 1 or offsets[0] != 0 or (np.diff(offsets) <= 0).any():
            raise UserError(f"{path}: the boundaries of its cuts are out of order; {AGAIN}")
        records = shard_path(folder, index)
        found = records.stat().st_size if records.is_file() else None
        if found != shard.bytes:
            state = "is missing" if found is None else f"has {found} bytes instead of {shard.bytes}"
            raise UserError(f"{records} {state}: the shard is damaged; {AGAIN}")
        return shard

    def verify(self, folder: Path) -> bool:
        """Whether every byte of the records is what was written."""
        return hash_of_file(shard_path(folder, self.index)) == self.sha256

    def records(self, folder: Path, bytes_per_frame: int) -> np.ndarray:
        """``(frames, bytes_per_frame)`` uint8, memory-mapped. Raises `UserError` where the file holds something else."""
        path = shard_path(folder, self.index)
        return read_array(path, (self.num_frames, bytes_per_frame), "uint8", mapped=True, again=AGAIN)


def shard_path(folder: Path, index: int, suffix: str = ".npy") -> Path:
    """The records of a shard, or a file beside them."""
    return folder / f"shard-{index:05d}{suffix}"


def save_array(path: Path, array: np.ndarray) -> str:
    """Writes an array in one move; returns the SHA-256 of the file."""
    write_array(path, array)
    return hash_of_file(path)


def read_meta(path: Path) -> dict[str, Any]:
    """``meta.json`` of a store. Raises `UserError` where the folder is something else or of another version."""
    if not (path / META).is_file():
        again = f"write one with `asr-distill soft-targets --output {free_name(path)}`"
        raise UserError(f"{path} is not a soft-target store (it has no {META}); {found_instead(path, again)}")
    meta = read_json(path / META)
    if not isinstance(meta, dict) or meta.get("kind") != KIND:
        raise UserError(
            f"{path / META} does not describe a soft-target store; give the folder that `asr-distill soft-targets` wrote"
        )
    if meta.get("schema") not in (SCHEMA, LOW_RANK_SCHEMA):
        expected = f"{SCHEMA} or {LOW_RANK_SCHEMA}"
        raise UserError(f"{path} is a soft-target store of version {meta.get('schema')}, expected {expected}; write it again")
    expected_types = {"complete": bool, **SETTING_TYPES, **(_FINISHED_TYPES if meta.get("complete") is True else {})}
    for name, types in expected_types.items():
        value = meta.get(name)
        fits = isinstance(value, types) and (types is bool or not isinstance(value, bool))
        if name not in meta or not fits or (name == "shards" and not value):
            raise UserError(f"{path / META}: {name} is {value!r}; the file is damaged; {AGAIN}")
    return meta

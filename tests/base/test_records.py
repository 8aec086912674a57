"""Content decides what is complete: the smallest cases, and what must not matter."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from asr_distill.base import UserError, atomic_directory, write_json, write_text
from asr_distill.base.records import compare_record, content_of, write_record


def folder(path: Path, **files: str) -> Path:
    with atomic_directory(path) as new:
        for name, text in files.items():
            write_text(new / name, text)
    return path


def test_the_same_content_elsewhere_is_the_same(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a", x="1", y="2"), folder(tmp_path / "b" / "c", y="2", x="1")
    assert content_of(one) == content_of(other) != content_of(folder(tmp_path / "d", x="1", y="3"))
    plain = tmp_path / "plain"  # of the user's, without a list
    plain.mkdir()
    (plain / "x").write_text("1")
    before = content_of(plain)
    (plain / "x").write_text("2")
    assert content_of(plain) != before
    with pytest.raises(UserError, match="does not exist"):
        content_of(tmp_path / "gone")


def test_a_bundle_is_known_without_its_scale_and_times(tmp_path: Path) -> None:
    def bundle(name: str, width: int = 8, scale: float | None = None, log: str = "") -> Path:
        path = folder(tmp_path / name, **{"model.safetensors": "w", "log.csv": log})
        write_json(path / "config.json", {"network": {"width": width}, "acoustic_scale": scale}, listed=True)
        return path

    assert content_of(bundle("a")) == content_of(bundle("b", scale=0.1, log="1 s"))
    assert content_of(bundle("a2", width=16)) != content_of(bundle("a3"))


def test_a_manifest_is_known_with_its_arrays(tmp_path: Path) -> None:
    def manifest(name: str, values: list[float]) -> Path:
        with atomic_directory(tmp_path / "arrays") as arrays:
            np.save(arrays / "0.npy", np.array(values))
        path = tmp_path / f"{name}.jsonl.gz"
        with gzip.open(path, "wt") as stream:
            stream.write(json.dumps({"features": {"storage_path": str(tmp_path / "arrays"), "storage_key": "0.npy"}}) + "\n")
        return path

    first = content_of(manifest("one", [1.0]))
    assert content_of(manifest("one", [1.0])) == first
    assert content_of(manifest("one", [2.0])) != first


def test_what_changed_is_named_and_paths_and_times_are_not(tmp_path: Path) -> None:
    record, output = tmp_path / "run" / ".done" / "x.json", folder(tmp_path / "run" / "x", y="1")
    identity = {"options": {"width": 512, "rate": 0.1}, "train": "a" * 64}
    assert compare_record(record, identity, [output]).state == "missing"
    write_record(record, identity, [output], 12.34)
    assert compare_record(record, identity, [output]).state == "done"
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "run", moved)
    assert compare_record(moved / ".done" / "x.json", identity, [moved / "x"]).state == "done"
    found = compare_record(record, {"options": {"width": 256, "rate": 0.1}, "train": "b" * 64}, [output])
    assert (found.state, found.differences, found.seconds) == (
        "changed",
        ("options.width: 512 -> 256", f"train: {'a' * 12}... -> {'b' * 12}..."),
        12.3,
    )
    folder(output, y="2")
    assert compare_record(record, identity, [output]).state == "edited"
    shutil.rmtree(output)
    assert compare_record(record, identity, [output]).state == "lost"
    write_json(record, [1], listed=True)
    with pytest.raises(UserError, match="not the record"):
        compare_record(record, identity, [output])

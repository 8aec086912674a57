"""What is complete, by content: a record says which options and inputs made an output, and what the output was.

Paths and file times decide nothing: an input is known by its digest, an output that was changed or damaged since is not taken
for the one that was made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asr_distill.base.digests import read_digests
from asr_distill.base.errors import UserError
from asr_distill.base.files import read_json, write_json
from asr_distill.base.hashing import hash_of_file, hash_of_object
from asr_distill.base.text import open_unpacked

# of a model bundle: the acoustic scale, tuned after the network is trained, and the times in these files make no other model
_BUNDLE, _WEIGHTS, _NO_PART_OF_A_MODEL = "config.json", "model.safetensors", ("config.json", "completed.json", "log.csv")
_LANG = "lang.json"  # holds the hash of a lang directory's lexicon and phones; further language models come and go beside it
_STORAGE = re.compile(r'"storage_path": ("(?:[^"\\]|\\.)*")')

State = Literal["done", "missing", "changed", "lost", "edited"]


@dataclass(frozen=True)
class Found:
    """How a piece of work stands.

    state: ``done``; ``missing``: it was not made; ``changed``: made with other options or inputs; ``lost``: an output is gone;
        ``edited``: an output is not as it was made.
    differences: one line for each option or input that changed, or output that is lost or was edited.
    seconds: that the work took, where it was done.
    """

    state: State
    differences: tuple[str, ...] = ()
    seconds: float | None = None


def content_of(path: str | Path) -> str:
    """Return the digest of a file's or folder's content; of a folder of ours by its lists of digests.

    A model bundle is known by what decides its scores, without the acoustic scale; a lang directory by ``lang.json``; a
    manifest by its lines and the arrays that they name. Recordings are known by what the manifest says of them.

    Raises:
        UserError: there is no such file or folder.
    """
    path = Path(path)
    if path.is_file():
        return _of_file(path)
    if not path.is_dir():
        raise UserError(f"{path} does not exist; run the stage that writes it first")
    if (path / _LANG).is_file():
        return _of_file(path / _LANG)
    listed = read_digests(path) or {}
    if _WEIGHTS in listed and _BUNDLE in listed:
        config = dict(read_json(path / _BUNDLE))
        config.pop("acoustic_scale", None)
        return hash_of_object([config, {name: sorted(listed[name]) for name in listed if name not in _NO_PART_OF_A_MODEL}])
    found: dict[str, Any] = {}
    for inner in [path, *sorted(one for one in path.rglob("*") if one.is_dir())]:
        names = read_digests(inner)
        if names is None:
            names = {one.name: frozenset([hash_of_file(one)]) for one in inner.iterdir() if one.is_file()}
        found[str(inner.relative_to(path))] = {name: sorted(names[name]) for name in sorted(names)}
    return hash_of_object(found)


def _of_file(path: Path) -> str:
    """By the list beside it where it is ours, since its reader compares the two; else its bytes are read."""
    known = (read_digests(path.parent) or {}).get(path.name)
    digest = next(iter(known)) if known is not None and len(known) == 1 else hash_of_file(path)
    arrays = _array_folders(path) if path.name.endswith((".jsonl", ".jsonl.gz")) else set()
    return hash_of_object([digest, {folder: content_of(folder) for folder in sorted(arrays)}]) if arrays else digest


def _array_folders(manifest: Path) -> set[str]:
    folders: set[str] = set()
    with open_unpacked(manifest) as stream:
        for line in stream:
            text = line.decode(errors="replace") if isinstance(line, bytes) else line
            folders.update(json.loads(found) for found in _STORAGE.findall(text))
    return {folder for folder in folders if Path(folder).is_dir()}


def compare_record(record: Path, identity: Mapping[str, Any], outputs: Iterable[Path]) -> Found:
    """Tell how the work stands whose record is the file ``record``.

    Args:
        record: as `write_record` wrote it, or missing.
        identity: options as plain values, inputs by the digest of their content.
        outputs: files and folders that the work leaves.
    """
    if not record.is_file():
        return Found("missing")
    said = read_json(record)
    if not isinstance(said, dict) or not {"identity", "outputs", "seconds"} <= said.keys():
        raise UserError(f"{record} is not the record of a finished piece of work; remove it, and the work is done again")
    made, now = _leaves(said["identity"]), _leaves(json.loads(json.dumps(identity)))
    differing = [name for name in {**made, **now} if made.get(name) != now.get(name)]
    if differing:
        lines = [f"{name}: {_short(made.get(name))} -> {_short(now.get(name))}" for name in differing]
        return Found("changed", tuple(lines), said["seconds"])
    for output in outputs:
        if not output.exists():
            return Found("lost", (f"{output} is gone",), said["seconds"])
        if content_of(output) != said["outputs"].get(output.name):
            return Found("edited", (f"{output} is not as it was made",), said["seconds"])
    return Found("done", (), said["seconds"])


def write_record(record: Path, identity: Mapping[str, Any], outputs: Iterable[Path], seconds: float) -> None:
    """Note that the work of this identity is done and left these outputs, of different names, in so many seconds."""
    found = {output.name: content_of(output) for output in outputs}
    write_json(record, {"identity": dict(identity), "outputs": found, "seconds": round(seconds, 1)}, listed=True)


def _leaves(value: Any, above: str = "") -> dict[str, Any]:
    """Return nested keys as ``a.b``."""
    if not isinstance(value, dict):
        return {above.rstrip("."): value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _leaves(item, f"{above}{key}.")
    return found


def _short(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    digest = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return f"{text[:12]}..." if digest else text if len(text) <= 60 else f"{text[:57]}..."

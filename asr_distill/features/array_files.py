"""Arrays of features, one file each: whole or absent, and used again only where every byte is as it was written.

0/0123....npy            an array by its key, in the folder of the key's first digit; lhotse reads it as numpy_files
0/asr-distill.sha256     the digests of that folder's arrays
.asr-distill-arrays      while a process is at work, its lock; the digests of what it wrote, or is about to remove
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from asr_distill.base import (
    DIGESTS_FILE,
    change_list,
    failed_write,
    flush_files,
    hash_of_file,
    make_room,
    only_process,
    read_digests,
    write_error,
)
from asr_distill.base.digests import TEMPORARY

_JOURNAL = f"{TEMPORARY}arrays"


class ArrayFiles:
    """The arrays under ``folder``, while it is entered: for one process at a time, and any number of its threads.

    Leaving it without an error lists what was written. A kill or a power cut before that, at any moment, costs the arrays whose
    digest does not fit; those that fit are used again.
    """

    name = "numpy_files"  # lhotse's storage type

    def __init__(self, folder: Path) -> None:
        self.storage_path = folder
        self._entered = ExitStack()
        self._listed: dict[str, set[str]] = {}
        self._noted: defaultdict[str, set[str]] = defaultdict(set)  # by the journal: of this process and of killed ones

    @staticmethod
    def storage_key(key: str) -> str:
        """The file of a key, relative to the folder."""
        return f"{key[0]}/{key}.npy"

    def __enter__(self) -> ArrayFiles:
        journal = self.storage_path / _JOURNAL
        lock = only_process(journal, f"writing features to {self.storage_path}", lambda: make_room(journal, "file"))
        self._entered.enter_context(lock)
        for leftover in self.storage_path.glob(f"?/{TEMPORARY}*"):
            leftover.unlink()
        self._listed = {name: set(digests) for name, digests in _listed_arrays(self.storage_path)}
        text = journal.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            digest, _, name = line.partition("  ")
            if len(digest) == 64 and name:  # else the line that a power cut left
                self._noted[name].add(digest)
        self._stream = self._entered.enter_context(open(journal, "ab", buffering=0))
        if text and not text.endswith("\n"):
            self._stream.write(b"\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._entered:
            if kind is None:
                self._list_what_was_noted()
                (self.storage_path / _JOURNAL).unlink()

    def holds(self, key: str, shape: tuple[int, ...]) -> bool:
        """Whether the array is there and whole: float32 of that shape, with the digest that was noted as it was written."""
        name = self.storage_key(key)
        known = self._noted.get(name, set()) | self._listed.get(name, set())
        try:
            if not known or hash_of_file(self.storage_path / name) not in known:
                return False
            array = np.load(self.storage_path / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return False
        return array.shape == shape and array.dtype == np.float32

    def write(self, key: str, array: np.ndarray) -> None:
        """Writes an array in one move. Its digest is noted before, so that it is known as ours wherever a kill comes."""
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        name, data = self.storage_key(key), stream.getvalue()
        path = self.storage_path / name
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f"{TEMPORARY}{path.name}")
        try:
            self._note(name, hashlib.sha256(data).hexdigest())
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if (problem := failed_write(error)) is None:
                raise
            raise write_error(path, problem) from None

    def remove_except(self, kept: Collection[str]) -> int:
        """Removes the arrays whose storage key is not in ``kept``; returns how many. Files that no list of ours names stay."""
        stale = [name for name, _ in _listed_arrays(self.storage_path) if name not in kept]
        for name in stale:
            for digest in self._listed[name]:
                self._note(name, digest)
        _change_lists(self.storage_path, dict.fromkeys(stale))
        for name in stale:
            (self.storage_path / name).unlink(missing_ok=True)
        return len(stale)

    def _note(self, name: str, digest: str) -> None:
        self._stream.write(f"{digest}  {name}\n".encode())  # one write at the file's end: those of threads do not mix
        self._noted[name].add(digest)

    def _list_what_was_noted(self) -> None:
        there = [name for name in self._noted if (self.storage_path / name).is_file()]
        flush_files([self.storage_path / name for name in there])
        changes: dict[str, str | None] = {}
        for name in there:
            if (found := hash_of_file(self.storage_path / name)) in self._noted[name]:
                changes[name] = found
            else:  # a power cut took its end, and this run has no use for it
                (self.storage_path / name).unlink()
        _change_lists(self.storage_path, changes)


def remove_unreferenced(folder: str | Path, kept: Collection[str]) -> int:
    """Removes the arrays under ``folder`` that were written there and are not among the storage keys ``kept``; their number."""
    if all(name in kept for name, _ in _listed_arrays(Path(folder))):
        return 0
    with ArrayFiles(Path(folder)) as arrays:
        return arrays.remove_except(kept)


def _listed_arrays(folder: Path) -> Iterator[tuple[str, frozenset[str]]]:
    """Storage keys and digests of the arrays that the lists name."""
    for path in sorted(folder.glob(f"?/{DIGESTS_FILE}")):
        for name, digests in (read_digests(path.parent) or {}).items():
            yield f"{path.parent.name}/{name}", digests


def _change_lists(folder: Path, changes: dict[str, str | None]) -> None:
    by_folder: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    for name, digest in changes.items():
        by_folder[name[0]][name[2:]] = digest
    for inner, those in by_folder.items():
        change_list(folder / inner, those)

"""Files and folders that are whole or absent: written under a temporary name, flushed, renamed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from asr_distill.base.errors import UserError


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_room(path: Path, kind: str) -> None:
    """Makes the folder that ``path``, a ``file`` or a ``folder``, will be written into.

    Raises `UserError` where that cannot be, or ``path`` is the other kind, before any work is done for it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.filename}: {error.strerror}; name another place") from None
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path} cannot be written: no permission to write in {path.parent.resolve()}; name another place")
    if path.exists() and path.is_dir() != (kind == "folder"):
        found = "a folder" if path.is_dir() else "a file"
        raise UserError(f"{path} is {found}, expected the name of a {kind} to write; name another place")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` (same suffixes) and renames it to ``path`` on success, removes it on failure.

    Raises `UserError` where there is a folder of that name, or nothing can be written there.
    """
    path = Path(path)
    make_room(path, "file")
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name.split('.')[0]}-", suffix="".join(path.suffixes), dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yields a temporary directory beside ``path`` and renames it to ``path`` on success, replacing an older one.

    Raises `UserError` where ``path`` is a file, nothing can be written there, or it is a folder of something else: one that
    holds files, none of them by the name of one that replaces it.
    """
    path = Path(path).resolve()  # "." can be neither renamed nor written beside
    make_room(path, "folder")
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush_to_disk(file)
        _refuse_foreign(path, temporary)
        if path.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
            os.replace(path, retired / "old")
            os.replace(temporary, path)
            shutil.rmtree(retired)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_foreign(path: Path, replacement: Path) -> None:
    """A mistyped folder name must not cost what lies there."""
    found = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    expected = {entry.name for entry in replacement.iterdir()}
    if found and expected and not found & expected:
        raise UserError(
            f"{path} holds other files ({', '.join(sorted(found)[:5])}), none of {', '.join(sorted(expected)[:5])} that are"
            " written here; name another folder, or empty that one"
        )


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes one JSON value atomically, indented, keys in the order given, no NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads one JSON value. Raises `UserError` where the file is missing or is not JSON."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run the stage that writes it first") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected a JSON file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); remove it and run the stage that writes it again") from None


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> None:
    """Writes JSON lines atomically; gzip where the name ends in ``.gz``, the same bytes for the same rows."""
    with atomic_path(path) as temporary, ExitStack() as opened:
        stream: Any = opened.enter_context(open(temporary, "wb"))
        if str(path).endswith(".gz"):  # without the name and the time, which gzip.open writes into it
            stream = opened.enter_context(gzip.GzipFile("", "wb", fileobj=stream, mtime=0))
        for row in rows:
            stream.write((json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_jsonl(path: str | Path) -> Iterator[Any]:
    """Yields the values of a JSON-lines file (gzip by name).

    Raises `UserError` where the file is missing, cut short or not text, naming the line that is not JSON.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; run the stage that writes it first")
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                number += 1
                if line.strip():
                    yield json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number}: not valid JSON ({error})") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read beyond line {number} ({error}); expected JSON lines"
            f"{', gzipped' if path.name.endswith('.gz') else ''}: run the stage that writes it again"
        ) from None

"""The digests of the files that a folder of ours holds: they show damage, and which files may be replaced.

``asr-distill.sha256`` stands in each folder that this toolkit writes and lists every file that it wrote there, in the format of
``sha256sum``, so that ``sha256sum -c asr-distill.sha256`` checks it without this toolkit. A file that is not listed is the
user's. While a listed file is being replaced it has two lines, its old digest and its new one; either is right.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from asr_distill.base.errors import UserError
from asr_distill.base.hashing import hash_of_file

try:
    import fcntl
except ImportError:  # not on Windows: two processes at once are not told apart there
    fcntl = None  # type: ignore[assignment]

DIGESTS_FILE = "asr-distill.sha256"
TEMPORARY = ".asr-distill-"  # how the names of unfinished files and folders begin
UNFINISHED_LIST = "digests"  # the name of a list that is being written, behind TEMPORARY
_HEADER = "# Files that asr-distill wrote in this folder. To check them: sha256sum -c asr-distill.sha256"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\0\n]+)")

_found: dict[tuple[str, int, int, int], str] = {}  # digests that this process found: of a path, inode, bytes, time of change

Digests = Mapping[str, frozenset[str]]


def read_digests(folder: str | Path) -> Digests | None:
    """The digests of each listed file of ``folder`` by its name; None where the folder has no list.

    Raises `UserError` where the list is damaged.
    """
    path = Path(folder) / DIGESTS_FILE
    try:
        stat = path.stat()
    except OSError:
        return None
    return _parsed(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, *_state: int) -> Digests:
    try:
        header, *lines, end = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise _damaged_list(path, f"it cannot be read ({error})") from None
    if header != _HEADER or end:
        raise _damaged_list(path, "its first or last line is not as it is written there")
    listed: dict[str, frozenset[str]] = {}
    for number, line in enumerate(lines, 2):
        match = _LINE.fullmatch(line)
        if match is None:
            raise _damaged_list(path, f"line {number} is not a digest, two blanks and the name of a file")
        listed[match[2]] = listed.get(match[2], frozenset()) | {match[1]}
    return listed


def _damaged_list(path: Path, found: str) -> UserError:
    return UserError(
        f"{path} is damaged: {found}; copy the folder again or write it anew (`asr-distill verify --accept {path.parent}` takes"
        " its files as they are now)"
    )


def check_file(path: str | Path, data: bytes | None = None, *, digest: str | None = None) -> None:
    """Compares a file with the digest that its folder's list has for it; what is not listed passes.

    Each file is read once by a process, unless it changes.

    Args:
      path: the file.
      data: its bytes, where they have been read already.
      digest: the SHA-256 that it has to have whatever a list says, where its reader knows it.

    Raises `UserError` where the digest differs, the list is damaged, or a listed file is missing.
    """
    path = Path(path)
    right = frozenset([digest]) if digest is not None else (read_digests(path.parent) or {}).get(path.name)
    if right is None:
        return
    try:
        stat = path.stat()
        state = (os.path.realpath(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if state not in _found:
            _found[state] = hash_of_file(path) if data is None else hashlib.sha256(data).hexdigest()
    except FileNotFoundError:
        says = f"{DIGESTS_FILE} beside it lists it" if digest is None else "it belongs to the others in its folder"
        raise UserError(f"{path} is missing, and {says}; copy the folder again or run the stage that writes it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); copy it again or run the stage that writes it") from None
    if _found[state] not in right:
        says, way = "expected", ""
        if digest is None:
            says = f"{DIGESTS_FILE} beside it says"
            way = f" (`asr-distill verify --accept {path.parent}` takes the folder's files as they are now)"
        raise UserError(
            f"{path} is damaged or was changed: its SHA-256 is {_found[state][:16]}..., {says}"
            f" {', '.join(sorted(known[:16] + '...' for known in right))}; copy it again or run the stage that writes it{way}"
        )


def has_file(path: str | Path) -> bool:
    """Whether there is such a file; raises `UserError` as `check_file` does, so that one that is lost is not taken for none."""
    check_file(path)
    return Path(path).is_file()


def check_folder(folder: str | Path, *, contents: bool = True) -> int:
    """Checks every listed file of ``folder`` and of the folders in it; returns how many there are.

    Args:
      folder: a folder that this toolkit wrote; one without a list has nothing to check.
      contents: compare the digests; else only that no file is missing.

    Raises `UserError` naming the first file that is missing or differs.
    """
    checked = 0
    for inner in [Path(folder), *sorted(path for path in Path(folder).rglob("*") if path.is_dir())]:
        for name in read_digests(inner) or {}:
            if contents or not (inner / name).is_file():
                check_file(inner / name)
            checked += 1
    return checked


def accept_folder(folder: str | Path) -> int:
    """Lists what the lists of ``folder``, and of each folder in it, name as it is now; returns how many files these are.

    Files that are gone are taken off. A damaged list is written anew with the names that can still be read in it.
    """
    accepted = 0
    for path in sorted(Path(folder).rglob(DIGESTS_FILE)):
        with _locked(path.parent):
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            names = {match[2] for line in lines if (match := _LINE.fullmatch(line)) and (path.parent / match[2]).is_file()}
            _write(path.parent, {name: frozenset([hash_of_file(path.parent / name)]) for name in names})
            accepted += len(names)
    return accepted


def list_folder(folder: str | Path) -> None:
    """Lists all files of ``folder``, and of each folder in it, as written by this toolkit."""
    for inner in [Path(folder), *(path for path in Path(folder).rglob("*") if path.is_dir())]:
        names = sorted(path.name for path in inner.iterdir() if path.is_file() and path.name != DIGESTS_FILE)
        _write(inner, {name: frozenset([hash_of_file(inner / name)]) for name in names})


def foreign_files(folder: str | Path) -> list[str]:
    """Names of the files and links under ``folder`` that no list names: they are not ours to replace. Sorted, relative."""
    foreign = []
    for inner, folders, names in os.walk(folder):
        try:
            listed = read_digests(inner)
        except UserError:  # a damaged list proves nothing
            listed = None
        own = set() if listed is None else {*listed, DIGESTS_FILE}
        links = [name for name in folders if (Path(inner) / name).is_symlink()]
        foreign += [
            str((Path(inner) / name).relative_to(folder))
            for name in [*names, *links]
            if name not in own and not name.startswith(TEMPORARY)
        ]
    return sorted(foreign)


@contextmanager
def new_digest(path: Path, digest: str) -> Iterator[None]:
    """Lists ``digest`` for ``path`` beside its old one while the file is replaced inside the context, then alone.

    Other processes that change the same list wait. A kill at any moment leaves a list that fits the file.
    """
    with _locked(path.parent):
        listed = dict(read_digests(path.parent) or {})
        _write(path.parent, {**listed, path.name: listed.get(path.name, frozenset()) | {digest}})
        yield
        _write(path.parent, {**listed, path.name: frozenset([digest])})


def change_list(folder: str | Path, changes: Mapping[str, str | None]) -> None:
    """Lists the digests of files of ``folder`` that are there, by name; None takes a file from the list."""
    folder = Path(folder)
    with _locked(folder):
        listed = {**(read_digests(folder) or {}), **{name: frozenset([digest or ""]) for name, digest in changes.items()}}
        _write(folder, {name: digests for name, digests in listed.items() if changes.get(name, "") is not None})


def _write(folder: Path, listed: Digests) -> None:
    for name in listed:
        if "\n" in name:
            raise UserError(f"{folder / name!r}: a file's name may not hold a line break")
    lines = [f"{digest}  {name}" for name in sorted(listed) for digest in sorted(listed[name])]
    descriptor, temporary = tempfile.mkstemp(prefix=f"{TEMPORARY}{UNFINISHED_LIST}-", dir=folder)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write("\n".join([_HEADER, *lines]) + "\n")
            stream.flush()
            os.fchmod(descriptor, 0o666 & ~current_umask())
            os.fsync(descriptor)
        os.replace(temporary, folder / DIGESTS_FILE)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps others from changing the list of ``folder``, and removes what those who were killed left of it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks on folders
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                for leftover in folder.glob(f"{TEMPORARY}{UNFINISHED_LIST}-*"):
                    leftover.unlink()
        yield
    finally:
        os.close(descriptor)


def current_umask() -> int:
    """The permissions that this process takes from new files."""
    umask = os.umask(0)
    os.umask(umask)
    return umask

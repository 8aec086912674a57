"""Files and folders that are whole or absent: written under a temporary name, flushed, put in place in one step.

A kill at any moment leaves the old content or the new one. What a killed process leaves behind is a hidden
``.asr-distill-NAME-XXXXXXXX``, removed by the next process that writes the same NAME.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import glob
import itertools
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path

from asr_distill.base.digests import TEMPORARY, current_umask, foreign_files, list_folder, new_digest, read_digests
from asr_distill.base.disk import failed_write, write_error
from asr_distill.base.errors import UserError
from asr_distill.base.hashing import hash_of_file

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

# of `written_together`: what is to be done in the end, and what stays open until then
_together: ContextVar[tuple[list[Callable[[], None]], ExitStack] | None] = ContextVar("_together", default=None)
_RANDOM = "?" * 8  # as tempfile makes them
_MANY = 64  # files above which one flush of everything is quicker than theirs
_SURE, _UNSURE = 60.0, 86400.0  # seconds after which a leftover is nobody's: its lock is free, or locks are not known here
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE, AT_FDCWD


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
def atomic_path(path: str | Path, *, listed: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` (same suffixes) and renames it to ``path`` on success, removes it on failure.

    Args:
      path: the file.
      listed: its digest is listed in its folder (see `digests`), as it always is where the folder has a list.

    Raises `UserError` where there is a folder of that name, or nothing can be written there.
    """
    path = Path(path)
    make_room(path, "file")
    stem, suffixes = path.name.split(".")[0], "".join(path.suffixes)
    remove_leftovers(path.parent, stem, suffixes)
    with ExitStack() as opened:
        descriptor, name = tempfile.mkstemp(prefix=f"{TEMPORARY}{stem}-", suffix=suffixes, dir=path.parent)
        opened.callback(os.close, descriptor)
        temporary = Path(name)
        opened.callback(temporary.unlink, missing_ok=True)
        _lock(descriptor)
        with _told_of_the_disk(path):
            yield temporary
            temporary.chmod(0o666 & ~current_umask())
            _flush(temporary)
        put = functools.partial(_put_file, temporary, path, listed)
        if (together := _together.get()) is None:
            put()
        else:
            waiting, until_then = together
            waiting.append(put)
            until_then.enter_context(opened.pop_all())


@contextmanager
def _told_of_the_disk(path: Path) -> Iterator[None]:
    """Whatever a full or failing disk makes a writer raise inside, raises a `UserError` that names ``path``."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (problem := failed_write(error)) is None:
            raise
        raise write_error(path, problem) from error


@contextmanager
def written_together() -> Iterator[None]:
    """What `atomic_path` writes inside is put in place in the end, in that order, when all of it is whole; or none of it.

    A kill in the end, among the renames, may leave some of the files new and some old.
    """
    waiting: list[Callable[[], None]] = []
    with ExitStack() as opened:
        token = _together.set((waiting, opened))
        try:
            yield
        finally:
            _together.reset(token)
        for put in waiting:
            put()


def _put_file(temporary: Path, path: Path, listed: bool) -> None:
    # Hidden files of ours come and go; a folder that is not in its place yet is locked, and gets its list in the end.
    hidden = any(part.startswith(TEMPORARY) for part in path.parts)
    listed = not hidden and (listed or read_digests(path.parent) is not None)
    with _told_of_the_disk(path), new_digest(path, hash_of_file(temporary)) if listed else nullcontext():
        os.replace(temporary, path)
        _flush(path.parent)


@contextmanager
def atomic_directory(path: str | Path, *, kind: str | None = None) -> Iterator[Path]:
    """Yields a temporary directory beside ``path`` and puts it in its place on success, with the list of its digests.

    Raises `UserError` before any work where nothing can be written there, or `check_replaceable` does.
    """
    path = Path(path).resolve()  # "." can be neither renamed nor written beside
    make_room(path, "folder")
    _recover(path)
    remove_leftovers(path.parent, path.name)
    check_replaceable(path, kind=kind)
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent))
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        _lock(descriptor)
        with _told_of_the_disk(path):
            yield temporary
            temporary.chmod(0o777 & ~current_umask())
            list_folder(temporary)
            flush_files([*temporary.rglob("*"), temporary])
        check_replaceable(path, kind=kind)
        _put_in_place(temporary, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


def check_replaceable(path: str | Path, *, kind: str | None = None) -> None:
    """Raises `UserError` where the folder ``path`` must not be replaced; long work asks before it begins.

    That is where it is no folder, holds anything that this toolkit did not write (see `digests`), or is one of another kind:
    all folders of a ``kind`` hold the file of that name.
    """
    path = Path(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"{path} is a file, expected the name of a folder to write; name another place")
    if foreign := foreign_files(path):
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        raise UserError(
            f"{path} holds files that asr-distill did not write ({', '.join(foreign[:5])}{more}), expected a new or empty"
            " folder, or one of its own to replace; name another folder, or move these files away"
        )
    if kind is not None and not (path / kind).is_file() and (held := sorted(name for name in read_digests(path) or {})):
        raise UserError(
            f"{path} is a folder of another kind (it has no {kind}, but {', '.join(held[:5])}), expected a new or empty folder,"
            " or one of the same kind to replace; name another folder"
        )


def free_name(path: str | Path) -> str:
    """``path``, or where something is there a name like it that is free, quoted for a shell: for hints that write there."""
    path = Path(path)
    others = (path.with_name(f"{path.resolve().name}_new{number or ''}") for number in itertools.count())
    return shlex.quote(str(next(name for name in itertools.chain([path], others) if not os.path.lexists(name))))


def check_own(*files: Path) -> None:
    """Raises `UserError` where one of ``files``, whose names are ours to choose, is there and no list of ours names it.

    For what is written into a folder that may hold other things; a file that the user names is replaced, as by any tool.
    """
    listed = {folder: read_digests(folder) or {} for folder in {file.parent for file in files}}
    foreign = sorted({file for file in files if os.path.lexists(file) and file.name not in listed[file.parent]})
    if foreign:
        raise UserError(
            f"{foreign[0].parent} holds files of these names that asr-distill did not write:"
            f" {', '.join(file.name for file in foreign[:5])}; they would be overwritten: name another --output, or move them"
            " away"
        )


def _put_in_place(new: Path, path: Path) -> None:
    """After this ``path`` is the new folder; the old one, where there was one, is gone or lies at ``new``."""
    if not path.exists():
        os.replace(new, path)
        return
    if _exchange(new, path):
        return
    retired = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{path.name}-old-", dir=path.parent))
    os.replace(path, retired / "old")  # a kill between this and the next line is mended by `_recover`
    os.replace(new, path)
    shutil.rmtree(retired)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step; False where the system or the file system has no such step (NFS, for one)."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) == 0:
        return True
    found = ctypes.get_errno()
    if found in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(found, os.strerror(found), str(other))


def _recover(path: Path) -> None:
    """Puts back the old folder of a process that was killed while it replaced ``path`` without an exchange."""
    for retired in path.parent.glob(f"{glob.escape(f'{TEMPORARY}{path.name}-old-')}{_RANDOM}"):
        if (retired / "old").is_dir() and not path.exists():
            os.replace(retired / "old", path)
        if _age(retired) > _SURE:
            shutil.rmtree(retired, ignore_errors=True)


def remove_folder(path: Path, stem: str) -> bool:
    """Removes a folder that this toolkit wrote all of; False, and it stays, where it holds anything else.

    What a kill leaves of it is hidden, for `remove_leftovers` of the same ``stem``.
    """
    if foreign_files(path):
        return False
    retired = tempfile.mkdtemp(prefix=f"{TEMPORARY}{stem}-", dir=path.parent)
    os.replace(path, retired)
    shutil.rmtree(retired)
    return True


def remove_leftovers(folder: Path, stem: str, suffixes: str = "") -> None:
    """Removes what killed processes left of earlier attempts to write the same name: old enough, and locked by no one."""
    for left in folder.glob(f"{glob.escape(TEMPORARY + stem)}-{_RANDOM}{glob.escape(suffixes)}"):
        with suppress(OSError):  # gone meanwhile, or not ours to touch
            if _age(left) > _SURE and (_is_unlocked(left) or _age(left) > _UNSURE):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _age(path: Path) -> float:
    return time.time() - max((entry.stat().st_mtime for entry in [path, *path.rglob("*")]), default=0.0)


def _is_unlocked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Marks a temporary file or folder as that of a living process; False where it is another's, or locks are not known."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def flush_files(paths: Collection[Path]) -> None:
    """Writes files and the entries of folders to the disk."""
    if len(paths) > _MANY:
        os.sync()
        return
    for path in paths:
        _flush(path)


def _flush(path: Path) -> None:
    """Writes a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

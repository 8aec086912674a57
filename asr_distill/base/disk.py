"""Full and failing disks: what long work will write is compared with what is free, and every writer's failure is told alike."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from asr_distill.base.errors import UserError

_NAMES = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS")  # no space, quota, ulimit -f, a failing disk, mounted read-only
_NUMBERS = frozenset(getattr(errno, name) for name in _NAMES if hasattr(errno, name))
# How libraries tell of the same in words: Rust's (safetensors), and NumPy where fewer bytes than asked for were written.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")


def failed_write(error: BaseException) -> str | None:
    """What is wrong with the disk, where ``error`` is what a full or failing one does to a writer; else None."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (said := _OS_ERROR.search(str(error))):
        number = int(said[1])
    if number is None and _SHORT_WRITE.search(str(error)):
        number = errno.ENOSPC
    return os.strerror(number) if number is not None and number in _NUMBERS else None


class DiskError(UserError):
    """A disk that is full or fails: nothing that is left out or counted, as one bad utterance may be."""


def write_error(path: str | Path, problem: str) -> DiskError:
    """The error for a file that could not be written. ``problem``: of `failed_write`."""
    return DiskError(
        f"{path} could not be written: {problem} ({_size(free_bytes(path))} are free there); make room, or name another place,"
        " and run it again: it goes on from what is complete, and what was there before is as it was"
    )


def check_space(path: str | Path, needed: float, what: str) -> None:
    """Raises `UserError` where fewer than ``needed`` bytes are free where ``path`` will be. ``what``: that is written there."""
    free = free_bytes(path)
    if needed > free:
        raise DiskError(
            f"{what} will take {_size(needed)} in {path}, and {_size(free)} are free on its disk; make room, or name another"
            " place"
        )


def free_bytes(path: str | Path) -> int:
    """Bytes that this user may still write on the disk of ``path``, which need not exist yet."""
    place = Path(os.path.abspath(path))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"

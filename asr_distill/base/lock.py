"""One process at a time at work in a place: the second is refused, whether or not the first ends in peace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from asr_distill.base.digests import TEMPORARY, UNFINISHED_LIST
from asr_distill.base.errors import UserError
from asr_distill.base.replace import make_room, remove_leftovers

try:
    import fcntl
except ImportError:  # not on Windows: two processes at once are not told apart there
    fcntl: Any = None  # type: ignore[no-redef]

_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # a file system without locks


@contextmanager
def only_process(path: Path, work: str, make_folder: Callable[[], None]) -> Iterator[Path]:
    """Holds a lock on the file ``path``, which is yielded, until the context or the process ends, however it ends.

    ``make_folder`` makes the folder it is in, and may be called again where another process removes that meanwhile. A lock file
    that a dead process left behind is no lock. Raises `UserError` where another process holds it: it is doing ``work``, such as
    ``training in models/seed0``.
    """
    with _locked(path, work, make_folder):
        yield path


@contextmanager
def only_writer(file: str | Path, work: str | None = None) -> Iterator[None]:
    """One process at a time writes ``file`` and what belongs to it, in several steps; its folder is made.

    ``file`` is the one that is written last; ``work`` as of `only_process`. The lock is a hidden file beside it, which is no
    lock once its process is gone. Raises `UserError` where another process holds it, or nothing can be written there.
    """
    file = Path(file)
    had_folder = file.parent.exists()
    path = file.parent / f"{TEMPORARY}{file.name}.lock"
    with only_process(path, work or f"writing {file}", lambda: make_room(file, "file")) as lock:
        try:
            remove_leftovers(file.parent, UNFINISHED_LIST)
            yield
        finally:
            lock.unlink(missing_ok=True)
            if not had_folder:
                with suppress(OSError):  # something was written there
                    file.parent.rmdir()


def _locked(path: Path, work: str, make_folder: Callable[[], None]) -> IO[str]:
    while True:
        make_folder()
        with ExitStack() as opened:
            try:
                stream = opened.enter_context(open(path, "a", encoding="utf-8"))
                _lock(stream, work)
                if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                    opened.pop_all()
                    return stream
            except FileNotFoundError:  # who held it ended just now and removed it: begin again
                continue


def _lock(stream: IO[str], work: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another process is {work}; wait until it ends, or end it and run this again to continue its work,"
            " or name another --output"
        ) from None
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise

"""One process at a time at work in a place: the second is refused, whether or not the first ends in peace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from asr_distill.base.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows: two processes at once are not told apart there
    fcntl: Any = None  # type: ignore[no-redef]

_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # a file system without locks


@contextmanager
def only_process(path: Path, work: str, make_folder: Callable[[], None]) -> Iterator[None]:
    """Holds a lock on the file ``path``, until the context or the process ends, however it ends.

    ``make_folder`` makes the folder it is in, and may be called again where another process removes that meanwhile. A lock file
    that a dead process left behind is no lock. Raises `UserError` where another process holds it: it is doing ``work``, such as
    ``training in models/seed0``.
    """
    with _locked(path, work, make_folder):
        yield


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

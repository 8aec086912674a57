"""One run at a time in an output folder: two at once would each remove the other's checkpoints."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from asr_distill.base import UserError
from asr_distill.training.state import STATE_FOLDER, make_folder

try:
    import fcntl
except ImportError:  # not on Windows: two runs at once are not told apart there
    fcntl: Any = None  # type: ignore[no-redef]

LOCK_FILE = "lock"
_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # a file system without locks


@contextmanager
def only_run(out_dir: Path) -> Iterator[None]:
    """Makes ``out_dir/training`` and keeps other runs out of it, until the context or the process ends, however it ends.

    A lock file that a dead process left behind is no lock. Raises `UserError` where another run is at work in ``out_dir``, or
    nothing can be written there.
    """
    with _locked(out_dir):
        yield


def _locked(out_dir: Path) -> IO[str]:
    path = out_dir / STATE_FOLDER / LOCK_FILE
    while True:
        make_folder(out_dir)
        with ExitStack() as opened:
            try:
                stream = opened.enter_context(open(path, "a", encoding="utf-8"))
                _lock(stream, out_dir)
                if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                    opened.pop_all()
                    return stream
            except FileNotFoundError:  # a run that ended just now removed the folder: begin again
                continue


def _lock(stream: IO[str], out_dir: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another process is training in {out_dir}; wait until it ends, or end it and run this again to continue its work,"
            " or name another --output"
        ) from None
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise

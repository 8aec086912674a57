"""Runs commands in forked children that end at a chosen moment as a SIGKILL would end them: no `finally`, no flush.

The moments are the operations on files that Python reports to audit hooks (PEP 578), each before it takes place: every file
that is opened, renamed, removed, every folder that is made. So a file that was opened and not closed is left empty or in part.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

_OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_OPERATIONS |= {"shutil.rmtree", "shutil.copyfile", "tempfile.mkstemp", "tempfile.mkdtemp", "ctypes.dlopen"}
KILLED = 137


def run_forked(
    action: Callable[[], int],
    *,
    kill_at: int | None = None,
    kill_after: float | None = None,
    before: Callable[[], None] = lambda: None,
) -> tuple[int, int]:
    """The exit status of ``action`` in a child of this process, and how many operations on files it began.

    kill_at: the number of the operation (from 1) before which the child ends at once. kill_after: seconds after which it gets
    SIGKILL. before: called in the child before it begins, such as to change what the machine can do.
    """
    with tempfile.TemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            status = 70
            try:
                _silence()
                before()
                count = _count(kill_at)
                status = action()
                os.pwrite(answer.fileno(), json.dumps(count[0]).encode(), 0)
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        answer.seek(0)
        return os.waitstatus_to_exitcode(status), json.loads(answer.read() or b"0")


def _silence() -> None:
    log = os.open(os.environ.get("ASR_DISTILL_TEST_LOG", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _count(kill_at: int | None) -> list[int]:
    count = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _OPERATIONS or (event == "open" and not _writes(arguments)):
            return
        count[0] += 1
        if count[0] == kill_at:
            os._exit(KILLED)

    sys.addaudithook(hook)
    return count


def _writes(arguments: tuple[Any, ...]) -> bool:
    path, mode, flags = arguments
    if isinstance(path, int):
        return False
    return (isinstance(mode, str) and set(mode) & set("wax+") != set()) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))


def contents(folders: Iterable[Path], normal: Callable[[Path, bytes], bytes] = lambda _, data: data) -> dict[str, bytes | None]:
    """Every file under ``folders`` by its path, hidden ones too; folders with None."""
    found: dict[str, bytes | None] = {}
    for folder in folders:
        for path in sorted([folder, *folder.rglob("*")]) if folder.is_dir() else [folder]:
            if path.exists():
                found[str(path)] = None if path.is_dir() else normal(path, path.read_bytes())
    return found

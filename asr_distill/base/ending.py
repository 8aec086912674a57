"""How a command ends: errors as one message, SIGTERM and SIGHUP as Ctrl-C, so that what is unfinished is removed."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from asr_distill.base.disk import failed_write
from asr_distill.base.errors import UserError
from asr_distill.base.terminal import printable

_NUMBERS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


def run_as_command(name: str, action: Callable[[], int | None], *, of_other: bool = False) -> int:
    """Runs ``action`` and returns the exit status; what ends it is told in one message on standard error, after ``name``.

    0: done, or what ``action`` returns; 1: a mistake of the user's, or a full disk and the like; 130: interrupted; 143 and 129:
    ended by SIGTERM and SIGHUP. ``of_other``: another command began this one, is interrupted as well, and says so. A pipe that
    nobody reads is left to the caller. Other exceptions are mistakes of ours, and are raised.
    """
    try:
        with ended_in_order():
            return int(action() or 0)
    except UserError as error:
        return _told(f"{name}: error: {error}", 1)
    except BrokenPipeError:
        raise
    except MemoryError as error:
        return _told(f"{name}: error: not enough memory ({error}); use smaller sizes", 1)
    except KeyboardInterrupt:
        if of_other:
            return 130
        return _told(f"{name}: interrupted; run it again to continue", 130)
    except SystemExit as error:
        if not isinstance(error.code, int) or error.code <= 128:
            raise
        return _told(f"{name}: terminated; run it again to continue", error.code)
    except Exception as error:
        if (message := _of_the_machine(error)) is None:
            raise
        return _told(f"{name}: error: {message}; mend that and run it again", 1)


def _told(message: str, status: int) -> int:
    print(printable(message), file=sys.stderr)
    return status


def _of_the_machine(error: Exception) -> str | None:
    """What to say of an error of the machine's or the user's doing: a full disk, a file for a folder, no permission."""
    problem = failed_write(error)
    if not isinstance(error, OSError):
        return problem and f"a file could not be written: {problem} ({error})"
    if error.filename is None and error.errno is None and problem is None:
        return None
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{problem or error.strerror}"


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Inside, both signals raise SystemExit with the status that a shell shows for them, 143 and 129.

    A signal that is ignored, as SIGHUP under nohup, or handled stays so; so do both outside the main thread.
    """
    here = threading.current_thread() is threading.main_thread()  # no other may set what a signal does
    ours = [number for number in _NUMBERS if here and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, _: FrameType | None) -> None:
    for other in _NUMBERS:
        signal.signal(other, signal.SIG_IGN)  # a second one must not keep the first from ending what was begun
    raise SystemExit(128 + number)

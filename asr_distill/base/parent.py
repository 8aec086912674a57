"""A process that ends with the one that began it, whatever ends that: who is killed has no time to end anybody."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

PARENT = "ASR_DISTILL_PARENT"
"""The environment variable by which a command that begins another tells it its own process id."""

_INTERVAL = 0.5  # seconds between two looks
_PATIENCE = 10.0  # seconds that this process has to end in before it is killed


def environment_of_child() -> dict[str, str]:
    """The environment for a command of this toolkit that is to end with this process."""
    return {**os.environ, PARENT: str(os.getpid())}


def end_with_parent(parent: int | None = None) -> bool:
    """From now on, once the process ``parent`` is gone, this one gets SIGTERM and, if it is still there, SIGKILL.

    parent: the process that began this one, or one before that, such as a recipe's shell. By default what
    `environment_of_child` said, or the recipe, which is taken out of the environment, for it holds for nobody else; where
    nothing was said nothing happens, and it returns False.

    A thread waits for it. Linux could send the signal by itself, but when the thread ends that began the process.
    """
    if parent is None:
        said = os.environ.pop(PARENT, "")
        if not said.isdecimal():
            return False
        parent = int(said)
    threading.Thread(target=_watch, args=(parent,), name="end with parent", daemon=True).start()
    return True


def _watch(parent: int) -> None:
    try:
        descriptor = os.pidfd_open(parent)
    except ProcessLookupError:
        pass
    except (AttributeError, OSError):  # not on Linux, or one before 5.3
        while os.getppid() == parent:  # an orphan's parent is another
            time.sleep(_INTERVAL)
    else:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)

"""Specialists one after another, or several at a time in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import TypeVar

from asr_distill.base import UserError, end_with_parent
from asr_distill.models import import_networks, imported_networks

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[tuple[Item, Result]]:
    """Each item and what ``work`` made of it, in order; ``jobs`` at a time, with one job in this process.

    ``work`` is a function of a module and the items are plain values, for both are sent to the processes; set the threads that
    each may use in the training configuration. The first error is raised, and what has not begun by then is not begun.
    Nothing needs to be said about what is trained already: `train_specialist` returns at once for that.

    The processes end with this one, also where it is terminated or killed. Raises `UserError` where one of them is.
    """
    if jobs < 1:
        raise UserError(f"jobs is {jobs}, expected 1 or more")
    if min(jobs, len(items)) <= 1:
        for item in items:
            yield item, work(item)
        return
    pool = ProcessPoolExecutor(
        *(min(jobs, len(items)), get_context("spawn")), initializer=_begin, initargs=(os.getpid(), imported_networks())
    )
    try:
        with _deaf_to_interrupts():
            results = pool.map(work, items)
        yield from zip(items, results, strict=True)
    except (KeyboardInterrupt, SystemExit):  # else their work would be waited for
        for child in active_children():
            child.terminate()
        raise
    except BrokenProcessPool:
        raise UserError(
            f"one of {jobs} processes ended before its work was done: it was killed, as where memory runs out. Next: run it"
            " again, it goes on; with a smaller --jobs if it was the memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """The processes that begin here ignore interrupts while they import, so that only this one says that it was interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _begin(parent: int, networks: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent(parent)
    import_networks(networks)

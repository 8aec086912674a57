"""Progress for people at a terminal or a notebook; one line at the end for those who read the log later."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from asr_distill.base.terminal import printable

Item = TypeVar("Item")
_log = logging.getLogger("asr_distill")


def progress_bar(**options: Any) -> Any:
    """A bar of tqdm with its ``options``, gone when done; none where standard error is neither a terminal nor a notebook's."""
    from tqdm.auto import tqdm  # slow to import, and `--help` has no use for it

    return tqdm(**options, leave=False, disable=not (sys.stderr.isatty() or in_notebook()))


def track(items: Iterable[Item], description: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yields ``items`` behind a bar with rate and ETA; see `progress_bar`.

    Logs one line at the end: how many items, in how many seconds.
    """
    start, count = time.monotonic(), 0
    for item in progress_bar(iterable=items, desc=printable(description), total=total, unit=unit):
        yield item
        count += 1
    _log.info("%s: %d %s in %.1f s", description, count, unit, time.monotonic() - start)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return "IPKernelApp" in getattr(shell, "config", ())


class NotebookLog(logging.Handler):
    """Prints what is logged under the cell that runs, for as long as nobody has configured `logging` otherwise."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line to standard error, as that stands now: a kernel replaces it."""
        if not logging.getLogger().handlers:
            print(time.strftime("%H:%M:%S"), printable(record.getMessage()), file=sys.stderr)


if in_notebook() and not _log.handlers:  # elsewhere the command line configures it, or the program that imports this
    _log.addHandler(NotebookLog())
    _log.setLevel(logging.INFO)

"""Progress for people at a terminal; one line at the end for those who read the log later."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
_log = logging.getLogger("asr_distill")


def track(items: Iterable[Item], description: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yields ``items`` behind a bar with rate and ETA on standard error; quiet where that is not a terminal.

    Logs one line at the end: how many items, in how many seconds.
    """
    start, count = time.monotonic(), 0
    for item in tqdm(items, desc=description, total=total, unit=unit, disable=not sys.stderr.isatty(), leave=False):
        yield item
        count += 1
    _log.info("%s: %d %s in %.1f s", description, count, unit, time.monotonic() - start)

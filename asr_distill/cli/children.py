"""Processes that end with the one that began them."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence

from asr_distill.base import ended_in_order, environment_of_child

_PATIENCE = 10.0  # seconds that a process has to end in before it is killed


class Children:
    """A context that begins processes, from any thread, and ends those still at work where an error leaves it.

    SIGTERM, which would end this process at once, is such an error inside (`asr_distill.base.ended_in_order`). Where this
    process is killed, commands of this toolkit see it themselves and end too (`asr_distill.base.end_with_parent`).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._signals = ended_in_order()

    def output_of(self, command: Sequence[str]) -> str | None:
        """What ``command`` writes to standard output; None where it fails, or the context is being left by an error."""
        with self._lock:
            if self._stopped:
                return None
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment_of_child())
            self._running.add(child)
        output, _ = child.communicate()
        with self._lock:
            self._running.remove(child)
        return output if child.returncode == 0 else None

    def __enter__(self) -> Children:
        self._signals.__enter__()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is not None:
                self._stop()
        finally:
            self._signals.__exit__(None, None, None)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for child in running:
            child.terminate()
        for child in running:
            try:
                child.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()

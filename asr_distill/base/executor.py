"""Run many jobs: one after the other in this process, or several at a time in processes beside it.

A job is a frozen dataclass with a method ``run``. It travels as JSON (`describe_job`, `run_described`), so that a process, or a
worker on another host, gets every field of it: no command line is put together again.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from asr_distill.base.configuration import from_mapping, to_mapping
from asr_distill.base.ending import ended_in_order
from asr_distill.base.errors import UserError
from asr_distill.base.parent import environment_of_child

_PATIENCE = 10.0  # seconds that a process has to end in before it is killed
_PACKAGE = __name__.partition(".")[0]


class Job(Protocol):
    """What an executor runs: a frozen dataclass of plain values, paths and other such dataclasses."""

    def run(self) -> dict[str, Any]:
        """Do the work and return its result as plain values. Raises `UserError` for a mistake of the user's."""
        ...


def describe_job(job: Job) -> str:
    """Return the job as one line of JSON: its class and the values of its fields."""
    kind = type(job)
    return json.dumps({"job": f"{kind.__module__}:{kind.__qualname__}", "values": to_mapping(job)})


def run_described(text: str) -> dict[str, Any]:
    """Run the job that `describe_job` described and return its result.

    Raises:
        UserError: the text describes no job of this package, or the job itself raises it.
    """
    try:
        said = json.loads(text)
        module, _, name = said["job"].partition(":")
        if module.partition(".")[0] != _PACKAGE:
            raise ValueError(f"{module} is not part of {_PACKAGE}")
        kind = getattr(importlib.import_module(module), name)
        values = said["values"]
    except (ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise UserError(f"this is not the description of a job ({error}); expected one line as `describe_job` gives") from None
    result: dict[str, Any] = from_mapping(kind, values, name).run()
    return result


class Executor:
    """Runs jobs in this process, each at once when it is submitted. Used as a context."""

    places = 1  # jobs at a time

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """Begin a job. An error that the job raises here is raised at once."""
        future: Future[dict[str, Any]] = Future()
        future.set_result(job.run())
        return future

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Wait for what runs; where an error leaves the context, end it instead."""


class JobFailed(UserError):
    """A job ended in another process, which has said why on standard error."""


class ProcessExecutor(Executor):
    """Runs each job in a new process of this toolkit, ``places`` at a time.

    Where an error leaves the context, the processes are ended; SIGTERM is such an error inside
    (`asr_distill.base.ended_in_order`). Where this process is killed, they notice and end too
    (`asr_distill.base.end_with_parent`).

    Args:
        places: jobs at a time.
        options: of ``asr-distill worker``, such as ``--quiet`` or ``--import FILE``.
    """

    def __init__(self, places: int, options: Sequence[str] = ()) -> None:
        self.places, self.options = places, tuple(options)
        self._pool = ThreadPoolExecutor(places)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._signals = ended_in_order()

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """Begin a job as soon as there is a place. Its future raises `JobFailed` where the process fails."""
        return self._pool.submit(self._run, describe_job(job))

    def _run(self, described: str) -> dict[str, Any]:
        with self._lock:
            if self._stopped:
                raise JobFailed("not begun: the command is ending")
            child = subprocess.Popen(
                [sys.executable, "-m", _PACKAGE, "worker", *self.options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment_of_child(),
            )
            self._running.add(child)
        output, _ = child.communicate(described)
        with self._lock:
            self._running.remove(child)
        if child.returncode:
            raise JobFailed("see the messages above")
        result: dict[str, Any] = json.loads(output)
        return result

    def __enter__(self) -> Executor:
        self._signals.__enter__()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is not None:
                self._stop()
            self._pool.shutdown(cancel_futures=error is not None)
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


def run_jobs(executor: Executor, jobs: Mapping[str, Job]) -> list[dict[str, Any]]:
    """Run named jobs and return their results in order.

    Raises:
        UserError: jobs failed, which it names; the others are complete by then.
    """
    with executor:
        futures = {name: executor.submit(job) for name, job in jobs.items()}
        results, failed = [], []
        for name, future in futures.items():
            try:
                results.append(future.result())
            except JobFailed:
                failed.append(name)
    if failed:
        raise UserError(f"failed: {', '.join(failed)}: see the messages above; the others are complete")
    return results

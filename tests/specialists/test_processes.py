"""What is trained in several processes at a time: they end with the command that began them, and one that is lost is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asr_distill.base import UserError
from asr_distill.specialists import in_parallel

COMMAND = """
import os, sys, time
from pathlib import Path
from asr_distill.specialists import in_parallel
def work(name):
    Path(name).write_text(str(os.getpid()))
    Path(name).rename(name + ".begun")
    time.sleep(300)
if __name__ == "__main__":
    list(in_parallel(work, sys.argv[1:], 2))
"""


@pytest.fixture
def workers(tmp_path: Path, alive: Callable[[int], bool]) -> Iterator[Path]:
    yield tmp_path
    for process in begun(tmp_path):
        if alive(process):
            os.kill(process, signal.SIGKILL)


def begun(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("*.begun")]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_command_ends_its_workers(workers: Path, alive: Callable[[int], bool], how: signal.Signals) -> None:
    script = workers / "command.py"
    script.write_text(COMMAND)
    with subprocess.Popen([sys.executable, str(script), *(str(workers / name) for name in "abc")]) as parent:
        deadline = time.monotonic() + 120
        while len(begun(workers)) < 2 and parent.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(how)
        assert parent.wait(timeout=15) == -how
    processes = begun(workers)
    assert len(processes) == 2
    deadline = time.monotonic() + 15
    while any(alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(process) for process in processes)


def test_a_worker_that_is_lost_is_no_traceback() -> None:
    with pytest.raises(UserError, match=r"ended before its work was done.*--jobs"):
        list(in_parallel(os._exit, [1, 1], 2))

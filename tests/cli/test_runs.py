"""Runs in processes of their own end with the command that began them, whatever ends it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Stands for the Python that trains a seed: an asr-distill that says who it is, and then works on, or as `wrong` ends with
# what is no JSON.
TRAINER = """#!{python}
import os, sys, time
from pathlib import Path
from asr_distill.cli import doctor, main
folder, name = Path({folder!r}), sys.argv[3]
def work(_):
    (folder / name).write_text(str(os.getpid()))
    (folder / name).rename(folder / ("begun." + name))
    while name != "wrong" or len(list(folder.glob("begun.*"))) < 2:
        time.sleep(0.02)
    print("no JSON")
doctor.run = work
sys.exit(main.main(["doctor"]))
"""
COMMAND = """
import sys
from asr_distill.cli.runs import in_processes
sys.executable = sys.argv[1]
in_processes([(name, [name]) for name in sys.argv[2:]], 2)
"""


@pytest.fixture
def trainer(tmp_path: Path, alive: Callable[[int], bool]) -> Iterator[Path]:
    path = tmp_path / "trainer"
    path.write_text(TRAINER.format(python=sys.executable, folder=str(tmp_path)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    yield path
    for process in begun(tmp_path).values():
        if alive(process):
            os.kill(process, signal.SIGKILL)


def begun(folder: Path) -> dict[str, int]:
    return {path.suffix[1:]: int(path.read_text()) for path in folder.glob("begun.*")}


def hear_interrupts() -> None:
    """Background jobs of a shell ignore SIGINT, and so would what tests start there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("how", "names", "status"),
    [
        (signal.SIGTERM, ["a", "b", "c"], 143),
        (signal.SIGINT, ["a", "b", "c"], -signal.SIGINT),
        (signal.SIGKILL, ["a", "b", "c"], -signal.SIGKILL),
        (None, ["wrong", "b", "c"], 1),
    ],
)
def test_what_ends_the_command_ends_its_runs(
    trainer: Path,
    tmp_path: Path,
    alive: Callable[[int], bool],
    how: signal.Signals | None,
    names: list[str],
    status: int,
) -> None:
    command = [sys.executable, "-c", COMMAND, str(trainer), *names]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts) as parent:
        deadline = time.monotonic() + 60
        while how is not None and not set(names[:2]) <= set(begun(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if how is not None:
            parent.send_signal(how)
        try:
            _, told = parent.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            parent.kill()
            raise
    assert parent.returncode == status, told
    assert ("JSONDecodeError" in told) == (how is None)
    processes = begun(tmp_path)
    assert set(names[:2]) <= set(processes)
    assert how is None or "c" not in processes  # what had not begun by then does not begin
    deadline = time.monotonic() + (10 if how == signal.SIGKILL else 0)  # who is killed cannot wait for them
    while any(alive(process) for process in processes.values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(process) for process in processes.values())

"""A command that is told to end does: what is unfinished is removed, its children end with it, the status says by what."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# An asr-distill that writes a folder, says that it has begun, and then works on.
AT_WORK = """#!{python}
import os, sys, time
from pathlib import Path
from asr_distill.base import atomic_directory, only_writer
from asr_distill.cli import doctor, main
folder = Path({folder!r})
def work(_):
    with only_writer(folder / "x"), atomic_directory(folder / "d") as temporary:
        (temporary / "half").write_text("")
        (folder / "begun").write_text(str(os.getpid()))
        (folder / "begun").rename(folder / "at work")
        time.sleep(60)
doctor.run = work
sys.exit(main.main(["doctor"]))
"""


def program(path: Path, folder: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(AT_WORK.format(python=sys.executable, folder=str(folder)))
    path.chmod(0o755)
    return path


def wait_for(path: Path, process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return int(path.read_text())


@pytest.fixture(autouse=True)
def hear_hangups() -> Iterator[None]:
    """Under nohup a hang-up is ignored, and so it would be in all that tests start here."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_command_that_is_ended_leaves_nothing_unfinished(tmp_path: Path, number: int, status: int) -> None:
    (tmp_path / "out").mkdir()
    command = [str(program(tmp_path / "asr-distill", tmp_path / "out"))]
    interruptible = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  # background jobs ignore it
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible) as process:
        wait_for(tmp_path / "out" / "at work", process)
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    assert process.returncode == status
    assert "run it again to continue" in told
    assert "Traceback" not in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["at work"]


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    command = ["nohup", str(program(tmp_path / "asr-distill", tmp_path / "out"))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True) as process:
        wait_for(tmp_path / "out" / "at work", process)
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=20) == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_what_a_recipe_runs_ends_with_it(tmp_path: Path, alive: Callable[[int], bool], number: int) -> None:
    """Also where it is asked for in a function, a pipe and a command's output, whose shells are other processes."""
    (tmp_path / "out").mkdir()
    command = program(tmp_path / "asr-distill", tmp_path / "out")
    script = (
        f'cd "{ROOT}"; source recipes/stages.sh; distill() {{ "{command}" "$@"; }}\n'
        "work() { local found; found=$(distill x | cat); echo after; }\nwork\n"
    )
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as shell:
        child = wait_for(tmp_path / "out" / "at work", shell)
        shell.send_signal(number)
        assert shell.wait(timeout=20) == -number
        deadline = time.monotonic() + 10
        while alive(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        gone = not alive(child)
        if not gone:
            os.kill(child, signal.SIGKILL)
        assert gone
        assert shell.communicate()[0] == ""
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["at work"]

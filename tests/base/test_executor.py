"""Jobs travel whole, and end with the command that began them, whatever ends it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asr_distill.base import UserError, executor
from asr_distill.base.executor import Executor, JobFailed, ProcessExecutor, describe_job, run_described, run_jobs
from asr_distill.experiments.training_job import SequenceObjective, SoftTargets, TrainingJob

# Stands for the Python that runs a job: an asr-distill that says who it is, and then works on, or as `wrong` ends with
# what is no JSON.
TRAINER = """#!{python}
import json, os, sys, time
from pathlib import Path
from asr_distill.cli import doctor, main
folder, name = Path({folder!r}), json.loads(sys.stdin.read())["values"]["name"]
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
import dataclasses, sys
from asr_distill.base.executor import ProcessExecutor, run_jobs
@dataclasses.dataclass
class Named:
    name: str
sys.executable = sys.argv[1]
run_jobs(ProcessExecutor(2), {name: Named(name) for name in sys.argv[2:]})
"""


@dataclasses.dataclass(frozen=True)
class Named:
    name: str
    error: bool = False

    def run(self) -> dict[str, Any]:
        if self.error:
            raise UserError(f"{self.name} failed")
        return {"name": self.name}


def test_every_field_of_a_job_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what has its default, and paths: a job that arrives is the job that was sent."""
    arrived: list[TrainingJob] = []
    monkeypatch.setattr(TrainingJob, "run", lambda job: arrived.append(job) or {"seed": 3})
    files = (Path("train"), None, Path("senones.json"), Path("priors.json"), Path("models/seed3"))
    soft = SoftTargets(store=Path("targets"), temperature=2.5, hard_weight=0.25, loss="corrected")
    sequence = SequenceObjective("smbr", Path("alignments.jsonl.gz"), margin=0.1, tolerance=-1)
    sent = [
        TrainingJob({"seed": 3, "network": {"width": 8}}, *files, share=0.03, soft=soft, allow_shared_speakers=True),
        TrainingJob({}, *files, initial_model=Path("models/{seed}"), sequence=sequence),
    ]
    assert [run_described(describe_job(job)) for job in sent] == [{"seed": 3}] * 2
    assert arrived == sent


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"job": 1, "values": {}}',
        '{"job": "os:system", "values": {}}',
        '{"job": "asr_distill.base:gone", "values": {}}',
        '{"job": "asr_distillery.x:Y", "values": {}}',
        '{"job": "asr_distill.gone:Y", "values": {}}',
    ],
)
def test_what_describes_no_job_of_ours_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not the description of a job"):
        run_described(text)


def test_jobs_run_here_in_order_and_an_error_is_raised_at_once() -> None:
    assert run_jobs(Executor(), {name: Named(name) for name in "ba"}) == [{"name": "b"}, {"name": "a"}]
    with pytest.raises(UserError, match="a failed"):
        run_jobs(Executor(), {"a": Named("a", error=True)})


def test_failed_jobs_are_named_and_the_others_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    def output(self: ProcessExecutor, described: str) -> dict[str, Any]:
        name = json.loads(described)["values"]["name"]
        if name in "bd":
            raise JobFailed("see the messages above")
        done.append(name)
        return {}

    done: list[str] = []
    monkeypatch.setattr(ProcessExecutor, "_run", output)
    with pytest.raises(UserError, match="failed: b, d: see the messages above"):
        run_jobs(ProcessExecutor(2), {name: Named(name) for name in "abcde"})
    assert sorted(done) == ["a", "c", "e"]


def test_a_process_that_fails_fails_its_job(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="failed: lost"):
        run_jobs(ProcessExecutor(1), {"lost": Named("lost")})  # the class is not part of the package
    assert "not the description of a job" in capfd.readouterr().err
    assert executor.describe_job(Named("x"))


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

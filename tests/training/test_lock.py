"""Two runs in one folder: the second is refused while the first is at work, and only then."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic import Clusters

from asr_distill.base import UserError
from asr_distill.training import HardLabels, TrainingConfig, loop, train_model
from asr_distill.training.lock import only_run

CONFIG = TrainingConfig(network={"layers": 1, "width": 8}, epochs=1, batch_size=100, threads=1, tensorboard=False)
HOLDER = """
import sys
from pathlib import Path
from asr_distill.training.lock import only_run
with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


class Nosy(HardLabels):
    """Begins a run in each folder while its own is at work."""

    def __call__(self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        for folder in self.__dict__["folders"]:
            with pytest.raises(UserError, match=f"another process is training in {folder};.*another --output"):
                train_model(CONFIG, Clusters(), None, folder)
        return super().__call__(logits, batch)


def test_a_second_run_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    train_model(CONFIG, Clusters(), None, tmp_path / "alone")
    nosy = Nosy()
    nosy.__dict__["folders"] = [tmp_path / "run"]
    summary = train_model(CONFIG, Clusters(), None, tmp_path / "run", nosy)
    assert summary["epochs"] == 1
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("alone", "run")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "run" / "training").exists()
    assert train_model(CONFIG, Clusters(), None, tmp_path / "run") == summary


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], text=True, **pipes) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process"):
            train_model(CONFIG, Clusters(), None, tmp_path / "run")
        holder.send_signal(signal.SIGKILL)
    assert (tmp_path / "run" / "training" / "lock").exists()
    assert train_model(CONFIG, Clusters(), None, tmp_path / "run")["epochs"] == 1


def test_a_run_that_another_process_completed_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: Any) -> None:
    first = train_model(CONFIG, Clusters(), None, tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    look, answers = loop.completed_run, [None]
    monkeypatch.setattr(loop, "completed_run", lambda *words: answers.pop() if answers else look(*words))
    assert train_model(CONFIG, Clusters(), None, tmp_path / "run") == first
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before
    assert not (tmp_path / "run" / "training").exists()


def test_a_lock_on_a_folder_that_was_removed_counts_no_more(tmp_path: Path, monkeypatch: Any) -> None:
    """A run ends between the moment that the next one opens its lock file and the moment that it locks it."""
    from asr_distill.base import lock

    take, times = lock._lock, []

    def remove_first(stream: Any, work: str) -> None:
        if not times:
            loop.remove_folder(tmp_path / "run")
        times.append(stream)
        take(stream, work)

    monkeypatch.setattr(lock, "_lock", remove_first)
    with only_run(tmp_path / "run"):
        assert len(times) == 2
        assert times[0].closed
        with pytest.raises(UserError, match="another process"), only_run(tmp_path / "run"):
            pass
    with only_run(tmp_path / "run"):
        pass

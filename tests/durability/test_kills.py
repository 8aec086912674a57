"""Every command, killed at any moment and run again, ends with the bytes of a run that was not killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).parent / "run_kills.py"


def run_kills(folder: Path, *options: str) -> dict[str, dict[str, int]]:
    """The counts by command; fails where anything came out other than without a kill."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ASR_DISTILL_TEST_LOG": str(folder / "log")}
    command = [sys.executable, str(RUNNER), str(folder), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    return found["kills"]


def test_features_and_labels_survive_kills(tmp_path: Path) -> None:
    kills = run_kills(tmp_path, "--kills", "4", "--until", "tree label", "--only", "features", "tree label")
    assert sum(kills.values()) >= 20


@pytest.mark.slow
def test_every_command_survives_kills(tmp_path: Path) -> None:
    """``KILLS``: operations on files at which each command is killed, from two states each, and as many random moments / 3."""
    pytest.importorskip("PIL")
    count = int(os.environ.get("KILLS", "3"))
    kills = run_kills(tmp_path, "--kills", str(count), "--by-time", str(max(1, count // 3)), "--seed", "1")
    assert len(kills) >= 20
    assert sum(kills.values()) >= 100

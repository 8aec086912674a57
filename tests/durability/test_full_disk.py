"""A full disk: one message that names the file, nothing half-written, and the next run finishes to the same bytes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from asr_distill.base import DiskError, UserError, atomic_directory, atomic_path, check_space, disk, failed_write, write_json

RUNNER = Path(__file__).parent / "run_full_disk.py"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EDQUOT, "x"), os.strerror(errno.EDQUOT)),
        (OSError(errno.EFBIG, "x"), "File too large"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left on device"),
        (OSError("160000 requested and 81920 written"), "No space left on device"),
        (OSError(errno.EACCES, "Permission denied"), None),
        (ValueError("anything else"), None),
    ],
)
def test_what_libraries_say_of_a_full_disk_is_understood(error: Exception, said: str | None) -> None:
    assert failed_write(error) == said


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
@pytest.mark.parametrize("what", ["text", "array"])
def test_real_writers_on_a_full_device(what: str) -> None:
    """Written into only, never by a library that might put another file in its place."""
    with pytest.raises(OSError) as raised, open("/dev/full", "wb") as stream:  # noqa: PT011
        stream.write(b"x" * 100000) if what == "text" else np.save(stream, np.zeros(100000))
    assert failed_write(raised.value) == "No space left on device"


def test_the_file_is_named_and_what_was_there_stays(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", 1)
    with atomic_directory(tmp_path / "d") as folder:
        write_json(folder / "y.json", 1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    full = OSError(errno.ENOSPC, "No space left on device")
    named = r"x\.json could not be written: No space left.*free there"
    with pytest.raises(DiskError, match=named), atomic_path(tmp_path / "x.json"):
        raise full
    with pytest.raises(DiskError, match=r"/d could not be written: No space left"), atomic_directory(tmp_path / "d"):
        raise full
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_need_is_compared_with_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    check_space(tmp_path / "not" / "there", 5e6, "the frame store")
    with pytest.raises(UserError, match=r"the frame store will take 7\.5 GB in .*there, and 5\.0 MB are free on its disk"):
        check_space(tmp_path / "not" / "there", 7.5e9, "the frame store")


@pytest.mark.slow
def test_every_command_on_a_full_disk(tmp_path: Path) -> None:
    """A small file system of its own, filled up to a few sizes; the last ones suffice."""
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(tmp_path / "disk")]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ASR_DISTILL_TEST_LOG": str(tmp_path / "log")}
        command = [sys.executable, str(RUNNER), str(tmp_path / "disk")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found = json.loads(done.stdout)
        assert found["wrong"] == []
        assert found["full"] >= 20
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=False)

"""What was damaged on the disk is refused: every file of every artefact, by the commands that read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asr_distill.base import DIGESTS_FILE
from asr_distill.cli.main import main


@pytest.mark.slow
def test_no_damage_is_believed(tmp_path: Path) -> None:
    """A flipped bit, a cut, nothing and no file, of each file of a small world, before one of the commands that read it."""
    program = Path(__file__).with_name("run_damage.py")
    seed = os.environ.get("DAMAGE_SEED", "0")
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), "--seed", seed],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["files"] > 100
    assert found["outcomes"]["refused"] > 100


def test_verify_names_every_file_that_differs_and_accepts_what_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from asr_distill.base import write_json

    for name in ("a", "b", "c"):
        write_json(tmp_path / "inner" / f"{name}.json", name, listed=True)
    assert main(["verify", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"verified": 3}
    (tmp_path / "inner" / "a.json").write_text('"z"\n')
    (tmp_path / "inner" / "b.json").unlink()
    assert main(["verify", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "2 of 3 files" in said
    assert "a.json is damaged" in said
    assert "b.json is missing" in said
    (tmp_path / "inner" / "the user's").write_text("never listed")
    assert main(["verify", str(tmp_path), "--accept"]) == 0
    assert main(["verify", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"verified": 2}
    assert "user" not in (tmp_path / "inner" / DIGESTS_FILE).read_text()
    assert main(["verify", str(tmp_path / "nowhere")]) == 1

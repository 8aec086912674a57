"""``asr-distill once``: a command runs where its words or inputs are new, and never over what it made with others."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr_distill.base import read_json
from asr_distill.cli.main import main

COPY = "import sys; open(sys.argv[2], 'w').write(open(sys.argv[1]).read() + ' '.join(sys.argv[3:])); print('ran')"


@pytest.fixture
def once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    (tmp_path / "in").write_text("data")

    def once(*words: str, options: tuple[str, ...] = (), code: str = COPY, status: int = 0) -> Any:
        capfd.readouterr()
        command = [sys.executable, "-c", code, str(tmp_path / "in"), str(tmp_path / "out"), *words]
        records = ["--records", str(tmp_path / ".done"), "--writes", str(tmp_path / "out")]
        assert main(["once", *options, *records, "--", *command]) == status
        said = capfd.readouterr()
        return said.err if status else "ran" in said.out

    return once


def test_it_runs_once_for_the_same_words_and_inputs(once: Callable[..., Any], tmp_path: Path) -> None:
    assert once("--size", "3", "--jobs", "2")
    assert not once("--size", "3", "--jobs", "4")  # how fast decides nothing
    record = read_json(tmp_path / ".done" / "out.json")
    assert record["identity"]["--size"] == "3"
    assert "--jobs" not in record["identity"]
    said = once("--size", "4", status=1)
    assert "--size: 3 -> 4" in said
    assert "--stage N" in said
    assert once("--size", "4", options=("--again",))
    (tmp_path / "in").write_text("other data")
    assert "was made with other words or inputs" in once("--size", "4", status=1)
    assert once("--size", "4", options=("--again",))
    (tmp_path / "out").write_text("edited")
    assert "is not as it was made" in once("--size", "4", status=1)
    (tmp_path / "out").unlink()
    assert once("--size", "4")


def test_a_failure_is_passed_on_and_nothing_is_noted(once: Callable[..., Any], tmp_path: Path) -> None:
    once(code="raise SystemExit(7)", status=7)
    assert "did not write" in once(code="pass", status=1)
    assert not (tmp_path / ".done").exists()
    assert once()


def test_a_folder_over_the_output_is_no_input(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import sys, pathlib; f = pathlib.Path(sys.argv[1]); f.mkdir(exist_ok=True); (f / 'a').write_text('x')"
    words = ["once", "--json", "--records", str(tmp_path / ".done"), "--writes", str(tmp_path / "d" / "a"), "--"]
    for done in (False, True):
        assert main([*words, sys.executable, "-c", code, str(tmp_path / "d")]) == 0
        (tmp_path / "d" / "another").write_text("of a later stage")
        assert (json.loads(capfd.readouterr().out or "{}") == {}) != done
    assert (tmp_path / ".done" / "d" / "a.json").is_file()

"""``asr-distill bundle``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from asr_distill.cli.main import main
from asr_distill.student import Student


def test_the_tuned_scale_goes_into_the_bundle(corpus: Any, tmp_path: Path, capsys: Any) -> None:
    bundle = shutil.copytree(corpus.train(), tmp_path / "bundle")
    (tmp_path / "tuned.json").write_text(json.dumps({"acoustic_scale": 0.14, "graph": "g"}))
    capsys.readouterr()
    assert main(["bundle", "scale", str(bundle), "--from", str(tmp_path / "tuned.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["acoustic_scale"] == 0.14
    assert Student.load(bundle).acoustic_scale == 0.14
    assert main(["bundle", "show", str(bundle)]) == 0
    assert "acoustic_scale  0.14" in capsys.readouterr().out


def test_a_file_without_a_scale_changes_nothing(corpus: Any, tmp_path: Path, capsys: Any) -> None:
    bundle = shutil.copytree(corpus.train(), tmp_path / "bundle")
    (tmp_path / "tuned.json").write_text("{}")
    before = (bundle / "config.json").read_bytes()
    assert main(["bundle", "scale", str(bundle), "--from", str(tmp_path / "tuned.json")]) == 1
    assert "no acoustic_scale" in capsys.readouterr().err
    (tmp_path / "tuned.json").write_text("[0.1]")
    assert main(["bundle", "scale", str(bundle), "--from", str(tmp_path / "tuned.json")]) == 1
    assert "no acoustic_scale" in capsys.readouterr().err
    for scale in ("-1", "inf", "nan"):
        assert main(["bundle", "scale", str(bundle), "--acoustic-scale", scale]) == 1
    assert (bundle / "config.json").read_bytes() == before

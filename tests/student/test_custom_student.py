"""recipes/custom_student: a network of one's own, trained from a store of soft targets, opened and scored."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from asr_distill.base import UserError
from asr_distill.base.executor import ProcessExecutor
from asr_distill.cli.main import main
from asr_distill.data import FrameStore
from asr_distill.models import import_networks, imported_networks
from asr_distill.student import Student

EXAMPLE = Path(__file__).resolve().parents[2] / "recipes" / "custom_student"


def test_a_network_of_ones_own_from_soft_targets_to_scores(corpus: Any, tmp_path: Path, capsys: Any) -> None:
    frames = str(corpus.store("speaker"))
    words = ["--teacher", str(corpus.train()), "--frames", frames, "--mode", "dense", "--quiet"]
    assert main(["soft-targets", *words, "--output", str(tmp_path / "targets")]) == 0
    files = ["--inventory", str(corpus.folder / "senones.json"), "--priors", str(corpus.folder / "priors.json")]
    config = ["--config", str(EXAMPLE / "small_cnn.yaml"), "--set", "network.channels=4", "--set", "network.hidden=16"]
    sizes = ["--set", "epochs=2", "--set", "batch_size=32", "--threads", "1", "--allow-shared-speakers", "--quiet"]
    distil = ["distill", "--train", frames, "--dev", frames, *files, *config, *sizes, "--output", str(tmp_path / "cnn")]
    distil += ["--soft-targets", str(tmp_path / "targets"), "--temperature", "2"]
    assert main(distil) == 1
    assert "no network is named 'small_cnn'" in (told := capsys.readouterr().err)
    assert "--import FILE" in told
    custom = ["--import", str(EXAMPLE / "small_cnn.py")]
    assert main([*distil, *custom]) == 0
    assert main([*distil, *custom]) == 0  # imported once, trained already

    bundle = tmp_path / "cnn" / "seed0"
    student = Student.load(bundle)
    assert student.config.network["name"] == "small_cnn"
    assert next(tuple(layer.weight.shape) for layer in student.network.layers if hasattr(layer, "weight")) == (4, 1, 3, 5)
    assert student.config.training["objective"]["temperature"] == 2.0
    features = torch.from_numpy(FrameStore.open(frames).utterance("u1")[0].copy())
    scores = student.log_posteriors(features, normalised=True)
    assert scores.shape == (len(features), corpus.inventory.num_senones)
    assert torch.allclose(scores.exp().sum(1), torch.ones(len(features)), atol=1e-5)
    capsys.readouterr()
    assert main(["accuracy", "--model", str(bundle), "--frames", frames, *custom, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["speaker"]["frames"] == FrameStore.open(frames).num_frames


def test_training_processes_import_the_same() -> None:
    from asr_distill.cli.runs import executor_of

    import_networks([str(EXAMPLE / "small_cnn.py")])
    assert str(EXAMPLE / "small_cnn.py") in imported_networks()
    executor = executor_of(argparse.Namespace(jobs=2, quiet=True), 3)
    assert isinstance(executor, ProcessExecutor)
    assert executor.options[executor.options.index("--import") + 1] == str(EXAMPLE / "small_cnn.py")
    assert "--quiet" in executor.options


def test_what_cannot_be_imported_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        import_networks([str(tmp_path / "gone.py")])
    with pytest.raises(UserError, match="no such module"):
        import_networks(["no_such_package.networks"])
    taken = tmp_path / "taken.py"
    taken.write_text((EXAMPLE / "small_cnn.py").read_text().replace('"small_cnn"', '"senone_dnn"'))
    with pytest.raises(UserError, match="'senone_dnn' is registered already"):
        import_networks([str(taken)])
    needs = tmp_path / "needs.py"
    needs.write_text("import no_such_package")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        import_networks([str(needs)])
    assert not {str(taken), str(needs)} & set(imported_networks())

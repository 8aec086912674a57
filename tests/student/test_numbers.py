"""NaN and infinity in a frame store or a model end in an error that names the file and the place, in every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from asr_distill.base import DIGESTS_FILE, UserError, hash_of_file
from asr_distill.cli.main import main
from asr_distill.data import FrameStore, WindowGatherer
from asr_distill.student import Student

VALUES = [np.nan, np.inf, -np.inf]


def spoilt_store(store: Path, folder: Path, value: float) -> Path:
    """A copy whose frame 50 of the first cut, u1 with 50 frames, or else the next one's first, is not finite."""
    shutil.copytree(store, folder)
    (folder / DIGESTS_FILE).unlink(missing_ok=True)  # it was written so, not damaged
    np.load(folder / "features.npy", mmap_mode="r+")[53, 7] = value
    meta = json.loads((folder / "meta.json").read_text())
    meta["files"]["features.npy"]["sha256"] = hash_of_file(folder / "features.npy")
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def spoilt_model(model: Path, folder: Path, value: float, name: str = "output.weight") -> Path:
    shutil.copytree(model, folder)
    (folder / DIGESTS_FILE).unlink(missing_ok=True)
    weights = load_file(str(folder / "model.safetensors"))
    weights[name].view(-1)[5] = value
    save_file(weights, str(folder / "model.safetensors"))
    return folder


@pytest.mark.parametrize("value", VALUES)
def test_a_store_that_is_not_finite_names_cut_and_frame(corpus: Any, tmp_path: Path, value: float) -> None:
    store = FrameStore.open(spoilt_store(corpus.store("speaker"), tmp_path / "store", value))
    cut = store.cut(int(np.searchsorted(store.offsets, 53, side="right")) - 1)
    for resident in (True, False):
        with pytest.raises(UserError, match=rf"store: frame {53 - cut.start} of cut '{cut.id}' holds {value}, expected"):
            WindowGatherer(store, resident=resident)


@pytest.mark.parametrize("which", ["train", "dev"])
def test_training_refuses_such_a_store(corpus: Any, tmp_path: Path, capsys: Any, which: str) -> None:
    good, bad = corpus.store("speaker"), spoilt_store(corpus.store("speaker"), tmp_path / "bad", np.nan)
    stores = {"train": good, "dev": good, which: bad}
    files = ["--inventory", str(corpus.folder / "senones.json"), "--priors", str(corpus.folder / "priors.json")]
    files += [
        "--set",
        "network.width=8",
        "--set",
        "network.layers=1",
        "--output",
        str(tmp_path / "out"),
        "--allow-shared-speakers",
    ]
    assert main(["train", "--train", str(stores["train"]), "--dev", str(stores["dev"]), *files]) == 1
    assert "of cut 'u" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_every_command_refuses_a_model_that_is_not_finite(corpus: Any, tmp_path: Path, capsys: Any, value: float) -> None:
    good, frames = corpus.train(), str(corpus.store("speaker"))
    bad = str(spoilt_model(good, tmp_path / "bad", value))
    train = ["--train", frames, "--dev", frames, "--allow-shared-speakers", "--set", "network.width=8"]
    train += ["--inventory", str(corpus.folder / "senones.json"), "--priors", str(corpus.folder / "priors.json")]
    output = ["--output", str(tmp_path / "out")]
    for command in (
        ["accuracy", "--model", bad, "--frames", frames],
        ["ensemble", "--members", str(good), bad, *output],
        ["soft-targets", "--teacher", bad, "--frames", frames, *output],
        ["distill", "--teacher", bad, *train, *output],
        ["train", "--initial-model", bad, *train, *output],
    ):
        assert main(command) == 1, command
        message = capsys.readouterr().err
        assert f"{bad}/model.safetensors: weight 'output.weight' is {value} at [" in message, (command, message)
        assert "Traceback" not in message


def test_weights_that_overflow_are_found_by_their_output(corpus: Any, tmp_path: Path, capsys: Any) -> None:
    bad = spoilt_model(corpus.train(), tmp_path / "bad", 3e38)
    weights = load_file(str(bad / "model.safetensors"))
    save_file(
        {name: value * 1e30 if value.ndim == 2 else value for name, value in weights.items()}, str(bad / "model.safetensors")
    )
    finite = load_file(str(bad / "model.safetensors"))
    finite["output.weight"].nan_to_num_(posinf=3e38, neginf=-3e38)
    save_file(finite, str(bad / "model.safetensors"))
    with pytest.raises(UserError, match=r"output for frame \d+ is no distribution: its numbers overflow"):
        Student.load(bad).log_posteriors(torch.randn(9, 40))
    assert main(["accuracy", "--model", str(bad), "--frames", str(corpus.store("speaker"))]) == 1
    assert "its numbers overflow" in capsys.readouterr().err

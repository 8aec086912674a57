"""``asr-distill soft-targets`` with a tiny untrained teacher on frames of noise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import MonoCut, SupervisionSegment
from lhotse.features.base import Features
from lhotse.features.io import NumpyFilesWriter

from asr_distill.cli.main import main
from asr_distill.data import FrameStore
from asr_distill.distillation import SoftTargetStore
from asr_distill.distillation import soft_target_writer as writer
from asr_distill.features import ContextWindow, Fbank40Config, Normalisation
from asr_distill.models import build_network, complete_network_config, save_network
from asr_distill.senones import SenoneInventory, SenonePriors, default_topology, monophone_tree
from asr_distill.student import BundleParts, Student

LENGTHS = {"u1": 30, "u1_sp0.9": 33, "u2": 21, "u3": 40}


@dataclass(frozen=True)
class Setting:
    folder: Path
    teacher: Path
    frames: Path

    def run(self, *words: str) -> int:
        return main(["soft-targets", "--quiet", "--teacher", str(self.teacher), "--frames", str(self.frames), *words])


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("soft-targets")
    topology = default_topology(["SIL", "A", "B"], ["SIL"])
    inventory = SenoneInventory(topology, monophone_tree(topology))
    inventory.save(folder / "senones.json")
    labels = [np.arange(inventory.num_senones)]
    SenonePriors.from_labels(labels, inventory.num_senones, inventory.hash).save(folder / "priors.json")
    bundle(folder / "teacher", 0)
    return Setting(folder, folder / "teacher", frames(folder, "utterance"))


def bundle(path: Path, seed: int) -> Path:
    """An untrained model of the senones and priors beside it."""
    path.mkdir()
    senones, priors = path.parent / "senones.json", path.parent / "priors.json"
    parts = BundleParts(senones, priors, Fbank40Config(), ContextWindow(), Normalisation("utterance"))
    num_senones = SenoneInventory.load(senones).num_senones
    config = complete_network_config({"name": "senone_dnn", "layers": 1, "width": 8}, num_senones, 1040)
    network = build_network(config, torch.Generator().manual_seed(seed))
    save_network(path, network, config, {"training": {}, **parts.describe()})
    parts.write(path)
    return path


def frames(folder: Path, kind: str) -> Path:
    """A frame store without labels, as of a transfer set that nobody transcribed."""
    values, cuts = NumpyFilesWriter(folder / "fbank"), []
    for seed, (name, length) in enumerate(LENGTHS.items()):
        noise = np.random.default_rng(seed).standard_normal((length, 40), dtype=np.float32)
        stored = Features(
            type="fbank40",
            num_frames=length,
            num_features=40,
            frame_shift=0.01,
            sampling_rate=16000,
            start=0.0,
            duration=length / 100,
            storage_type="numpy_files",
            storage_path=str(values.storage_path),
            storage_key=values.write(name, noise),
        )
        cut = MonoCut(id=name, start=0.0, duration=length / 100, channel=0, features=stored)
        cut.supervisions = [SupervisionSegment(name, name, 0.0, cut.duration, speaker=name[:2])]
        cuts.append(cut)
    return FrameStore.create(folder / "frames" / kind, cuts, kind, feature_config=Fbank40Config()).path


def printed(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_the_store_holds_what_the_teacher_says(setting: Setting, capsys) -> None:
    output = setting.folder / "dense"
    assert setting.run("--mode", "dense", "--output", str(output), "--json") == 0
    result = printed(capsys)
    assert (result["cuts"], result["frames"], result["frames_written_now"]) == (4, 124, 124)
    store, teacher, features = SoftTargetStore.open(output), Student.load(setting.teacher), FrameStore.open(setting.frames)
    assert store.senones_hash == teacher.inventory.hash
    assert store.teacher["hash"] == teacher.hash
    assert store.cut_ids == features.cut_ids
    for cut_id in LENGTHS:
        posteriors = teacher.log_posteriors(np.array(features.utterance(cut_id)[0]), normalised=True)
        assert torch.allclose(store.log_probs(cut_id, 2.0), torch.log_softmax(posteriors / 2, 1), atol=5e-3)
    assert main(["soft-targets", "--verify", str(output), "--json"]) == 0
    assert printed(capsys) == {"store": str(output), "verified": True, "hash": store.hash}


def test_out_of_fold_targets_are_those_of_the_members_that_did_not_train_on_the_cut(setting: Setting, capsys) -> None:
    members, folder = [setting.teacher, bundle(setting.folder / "other", 1)], setting.folder
    (folder / "folds.json").write_text('{"u1": [0], "u3": [0, 1], "*": [1]}')
    words = ["--quiet", "--members", *map(str, members), "--output", str(folder / "both")]
    assert main(["ensemble", *words, "--folds", str(folder / "folds.json")]) == 0
    stores = []
    for teacher in (*members, folder / "both"):
        words = ["--quiet", "--teacher", str(teacher), "--frames", str(setting.frames), "--mode", "dense"]
        assert main(["soft-targets", *words, "--output", str(folder / f"of_{teacher.name}")]) == 0
        stores.append(SoftTargetStore.open(folder / f"of_{teacher.name}"))
    # the copy at another speed goes with its original; u2 is one of the others
    for cut_id, member in (("u1", 0), ("u1_sp0.9", 0), ("u2", 1)):
        first, second, found = (store.log_probs(cut_id, 1.0) for store in stores)
        assert (first - second).abs().max() > 0.1
        assert torch.equal(found, (first, second)[member])
    first, second, found = (store.log_probs("u3", 1.0) for store in stores)
    assert torch.allclose(found.exp(), (first.exp() + second.exp()) / 2, atol=1e-3)
    assert stores[2].teacher["folds"] == 3

    (folder / "folds.json").write_text('{"u1": [0]}')
    words = ["--quiet", "--members", *map(str, members), "--output", str(folder / "partial")]
    assert main(["ensemble", *words, "--folds", str(folder / "folds.json")]) == 0
    words = ["--teacher", str(folder / "partial"), "--frames", str(setting.frames), "--output", str(folder / "of_partial")]
    assert main(["soft-targets", "--quiet", *words]) == 1
    said = capsys.readouterr().err
    assert "no entry for 2 cuts of" in said
    assert "the first 'u2'" in said
    assert not (folder / "of_partial").exists()


def test_a_stopped_run_continues(setting: Setting, capsys, monkeypatch) -> None:
    monkeypatch.setattr(writer, "SAMPLE_FRAMES", 60)  # the tail's directions come from the first two cuts
    words = ("--top-k", "4", "--temperatures", "1,2", "--shard-frames", "50", "--json", "--output")
    add, order, added = writer.SoftTargetWriter.add, {}, []
    monkeypatch.setattr(
        writer.SoftTargetWriter, "add", lambda self, *cut: (order.update({cut[0]: len(cut[1])}), add(self, *cut))[1]
    )
    assert setting.run(*words, str(setting.folder / "whole")) == 0
    last = list(order)[-1]

    def stopping(self, cut_id, log_probs) -> None:
        if cut_id == last:
            raise KeyboardInterrupt
        add(self, cut_id, log_probs)

    monkeypatch.setattr(writer.SoftTargetWriter, "add", stopping)
    assert setting.run(*words, str(setting.folder / "stopped")) == 130
    monkeypatch.setattr(writer.SoftTargetWriter, "add", lambda self, *cut: (added.append(cut[0]), add(self, *cut))[1])
    capsys.readouterr()
    assert setting.run(*words, str(setting.folder / "stopped")) == 0
    assert 0 < len(added) < len(order)  # the shard that was whole is kept
    assert added == list(order)[-len(added) :]
    assert printed(capsys)["frames_written_now"] == sum(order[cut] for cut in added)
    files = sorted(file.name for file in (setting.folder / "whole").iterdir())
    assert files == sorted(file.name for file in (setting.folder / "stopped").iterdir())
    for name in files:
        assert (setting.folder / "whole" / name).read_bytes() == (setting.folder / "stopped" / name).read_bytes()
    assert setting.run(*words, str(setting.folder / "whole")) == 0
    assert printed(capsys)["frames_written_now"] == 0
    assert setting.run("--top-k", "3", *words[2:], str(setting.folder / "whole")) == 1
    assert "was begun with top_k 4, now it is 3" in capsys.readouterr().err
    assert setting.run("--tail-rank", "1", *words, str(setting.folder / "whole")) == 1
    assert "now it is 1: to continue it use the same" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "option"),
    [("dense", "--temperatures"), ("dense", "--top-k"), ("sampled", "--tail-rank"), ("topk", "--num-samples")],
)
def test_options_of_another_mode_are_refused(setting: Setting, capsys, mode: str, option: str) -> None:
    assert setting.run("--mode", mode, option, "3", "--output", str(setting.folder / "none")) == 1
    assert f"{option} has no effect with --mode {mode}" in capsys.readouterr().err
    assert not (setting.folder / "none").exists()


def test_estimate_does_no_work(setting: Setting, capsys) -> None:
    assert main(["soft-targets", "--estimate", "--num-classes", "14000", "--num-frames", "700000000", "--json"]) == 0
    sizes = {row["mode"]: row for row in printed(capsys)["modes"]}
    assert sizes["topk"]["bytes_per_frame"] <= 80
    assert sizes["topk"]["bytes"] < 56e9
    assert sizes["topk"]["tail_rank"] == 44
    words = ("--estimate", "--num-classes", "14000", "--num-frames", "7", "--tail-rank", "0", "--json")
    assert main(["soft-targets", *words]) == 0
    mean = next(row for row in printed(capsys)["modes"] if row["mode"] == "topk")
    assert mean["bytes_per_frame"] == sizes["topk"]["bytes_per_frame"] - 44
    assert mean["bytes"] == 7 * mean["bytes_per_frame"] + 4 * 4 * 14000
    assert sizes["dense"]["bytes"] == 19_600_000_000_000
    assert setting.run("--estimate", "--output", str(setting.folder / "none")) == 0
    assert f"124 frames of {Student.load(setting.teacher).num_senones} classes" in capsys.readouterr().out
    assert not (setting.folder / "none").exists()
    assert main(["soft-targets", "--estimate", "--num-frames", "5"]) == 1
    assert "give --teacher or --num-classes" in capsys.readouterr().err


def test_study_of_the_teacher_and_of_simulated_posteriors(setting: Setting, capsys) -> None:
    words = ("--study-frames", "40", "--simulated-frames", "20", "--num-classes", "60", "--temperatures", "1,5", "--json")
    assert setting.run("--study", *words, "--output", str(setting.folder / "study.json")) == 0
    result = printed(capsys)
    assert result == json.loads((setting.folder / "study.json").read_text())
    real, simulated = result["studies"]
    assert (real["posteriors"], simulated["posteriors"]) == ("real", "simulated")
    assert real["frames"] == 40
    assert real["frames_for_tail"] > 40
    assert simulated["num_classes"] == 60
    assert {row["mode"] for row in simulated["rows"]} == set(result["modes"])
    assert simulated["mass_outside_16"]["5"] > simulated["mass_outside_16"]["1"]


def test_what_does_not_fit_is_refused(setting: Setting, capsys) -> None:
    other = ["--teacher", str(setting.teacher), "--frames", str(frames(setting.folder, "none"))]
    assert main(["soft-targets", *other, "--output", str(setting.folder / "no")]) == 1
    assert "was normalised per none, the teacher per utterance" in capsys.readouterr().err
    for words, message in (
        ((), "--output is missing"),
        (("--mode", "sampled", "--output", str(setting.folder / "no")), "drawn at one temperature, found 1, 2, 5, 10"),
        (("--temperatures", "a", "--output", str(setting.folder / "no")), "expected numbers between commas, such as 1,2,5,10"),
        (("--temperatures", "1,nan", "--output", "x"), "--temperatures 1,nan: expected finite values above 0"),
        (
            ("--temperatures", "2,1e20", "--output", str(setting.folder / "no")),
            "--temperatures 2,1e20: temperature 1e+20 is outside 1e-06 to 1e+06",
        ),
        (("--estimate", "--num-frames", "-5"), "--num-frames -5: expected 1 or more"),
        (("--estimate", "--num-classes", "0"), "--num-classes 0: expected 1 or more"),
        (("--study", "--study-frames", "0", "--output", "x"), "--study-frames 0: expected 1 or more"),
        (("--study", "--simulated-frames", "-1", "--output", "x"), "--simulated-frames -1: expected 0 or more"),
    ):
        assert setting.run(*words) == 1
        assert message in capsys.readouterr().err
    assert main(["soft-targets", "--study", "--simulated-frames", "0", "--output", "x"]) == 1
    assert "nothing to study" in capsys.readouterr().err
    assert main(["soft-targets", "--output", "x"]) == 1
    assert "--teacher is missing" in capsys.readouterr().err

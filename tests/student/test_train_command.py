"""``asr-distill train`` from frame stores to bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asr_distill.base import DIGESTS_FILE, UserError
from asr_distill.cli.main import main
from asr_distill.cli.runs import parse_seeds
from asr_distill.data import FrameStore
from asr_distill.features import Normalisation
from asr_distill.models import load_tensors
from asr_distill.senones import SenoneInventory, SenonePriors, default_topology, monophone_tree
from asr_distill.student import Student


def test_seeds_are_numbers_and_ranges() -> None:
    assert parse_seeds("0") == [0]
    assert parse_seeds("0-3,7,2") == [0, 1, 2, 3, 7]
    for wrong in ("a", "3-1", "1-", "-1", "1,,2"):
        with pytest.raises(UserError, match="--seeds"):
            parse_seeds(wrong)


def test_several_seeds_in_processes_equal_one_after_the_other(corpus: Any, capsys: pytest.CaptureFixture[str]) -> None:
    corpus.train("--seeds", "1-2", name="serial")
    corpus.train("--seeds", "1", "--json", name="parallel")
    capsys.readouterr()
    finished = corpus.folder / "models" / "parallel" / "seed1" / "model.safetensors"
    before = finished.stat().st_mtime_ns
    corpus.train("--seeds", "1-2", "--jobs", "2", "--json", name="parallel")
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["seed"] for row in rows] == [1, 2]
    assert finished.stat().st_mtime_ns == before
    for seed in (1, 2):
        serial, parallel = (
            load_tensors(corpus.folder / "models" / name / f"seed{seed}" / "model.safetensors")
            for name in ("serial", "parallel")
        )
        assert all((serial[key] == parallel[key]).all() for key in serial)
    files = {path.name for path in (corpus.folder / "models" / "serial" / "seed1").iterdir()}
    assert files - {"tensorboard"} == {
        *(DIGESTS_FILE, "config.json", "model.safetensors", "log.csv", "completed.json"),
        *("senones.json", "priors.json"),
        *("normalisation.json", "normalisation.safetensors"),
    }


def test_the_bundle_carries_the_training_datas_normalisation(corpus: Any) -> None:
    student = Student.load(corpus.train(kind="corpus"))
    stored = FrameStore.open(corpus.store("corpus")).normalisation
    assert student.normalisation.hash == stored.hash
    per_speaker = Student.load(corpus.train(kind="speaker")).normalisation
    assert (per_speaker.kind, per_speaker.moments) == ("speaker", {})


def test_what_does_not_fit_together_is_refused(corpus: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topology = default_topology(["SIL", "A"], ["SIL"])
    other_inventory = SenoneInventory(topology, monophone_tree(topology))
    other_inventory.save(tmp_path / "senones.json")
    SenonePriors.from_labels([], other_inventory.num_senones, other_inventory.hash).save(tmp_path / "priors.json")

    def message(*words: str) -> str:
        files = ["--priors", str(corpus.folder / "priors.json"), "--output", str(tmp_path / "models"), "--quiet"]
        assert main(["train", "--train", str(corpus.store("corpus")), *files, *words]) == 1
        return capsys.readouterr().err

    assert "different senone inventories" in message("--inventory", str(tmp_path / "senones.json"))
    inventory = ["--inventory", str(corpus.folder / "senones.json")]
    assert "normalised differently (corpus, speaker" in message(*inventory, "--dev", str(corpus.store("speaker")))
    cuts = list(corpus.cuts)
    other = {"senones_hash": corpus.inventory.hash, "num_senones": corpus.inventory.num_senones}
    FrameStore.create(tmp_path / "dev", cuts[:1], "corpus", **other)
    assert "normalised differently" in message(*inventory, "--dev", str(tmp_path / "dev"))
    assert "the priors" in message(
        "--inventory", str(corpus.folder / "senones.json"), "--priors", str(tmp_path / "priors.json")
    )
    assert "--seeds x" in message(*inventory, "--seeds", "x")
    said = message(*inventory, "--boost", "0", "--alignments", str(tmp_path))
    assert "--alignments, --boost: sequence training only, and --objective is hard" in said
    assert "--tolerance: sequence" in message(*inventory, "--objective", "hard", "--tolerance", "5")
    assert "--jobs 0" in message(*inventory, "--jobs", "0")
    assert "unknown key 'layers'" in message(*inventory, "--set", "layers=3")
    dev = str(corpus.store("corpus"))
    assert "speakers are in both" in message(*inventory, "--dev", dev)
    assert "--seeds x" in message(*inventory, "--dev", dev, "--allow-shared-speakers", "--seeds", "x")
    unlabelled = [cut.with_id(cut.id) for cut in cuts]
    for cut in unlabelled:
        cut.custom = None
    FrameStore.create(tmp_path / "unlabelled", unlabelled, Normalisation("none"))
    assert f"{tmp_path / 'unlabelled'} has no labels, which are needed here" in message(
        *inventory, "--dev", str(tmp_path / "unlabelled")
    )
    assert not (tmp_path / "models").exists()


def test_an_initial_model_of_other_data_is_refused(
    corpus: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of the same shapes throughout: nothing but what config.json says can tell."""
    start = corpus.train(kind="corpus")
    network = [word for option in ("layers=2", "width=16", "dropout=0.1") for word in ("--set", f"network.{option}")]
    sizes = [*network, "--set", "epochs=1", "--set", "batch_size=64", "--threads", "1", "--quiet"]

    def train(store: Path, *words: str, folder: Path = corpus.folder) -> str:
        files = ["--inventory", str(folder / "senones.json"), "--priors", str(folder / "priors.json")]
        output = ["--output", str(tmp_path / "models"), "--initial-model", str(start)]
        status = main(["train", "--train", str(store), *files, *sizes, *output, *words])
        told = capsys.readouterr().err
        assert (status, (tmp_path / "models").exists()) == ((1, False) if told else (0, True))
        return told

    topology = default_topology(["SIL", "A", "C"], ["SIL"])
    other = SenoneInventory(topology, monophone_tree(topology))
    assert (other.num_senones, other.hash != corpus.inventory.hash) == (corpus.inventory.num_senones, True)
    other.save(tmp_path / "senones.json")
    SenonePriors.from_labels([], other.num_senones, other.hash).save(tmp_path / "priors.json")
    sizes_of = {"num_senones": other.num_senones}
    FrameStore.create(tmp_path / "frames", corpus.cuts, "corpus", senones_hash=other.hash, **sizes_of)
    told = train(tmp_path / "frames", folder=tmp_path)
    assert f"initial model {start} and the training data belong to different senone inventories" in told
    assert corpus.inventory.hash in told
    assert other.hash in told

    shifted = train(corpus.store("corpus"), "--set", "window.left=19", "--set", "window.right=6")
    assert "sees 20 frames before and 5 after each, the configuration says 19 and 6. Next: --set window.left=20" in shifted
    assert "normalised differently (kind: corpus and speaker" in train(corpus.store("speaker"))
    fewer = FrameStore.create(tmp_path / "few", list(corpus.cuts)[:2], "corpus", senones_hash=corpus.inventory.hash, **sizes_of)
    assert f"normalised differently (hash: {Normalisation.load(start).hash} and" in train(fewer.path)

    config = json.loads((start / "config.json").read_text())
    config["features"]["low_freq"] += 1.0
    with monkeypatch.context() as patch:
        patch.setattr("asr_distill.training.start.read_json", lambda path: config)
        assert f"low_freq: {config['features']['low_freq']} and" in train(corpus.store("corpus"))
    assert train(corpus.store("corpus")) == ""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_each_seed_starts_from_the_model_of_its_own(corpus: Any, tmp_path: Path, jobs: str) -> None:
    corpus.train("--seeds", "0-1", name="starts")
    first = corpus.folder / "models" / "starts"
    words = ["--seeds", "0-1", "--initial-model", f"{first}/seed{{seed}}", "--jobs", jobs, "--set", "learning_rate=1e-30"]
    corpus.train(*words, name=f"started{jobs}")
    weights = [load_tensors(first / f"seed{seed}" / "model.safetensors") for seed in (0, 1)]
    assert not all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    for seed in (0, 1):
        found = load_tensors(corpus.folder / "models" / f"started{jobs}" / f"seed{seed}" / "model.safetensors")
        assert all(found[name].equal(weights[seed][name]) for name in found)

"""The recipes with many classes, whole and small: data, generalist, clusters, specialists, controls, predictions, tables."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_distill.base import UserError, from_mapping, load_config
from asr_distill.cli.main import main
from asr_distill.images import ImageMixture, ImageMixtureConfig
from asr_distill.images.cost import TRAINING_PASSES, multiply_accumulates
from asr_distill.images.large_labels import LargeLabelConfig, budget, plan
from asr_distill.images.large_labels.clusters import find_clusters
from asr_distill.images.large_labels.configuration import ClusterConfig
from asr_distill.images.large_labels.counting import Predictions, count
from asr_distill.images.large_labels.data import open_data
from asr_distill.images.large_labels.plan import Sizes
from asr_distill.models import build_network, load_network
from asr_distill.report import check_results, recompute
from asr_distill.specialists import combine

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES = Sizes(images=1000, classes=50, pixels=64)
TINY = """
omniglot: {size: 16}
training:
  network: {name: image_cnn, channels: [8, 16], hidden: 32}
  epochs: 6
  batch_size: 28
  learning_rate: 0.02
clusters: {number: 3, size: 4, part: dev, images: 100}
specialist: {images: 60, full_softmax: true, training: {epochs: 2, learning_rate: 0.003}}
distilled_back: {training: {epochs: 1, learning_rate: 0.003}}
controls:
  wider: {name: image_cnn, channels: [12, 24], hidden: 48}
  mixture: {name: image_mixture, experts: 2, channels: [8, 16], hidden: 32, gate_channels: [4, 8], gate_hidden: 8}
samples: 100
"""


def write_omniglot(folder: Path, classes: int) -> None:
    """Archives in Omniglot's layout: a class is a bar at a place and an angle of its own, a drawer shifts it."""
    image_module = pytest.importorskip("PIL.Image")
    rows, columns = np.mgrid[:105, :105]
    for number, name in enumerate(("images_background", "images_evaluation")):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for label in range(number, classes, 2):
                for drawer in range(20):
                    place = 15 + 75 * (label // 2) / (classes / 2) + drawer % 4
                    bar = abs((rows if label % 2 else columns) - place) < 6
                    with archive.open(f"{name}/Bars/character{label:02d}/0001_{drawer + 1:02d}.png", "w") as stream:
                        image_module.fromarray(np.where(bar, 0, 255).astype(np.uint8)).save(stream, "PNG")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run by the command line, in a folder with ``config.yaml`` and ``run/``."""
    folder = tmp_path_factory.mktemp("classes")
    write_omniglot(folder, 12)
    (folder / "config.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMNIGLOT_DIR", str(folder))
        common = ["--config", str(folder / "config.yaml"), "--run", str(folder / "run"), "--quiet"]
        options = {"scale": ["--num-classes", "320", "--num-clusters", "2"]}
        options["report"] = ["--no-plots"] if importlib.util.find_spec("matplotlib") is None else []
        for part in ("data", "plan", "train", "predict", "scale", "report"):
            assert main(["classes", part, *common, *options.get(part, [])]) == 0
    return folder


def test_results_keep_the_contract_and_follow_from_the_predictions(finished: Path) -> None:
    results = json.loads((finished / "run" / "results.json").read_text())
    check_results(results)
    assert results["data"]["source"] == "real"
    assert results["data"]["counts"] == {"classes": 12, "dev": 24, "test": 48}
    assert all(value is not None for value in results["headline"].values())
    assert results["headline"]["specialists"] == 3
    assert all(row["same"] for row in recompute(finished / "run" / "per_utterance.jsonl", finished / "run" / "results.json"))
    rows = [json.loads(line) for line in (finished / "run" / "per_utterance.jsonl").read_text().splitlines()]
    for name, key in (("generalist", "generalist_accuracy"), ("specialists", "specialists_accuracy")):
        own = [row for row in rows if row["system"] == name]
        assert len({row["id"] for row in own}) == len(own)
        assert {row["speaker"] for row in own} <= {"drawer17", "drawer18", "drawer19", "drawer20"}
        assert all(row["reference"] != row["hypothesis"] for row in own)
        assert results["headline"][key] == pytest.approx(100 * (48 - len(own)) / 48)
    assert results["headline"]["generalist_accuracy"] > 30  # chance is 8: it learns, so the rest is more than noise
    gained = sum(row["delta in right ones"] for row in results["tables"]["table4"])
    difference = results["headline"]["specialists_accuracy"] - results["headline"]["generalist_accuracy"]
    assert 100 * gained / 48 == pytest.approx(difference)
    assert sum(row["test images"] for row in results["tables"]["table4"]) == 48
    assert [row["seconds"] >= 0 for row in results["tables"]["scale"]] == [True] * 3
    assert "| generalist and specialists |" in (finished / "run" / "RESULTS.md").read_text()


def test_other_clusters_are_refused_beside_their_specialists(finished: Path) -> None:
    config = load_config(LargeLabelConfig, finished / "config.yaml")
    changed = replace(config, clusters=replace(config.clusters, seed=7))
    root = finished / "run"
    before = (root / "clusters.json").read_bytes()
    with pytest.raises(UserError, match=r"models/soft_specialists holds specialists of other clusters"):
        find_clusters(changed, open_data(changed, root), root / "models" / "generalist", root)
    assert (root / "clusters.json").read_bytes() == before


def test_the_page_of_clusters_is_small(finished: Path) -> None:
    pytest.importorskip("matplotlib")
    assert 500 < (finished / "run" / "plots" / "clusters.png").stat().st_size < 200_000


def test_what_is_trained_is_not_trained_again(finished: Path) -> None:
    models = sorted((finished / "run" / "models").glob("**/model.safetensors"))
    before = [path.stat().st_mtime_ns for path in models]
    assert len(models) == 1 + 3 + 3 + 2 + 3 + sum("ensemble" in str(path) for path in models)
    common = ["--config", str(finished / "config.yaml"), "--run", str(finished / "run"), "--quiet"]
    assert main(["classes", "train", *common]) == 0
    assert main(["classes", "predict", *common]) == 0
    assert before == [path.stat().st_mtime_ns for path in models]


def test_predictions_are_those_of_the_networks_combined_by_hand(finished: Path) -> None:
    """Every specialist on every image, without the group's choice of rows."""
    from asr_distill.specialists import corrected_log_probs

    config = load_config(LargeLabelConfig, finished / "config.yaml")
    images = open_data(config, finished / "run").part("test").images.flatten(1).float() / 255
    models = finished / "run" / "models"
    with torch.no_grad():
        generalist = load_network(models / "generalist")[0](images).log_softmax(dim=1)
        for system in ("specialists", "soft_specialists"):
            tables = []
            for folder in sorted((models / system).iterdir()):
                network, stored = load_network(folder)
                own = stored["specialist"]
                ids = torch.tensor(own["class_ids"])
                assert network(images[:1]).shape[1] == (12 if system == "soft_specialists" else 5)
                tables.append((ids, corrected_log_probs(network(images), ids, own["dustbin_correction"], own["full_softmax"])))
            expected = combine(generalist, tables).argmax(dim=1)
            found = Predictions.load(finished / "run" / "predictions" / system / "test.safetensors").predicted
            assert torch.equal(found, expected)


def test_counts_by_hand() -> None:
    log_probs = torch.tensor([[0.5, 0.3, 0.2, 0.0, 0.0, 0.0], [0.1, 0.6, 0.3, 0.0, 0.0, 0.0]])
    found = count(log_probs, torch.tensor([1, 5]), [torch.tensor([1, 2]), torch.tensor([0, 1]), torch.tensor([0, 5])])
    assert found.predicted.tolist() == [0, 1]
    assert found.in_five[0] == 1
    assert found.conditional_correct.tolist() == [1, 0]  # right among {1, 2}, wrong among {0, 1}; wrong among {0, 5}
    assert found.conditional_total.tolist() == [2, 1]
    assert Predictions.joined([found, found]).predicted.tolist() == [0, 1, 0, 1]


def test_work_of_a_network_by_hand() -> None:
    network = build_network({"name": "image_cnn", "num_senones": 7, "input_dim": 64, "channels": [3, 5], "hidden": 11})
    convolutions = 64 * 3 * 9 + 16 * 5 * 3 * 9
    assert multiply_accumulates(network, 64) == convolutions + 4 * 5 * 11 + 11 * 7


def test_a_mixture_is_the_sum_of_what_its_experts_say() -> None:
    config = ImageMixtureConfig(7, 64, experts=3, channels=(4,), hidden=5, gate_channels=(2,), gate_hidden=4)
    network = ImageMixture(config, torch.Generator().manual_seed(0))
    inputs = torch.rand(6, 64, generator=torch.Generator().manual_seed(1))
    gate = network.gate(inputs).softmax(dim=1)
    expected = sum(gate[:, [number]] * expert(inputs).softmax(dim=1) for number, expert in enumerate(network.experts))
    assert torch.allclose(network(inputs).exp(), expected, atol=1e-6)
    assert torch.allclose(network(inputs).logsumexp(dim=1), torch.zeros(6), atol=1e-5)


def tiny_config(tmp_path: Path, **changes: str) -> LargeLabelConfig:
    text = TINY
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "config.yaml").write_text(text)
    return load_config(LargeLabelConfig, tmp_path / "config.yaml")


def test_controls_cost_what_generalist_and_specialists_cost(tmp_path: Path) -> None:
    runs = plan(tiny_config(tmp_path), SIZES)
    total = budget(runs)
    of = {run.system: run for run in runs}
    assert of["generalist"].cost == 6000 * TRAINING_PASSES * (of["generalist"].cost // 6000 // TRAINING_PASSES)
    one_epoch = of["generalist"].cost / 6
    assert abs(of["longer"].cost - total) <= one_epoch / 2
    members = 1 + sum(run.system == "ensemble" for run in runs)
    assert members == max(2, round(total / of["generalist"].cost))
    assert of["soft_specialists"].cost > of["specialists"].cost  # all outputs, and the generalist is asked
    assert of["distilled_back"].cost > of["continued"].cost
    assert len({run.name for run in runs}) == len(runs)


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (ClusterConfig(51, 4), "clusters.number is 51, expected 1 to 50"),
        (ClusterConfig(3, 1), "no specialist of one class"),
        (ClusterConfig(3, 50), "nothing is left for the dustbin"),
    ],
)
def test_clusters_that_cannot_be_are_refused_before_any_work(tmp_path: Path, clusters: ClusterConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(replace(tiny_config(tmp_path), clusters=clusters), SIZES)


def test_configurations_that_cannot_be_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="exactly one of omniglot and glyphs"):
        tiny_config(tmp_path, **{"omniglot: {size: 16}": "samples: 3", "samples: 100": ""})
    with pytest.raises(UserError, match="epoch"):
        tiny_config(tmp_path, **{"epochs: 6": "epoch: 6"})
    with pytest.raises(UserError, match="samples 0"):
        tiny_config(tmp_path, **{"samples: 100": "samples: 0"})
    for part, wrong, message in (
        ("specialist", {"temperature": 0.0}, "temperature must be finite and above 0"),
        ("specialist", {"images": 0}, "images is 0"),
        ("distilled_back", {"hard_weight": -1.0}, "hard_weight must be finite and at least 0, found -1"),
        ("clusters", {"restarts": 0}, "restarts 0"),
    ):
        with pytest.raises(UserError, match=message):
            from_mapping(LargeLabelConfig, {"omniglot": {}, part: wrong})
    with pytest.raises(UserError, match="top_n is 51, expected at most 50"):
        plan(replace(tiny_config(tmp_path), top_n=51), SIZES)
    tiny_config(tmp_path)
    common = ["--config", str(tmp_path / "config.yaml"), "--run", str(tmp_path / "run")]
    assert main(["classes", "train", *common]) == 1
    assert "asr-distill classes data" in capsys.readouterr().err
    assert main(["classes", "report", *common]) == 1
    assert "prepare them first" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["omniglot/conf/full", "omniglot/conf/quick", "glyphs/conf/full", "glyphs/conf/quick"])
def test_published_configurations_can_be_planned(name: str) -> None:
    config = load_config(LargeLabelConfig, ROOT / "recipes" / f"{name}.yaml")
    if config.omniglot is not None:
        sizes = Sizes(14 * (config.omniglot.classes or 1623), config.omniglot.classes or 1623, config.omniglot.size**2)
    else:
        assert config.glyphs is not None
        sizes = Sizes(config.images_per_epoch, config.glyphs.classes or 9574, config.glyphs.size**2)
    runs = plan(config, sizes)
    assert all(run.cost <= 2 * budget(runs) for run in runs)

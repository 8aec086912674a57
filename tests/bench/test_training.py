"""The turns of the loop and its references, and what the references compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asr_distill.bench import TrainingCase, bench_training
from asr_distill.bench import training as room
from asr_distill.bench.frames import write_random_store
from asr_distill.bench.training import LOOP, MatrixProducts, ResidentSteps, TurnTaking, training_config
from asr_distill.data import FrameStore
from asr_distill.training import FrameExamples, train_model

SETTINGS = ("network={name: senone_dnn, layers: 1, width: 8}", "batch_size=16", "autocast=off", "optimizer=sgd")
CASE = TrainingCase("tiny", settings=SETTINGS, num_senones=5, frames=100, block_steps=3, pairs=2, goal_matmul=0.8)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FrameStore:
    return write_random_store(tmp_path_factory.mktemp("bench") / "store", CASE.frames, CASE.num_senones, 0)


def test_random_store_has_every_frame_with_a_label(store) -> None:
    assert store.num_frames == CASE.frames
    assert set(store.labels) == set(range(CASE.num_senones))
    assert store.features.std() == pytest.approx(1.0, abs=0.05)


def test_the_clock_stops_when_the_loop_has_finished_its_last_step(store) -> None:
    now, events = [0.0], []

    def reference() -> None:
        events.append("reference")
        now[0] += 7.0

    examples = FrameExamples(store, CASE.num_senones)
    turns = TurnTaking(examples, 16, 3, 2, {"reference": reference}, clock=lambda: now[0])
    assert turns.num_examples == 3 * 3 * 16
    for batch in turns.order(16, 0, 0, 0):
        assert len(batch) == 16  # of 100 frames the last 4 of each epoch are left out
        events.append("step")
        now[0] += 2.0
    assert events == (["step"] * 3 + ["reference"]) * 3
    assert turns.seconds == {LOOP: [6.0, 6.0], "reference": [7.0, 7.0]}


def test_resident_step_is_the_loops_step(store, tmp_path: Path) -> None:
    config = training_config(CASE, 1, 3)
    one_batch = FrameExamples(store, CASE.num_senones, frames=range(16))
    train_model(config, one_batch, None, tmp_path / "model")
    from asr_distill.models import load_network

    trained = load_network(tmp_path / "model")[0].state_dict()
    resident = ResidentSteps(config, one_batch)
    before = {name: tensor.clone() for name, tensor in resident.network.state_dict().items()}
    resident.run(1)
    after = resident.network.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in after)
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, trained[name])


def test_matrix_products_are_those_of_backpropagation(store) -> None:
    products = MatrixProducts(training_config(CASE, 1, 0), FrameExamples(store, CASE.num_senones))
    products.run(1)
    assert [tuple(weight.shape) for _, _, weight, _ in products._layers] == [(8, 1040), (5, 8)]
    inputs, gradients, weight, (outputs, input_gradients, weight_gradients) = products._layers[1]
    inputs, weight = inputs.clone().requires_grad_(), weight.clone().requires_grad_()
    expected = torch.nn.functional.linear(inputs, weight)
    expected.backward(gradients)
    torch.testing.assert_close(outputs, expected.detach())
    torch.testing.assert_close(input_gradients, inputs.grad)
    torch.testing.assert_close(weight_gradients, weight.grad)


def test_one_case_from_end_to_end(tmp_path: Path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(room, "peak_memory", lambda name, settings: asked.append(name) or {"peak_mb": 1.0, "imported_mb": 1.0})
    row = bench_training(CASE, tmp_path, threads=1)
    assert row["batch_size"] == 16
    assert row["precision"] == "float32"
    assert row["parameters"] == 1040 * 8 + 8 + 8 * 5 + 5
    for name, goal in (("vs_resident", 0.95), ("vs_matmul", 0.8)):
        ratio = row[name]["ratio"]
        assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
        assert (ratio["pairs"], row[name]["goal"], row[name]["unit"]) == (2, goal, "frame/s")
    assert asked == ["train_loop", "train_resident", "train_matmul"]

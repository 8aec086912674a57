"""Strict configuration, the learning rate by hand, optimiser state through tensors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.training import TrainingConfig, load_training_config
from asr_distill.training.adam import ChunkedAdam
from asr_distill.training.optimisation import build_optimiser, optimiser_tensors, rate_factor, restore_optimiser

CONF = Path(__file__).resolve().parents[2] / "recipes" / "conf"


def test_the_shared_configurations_are_valid_and_what_they_say() -> None:
    cpu, paper = (load_training_config(CONF / name) for name in ("cpu.yaml", "paper.yaml"))
    assert (cpu.network["layers"], cpu.network["width"], cpu.batch_size) == (4, 512, 512)
    assert (paper.network["layers"], paper.network["width"]) == (8, 2560)


def test_settings_go_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_text("network: {layers: 3, width: 64}\nlearning_rate: 1e-2\n")
    settings = ["network.width=128", "epochs=3", "max_norm=null", "spec_augment.time_masks=2", "window.left=5"]
    config = load_training_config(tmp_path / "conf.yaml", settings)
    assert config.network == {"layers": 3, "width": 128}
    assert (config.learning_rate, config.epochs, config.max_norm, config.window.left) == (0.01, 3, None, 5)
    assert config.spec_augment is not None
    assert config.spec_augment.time_masks == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 0.1", r"unknown key 'learning_rat' \(did you mean 'learning_rate'\?\); valid keys: .*batch_size"),
        ("epochs: many", "epochs: found 'many', expected int"),
        ("optimizer: lion", "expected one of sgd, adam, adamw"),
        ("learning_rate: -1", "learning_rate is -1.0, expected a number above 0"),
        ("nesterov: true", "nesterov needs the optimizer sgd"),
        ("patience: 0", "patience is 0"),
        ("spec_augment: {time_mask: 1}", "unknown key 'time_mask'"),
        ("label_smoothing: 1.0", "label_smoothing is 1.0"),
        ("learning_rate: 1e300", r"learning_rate is 1e\+300, expected at most"),
        ("learning_rate: 0", "learning_rate is 0.0, expected a number above 0"),
        ("learning_rate: .nan", "learning_rate: found nan, expected a finite number"),
        ("learning_rate: .inf", "learning_rate: found inf, expected a finite number"),
        ("learning_rate: 1e999", "learning_rate: found '1e999', expected a finite number"),
        ("learning_rate: 1" + "0" * 400, "learning_rate: found a whole number of more than 40 digits, expected float"),
        ("clip_norm: .inf", "clip_norm: found inf"),
        ("weight_decay: 1", "weight_decay is 1.0, expected 0 <= weight_decay < 1"),
        ("weight_decay: -1e-3", "weight_decay is -0.001"),
        ("momentum: 1.0", "momentum is 1.0"),
        ("batch_size: 0", "batch_size is 0"),
        (
            "batch_size: 1000000000000000000000",
            "batch_size: found 1000000000000000000000, expected a whole number of less than",
        ),
        ("epochs: -1", "epochs is -1"),
        ("seed: 1000000000000000000000", "seed: found 1000000000000000000000"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "conf.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_training_config(tmp_path / "conf.yaml")


@pytest.mark.parametrize("setting", ["epochs", "=3", "epochs.more=3", "lerning_rate=1"])
def test_mistaken_settings_are_named(setting: str) -> None:
    with pytest.raises(UserError, match=r"setting|unknown key"):
        load_training_config(None, [setting])


def test_the_rate_warms_up_linearly_and_falls_as_a_cosine() -> None:
    config = TrainingConfig(schedule="cosine", epochs=10, warmup_epochs=1.0, final_rate_ratio=0.1)
    factors = [rate_factor(config, step, steps_per_epoch=4) for step in range(41)]
    assert factors[:4] == [pytest.approx((step + 1) / 5) for step in range(4)]
    assert factors[4] == 1.0
    assert factors[22] == pytest.approx(0.1 + 0.9 * 0.5)  # half of the 36 steps after warm-up
    assert factors[40] == pytest.approx(0.1)
    assert factors[31] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 27 / 36)))
    assert rate_factor(TrainingConfig(schedule="constant"), 12345, 7) == 1.0


@given(st.sampled_from(["sgd", "adam", "adamw"]), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_an_optimiser_continues_from_its_tensors_in_bits(name: str, steps: int) -> None:
    def run(network: torch.nn.Module, optimiser: torch.optim.Optimizer, count: int) -> None:
        for step in range(count):
            optimiser.zero_grad()
            network(torch.full((4, 3), 1.0 + step)).square().sum().backward()
            optimiser.step()

    config = TrainingConfig(optimizer=name, weight_decay=0.1)  # type: ignore[arg-type]  # drawn from the valid names
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    optimiser = build_optimiser(config, network)
    run(network, optimiser, steps)
    copy = torch.nn.Linear(3, 2)
    copy.load_state_dict(network.state_dict())
    other = build_optimiser(config, copy)
    restore_optimiser(other, {key: value.clone() for key, value in optimiser_tensors(optimiser).items()})
    run(network, optimiser, 2)
    run(copy, other, 2)
    assert torch.equal(network.weight, copy.weight)
    assert torch.equal(network.bias, copy.bias)


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_in_chunks_equals_torchs_own(decoupled: bool, decay: float) -> None:
    """Three parameters, one longer than a chunk, one without a gradient."""
    torch.manual_seed(0)
    ours = [torch.randn(size, requires_grad=True) for size in ((300, 257), (5,), (2, 2))]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    first = ChunkedAdam(ours, lr=0.01, betas=(0.8, 0.95), weight_decay=decay, decoupled=decoupled)
    second = kind(theirs, lr=0.01, betas=(0.8, 0.95), weight_decay=decay)
    for step in range(4):
        for mine, other in zip(ours[:2], theirs[:2], strict=True):
            mine.grad = torch.randn(mine.shape, generator=torch.Generator().manual_seed(step))
            other.grad = mine.grad.clone()
        first.step()
        second.step()
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)

"""A run that diverges stops, says where, and leaves what it takes to go back; no run that learns is taken for one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import Clusters

from asr_distill.base import UserError, read_json
from asr_distill.models import load_network, load_tensors
from asr_distill.training import HardLabels, TrainingConfig, train_model
from asr_distill.training.divergence import FACTOR, PATIENCE, Diverged, Step, Watch
from asr_distill.training.state import Progress

SMALL = TrainingConfig(
    network={"layers": 2, "width": 16}, learning_rate=0.01, epochs=3, batch_size=30, threads=1, tensorboard=False
)


def changed(**options: Any) -> TrainingConfig:
    return dataclasses.replace(SMALL, **options)


class Weighted(HardLabels):
    """Hard labels, times a number from a given call on: 0 / 0 stands for a loss, infinity for a gradient, that overflows."""

    def __init__(self, factor: float, call: int) -> None:
        super().__init__()
        self.__dict__.update(factor=factor, call=call, calls=0)

    def __call__(self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.__dict__["calls"] += 1
        loss, counts = super().__call__(logits, batch)
        if self.__dict__["calls"] >= self.__dict__["call"]:
            loss = loss * self.__dict__["factor"]
        return loss, counts


class OverflowingGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        return slope * math.inf


class Overflowing(Weighted):
    """A loss that is finite, with a gradient that is not, at the given call."""

    def __call__(self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.__dict__["calls"] += 1
        loss, counts = HardLabels.__call__(self, logits, batch)
        return (OverflowingGradient.apply(loss) if self.__dict__["calls"] == self.__dict__["call"] else loss), counts


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("epochs", [1, 20])
def test_a_rate_of_a_million_ends_in_an_error(tmp_path: Path, optimizer: str, epochs: int) -> None:
    config = changed(learning_rate=1e6, optimizer=optimizer, epochs=epochs, schedule="constant")
    with pytest.raises(
        UserError, match=r"diverged: the loss .* at step \d+ of epoch \d+ \(learning rate 1e\+06\).*learning_rate="
    ):
        train_model(config, Clusters(), None, tmp_path / "run")
    assert not (tmp_path / "run" / "completed.json").exists()
    report = read_json(tmp_path / "run" / "diverged" / "diverged.json")
    assert report["last_good_checkpoint"] is None  # no step of it was good
    assert (len(report["examples"]), report["learning_rate"]) == (30, 1e6)


def test_the_last_good_weights_can_be_trained_on_with_another_rate(tmp_path: Path) -> None:
    train, dev = Clusters(), Clusters(seed=1)
    config = changed(learning_rate=0.01, checkpoint_minutes=0.0)
    with pytest.raises(UserError, match=r"last good checkpoint, after 1 epochs and 4 steps, which is left as it was") as error:
        train_model(config, train, dev, tmp_path / "run", Weighted(math.nan, 15))
    found = tmp_path / "run" / "diverged"
    assert f"--initial-model {found} --set learning_rate=" in str(error.value)
    report = read_json(found / "diverged.json")
    assert (report["epoch"], report["step"], report["loss"]) == (2, 5, None)
    assert report["last_good_checkpoint"] == {"epochs": 1, "steps": 4}
    batch = list(train.order(30, 0, 1, 0))[4]
    assert report["examples"] == batch.tolist()
    kept, stored = (
        load_network(found)[0].state_dict(),
        load_tensors(tmp_path / "run" / "training" / "state-0001-00000004.safetensors"),
    )
    assert all(torch.equal(weight, stored[f"network.{name}"]) for name, weight in kept.items())
    summary = train_model(changed(learning_rate=0.001), train, dev, tmp_path / "again", initial_model=found)
    assert summary["dev_accuracy"] > 80
    # the run itself goes on from there too, and where nothing is wrong any more it ends as if nothing had been
    first = train_model(config, train, dev, tmp_path / "run")
    assert not found.exists()
    whole = train_model(config, train, dev, tmp_path / "whole")
    assert first["dev_loss"] == whole["dev_loss"]


def test_gradients_that_overflow_in_the_last_step_leave_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weight 'hidden.* is not finite any more at step 10 of epoch 3"):
        train_model(SMALL, Clusters(), Clusters(seed=1), tmp_path / "run", Overflowing(1.0, 30))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert (tmp_path / "run" / "diverged" / "model.safetensors").exists()


def test_a_checkpoint_is_never_what_a_destructive_step_made(tmp_path: Path) -> None:
    """The loss of the first step is good, the weights that it leaves are not."""
    config = changed(learning_rate=1e6, checkpoint_minutes=0.0, epochs=60)
    with pytest.raises(UserError, match="diverged"):
        train_model(config, Clusters(), None, tmp_path / "run")
    assert not list((tmp_path / "run").glob("training/state*"))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 1e30), min_size=1, max_size=200),
    st.integers(2, 20_000),
    st.floats(0, 1e6),
)
def test_only_losses_above_the_limit_for_long_are_a_divergence(losses: list[float], classes: int, first: float) -> None:
    progress = Progress()
    watch = Watch(classes, progress)
    limit = FACTOR * max(math.log(classes), first)
    longest = run = 0
    for loss in losses:
        run = run + 1 if loss > torch.tensor(limit) else 0
        longest = max(longest, run)
    try:
        for number, loss in enumerate([first, *losses]):
            watch.add(Step(1, number + 1, 0.1, torch.tensor(loss, dtype=torch.float64), torch.arange(3)), look=False)
        watch.add(Step(1, number + 2, 0.1, torch.tensor(0.0), torch.arange(3)), look=True)
    except Diverged:
        assert longest >= PATIENCE - 1
    else:
        assert longest < PATIENCE + 1
    assert progress.first_loss == pytest.approx(first)

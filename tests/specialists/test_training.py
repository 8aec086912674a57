"""Examples, the dustbin's correction, initial weights and objectives, by hand and through the training loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asr_distill.base import UserError, read_json
from asr_distill.models import SenoneDnn, load_network
from asr_distill.specialists import (
    NetworkTargets,
    SpecialistDistillation,
    SpecialistExamples,
    corrected_log_probs,
    dustbin_correction,
    in_parallel,
    specialist_from_generalist,
    sum_into_dustbin,
    train_specialist,
)
from asr_distill.training import TrainingConfig, train_model


class Points:
    """Examples whose input holds their number and class: 20 of each of 6 classes, around centres that can be learnt."""

    num_classes, input_dim = 6, 8

    def __init__(self, each: int = 20) -> None:
        self.num_examples = each * self.num_classes
        self.labels = torch.arange(self.num_examples) % self.num_classes
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(self.num_examples, 8, generator=generator)
        self.inputs[:, :6] += 3 * nn.functional.one_hot(self.labels, 6)

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        return iter(torch.randperm(self.num_examples, generator=generator).split(batch_size)[start_step:])

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        return {"inputs": self.inputs[indices], "labels": self.labels[indices], "frame_indices": indices}

    def describe(self) -> dict[str, Any]:
        return {"points": self.num_examples}


def test_the_correction_restores_the_natural_prior_by_hand() -> None:
    # 1 of 10 is special, half in training. An x that a special class and the rest give equally often (likelihoods 1 and 1)
    # comes with odds 1 : 9 in nature, 1 : 1 in training: the correction is log 9.
    assert dustbin_correction(0.5, 0.1) == pytest.approx(math.log(9))
    # A quarter special in training of what is one in five: the odds of 1 : 3 are to become 1 : 4.
    trained = torch.tensor([0.25, 0.75]).log()
    trained[1] += dustbin_correction(0.25, 0.2)
    assert trained.softmax(dim=0).tolist() == pytest.approx([0.2, 0.8])
    assert dustbin_correction(0.3, 0.3) == pytest.approx(0.0)
    with pytest.raises(UserError, match=r"natural_share is 1\.0"):
        dustbin_correction(0.5, 1.0)


@given(
    natural=st.lists(st.floats(0.02, 1.0), min_size=3, max_size=3),
    likelihoods=st.lists(st.floats(0.02, 1.0), min_size=3, max_size=3),
    share=st.floats(0.05, 0.95),
)
def test_the_correction_is_bayes_rule(natural: list[float], likelihoods: list[float], share: float) -> None:
    prior = torch.tensor(natural, dtype=torch.float64) / sum(natural)  # two special classes, the rest last
    seen = torch.tensor(likelihoods, dtype=torch.float64)
    special = float(prior[:2].sum())
    in_training = torch.cat([prior[:2] / special * share, torch.tensor([1 - share], dtype=torch.float64)])
    logits = (in_training * seen).log()
    logits[2] += dustbin_correction(share, special)
    torch.testing.assert_close(logits.softmax(dim=0), prior * seen / (prior * seen).sum())


def test_half_special_half_others_in_a_fixed_order() -> None:
    points = Points()
    examples = SpecialistExamples(points, points.labels, torch.tensor([4, 1]))
    assert (examples.num_examples, examples.num_classes, examples.special_share) == (80, 3, 0.5)
    assert examples.natural_share == pytest.approx(1 / 3)
    assert examples.dustbin_correction == pytest.approx(math.log(2))
    seen_others = set()
    for epoch in range(2):
        batches = [examples.batch(indices) for indices in examples.order(32, 7, epoch, 0)]
        assert [len(batch["labels"]) for batch in batches] == [32, 32, 16]
        labels = torch.cat([batch["labels"] for batch in batches])
        numbers = torch.cat([batch["frame_indices"] for batch in batches])
        assert torch.bincount(labels).tolist() == [20, 20, 40]
        expected = {4: 0, 1: 1}
        assert labels.tolist() == [expected.get(int(points.labels[number]), 2) for number in numbers]
        assert len(set(numbers.tolist())) == 80
        seen_others |= set(numbers[labels == 2].tolist())
        assert 5 < int((labels[:40] == 2).sum()) < 35  # mixed, not one kind after the other
    assert len(seen_others) == 80  # the second epoch's others are those that the first left
    again = torch.cat(list(examples.order(32, 7, 1, 0)))
    assert torch.equal(torch.cat(list(examples.order(32, 7, 1, 1))), again[32:])
    assert not torch.equal(torch.cat(list(examples.order(32, 8, 1, 0))), again)


def test_a_fixed_set_to_evaluate_on_and_a_chosen_size() -> None:
    points = Points()
    examples = SpecialistExamples(points, points.labels, torch.tensor([0, 2, 3]), special_share=0.25, num_examples=24)
    labels = examples.batch(torch.arange(24))["labels"]
    assert int((labels == 3).sum()) == 18
    assert torch.equal(labels, examples.batch(torch.arange(24))["labels"])
    many = SpecialistExamples(points, points.labels, torch.tensor([0, 1]), num_examples=200)
    numbers = torch.cat([many.batch(indices)["frame_indices"] for indices in many.order(64, 0, 0, 0)])
    counts = torch.bincount(numbers, minlength=120)[points.labels < 2]
    assert counts.sum() == 100
    assert (int(counts.min()), int(counts.max())) == (2, 3)  # round and round: 100 of 40
    full = SpecialistExamples(points, points.labels, torch.tensor([0, 1]), full_softmax=True)
    assert full.num_classes == 6
    batch = full.batch(next(full.order(50, 0, 0, 0)))
    assert torch.equal(batch["labels"], points.labels[batch["frame_indices"]])


def test_examples_that_are_refused() -> None:
    points = Points()
    with pytest.raises(UserError, match="the first is class 5"):
        SpecialistExamples(points, points.labels % 5, torch.tensor([0, 5]))
    with pytest.raises(UserError, match="1 class"):
        SpecialistExamples(points, points.labels, torch.tensor([3]))
    with pytest.raises(UserError, match="nothing is left for the dustbin"):
        SpecialistExamples(points, points.labels, torch.arange(6))
    with pytest.raises(UserError, match="labels go up to 99, expected fewer than the 6 classes"):
        SpecialistExamples(points, torch.full((120,), 99), torch.tensor([0, 1]))
    with pytest.raises(UserError, match=r"class ids of torch\.float32, expected whole numbers"):
        SpecialistExamples(points, points.labels, torch.tensor([1.7, 2.9]))
    with pytest.raises(UserError, match=r"labels have shape \(10,\), expected \(120,\)"):
        SpecialistExamples(points, points.labels[:10], torch.tensor([0, 1]))


def test_initial_weights_by_hand() -> None:
    """One other class: its row is the dustbin's, but for the regularisation, as far as the examples show it."""
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
        network[0].bias.zero_()
        network[2].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -4.0]]))
        network[2].bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    corners = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    specialist = specialist_from_generalist(network, torch.tensor([1, 0]), corners)
    # hidden values have mean 1 and variance 1, uncorrelated: w = (2, -4) / 1.001, b = (0.3 + 2 - 4) - w (1, 1)
    expected = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2 / 1.001, -4 / 1.001]])
    torch.testing.assert_close(specialist[2].weight, expected)
    torch.testing.assert_close(specialist[2].bias, torch.tensor([0.2, 0.1, -1.7 + 2 / 1.001]))
    assert network[2].out_features == 3
    torch.testing.assert_close(specialist[0].weight, network[0].weight)


@given(seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_no_other_row_is_nearer_to_log_sum_exp(seed: int) -> None:
    """In the mean of squares over the examples; and the kept classes have their rows."""
    generator = torch.Generator().manual_seed(seed)
    network = SenoneDnn(7, layers=1, width=5, input_dim=4, dropout=0.5, generator=generator)
    with torch.no_grad():
        network.output.bias.normal_(generator=generator)
    network.train()
    ids = torch.tensor([1, 3])
    inputs = torch.randn(600, 4, generator=generator)
    specialist = specialist_from_generalist(network, ids, inputs)
    assert network.training
    network.eval()
    specialist.eval()
    with torch.no_grad():
        true = torch.logsumexp(network(inputs)[:, [0, 2, 4, 5, 6]], dim=1)
        torch.testing.assert_close(specialist(inputs)[:, :2], network(inputs)[:, ids])
        error = (specialist(inputs)[:, 2] - true).square().mean()
        assert float(error) < float(true.var())
        for _ in range(5):
            row = specialist.output.weight[2].clone()
            specialist.output.weight[2] += 0.3 * torch.randn(5, generator=generator)
            assert float((specialist(inputs)[:, 2] - true).square().mean()) > float(error) - 1e-4
            specialist.output.weight[2] = row


def test_initial_weights_that_are_refused() -> None:
    some = torch.randn(8, 2)
    with pytest.raises(UserError, match=r"no nn\.Linear"):
        specialist_from_generalist(nn.Conv1d(1, 1, 1), torch.tensor([0, 1]), some)
    with pytest.raises(UserError, match="all 3 classes"):
        specialist_from_generalist(nn.Linear(2, 3), torch.arange(3), some)
    with pytest.raises(UserError, match="the class 3"):
        specialist_from_generalist(nn.Linear(2, 3), torch.tensor([0, 3]), some)
    with pytest.raises(UserError, match="there are none"):
        specialist_from_generalist(nn.Linear(2, 3), torch.tensor([0, 1]), some[:0])


def test_what_goes_into_the_combination_from_either_kind_of_specialist() -> None:
    probs = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    ids = torch.tensor([3, 1])
    torch.testing.assert_close(sum_into_dustbin(probs.log(), ids).exp(), torch.tensor([[0.4, 0.2, 0.4]]))
    full = corrected_log_probs(probs.log() + 5, ids, math.log(4), full_softmax=True)
    torch.testing.assert_close(full.exp(), torch.tensor([[0.4, 0.2, 1.6]]) / 2.2)
    short = corrected_log_probs(torch.tensor([[0.4, 0.2, 0.4]]).log(), ids, math.log(4))
    torch.testing.assert_close(short, full)


class Fixed:
    """A generalist that always says the same."""

    def __init__(self, probs: torch.Tensor) -> None:
        self.log_probs = probs.log()

    def __call__(self, batch: Any) -> torch.Tensor:
        return self.log_probs.expand(len(batch["labels"]), -1)

    def describe(self) -> dict[str, Any]:
        return {}


def test_section_6_1_by_hand() -> None:
    generalist, ids = Fixed(torch.tensor([0.1, 0.2, 0.3, 0.4])), torch.tensor([3, 1])
    # Two outputs and the dustbin at T = 1: the first example is special with label 0, the second goes to (0.4, 0.2, 0.4).
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.25, 0.25]]).log().requires_grad_()
    batch = {"labels": torch.tensor([0, 2])}
    objective = SpecialistDistillation(generalist, ids, temperature=1.0)
    loss, counts = objective(logits, batch)
    towards = -(0.4 * math.log(0.5) + 0.2 * math.log(0.25) + 0.4 * math.log(0.25))
    assert float(loss) == pytest.approx((-math.log(0.5) + towards) / 2, rel=1e-5)
    assert (int(counts["correct"]), int(counts["labelled"])) == (1, 2)
    loss.backward()
    torch.testing.assert_close(logits.grad[0], torch.tensor([-0.5, 0.3, 0.2]) / 2)
    torch.testing.assert_close(logits.grad[1], torch.tensor([0.1, 0.05, -0.15]) / 2)
    # The full softmax, T = 2: labels are classes; the second, class 2, is not special.
    logits = torch.zeros(2, 4, requires_grad=True)
    objective = SpecialistDistillation(generalist, ids, full_softmax=True, temperature=2.0)
    loss, _ = objective(logits, {"labels": torch.tensor([1, 2])})
    assert float(loss) == pytest.approx((math.log(4) + 4 * math.log(4)) / 2, rel=1e-5)
    both, _ = SpecialistDistillation(generalist, ids, full_softmax=True, temperature=2.0, own_soft_weight=0.5)(
        logits, {"labels": torch.tensor([1, 2])}
    )
    assert float(both) == pytest.approx((math.log(4) + 2 * math.log(4) + 4 * math.log(4)) / 2, rel=1e-5)
    with pytest.raises(UserError, match="soft_weight 0"):
        SpecialistDistillation(generalist, ids, soft_weight=0.0)
    for temperature in (math.inf, 1e20):
        with pytest.raises(UserError, match=f"temperature .*{temperature:g}".replace("+", r"\+")):
            SpecialistDistillation(generalist, ids, temperature=temperature)


def test_specialists_are_trained_from_the_generalist_and_only_once(tmp_path: Path) -> None:
    points = Points()
    network = {"name": "senone_dnn", "layers": 1, "width": 16}
    config = TrainingConfig(network=network, epochs=2, batch_size=20, tensorboard=False, autocast="off", keep="last")
    train_model(config, points, None, tmp_path / "generalist")
    ids = torch.tensor([0, 3])
    examples = SpecialistExamples(points, points.labels, ids)
    first = train_specialist(config, tmp_path / "generalist", examples, None, tmp_path / "specialist")
    written = (tmp_path / "specialist" / "model.safetensors").stat().st_mtime_ns
    assert train_specialist(config, tmp_path / "generalist", examples, None, tmp_path / "specialist") == first
    assert (tmp_path / "specialist" / "model.safetensors").stat().st_mtime_ns == written
    stored = read_json(tmp_path / "specialist" / "config.json")["specialist"]
    assert stored["class_ids"] == [0, 3]
    assert stored["dustbin_correction"] == pytest.approx(math.log(2))
    specialist, _ = load_network(tmp_path / "specialist")
    assert specialist(points.inputs).shape == (120, 3)

    generalist, _ = load_network(tmp_path / "generalist")
    full = SpecialistExamples(points, points.labels, ids, full_softmax=True)
    objective = SpecialistDistillation(NetworkTargets(generalist, "first"), ids, full_softmax=True)
    train_specialist(config, tmp_path / "generalist", full, full, tmp_path / "soft", objective)
    soft, _ = load_network(tmp_path / "soft")
    assert soft(points.inputs).shape == (120, 6)


@pytest.mark.parametrize("full", [False, True])
def test_the_first_answers_are_the_generalists(full: bool, tmp_path: Path) -> None:
    """Of a network that hardly learns: with the correction put on, it says what the generalist says."""
    points, ids = Points(), torch.tensor([0, 3, 5])
    network = {"name": "senone_dnn", "layers": 1, "width": 16}
    config = TrainingConfig(network=network, epochs=1, batch_size=20, tensorboard=False, autocast="off", keep="last")
    train_model(config, points, None, tmp_path / "generalist")
    examples = SpecialistExamples(points, points.labels, ids, special_share=0.8, full_softmax=full)
    still = replace(config, learning_rate=1e-9)
    train_specialist(still, tmp_path / "generalist", examples, None, tmp_path / "specialist")
    specialist, stored = load_network(tmp_path / "specialist")
    correction = stored["specialist"]["dustbin_correction"]
    assert abs(correction) > 0.5
    start, _ = load_network(tmp_path / "generalist")
    with torch.no_grad():
        if not full:
            sample = torch.randint(points.num_examples, (4096,), generator=torch.Generator().manual_seed(still.seed))
            start = specialist_from_generalist(start, ids, points.batch(sample)["inputs"])
        expected = corrected_log_probs(start(points.inputs), ids, 0.0, full)
        found = corrected_log_probs(specialist(points.inputs), ids, correction, full)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_in_parallel() -> None:
    assert list(in_parallel(math.sqrt, [1.0, 4.0], 1)) == [(1.0, 1.0), (4.0, 2.0)]
    assert list(in_parallel(math.sqrt, [1.0, 4.0], 2)) == [(1.0, 1.0), (4.0, 2.0)]
    with pytest.raises(UserError, match="jobs is 0"):
        list(in_parallel(math.sqrt, [1.0], 0))


def test_a_generalist_without_a_bias_or_with_another_last_layer_is_refused_by_name(tmp_path: Path) -> None:
    points, ids = Points(), torch.tensor([0, 3])
    network = {"name": "senone_dnn", "layers": 1, "width": 16}
    config = TrainingConfig(network=network, epochs=1, batch_size=20, tensorboard=False, autocast="off", keep="last")
    train_model(config, points, None, tmp_path / "generalist")
    examples = SpecialistExamples(points, points.labels, ids)
    wrong = nn.Sequential(nn.Linear(2, 4))
    with pytest.MonkeyPatch.context() as patch:
        _, stored = load_network(tmp_path / "generalist")
        patch.setattr("asr_distill.specialists.initial.load_network", lambda _: (wrong, stored))
        with pytest.raises(UserError, match=r"taken to be 0, which has 4 outputs; expected 6 and a bias"):
            train_specialist(config, tmp_path / "generalist", examples, None, tmp_path / "specialist")


def test_a_specialist_that_is_there_costs_nothing(tmp_path: Path) -> None:
    points = Points()
    network = {"name": "senone_dnn", "layers": 1, "width": 16}
    config = TrainingConfig(network=network, epochs=1, batch_size=20, tensorboard=False, autocast="off", keep="last")
    train_model(config, points, None, tmp_path / "generalist")
    examples = SpecialistExamples(points, points.labels, torch.tensor([0, 3]))
    first = train_specialist(config, tmp_path / "generalist", examples, None, tmp_path / "specialist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asr_distill.specialists.initial.specialist_from_generalist", None)
        assert train_specialist(config, tmp_path / "generalist", examples, None, tmp_path / "specialist") == first

"""Sparse targets whose tail has a shape of its own in each frame: by hand, and against the dense path."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from large_outputs import LargeOutputs

from asr_distill.distillation import SparseTargets, soft_target_loss, soften, sparse_distillation_loss

OPTIONS = {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.0}


def targets_from(
    seed: int, num_frames: int = 6, num_classes: int = 40, top_k: int = 5, rank: int = 3, temperature: float = 2.0
) -> SparseTargets:
    """The top k of random posteriors, their tail in random shapes."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = soften(4 * torch.randn(num_frames, num_classes, generator=generator), temperature)
    values, ids = log_probs.topk(top_k, dim=1)
    outside = log_probs.scatter(1, ids, -torch.inf).logsumexp(1)
    shape = torch.log_softmax(2 * torch.randn(num_classes, generator=generator), 0)
    coefficients, basis = (torch.randn(*size, generator=generator) for size in ((num_frames, rank), (rank, num_classes)))
    return SparseTargets(ids, values, outside, shape, temperature, coefficients, basis)


def test_dense_by_hand() -> None:
    # w of frame 0 is 4 2 1 1, once and times 1 3 1 2: of its classes 1 and 2, outside the ids, 6 and 1; frame 1 has no
    # coefficient, and classes 0 and 1 as 4 and 2; frame 2 has all classes but no tail
    targets = SparseTargets(
        ids=torch.tensor([[3, 0], [2, 3], [1, 2]]),
        log_probs=torch.tensor([[0.5, 0.15], [0.6, 0.1], [0.6, 0.4]]).log(),
        tail_log_mass=torch.tensor([0.35, 0.3, 0.0]).log(),
        tail_shape=torch.tensor([4.0, 2.0, 1.0, 1.0]).log(),
        temperature=2.0,
        tail_coefficients=torch.tensor([[1.0], [0.0], [2.0]]),
        tail_basis=torch.tensor([[1.0, 3.0, 1.0, 2.0]]).log(),
    )
    expected = torch.tensor([[0.15, 0.3, 0.05, 0.5], [0.2, 0.1, 0.6, 0.1], [0.0, 0.6, 0.4, 0.0]])
    torch.testing.assert_close(targets.dense(4).exp(), expected)
    assert targets.dense()[2, 0] == -torch.inf
    student = torch.tensor([[0.0, 2.0, 4.0, 6.0]]).repeat(3, 1)
    loss = sparse_distillation_loss(student, targets, reduction="none", **OPTIONS)
    torch.testing.assert_close(loss, -4 * (expected * torch.log_softmax(student / 2, 1)).sum(1))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    top_k=st.sampled_from([1, 5, 39, 40]),
    rank=st.sampled_from([1, 3, 39]),
    temperature=st.sampled_from([0.5, 1.0, 2.0, 10.0, 1000.0]),
    variant=st.sampled_from(["paper", "convex", "student_at_one"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_dense_path_and_sparse_path(seed, top_k, rank, temperature, variant, dtype) -> None:
    targets = targets_from(seed, top_k=top_k, rank=rank, temperature=temperature)
    generator = torch.Generator().manual_seed(seed + 1)
    logits = (4 * torch.randn(6, 40, generator=generator)).to(dtype).requires_grad_()
    labels = torch.randint(0, 40, (6,), generator=generator)
    labels[0] = -100
    mask = torch.rand(6, generator=generator) < 0.8
    options = {"temperature": temperature, "soft_weight": 0.7, "hard_weight": 0.3, "variant": variant, "mask": mask}
    sparse = sparse_distillation_loss(logits, targets, labels, reduction="none", **options)
    dense = soft_target_loss(logits, targets.dense(), labels, reduction="none", **options)
    torch.testing.assert_close(sparse, dense, rtol=1e-5, atol=1e-6)
    found, expected = (torch.autograd.grad(loss.sum(), logits)[0].double() for loss in (sparse, dense))
    precision = torch.finfo(torch.bfloat16).eps if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found, expected, rtol=precision, atol=1e-6 * max(1.0, temperature))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), top_k=st.integers(1, 19), temperature=st.sampled_from([1.0, 2.0, 5.0, 10.0]))
def test_with_every_direction_the_target_is_exact(seed, top_k, temperature) -> None:
    log_probs = torch.log_softmax(4 * torch.randn(5, 20, generator=torch.Generator().manual_seed(seed)).double(), 1)
    true = soften(log_probs, temperature)
    values, ids = true.topk(top_k, dim=1)
    outside = true.scatter(1, ids, -torch.inf).logsumexp(1)
    mean = log_probs.mean(0)
    targets = SparseTargets(
        *(ids, values, outside, mean / temperature, temperature),
        tail_coefficients=(log_probs - mean) / temperature,
        tail_basis=torch.eye(20, dtype=torch.float64),
    )
    torch.testing.assert_close(targets.dense(), true, rtol=1e-12, atol=1e-12)


def test_without_coefficients_the_shape_is_the_common_one() -> None:
    own = targets_from(4, num_classes=3000)
    common = replace(own, tail_coefficients=None, tail_basis=None)
    own = replace(own, tail_coefficients=torch.zeros(6, 3))
    torch.testing.assert_close(own.dense().exp(), common.dense().exp(), rtol=1e-5, atol=1e-9)
    logits = torch.randn(6, 3000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    losses = [sparse_distillation_loss(logits, targets, **OPTIONS) for targets in (own, common)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0.0)
    slopes = [torch.autograd.grad(loss, logits)[0] for loss in losses]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-5, atol=1e-6)


def test_gradient_by_finite_differences() -> None:
    targets = targets_from(1, num_frames=3, num_classes=8, top_k=3)
    logits = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def loss(scores: torch.Tensor) -> torch.Tensor:
        labels = torch.tensor([1, -100, 7])
        return sparse_distillation_loss(scores, targets, labels, temperature=2.0, soft_weight=1.0, hard_weight=0.5)

    assert torch.autograd.gradcheck(loss, (logits,))


def test_inside_autocast_it_is_what_it_is_outside() -> None:
    targets = targets_from(0)
    logits = torch.randn(len(targets), targets.num_classes, generator=torch.Generator().manual_seed(1))
    options = {"temperature": targets.temperature, "soft_weight": 1.0, "hard_weight": 0.0}
    expected = sparse_distillation_loss(logits, targets, **options), targets.dense()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sparse_distillation_loss(logits, targets, **options), targets.dense()
    torch.testing.assert_close(found, expected)


def test_ids_that_repeat_add_up() -> None:
    one = targets_from(2, num_frames=1, top_k=1)
    values = one.log_probs + torch.tensor([[0.25, 0.0, 0.75]]).log()
    repeated = replace(one, ids=one.ids.expand(1, 3).contiguous(), log_probs=values)
    torch.testing.assert_close(repeated.dense(), one.dense())
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(0))
    losses = [sparse_distillation_loss(logits, targets, **OPTIONS) for targets in (one, repeated)]
    torch.testing.assert_close(losses[0], losses[1])


def test_on_the_cpu_no_array_of_the_targets_size_is_made() -> None:
    """Beside the student's gradient, (N, C), nothing is larger than a block."""
    targets = targets_from(2, num_frames=400, num_classes=3000, top_k=4)
    logits = torch.randn(400, 3000, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with LargeOutputs(400 * 3000) as sparse:
        sparse_distillation_loss(logits, targets, **OPTIONS)
    assert [name.split(".")[1] for name in sparse.operations] == ["empty"]


def test_mistakes_are_named() -> None:
    good = targets_from(1)
    for change, message in (
        ({"tail_basis": None}, "tail_coefficients and tail_basis: expected both or neither"),
        ({"tail_coefficients": None}, "expected both or neither"),
        ({"tail_coefficients": torch.zeros(5, 3)}, r"tail_coefficients: expected float \(6, R\), found float32 \(5, 3\)"),
        ({"tail_coefficients": torch.zeros(6, 3, dtype=torch.int8)}, "tail_coefficients: expected float"),
        ({"tail_basis": torch.zeros(2, 40)}, r"tail_basis: expected float \(3, 40\), found float32 \(2, 40\)"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(good, **change)

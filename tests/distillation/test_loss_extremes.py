"""The losses at the edge of what numbers can say: 16 bits, logits of 1e4, -inf, T of 0.5 and 1000, 14,000 classes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.distillation import SparseTargets, distillation_loss, soft_target_loss, soften, sparse_distillation_loss
from asr_distill.distillation.combine import LEAST_TEMPERATURE, MOST_TEMPERATURE


@settings(max_examples=40)
@given(
    values=st.lists(st.floats(-1e4, 1e4, width=16), min_size=12, max_size=12),
    excluded=st.lists(st.booleans(), min_size=6, max_size=6),
    temperature=st.sampled_from([0.5, 1.0, 2.0, 1000.0]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_extreme_logits_and_excluded_classes(values, excluded, temperature, dtype) -> None:
    numbers = torch.tensor(values).to(dtype)
    logits = numbers[:6].reshape(2, 3).clone().requires_grad_()
    teacher = numbers[6:].reshape(2, 3).masked_fill(torch.tensor(excluded).reshape(2, 3), -torch.inf)
    teacher[:, 0] = numbers[0]  # no row without a class
    labels = torch.tensor([2, -100])
    loss = distillation_loss(logits, teacher, labels, temperature=temperature, reduction="none")
    z, v = logits.detach().double(), teacher.double()
    q, log_p = torch.softmax(v / temperature, 1), torch.log_softmax(z / temperature, 1)
    soft = -(temperature**2) * (q * log_p).sum(1)
    hard = torch.tensor([-torch.log_softmax(z, 1)[0, 2], 0.0])
    assert loss.dtype == torch.float32
    # log(1 + e) of a small e is right to half an ulp of 1, and T^2 magnifies it
    torch.testing.assert_close(loss.double(), soft + 0.5 * hard, rtol=1e-6, atol=3e-7 * (1 + temperature**2))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.dtype == dtype
    expected = temperature * (log_p.exp() - q)
    expected[0] += 0.5 * torch.softmax(z[0], 0)
    expected[0, 2] -= 0.5
    eps = max(torch.finfo(dtype).eps, 2e-6)
    torch.testing.assert_close(gradient.double(), expected, rtol=eps, atol=1e-6 * temperature)


def test_both_exclude_a_class() -> None:
    """0 log 0 = 0: a class that nobody can choose changes neither value nor gradient."""
    logits = torch.tensor([[1.0, -torch.inf, 0.5]], requires_grad=True)
    teacher = torch.tensor([[2.0, -torch.inf, 0.0]])
    small = torch.tensor([[1.0, 0.5]], requires_grad=True)
    loss = distillation_loss(logits, teacher, torch.tensor([2]), temperature=2.0)
    expected = distillation_loss(small, teacher[:, [0, 2]], torch.tensor([1]), temperature=2.0)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[:, [0, 2]], small.grad)
    assert logits.grad[0, 1] == 0


def test_the_student_excludes_what_the_teacher_wants() -> None:
    logits = torch.tensor([[0.0, -torch.inf], [0.0, 0.0]])
    loss = distillation_loss(logits, torch.zeros(2, 2), temperature=1.0, hard_weight=0.0, reduction="none")
    assert loss.tolist() == pytest.approx([math.inf, math.log(2)])


def test_nan_is_not_hidden() -> None:
    logits = torch.tensor([[0.0, torch.nan, 1.0]])
    teacher = torch.tensor([[0.0, -torch.inf, 1.0]])
    assert math.isnan(distillation_loss(logits, teacher, temperature=1.0, hard_weight=0.0).item())
    with pytest.raises(ValueError, match="teacher_logits: frame 0 holds NaN"):
        distillation_loss(teacher, teacher.log() * torch.nan, temperature=1.0, hard_weight=0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_inputs_are_computed_in_float32(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(16, 3000, generator=generator).to(dtype).requires_grad_()
    teacher = torch.randn(16, 3000, generator=generator).to(dtype)
    labels = torch.randint(0, 3000, (16,), generator=generator)
    loss = distillation_loss(logits, teacher, labels, temperature=4.0)
    wide = logits.detach().float().requires_grad_()
    expected = distillation_loss(wide, teacher.float(), labels, temperature=4.0)
    assert torch.equal(loss, expected)
    (loss * 1024).backward()  # as a loss scale does, without which float16 has no number for these gradients
    (expected * 1024).backward()
    assert logits.grad is not None
    assert wide.grad is not None
    assert logits.grad.dtype == dtype
    torch.testing.assert_close(logits.grad.float(), wide.grad, rtol=1.01 * torch.finfo(dtype).eps, atol=1e-7)


def test_autocast_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    logits, teacher = (torch.randn(5, 40, generator=generator) for _ in range(2))
    values, ids = soften(teacher, 2.0).topk(4)
    tail = torch.log1p(-values.exp().sum(1))
    targets = SparseTargets(ids, values, tail, torch.zeros(40), 2.0)
    options = {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.0}
    expected = [distillation_loss(logits, teacher, **options), sparse_distillation_loss(logits, targets, **options)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [distillation_loss(logits, teacher, **options), sparse_distillation_loss(logits, targets, **options)]
    assert found == expected


@pytest.mark.parametrize("temperature", [LEAST_TEMPERATURE, MOST_TEMPERATURE])
@pytest.mark.parametrize("size", [4.0, 1e4])
def test_the_ends_of_the_range_of_temperatures(temperature: float, size: float) -> None:
    generator = torch.Generator().manual_seed(5)
    logits, teacher = (size * torch.randn(6, 300, generator=generator).clamp(-1, 1) for _ in range(2))
    teacher[:, 7] = -torch.inf
    found = []
    for dtype in (torch.float32, torch.float64):
        scores = logits.to(dtype).requires_grad_()
        loss = distillation_loss(scores, teacher.to(dtype), temperature=temperature, hard_weight=0.0)
        found.append((loss.detach().double(), torch.autograd.grad(loss, scores)[0].double()))
    (value, gradient), (expected, slope) = found
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    assert float((gradient - slope).norm() / slope.norm()) < 0.05


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
def test_many_classes(temperature: float) -> None:
    generator = torch.Generator().manual_seed(4)
    logits = (5 * torch.randn(6, 14000, generator=generator)).requires_grad_()
    targets = soften(5 * torch.randn(6, 14000, generator=generator), temperature)
    loss = soft_target_loss(logits, targets, temperature=temperature, soft_weight=1.0, hard_weight=0.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    z, q = logits.detach().double() / temperature, targets.double().exp()
    expected = -(q * torch.log_softmax(z, 1)).sum(1).mean() * temperature**2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    slope = temperature / 6 * (torch.softmax(z, 1) - q)
    # four digits where T is 1000 and p and q differ by a thousandth of themselves
    assert float((gradient - slope).abs().max()) < 1e-3 * float(slope.abs().max())

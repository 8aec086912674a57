"""The named variants: each against its equation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.distillation import VARIANTS, distillation_loss, soft_target_loss, soften


def frames(seed: int, num_frames: int = 6, num_classes: int = 5):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_frames, num_classes, generator=generator, dtype=torch.float64)
    teacher = 2 * torch.randn(num_frames, num_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, num_classes, (num_frames,), generator=generator)
    labels[1::3] = -100
    return logits.requires_grad_(), teacher, labels


def cross_entropy(q: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return -(q * torch.log_softmax(logits, 1)).sum(1)


def hard_term(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none", ignore_index=-100)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([0.5, 1.0, 4.0]))
def test_stored_targets_and_logits_agree(variant: str, seed: int, temperature: float) -> None:
    logits, teacher, labels = frames(seed)
    options = {"temperature": temperature, "soft_weight": 0.6, "hard_weight": 0.4, "reduction": "none", "variant": variant}
    stored = soft_target_loss(logits, soften(teacher, temperature), labels, **options)
    torch.testing.assert_close(stored, distillation_loss(logits, teacher, labels, **options))


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_convex(alpha: float) -> None:
    logits, teacher, labels = frames(1)
    loss = distillation_loss(
        logits, teacher, labels, temperature=3.0, soft_weight=alpha, hard_weight=1 - alpha, variant="convex", reduction="none"
    )
    q = torch.softmax(teacher / 3, 1)
    torch.testing.assert_close(loss, alpha * 9 * cross_entropy(q, logits / 3) + (1 - alpha) * hard_term(logits, labels))


def test_student_at_one() -> None:
    logits, teacher, labels = frames(2)
    options = {"temperature": 3.0, "soft_weight": 0.7, "hard_weight": 0.5, "variant": "student_at_one", "reduction": "none"}
    loss = distillation_loss(logits, teacher, labels, **options)
    q = torch.softmax(teacher / 3, 1)
    torch.testing.assert_close(loss, 0.7 * cross_entropy(q, logits) + 0.5 * hard_term(logits, labels))
    options["hard_weight"] = 0.0
    (gradient,) = torch.autograd.grad(distillation_loss(logits, teacher, **options).sum(), logits)
    torch.testing.assert_close(gradient, 0.7 * (torch.softmax(logits, 1) - q).detach())


def test_corrected_by_hand() -> None:
    """The teacher says class 0; where the truth is 2, their probabilities change places; the others keep theirs."""
    log_q = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]], dtype=torch.float64).log()
    corrected = torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]], dtype=torch.float64)
    labels = torch.tensor([2, 0, -100, 1])  # wrong, right, unknown, a tie
    logits = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = soft_target_loss(
        logits, log_q, labels, temperature=2.0, soft_weight=1.0, hard_weight=0.0, variant="corrected", reduction="none"
    )
    torch.testing.assert_close(loss, 4 * cross_entropy(corrected, logits / 2))
    assert log_q[0, 0].exp() == 0.5  # the caller's targets are not written to


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_corrected_is_right_and_keeps_its_shape(seed: int) -> None:
    """The gradient at p = 0 reads the target off: its best class is the label, its sorted values are the teacher's."""
    logits, teacher, labels = frames(seed)
    flat = torch.zeros_like(logits).requires_grad_()
    loss = distillation_loss(
        flat, teacher, labels, temperature=2.0, soft_weight=1.0, hard_weight=0.0, variant="corrected", reduction="sum"
    )
    target = 1 / 5 - torch.autograd.grad(loss, flat)[0] / 2
    known = labels != -100
    assert torch.equal(target.argmax(1)[known], labels[known])
    q = torch.softmax(teacher / 2, 1)
    torch.testing.assert_close(target[~known], q[~known])
    torch.testing.assert_close(target.sort(1).values, q.sort(1).values)


def test_logit_matching_by_hand() -> None:
    # centred: z (1, -1), v (3, -3); ((1-3)^2 + (-1+3)^2) / (2 * 2)
    logits = torch.tensor([[12.0, 10.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, -5.0]])
    loss = distillation_loss(logits, teacher, temperature=7.0, soft_weight=0.5, hard_weight=0.0, variant="logits")
    assert loss.item() == pytest.approx(0.5 * 2.0)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.tolist()[0] == pytest.approx([-0.5, 0.5])


def test_logit_matching_is_the_limit_of_the_paper() -> None:
    logits, teacher, _ = frames(3)
    (limit,) = torch.autograd.grad(
        distillation_loss(logits, teacher, temperature=1.0, hard_weight=0.0, variant="logits", reduction="sum"), logits
    )
    errors = []
    for temperature in (100.0, 200.0, 400.0):
        soft = distillation_loss(logits, teacher, temperature=temperature, hard_weight=0.0, reduction="sum")
        errors.append(float((torch.autograd.grad(soft, logits)[0] - limit).abs().max()))
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.02)
    assert errors[2] / errors[1] == pytest.approx(0.5, abs=0.02)


def test_logit_matching_leaves_excluded_classes_out() -> None:
    logits = torch.tensor([[3.0, 9.0, 1.0], [0.0, 1.0, 2.0]], requires_grad=True)
    teacher = torch.tensor([[2.0, -torch.inf, -2.0], [-torch.inf] * 3])
    loss = distillation_loss(
        logits, teacher, temperature=1.0, soft_weight=1.0, hard_weight=0.0, variant="logits", reduction="none"
    )
    assert loss.tolist() == pytest.approx([(1 + 1) / (2 * 3), 0.0])  # centred over two classes: (1, -1) and (2, -2)
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == pytest.approx([-1 / 3, 0.0, 1 / 3, 0.0, 0.0, 0.0])


def test_the_hard_term_is_the_same_in_all() -> None:
    logits, teacher, labels = frames(4)
    expected = hard_term(logits, labels).sum() * 0.8
    for variant in sorted(set(VARIANTS) - {"convex"}):
        options = {"temperature": 2.0, "variant": variant, "reduction": "sum", "soft_weight": 1.0}
        both = distillation_loss(logits, teacher, labels, hard_weight=0.8, **options)
        soft = distillation_loss(logits, teacher, labels, hard_weight=0.0, **options)
        torch.testing.assert_close(both - soft, expected)


def test_a_teacher_of_weight_zero_is_not_read() -> None:
    logits, teacher, labels = frames(4)
    for variant in sorted(VARIANTS):
        loss = distillation_loss(
            logits, teacher * math.nan, labels, temperature=2.0, soft_weight=0.0, hard_weight=1.0, variant=variant
        )
        torch.testing.assert_close(loss, hard_term(logits, labels).sum() / 6)

"""distillation_loss: by hand, against the printed equation, its gradient, the high-temperature limit, masks and labels."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.distillation import VARIANTS, distillation_loss, frame_losses, soft_target_loss, soften


def paper(logits, teacher, labels, temperature, soft, hard):
    """The equation as it is printed, in recorded operations: ``(N,)``."""
    target = torch.softmax(teacher / temperature, dim=1)
    soft_term = -(target * torch.log_softmax(logits / temperature, dim=1)).sum(1)
    hard_term = torch.nn.functional.cross_entropy(logits, labels, reduction="none", ignore_index=-100)
    return soft * temperature**2 * soft_term + hard * hard_term


def random_frames(seed: int, num_frames: int = 7, num_classes: int = 5, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num_frames, num_classes, generator=generator, dtype=dtype)
    teacher = 3 * torch.randn(num_frames, num_classes, generator=generator, dtype=dtype)
    labels = torch.randint(0, num_classes, (num_frames,), generator=generator)
    labels[::3] = -100
    return logits.requires_grad_(), teacher, labels


def test_two_classes_by_hand() -> None:
    # z = (ln 9, 0) at T = 2 gives p = (3/4, 1/4); v = (ln 4, 0) gives q = (2/3, 1/3); at T = 1 the label has 1/10.
    logits = torch.tensor([[math.log(9.0), 0.0]], requires_grad=True)
    teacher = torch.tensor([[math.log(4.0), 0.0]])
    loss = distillation_loss(logits, teacher, torch.tensor([1]), temperature=2.0, soft_weight=3.0, hard_weight=0.5)
    by_hand = 3 * 4 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(4)) + 0.5 * math.log(10)
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
    loss.backward()
    slope = 3 * 2 * (3 / 4 - 2 / 3) + 0.5 * 0.9
    assert logits.grad is not None
    assert logits.grad.tolist()[0] == pytest.approx([slope, -slope], rel=1e-5)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.sampled_from([0.5, 1.0, 2.0, 7.3, 20.0]),
    soft=st.sampled_from([0.0, 0.3, 1.0]),
    hard=st.sampled_from([0.0, 0.5, 2.0]),
    block=st.sampled_from([1, 11, 2**18]),
)
def test_value_and_gradient_are_the_printed_equations(seed, temperature, soft, hard, block) -> None:
    logits, teacher, labels = random_frames(seed)
    expected = paper(logits, teacher, labels, temperature, soft, hard)
    whole, frame_losses.BLOCK_ELEMENTS = frame_losses.BLOCK_ELEMENTS, block
    try:
        found = distillation_loss(
            logits, teacher, labels, temperature=temperature, soft_weight=soft, hard_weight=hard, reduction="none"
        )
    finally:
        frame_losses.BLOCK_ELEMENTS = whole
    torch.testing.assert_close(found, expected)
    upstream = torch.linspace(-1, 2, len(found), dtype=torch.float64)
    torch.testing.assert_close(torch.autograd.grad(found, logits, upstream), torch.autograd.grad(expected, logits, upstream))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradient_by_finite_differences(variant: str, temperature: float, reduction: str) -> None:
    logits, teacher, labels = random_frames(5)
    targets = soften(teacher, temperature) - 0.05  # not quite a distribution, as a store in 16 bits
    mask = torch.tensor([True, True, False, True, True, True, False])

    def loss(scores: torch.Tensor) -> torch.Tensor:
        return soft_target_loss(
            scores,
            targets,
            labels,
            temperature=temperature,
            soft_weight=0.7,
            hard_weight=0.3,
            variant=variant,
            reduction=reduction,
            mask=mask,
        )

    assert torch.autograd.gradcheck(loss, (logits,))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0, 1000.0])
def test_closed_form_of_the_soft_gradient(temperature: float) -> None:
    logits, teacher, _ = random_frames(1, num_frames=40, num_classes=300, dtype=torch.float32)
    loss = distillation_loss(logits, teacher, temperature=temperature, soft_weight=0.8, hard_weight=0.0, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, logits)
    p = torch.softmax(logits.detach().double() / temperature, dim=1)
    q = torch.softmax(teacher.double() / temperature, dim=1)
    expected = 0.8 * (1 / temperature) * (p - q) * temperature**2
    # p and q are right to 1e-7 of themselves, and T times their difference is asked for
    bound = 3e-7 * temperature * torch.maximum(p, q).max()
    assert float((gradient - expected).abs().max()) < bound


def test_high_temperature_limit() -> None:
    """T^2 times the gradient of the cross-entropy tends to (z - v) / N for centred logits; the error falls as 1/T."""
    logits, teacher, _ = random_frames(2, num_frames=20, num_classes=50)
    logits = (logits - logits.mean(1, keepdim=True)).detach().requires_grad_()
    teacher = teacher - teacher.mean(1, keepdim=True)
    limit = (logits - teacher).detach() / 50
    errors = []
    for temperature in (50.0, 100.0, 200.0, 400.0, 800.0):
        loss = distillation_loss(logits, teacher, temperature=temperature, hard_weight=0.0, reduction="sum")
        errors.append(float((torch.autograd.grad(loss, logits)[0] - limit).abs().max()))
    ratios = [after / before for before, after in itertools.pairwise(errors)]
    assert ratios == pytest.approx([0.5] * 4, abs=0.03)
    assert errors[-1] < 0.02 * float(limit.abs().max())


def test_the_limit_is_lost_without_centring() -> None:
    """For logits with means T^2 times the gradient stays away from (z - v) / N; it tends to that of the centred ones."""
    logits, teacher, _ = random_frames(2, num_frames=20, num_classes=50)
    centred = (logits - logits.mean(1, keepdim=True)).detach(), teacher - teacher.mean(1, keepdim=True)
    shifted = (centred[0] + 15).requires_grad_(), centred[1] - 5
    to_centred, to_shifted = [], []
    for temperature in (200.0, 400.0, 800.0):
        loss = distillation_loss(*shifted, temperature=temperature, hard_weight=0.0, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, shifted[0])
        for errors, (student, target) in ((to_centred, centred), (to_shifted, shifted)):
            errors.append(float((gradient - (student - target).detach() / 50).abs().max()))
    assert [after / before for before, after in itertools.pairwise(to_centred)] == pytest.approx([0.5] * 2, abs=0.03)
    assert to_shifted == pytest.approx([(15 + 5) / 50] * 3, rel=0.03)  # the difference of the means, at every temperature


def test_least_where_student_is_teacher() -> None:
    _, teacher, _ = random_frames(3)
    student = teacher.clone().requires_grad_()
    loss = distillation_loss(student, teacher, temperature=4.0, hard_weight=0.0, reduction="none")
    q = torch.softmax(teacher / 4, dim=1)
    torch.testing.assert_close(loss, 16 * -(q * q.log()).sum(1))
    assert float(torch.autograd.grad(loss.sum(), student)[0].abs().max()) < 1e-14


def test_mean_divides_by_frames_not_by_labels_or_classes() -> None:
    logits, teacher, labels = random_frames(4)
    frames = distillation_loss(logits, teacher, labels, temperature=2.0, reduction="none")
    total = distillation_loss(logits, teacher, labels, temperature=2.0, reduction="sum")
    mean = distillation_loss(logits, teacher, labels, temperature=2.0)
    assert frames.shape == (7,)
    torch.testing.assert_close(total, frames.sum())
    torch.testing.assert_close(mean, frames.sum() / 7)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), keep=st.lists(st.booleans(), min_size=7, max_size=7))
def test_masked_frames_are_as_if_absent(seed: int, keep: list[bool]) -> None:
    logits, teacher, labels = random_frames(seed)
    mask = torch.tensor(keep)
    frames = {"temperature": 2.0, "hard_weight": 0.5}
    with torch.no_grad():  # frames that do not count may hold anything
        logits[~mask] = torch.nan
    teacher[~mask] = torch.inf
    labels[~mask] = 10**6
    loss = distillation_loss(logits, teacher, labels, mask=mask, **frames)
    (gradient,) = torch.autograd.grad(loss, logits)
    rows = logits.detach()[mask].requires_grad_()
    expected = distillation_loss(rows, teacher[mask], labels[mask], **frames)
    torch.testing.assert_close(loss, expected)
    assert (gradient[~mask] == 0).all()
    torch.testing.assert_close(gradient[mask], torch.autograd.grad(expected, rows)[0])
    single = distillation_loss(logits, teacher, labels, mask=mask, reduction="none", **frames)
    assert (single[~mask] == 0).all()


def test_no_frame_at_all() -> None:
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = distillation_loss(logits, torch.zeros(0, 4), temperature=2.0, hard_weight=0.0)
    loss.backward()
    assert loss.item() == 0.0
    nothing = torch.zeros(3, dtype=torch.bool)
    assert distillation_loss(torch.ones(3, 4), torch.ones(3, 4), temperature=2.0, hard_weight=0.0, mask=nothing).item() == 0.0


def test_unlabelled_frames_have_the_soft_term_only() -> None:
    logits, teacher, labels = random_frames(6)
    both = distillation_loss(logits, teacher, labels, temperature=3.0, hard_weight=0.5, reduction="none")
    soft = distillation_loss(logits, teacher, temperature=3.0, hard_weight=0.0, reduction="none")
    known = labels != -100
    torch.testing.assert_close(both[~known], soft[~known])
    assert (both[known] > soft[known]).all()
    none = torch.full_like(labels, -100)
    torch.testing.assert_close(distillation_loss(logits, teacher, none, temperature=3.0, reduction="none"), soft)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    logits, teacher, labels = random_frames(6)
    expected = distillation_loss(logits, teacher, labels, temperature=3.0)
    assert torch.equal(distillation_loss(logits, teacher, labels.to(dtype), temperature=3.0), expected)


def test_only_the_student_gets_a_gradient() -> None:
    logits, teacher, _ = random_frames(6)
    teacher.requires_grad_()
    distillation_loss(logits, teacher, temperature=3.0, hard_weight=0.0).backward()
    assert logits.grad is not None
    assert teacher.grad is None


def test_backward_again_and_without() -> None:
    logits, teacher, labels = random_frames(6, dtype=torch.float32)
    loss = distillation_loss(logits, teacher, labels, temperature=3.0)
    (once,) = torch.autograd.grad(loss, logits, retain_graph=True)
    for _ in range(3):  # the gradient is handed out as it is kept: adding up must not change it
        loss.backward(retain_graph=True)
    torch.testing.assert_close(logits.grad, 3 * once)
    with torch.no_grad():
        assert torch.equal(distillation_loss(logits, teacher, labels, temperature=3.0), loss)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(loss, logits, create_graph=True)


GOOD = {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature must be finite and above 0, found 0.0"),
        ({"temperature": math.nan}, "temperature must be finite"),
        ({"temperature": 1e19}, "temperature 1e\\+19 is outside 1e-06 to 1e\\+06"),
        ({"temperature": 1e-39}, "temperature 1e-39 is outside"),
        ({"soft_weight": -0.1}, "soft_weight must be finite and at least 0, found -0.1"),
        ({"hard_weight": math.inf}, "hard_weight must be"),
        ({"labels": None}, "labels is None, but hard_weight is 0.5: give labels"),
        ({"labels": None, "hard_weight": 0.0, "variant": "corrected"}, "'corrected' needs labels"),
        ({"labels": torch.tensor([0, 3, 0])}, "labels: 3 at frame 1 is outside 0 to 2; a frame without label has -100"),
        ({"labels": torch.tensor([0, 1, -1])}, "labels: -1 at frame 2"),
        ({"labels": torch.tensor([0.0, 1.0, 0.0])}, r"labels: expected integers \(3,\), found float32"),
        ({"labels": torch.zeros(3, 1, dtype=torch.int64)}, r"labels: expected integers \(3,\), found int64 \(3, 1\)"),
        ({"reduction": "batchmean"}, "reduction 'batchmean' is unknown; the reductions are mean, sum, none"),
        ({"variant": "kd"}, "variant 'kd' is unknown; the variants are paper, convex"),
        ({"variant": "convex"}, "expected weights that sum to 1, found soft_weight 1.0 and hard_weight 0.5"),
        ({"mask": torch.ones(3)}, r"mask: expected bool \(3,\), true for the frames that count; found float32 \(3,\)"),
        ({"mask": torch.ones(2, dtype=torch.bool)}, r"mask: expected bool \(3,\)"),
        ({"teacher_logits": torch.zeros(3, 4)}, r"teacher_logits: expected floating-point \(3, 3\) like student_logits"),
        ({"teacher_logits": torch.zeros(3, 3, dtype=torch.int64)}, "teacher_logits: expected floating-point"),
        ({"student_logits": torch.zeros(3, 3, dtype=torch.int64)}, "student_logits: expected floating-point"),
        ({"student_logits": torch.zeros(3), "teacher_logits": torch.zeros(3)}, r"student_logits: expected .* \(N, C\)"),
    ],
)
def test_mistakes_are_named(change: dict, message: str) -> None:
    good = {"student_logits": torch.zeros(3, 3), "teacher_logits": torch.zeros(3, 3), "labels": torch.tensor([0, 1, -100])}
    distillation_loss(**good, **GOOD)
    with pytest.raises(ValueError, match=message):
        distillation_loss(**{**good, **GOOD, **change})


def test_soft_targets_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"soft_log_probs: expected floating-point \(3, 3\)"):
        soft_target_loss(torch.zeros(3, 3), torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), **GOOD)


def random_posteriors(rows: int = 9, classes: int = 700) -> torch.Tensor:
    return torch.log_softmax(3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_targets_that_are_no_log_probabilities_are_refused_by_frame(variant: str) -> None:
    posteriors, student = random_posteriors(), torch.zeros(9, 700)
    weights = {"soft_weight": 0.5, "hard_weight": 0.5, "variant": variant, "temperature": 2.0}
    labels, frame = torch.zeros(9, dtype=torch.int64), 7
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        soft_target_loss(student, posteriors.to(dtype), labels, **weights)
    for wrong, message in (
        (posteriors.exp(), r"probabilities of frame 7 sum to \d.*, expected 1; pass logits through log_softmax"),
        (3 * posteriors, "probabilities of frame 7 sum to 0"),
        (torch.full_like(posteriors, torch.nan), "frame 7 holds NaN or infinity"),
        (torch.full_like(posteriors, torch.inf), r"frame 7 (holds NaN or infinity|sum to inf)|frame 7 sum to inf"),
        (torch.full_like(posteriors, -torch.inf), "probabilities of frame 7 sum to 0"),
    ):
        targets = posteriors.clone()
        targets[frame] = wrong[frame]
        mask = torch.arange(9) != frame
        soft_target_loss(student, targets, labels, **weights, mask=mask)  # it does not count
        block, frame_losses.BLOCK_ELEMENTS = frame_losses.BLOCK_ELEMENTS, 4 * 700  # frame 7 is not in the first block
        try:
            with pytest.raises(ValueError, match=f"soft_log_probs: .*{message}"):
                soft_target_loss(student, targets, labels, **weights)
        finally:
            frame_losses.BLOCK_ELEMENTS = block


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_teacher_logits_that_overflowed_are_refused(variant: str, value: float) -> None:
    """As float16 logits do beyond 65,504."""
    teacher, student = random_posteriors().half(), torch.zeros(9, 700)
    weights = {"soft_weight": 0.5, "hard_weight": 0.5, "variant": variant, "temperature": 2.0}
    labels = torch.zeros(9, dtype=torch.int64)
    teacher[2, 5] = -torch.inf  # excludes a class
    distillation_loss(student, teacher, labels, **weights)
    teacher[4, 5] = value
    with pytest.raises(ValueError, match="teacher_logits: frame 4 holds NaN or infinity"):
        distillation_loss(student, teacher, labels, **weights)
    distillation_loss(student, teacher, labels, **weights, mask=torch.arange(9) != 4)

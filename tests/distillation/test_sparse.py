"""SparseTargets and their loss: by hand, and against the dense path over random targets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from large_outputs import LargeOutputs

from asr_distill.distillation import SparseTargets, soft_target_loss, soften, sparse_distillation_loss


def targets_from(
    seed: int, num_frames: int = 6, num_classes: int = 40, top_k: int = 5, temperature: float = 2.0, scale: float = 4.0
) -> SparseTargets:
    """The top k of random posteriors, their tail in a random shape."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = soften(scale * torch.randn(num_frames, num_classes, generator=generator), temperature)
    values, ids = log_probs.topk(top_k, dim=1)
    outside = log_probs.scatter(1, ids, -torch.inf).logsumexp(1)
    shape = torch.log_softmax(scale * torch.randn(num_classes, generator=generator), 0)
    return SparseTargets(ids, values, outside, shape, temperature)


def test_dense_by_hand() -> None:
    # classes 3 and 0 are named; 1 and 2 share 0.3 as 2 : 1 does
    targets = SparseTargets(
        ids=torch.tensor([[3, 0], [1, 2]]),
        log_probs=torch.tensor([[0.5, 0.2], [0.6, 0.4]]).log(),
        tail_log_mass=torch.tensor([0.3, 0.0]).log(),
        tail_shape=torch.tensor([0.5, 0.2, 0.1, 0.2]).log(),
        temperature=2.0,
    )
    expected = torch.tensor([[0.2, 0.2, 0.1, 0.5], [0.0, 0.6, 0.4, 0.0]])
    torch.testing.assert_close(targets.dense(4).exp(), expected)
    assert len(targets) == 2
    assert targets.num_classes == 4
    assert targets.dense()[1, 0] == -torch.inf
    assert targets.to("cpu").dense().equal(targets.dense())


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    top_k=st.sampled_from([1, 5, 39, 40]),
    temperature=st.sampled_from([0.5, 1.0, 2.0, 10.0, 1000.0]),
    variant=st.sampled_from(["paper", "convex", "student_at_one"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_dense_path_and_sparse_path(seed, top_k, temperature, variant, dtype) -> None:
    targets = targets_from(seed, top_k=top_k, temperature=temperature)
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
    mean = sparse_distillation_loss(logits, targets, labels, **options)
    torch.testing.assert_close(mean, sparse.sum() / mask.sum().clamp(min=1))


def test_thousands_of_classes_and_a_shape_that_is_mostly_named() -> None:
    """Nearly all of the shape is on the named classes: what is left is divided by, and nothing is lost."""
    targets = targets_from(3, num_frames=4, num_classes=14000, top_k=16)
    for row in range(4):
        one = SparseTargets(
            targets.ids[row : row + 1],
            targets.log_probs[row : row + 1],
            targets.tail_log_mass[row : row + 1],
            torch.full((14000,), -20.0).scatter(0, targets.ids[row], 0.0),
            2.0,
        )
        assert one.dense().exp().sum().item() == pytest.approx(1.0, abs=1e-5)
        logits = torch.randn(1, 14000, generator=torch.Generator().manual_seed(row)).requires_grad_()
        options = {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.0}
        sparse = sparse_distillation_loss(logits, one, **options)
        dense = soft_target_loss(logits.double(), one.dense().double(), **options)
        assert sparse.item() == pytest.approx(dense.item(), rel=1e-5)
        found, expected = (torch.autograd.grad(loss, logits)[0] for loss in (sparse, dense))
        assert float((found - expected).abs().max()) < 1e-6


def test_gradient_by_finite_differences() -> None:
    targets = targets_from(1, num_frames=3, num_classes=8, top_k=3)
    logits = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def loss(scores: torch.Tensor) -> torch.Tensor:
        return sparse_distillation_loss(
            scores, targets, torch.tensor([1, -100, 7]), temperature=2.0, soft_weight=1.0, hard_weight=0.5
        )

    assert torch.autograd.gradcheck(loss, (logits,))


def test_ids_that_repeat_add_up_and_leave_the_shape_once() -> None:
    shape = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    tail = torch.tensor([0.3]).log()
    once = SparseTargets(torch.tensor([[1]]), torch.tensor([[0.7]]).log(), tail, shape, 1.0)
    padded = SparseTargets(torch.tensor([[1, 1, 1]]), torch.tensor([[0.5, 0.0, 0.2]]).log(), tail, shape, 1.0)
    torch.testing.assert_close(padded.dense(), once.dense())
    logits = torch.tensor([[0.3, 1.0, -torch.inf, 2.0]], requires_grad=True)
    options = {"temperature": 1.0, "soft_weight": 1.0, "hard_weight": 0.0}
    no_shape = torch.tensor([0.4, 0.3, 0.0, 0.1]).log()
    values, slopes = [], []
    for targets in (once, padded):
        targets = SparseTargets(targets.ids, targets.log_probs, targets.tail_log_mass, no_shape, 1.0)
        loss = sparse_distillation_loss(logits, targets, **options)
        values.append(loss.item())
        slopes.append(torch.autograd.grad(loss, logits)[0])
    assert values[0] == pytest.approx(values[1], rel=1e-6)  # and 0 log 0 = 0 for the class that nobody has
    torch.testing.assert_close(slopes[0], slopes[1])
    assert not slopes[0].isnan().any()


@pytest.mark.parametrize("shape", [torch.zeros(4), torch.full((4,), -torch.inf)])
def test_no_tail(shape: torch.Tensor) -> None:
    """Sampled targets: the classes outside the ids have nothing, whatever the shape says."""
    targets = SparseTargets(
        torch.tensor([[0, 2], [3, 3]]), torch.tensor([[0.25, 0.75], [1.0, 0.0]]).log(), torch.full((2,), -torch.inf), shape, 2.0
    )
    expected = torch.tensor([[0.25, 0.0, 0.75, 0.0], [0.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(targets.dense().exp(), expected)
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0], [5.0, 1.0, 0.0, 0.0]], requires_grad=True)
    options = {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.0}
    sparse, dense = sparse_distillation_loss(logits, targets, **options), soft_target_loss(logits, expected.log(), **options)
    torch.testing.assert_close(sparse, dense)
    torch.testing.assert_close(torch.autograd.grad(sparse, logits), torch.autograd.grad(dense, logits))


def test_a_tail_without_classes_is_left_out() -> None:
    targets = SparseTargets(
        torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.4]]).log(), torch.tensor([0.1]).log(), torch.zeros(2), 1.0
    )
    torch.testing.assert_close(targets.dense().exp(), torch.tensor([[0.5, 0.4]]))


def test_no_array_of_the_targets_size_is_made() -> None:
    """Beside the student's gradient, (N, C), nothing is larger than a block; the dense targets would be."""
    targets = targets_from(2, num_frames=400, num_classes=3000, top_k=4)
    logits = torch.randn(400, 3000, generator=torch.Generator().manual_seed(1)).requires_grad_()
    options = {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.0}
    with LargeOutputs(400 * 3000) as sparse:
        sparse_distillation_loss(logits, targets, **options)
    assert [name.split(".")[1] for name in sparse.operations] == ["empty"]
    with LargeOutputs(400 * 3000) as dense:
        soft_target_loss(logits, targets.dense(), **options)
    assert len(dense.operations) > 3


def test_mistakes_are_named() -> None:
    good = targets_from(1)
    options = {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.0}
    logits = torch.zeros(6, 40)
    with pytest.raises(ValueError, match="temperature is 1, but the targets are softened to 2"):
        sparse_distillation_loss(logits, good, **{**options, "temperature": 1.0})
    with pytest.raises(ValueError, match=r"student_logits: expected \(6, 40\) like the targets, found float32 \(6, 41\)"):
        sparse_distillation_loss(torch.zeros(6, 41), good, **options)
    for variant in ("corrected", "logits"):
        with pytest.raises(ValueError, match=f"variant '{variant}' needs a target for every class"):
            sparse_distillation_loss(logits, good, torch.zeros(6, dtype=torch.int64), variant=variant, **options)
    with pytest.raises(ValueError, match="labels is None"):
        sparse_distillation_loss(logits, good, **{**options, "hard_weight": 0.5})
    with pytest.raises(ValueError, match=r"dense\(41\): these targets have 40 classes"):
        good.dense(41)
    parts = {
        "ids": good.ids,
        "log_probs": good.log_probs,
        "tail_log_mass": good.tail_log_mass,
        "tail_shape": good.tail_shape,
        "temperature": 2.0,
    }
    for change, message in (
        ({"ids": good.ids.int()}, r"ids: expected int64 \(N, K\), found int32"),
        ({"log_probs": good.log_probs[:, 1:]}, r"log_probs: expected float \(6, 5\), found float32 \(6, 4\)"),
        ({"tail_log_mass": good.log_probs}, r"tail_log_mass: expected float \(6,\)"),
        ({"tail_shape": good.log_probs}, r"tail_shape: expected float \(C,\)"),
        ({"temperature": 0.0}, "temperature must be"),
    ):
        with pytest.raises(ValueError, match=message):
            SparseTargets(**{**parts, **change})


@pytest.mark.parametrize("low_rank", [False, True])
def test_targets_that_do_not_sum_to_one_are_refused(low_rank: bool) -> None:
    """Probabilities for log-probabilities, or logits: the ids of one frame of three."""
    tail = {"tail_coefficients": torch.zeros(3, 1), "tail_basis": torch.zeros(1, 5)} if low_rank else {}
    good = torch.tensor([[0.5, 0.2]]).log().repeat(3, 1)
    student, weights = torch.zeros(3, 5), {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 0.0}

    def targets(log_probs: torch.Tensor) -> SparseTargets:
        ids, mass = torch.tensor([[2, 0]] * 3), torch.full((3,), 0.3).log()
        return SparseTargets(ids, log_probs, mass, torch.full((5,), 0.2).log(), 2.0, **tail)

    sparse_distillation_loss(student, targets(good), **weights)
    sparse_distillation_loss(student, targets(good.bfloat16()), **weights)
    for wrong in (good.exp(), torch.tensor([3.0, -1.0]), torch.tensor([torch.nan, -1.0])):
        spoilt = good.clone()
        spoilt[1] = wrong if wrong.ndim == 1 else wrong[1]
        with pytest.raises(ValueError, match=r"targets: .*frame 1"):
            sparse_distillation_loss(student, targets(spoilt), **weights)
        sparse_distillation_loss(student, targets(spoilt), **weights, mask=torch.tensor([True, False, True]))

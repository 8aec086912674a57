"""combine_posteriors and soften: by hand, against scipy, at -inf."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from asr_distill.distillation import combine_posteriors, soften


def members(seed: int, shape: tuple[int, ...] = (4, 3, 6), scale: float = 5.0) -> np.ndarray:
    return log_softmax(scale * np.random.default_rng(seed).standard_normal(shape), axis=-1)


def test_by_hand() -> None:
    posteriors = torch.tensor([[[0.8, 0.2]], [[0.4, 0.6]]])
    log_probs = posteriors.log()
    assert combine_posteriors(log_probs).exp().tolist()[0] == pytest.approx([0.6, 0.4])
    assert combine_posteriors(log_probs, "weighted", [3.0, 1.0]).exp().tolist()[0] == pytest.approx([0.7, 0.3])
    assert combine_posteriors(log_probs, "best", [0.1, 0.3]).exp().tolist()[0] == pytest.approx([0.4, 0.6])
    first, second = math.sqrt(0.8 * 0.4), math.sqrt(0.2 * 0.6)
    expected = [first / (first + second), second / (first + second)]
    assert combine_posteriors(log_probs, "geometric").exp().tolist()[0] == pytest.approx(expected)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 3.0, 200.0]))
def test_against_scipy(seed: int, scale: float) -> None:
    log_probs = members(seed, scale=scale)
    weights = np.random.default_rng(seed).uniform(0.1, 5.0, 4)
    given = torch.from_numpy(log_probs)
    near = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(combine_posteriors(given), logsumexp(log_probs, axis=0, b=0.25), **near)
    expected = logsumexp(log_probs, axis=0, b=(weights / weights.sum())[:, None, None])
    np.testing.assert_allclose(combine_posteriors(given, "weighted", weights.tolist()), expected, **near)
    np.testing.assert_allclose(combine_posteriors(given, "weighted", torch.from_numpy(weights)), expected, **near)
    np.testing.assert_allclose(combine_posteriors(given, "geometric"), log_softmax(log_probs.mean(0), axis=-1), **near)
    np.testing.assert_allclose(combine_posteriors(given, "best", weights), log_probs[weights.argmax()], **near)
    np.testing.assert_allclose(combine_posteriors(list(given)), combine_posteriors(given), **near)
    np.testing.assert_allclose(soften(given, 3.0), log_softmax(log_probs / 3, axis=-1), **near)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), mode=st.sampled_from(["arithmetic", "geometric", "weighted", "best"]))
def test_properties(seed: int, mode: str) -> None:
    log_probs = torch.from_numpy(members(seed)).float()
    weights = [1.0, 2.0, 3.0, 4.0] if mode in ("weighted", "best") else None
    combined = combine_posteriors(log_probs, mode, weights)
    torch.testing.assert_close(combined.exp().sum(-1), torch.ones(3))
    order = torch.tensor([2, 0, 3, 1])
    again = combine_posteriors(log_probs[order], mode, None if weights is None else [weights[i] for i in order])
    torch.testing.assert_close(again, combined)
    same = combine_posteriors(log_probs[:1].expand(4, -1, -1), mode, weights)
    torch.testing.assert_close(same, log_probs[0])
    if mode == "arithmetic":  # a mean of probabilities lies between them
        assert (combined <= log_probs.amax(0) + 1e-5).all()
        assert (combined >= log_probs.amin(0) - 1e-5).all()


def test_excluded_classes() -> None:
    log_probs = torch.tensor([[[0.5, 0.5, 0.0]], [[0.8, 0.0, 0.2]]]).log()
    assert combine_posteriors(log_probs).exp().tolist()[0] == pytest.approx([0.65, 0.25, 0.1])
    assert combine_posteriors(log_probs, "geometric").exp().tolist()[0] == pytest.approx([1.0, 0.0, 0.0])
    nobody = torch.tensor([[[0.5, 0.5, 0.0]], [[0.8, 0.2, 0.0]]]).log()
    for mode in ("arithmetic", "geometric"):
        combined = combine_posteriors(nobody, mode)
        assert combined[0, 2] == -torch.inf
        assert not combined.isnan().any()
    assert soften(nobody[0], 5.0)[0, 2] == -torch.inf
    apart = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]).log()
    assert combine_posteriors(apart).exp().tolist()[0] == pytest.approx([0.5, 0.5])
    with pytest.raises(ValueError, match="a geometric mean leaves nothing of a frame"):
        combine_posteriors(apart, "geometric")


def test_what_float32_cannot_hold_as_a_probability() -> None:
    """e^-200 is 0 in float32; its logarithm is not lost."""
    log_probs = torch.tensor([[[0.0, -200.0]], [[0.0, -300.0]]])
    assert combine_posteriors(log_probs)[0, 1].item() == pytest.approx(-200 - math.log(2), abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_members_are_combined_in_float32(dtype: torch.dtype) -> None:
    log_probs = torch.from_numpy(members(1, (3, 5, 3000), scale=0.5)).to(dtype)
    combined = combine_posteriors(log_probs)
    assert combined.dtype == torch.float32
    torch.testing.assert_close(combined.exp().sum(-1), torch.ones(5))


def test_a_member_of_weight_zero_has_no_say() -> None:
    log_probs = torch.from_numpy(members(2))
    log_probs[1] = torch.nan
    combined = combine_posteriors(log_probs, "weighted", [1.0, 0.0, 1.0, 2.0])
    torch.testing.assert_close(combined, combine_posteriors(log_probs[[0, 2, 3]], "weighted", [1.0, 1.0, 2.0]))


def test_inputs_are_not_written_to() -> None:
    for mode, weights in (("arithmetic", None), ("geometric", None), ("best", [1.0, 0.5, 0.2, 0.1])):
        log_probs = torch.from_numpy(members(3))
        before = log_probs.clone()
        combine_posteriors(log_probs, mode, weights).fill_(7.0)
        assert torch.equal(log_probs, before)


@pytest.mark.parametrize(
    ("mode", "weights", "message"),
    [
        ("mean", None, "mode 'mean' is unknown; the modes are arithmetic, geometric, weighted, best"),
        ("arithmetic", [1.0] * 4, "mode 'arithmetic' takes no weights"),
        ("weighted", None, r"mode 'weighted' needs weights, one per member \(4\)"),
        ("best", None, "mode 'best' needs weights"),
        ("weighted", [1.0] * 3, "weights must be 4 finite numbers >= 0"),
        ("weighted", [1.0, 1.0, 1.0, -1.0], "weights must be 4 finite"),
        ("weighted", [0.0] * 4, "with a positive sum"),
        ("best", [1.0, math.nan, 1.0, 1.0], "weights must be 4 finite"),
    ],
)
def test_mistakes_are_named(mode: str, weights: list[float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        combine_posteriors(torch.from_numpy(members(1)), mode, weights)


def test_wrong_tensors_are_named() -> None:
    with pytest.raises(ValueError, match="the probabilities of a frame sum to 8, expected 1; pass logits through log_softmax"):
        combine_posteriors(torch.zeros(2, 3, 8))
    with pytest.raises(ValueError, match="no member"):
        combine_posteriors(torch.zeros(0, 3, 8))
    with pytest.raises(ValueError, match=r"found \(3, 8\) at member 0 and torch.float32 \(3, 7\) at member 1"):
        combine_posteriors([torch.zeros(3, 8), torch.zeros(3, 7)])
    with pytest.raises(ValueError, match="expected one floating-point"):
        combine_posteriors(torch.zeros(2, 3, 8, dtype=torch.int64))
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be finite and above 0"):
            soften(torch.zeros(2, 3), temperature)
    for temperature in (1e-7, 1.1e6, 1e19, 1e200):
        with pytest.raises(ValueError, match=r"temperature \S+ is outside 1e-06 to 1e\+06"):
            soften(torch.zeros(2, 3), temperature)


@pytest.mark.parametrize("mode", ["arithmetic", "geometric", "weighted", "best"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_are_refused(mode: str, value: float) -> None:
    log_probs = torch.tensor([[[0.5, 0.5]], [[0.9, 0.1]]]).log()
    log_probs[0, 0, 0] = value
    with pytest.raises(ValueError, match="NaN or "):
        combine_posteriors(log_probs, mode, [3.0, 1.0] if mode in ("weighted", "best") else None)


def test_rows_without_a_class_are_refused() -> None:
    with pytest.raises(ValueError, match="C at least 1"):
        combine_posteriors(torch.zeros(2, 3, 0))

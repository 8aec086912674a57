"""What a frame's record keeps of a distribution, by hand and on random posteriors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.distillation.soft_target_modes import Encoding, estimate, log_complement, seed_of
from asr_distill.distillation.soft_target_tail import TailSums

HALF = 2.0**-11  # the relative error of rounding to float16


def posteriors(frames: int, classes: int, sharpness: float, seed: int) -> torch.Tensor:
    logits = sharpness * torch.randn(frames, classes, generator=torch.Generator().manual_seed(seed))
    return torch.log_softmax(logits, dim=1)


def softened(log_probs: torch.Tensor, temperature: float) -> torch.Tensor:
    """By the definition, in float64: p^(1/T) over its sum."""
    powers = log_probs.double().exp() ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)


def shape_of(encoding: Encoding, log_probs: torch.Tensor) -> torch.Tensor:
    sums = TailSums(len(encoding.temperatures), encoding.num_classes)
    encoding.encode(log_probs, 0, sums)
    return torch.from_numpy(sums.log_shape())


cases = given(
    st.integers(1, 6), st.integers(2, 40), st.floats(0.0, 6.0), st.integers(0, 2**31), st.sampled_from([1.0, 2.0, 5.0, 10.0])
)


def test_top_two_of_four_by_hand() -> None:
    # 36, 16, 9, 4 of 65; their roots 6, 4, 3, 2 of 15 are the distribution at T = 2
    log_probs = torch.tensor([[9.0, 36.0, 4.0, 16.0]]).div(65).log()
    encoding = Encoding.choose("topk", 4, [2.0], top_k=2, tail_rank=0)
    assert encoding.temperatures == (1.0, 2.0)
    records = encoding.encode(log_probs, 0)
    assert records.shape == (1, 2 * 2 + 2 * 2 + 2 * 1)
    stored = encoding.decode(records, 2.0, torch.tensor([0.3, 0.1, 0.2, 0.4]).log())
    assert stored.ids.tolist() == [[1, 3]]
    assert stored.log_probs.exp().tolist()[0] == pytest.approx([6 / 15, 4 / 15], rel=2e-3)
    assert float(stored.tail_log_mass.exp()) == pytest.approx(5 / 15, rel=2e-3)
    # the tail's 5/15 in the shape's proportion 3 : 2, which is the true one
    assert stored.dense().exp().tolist()[0] == pytest.approx([3 / 15, 6 / 15, 2 / 15, 4 / 15], rel=2e-3)
    at_one = encoding.decode(records, 1.0, torch.zeros(4).log_softmax(0))
    assert float(at_one.tail_log_mass.exp()) == pytest.approx(13 / 65, rel=2e-3)


@cases
def test_dense_is_exact_to_float16(frames: int, classes: int, sharpness: float, seed: int, temperature: float) -> None:
    log_probs = posteriors(frames, classes, sharpness, seed)
    encoding = Encoding.choose("dense", classes)
    stored = encoding.decode_dense(encoding.encode(log_probs, seed), temperature)
    true = softened(log_probs, temperature).log()
    # each log-probability within half a unit, and their sum no further off than the worst of them
    bound = 2 * HALF * float(log_probs.abs().max()) / temperature + 1e-5
    assert float((stored - true).abs().max()) <= bound
    assert torch.allclose(stored.exp().sum(1), torch.ones(frames), atol=1e-5)


@cases
def test_topk_keeps_the_tails_mass_at_every_declared_temperature(
    frames: int, classes: int, sharpness: float, seed: int, temperature: float
) -> None:
    log_probs = posteriors(frames, classes, sharpness, seed)
    k = max(1, classes // 3)
    encoding = Encoding.choose("topk", classes, top_k=k, tail_rank=0)
    records = encoding.encode(log_probs, seed)
    stored = encoding.decode(records, temperature, shape_of(encoding, log_probs)[encoding.temperatures.index(temperature)])
    true = softened(log_probs, temperature)
    mass = 1 - true.gather(1, stored.ids).sum(1)
    assert torch.allclose(stored.tail_log_mass.exp().double(), mass, rtol=HALF * 40, atol=1e-6)
    dense = stored.dense().exp()
    assert torch.allclose(dense.sum(1), torch.ones(frames), atol=1e-5)
    outside = dense.scatter(1, stored.ids, 0.0)
    assert torch.allclose(outside.sum(1).double(), mass, rtol=HALF * 40, atol=1e-6)
    assert (true.gather(1, stored.ids).min(1).values + 1e-12 >= true.scatter(1, stored.ids, 0.0).max(1).values).all()


@cases
def test_topk_with_every_class_is_dense(frames: int, classes: int, sharpness: float, seed: int, temperature: float) -> None:
    log_probs = posteriors(frames, classes, sharpness, seed)
    encoding = Encoding.choose("topk", classes, top_k=classes + 3)
    shape = shape_of(encoding, log_probs)
    stored = encoding.decode(encoding.encode(log_probs, seed), temperature, shape[0])
    assert torch.isneginf(stored.tail_log_mass).all()
    dense = Encoding.choose("dense", classes)
    expected = dense.decode_dense(dense.encode(log_probs, seed), temperature)
    assert torch.allclose(stored.dense().exp(), expected.exp(), atol=1e-6)


@cases
def test_systematic_draws_differ_from_expectation_by_less_than_one(
    frames: int, classes: int, sharpness: float, seed: int, temperature: float
) -> None:
    log_probs = posteriors(frames, classes, sharpness, seed)
    encoding = Encoding.choose("sampled", classes, [temperature], num_samples=25)
    stored = encoding.decode(encoding.encode(log_probs, seed), temperature, torch.zeros(classes).log_softmax(0))
    counts = 25 * stored.dense().exp().double()
    assert torch.allclose(counts.sum(1), torch.full((frames,), 25.0, dtype=torch.float64), atol=1e-4)
    assert float((counts - 25 * softened(log_probs, temperature)).abs().max()) < 1 + 1e-4
    assert torch.allclose(counts, counts.round(), atol=1e-4)


def test_sampled_is_unbiased_at_its_temperature() -> None:
    log_probs = posteriors(1, 12, 2.0, 5).expand(4000, 12)
    for draws in (1, 7):
        encoding = Encoding.choose("sampled", 12, [2.0], num_samples=draws)
        dense = encoding.decode(encoding.encode(log_probs, 3), 2.0, torch.zeros(12).log_softmax(0)).dense().exp().double()
        true = softened(log_probs[:1], 2.0)[0]
        # no worse than independent draws would be
        deviation = (true * (1 - true) / (4000 * draws)).sqrt()
        assert ((dense.mean(0) - true).abs() < 4 * deviation).all()


def test_impossible_classes_stay_impossible() -> None:
    log_probs = torch.tensor([[0.5, 0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]).log()
    uniform = torch.zeros(5).log_softmax(0)
    for encoding in (Encoding.choose("topk", 5, top_k=3, tail_rank=0), Encoding.choose("sampled", 5, [5.0], num_samples=8)):
        stored = encoding.decode(encoding.encode(log_probs, 0), 5.0, uniform).dense().exp()
        assert torch.allclose(stored, log_probs.exp(), atol=1e-6)
    dense = Encoding.choose("dense", 5)
    assert torch.allclose(dense.decode_dense(dense.encode(log_probs, 0), 5.0).exp(), log_probs.exp(), atol=1e-6)


def test_very_small_log_probabilities_stay_finite() -> None:
    log_probs = torch.tensor([[0.0, -1e5, -3e4]])
    encoding = Encoding.choose("dense", 3)
    stored = encoding.decode_dense(encoding.encode(log_probs, 0), 1000.0)
    assert torch.isfinite(stored).all()
    assert float(stored[0, 2]) == pytest.approx(-30.0, rel=1e-3)


@pytest.mark.parametrize(("classes", "size"), [(256, 1), (257, 2), (65_536, 2), (65_537, 4)])
def test_ids_take_the_smallest_integer_that_holds_them(classes: int, size: int) -> None:
    log_probs = torch.full((2, classes), -30.0)
    log_probs[0, classes - 1] = log_probs[1, classes // 2 + 1] = 0.0
    log_probs = torch.log_softmax(log_probs, 1)
    for encoding in (
        Encoding.choose("topk", classes, [1.0], top_k=1, tail_rank=0),
        Encoding.choose("sampled", classes, [1.0], num_samples=1),
    ):
        records = encoding.encode(log_probs, 0)
        assert records.shape[1] == size + (4 if encoding.mode == "topk" else 0)
        stored = encoding.decode(records, 1.0, torch.zeros(classes).log_softmax(0))
        assert stored.ids.tolist() == [[classes - 1], [classes // 2 + 1]]


def test_the_papers_scale_fits() -> None:
    rows = {row["mode"]: row for row in estimate([Encoding.choose(m, 14_000, t) for m, t in MODES], 700_000_000)}
    assert rows["topk"]["bytes_per_frame"] == 12 * (2 + 2) + 4 * 2 + 20 == 76
    assert rows["topk"]["bytes"] < 56e9
    assert rows["sampled"]["bytes_per_frame"] == 80
    assert rows["dense"]["bytes"] == 2 * 14_000 * 700_000_000


MODES = (("dense", []), ("topk", [1, 2, 5, 10]), ("sampled", [2]))


def test_draws_belong_to_the_cut() -> None:
    assert seed_of(0, "a") == seed_of(0, "a")
    assert len({seed_of(0, "a"), seed_of(0, "b"), seed_of(1, "a")}) == 3


@given(st.floats(-60.0, -1e-6))
def test_log_complement(value: float) -> None:
    found = float(log_complement(torch.tensor([value], dtype=torch.float64)))
    expected = math.log(-math.expm1(value)) if value > -1 else math.log1p(-math.exp(value))
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("best", 5), "mode 'best', expected one of dense, topk, sampled"),
        (("topk", 5, [0.0]), "temperatures 0, 1: temperature must be finite and above 0, found 0"),
        (("topk", 5, [2.0, 1e20]), r"temperatures 1, 2, 1e\+20: temperature 1e\+20 is outside 1e-06 to 1e\+06"),
        (("topk", 5, [1.0], 0), "top_k is 0, expected 1 to 5"),
        (("topk", 5, [1.0], 2, 40, -1), "tail_rank is -1, expected 0 to 3"),
        (("sampled", 5, [1.0, 2.0]), "one temperature, found 1, 2"),
        (("sampled", 5, [1.0], 3, 0), "num_samples is 0"),
        (("dense", 0), "0 classes"),
    ],
)
def test_what_is_no_layout_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Encoding.choose(*arguments)

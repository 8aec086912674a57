"""The shape of the tail: a mean over the frames in which a class is in the tail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asr_distill.base import UserError
from asr_distill.distillation.soft_target_modes import Encoding
from asr_distill.distillation.soft_target_tail import TailSums


def test_by_hand() -> None:
    # k = 1. Frame 1 has class 0 on top, its tail .4 holds classes 1 (.3) and 2 (.1); frame 2 has class 1 on top, its tail .4
    # holds 0 (.1) and 2 (.3). Class 0 is in a tail of .4 once and gets .1 there, 1 gets .3 of .4, 2 gets .4 of .8.
    sums = TailSums(1, 3)
    outside = torch.tensor([[0.0, 0.3, 0.1], [0.1, 0.0, 0.3]])
    sums.add(0, outside, outside.sum(1), torch.tensor([[0], [1]]))
    shares = np.array([0.1 / 0.4, 0.3 / 0.4, 0.4 / 0.8])
    assert np.exp(sums.log_shape()[0]) == pytest.approx(shares / shares.sum(), rel=1e-5)


def test_a_class_that_is_mostly_on_top_is_not_underrated() -> None:
    # Whenever class 0 is in the tail it gets half of it, but it is in the tail of one frame in ten.
    outside = torch.tensor([[0.0, 0.1, 0.1, 0.0]]).repeat(9, 1)
    outside = torch.cat([outside, torch.tensor([[0.1, 0.05, 0.05, 0.0]])])
    ids = torch.tensor([[0, 3]] * 9 + [[3, 3]])[:, :1]
    ids[9] = 3
    sums = TailSums(1, 4)
    sums.add(0, outside, outside.sum(1), ids)
    shape = np.exp(sums.log_shape()[0])
    assert shape[0] > shape[1] > 0.05  # the plain mean of the tails has 0.1 for class 0 and 0.95 for class 1


def test_classes_that_never_are_in_a_tail_stay_possible() -> None:
    sums = TailSums(1, 3)
    outside = torch.tensor([[0.0, 0.2, 0.0]])
    sums.add(0, outside, outside.sum(1), torch.tensor([[0]]))
    shape = sums.log_shape()
    assert np.isfinite(shape).all()
    assert np.exp(shape).sum() == pytest.approx(1.0)
    assert TailSums(1, 4).log_shape() == pytest.approx(np.full((1, 4), -np.log(4)), rel=1e-6)


def test_the_mean_diverges_less_than_other_shapes() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(200, 30, generator=generator) + 2 * torch.randn(30, generator=generator)
    log_probs = torch.log_softmax(logits, 1)
    encoding = Encoding.choose("topk", 30, [3.0], top_k=4, tail_rank=0)
    sums = TailSums(2, 30)
    records = encoding.encode(log_probs, 0, sums)
    true = torch.log_softmax(log_probs / 3, 1)

    def divergence(shape: torch.Tensor) -> float:
        return float((true.exp() * (true - encoding.decode(records, 3.0, shape).dense())).sum(1).mean())

    shape = torch.from_numpy(sums.log_shape()[1])
    ours = divergence(shape)
    assert ours < 0.7 * divergence(torch.zeros(30).log_softmax(0))
    for _ in range(5):
        assert ours < divergence((shape + 0.3 * torch.randn(30, generator=generator)).log_softmax(0))


def test_saved_sums_add_up(tmp_path: Path) -> None:
    parts, whole = [TailSums(2, 5), TailSums(2, 5)], TailSums(2, 5)
    for seed, part in enumerate(parts):
        outside = torch.rand(3, 5, generator=torch.Generator().manual_seed(seed))
        for sums in (part, whole):
            sums.add(1, outside, outside.sum(1), torch.tensor([[0], [1], [0]]))
        part.save(tmp_path / f"{seed}.npy")
    merged = TailSums(2, 5)
    for seed in range(2):
        merged.merge(TailSums.load(tmp_path / f"{seed}.npy", 2, 5))
    assert np.allclose(merged.log_shape(), whole.log_shape())
    with pytest.raises(UserError, match=r"0\.npy holds float64"):
        TailSums.load(tmp_path / "0.npy", 2, 6)
    (tmp_path / "0.npy").write_bytes(b"no")
    with pytest.raises(UserError, match=r"0\.npy cannot be read"):
        TailSums.load(tmp_path / "0.npy", 2, 5)

"""Clipping against torch's, and what freed memory costs."""

from __future__ import annotations

import resource

import pytest
import torch
from torch import nn

from asr_distill.training.memory import keep_freed_memory
from asr_distill.training.optimisation import clip_gradients


@pytest.mark.parametrize("limit", [0.1, 3.0, 1e6, float("inf")])
def test_clipping_is_torchs_to_the_bit_below_the_limit_and_nearly_above(limit: float) -> None:
    ours, theirs = (nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)) for _ in range(2))
    generator = torch.Generator().manual_seed(1)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.grad = torch.randn(mine.shape, generator=generator)
        other.grad = mine.grad.clone()
    clip_gradients(ours, limit)
    norm = nn.utils.clip_grad_norm_(theirs.parameters(), limit)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=0)
        if norm < limit:
            assert torch.equal(mine.grad, other.grad)


def test_gradients_that_are_not_finite_stay_so() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.grad = torch.tensor([[1.0, float("nan")], [0.0, 0.0]])
    layer.bias.grad = torch.ones(2)
    clip_gradients(layer, 1.0)
    assert torch.isnan(layer.weight.grad).any()
    clip_gradients(nn.Linear(2, 2), 1.0)  # nothing to clip


def test_large_blocks_are_not_fetched_anew() -> None:
    if not keep_freed_memory():
        pytest.skip("the C library has no mallopt")

    def faults_of_a_large_block() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.zeros(16 << 20)  # 64 MiB: 16,384 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults_of_a_large_block()
    assert min(faults_of_a_large_block() for _ in range(3)) < 2000

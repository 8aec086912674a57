import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.data import FrameSampler
from asr_distill.data.frame_sampler import PseudoRandomPermutation


@settings(max_examples=150, deadline=None)
@given(size=st.integers(1, 5000), seed=st.integers(-5, 2**40), epoch=st.integers(0, 50))
def test_it_is_a_permutation(size, seed, epoch):
    values = PseudoRandomPermutation(size, seed, epoch)(np.arange(size))
    np.testing.assert_array_equal(np.sort(values), np.arange(size))


def test_any_place_is_known_by_itself():
    permutation = PseudoRandomPermutation(100_003, seed=3)
    whole = permutation(np.arange(100_003))
    places = np.array([100_002, 0, 5, 77_777])
    np.testing.assert_array_equal(permutation(places), whole[places])


def test_it_works_on_a_corpus_larger_than_memory():
    permutation = PseudoRandomPermutation(3 * 10**12 + 7, seed=0)
    values = permutation(np.arange(10**12, 10**12 + 10_000))
    assert len(np.unique(values)) == 10_000
    assert values.min() >= 0
    assert values.max() < 3 * 10**12 + 7
    assert abs(values.mean() / 1.5e12 - 1) < 0.05


def test_it_shuffles_well():
    size = 100_000
    values = PseudoRandomPermutation(size, seed=1)(np.arange(size))
    places = np.arange(size)
    assert abs(np.corrcoef(places, values)[0, 1]) < 0.01
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.01
    # neighbours in the corpus are no nearer than chance in the epoch: the mean distance of two random places is size / 3
    order = np.argsort(values)
    assert np.abs(np.diff(order)).mean() == pytest.approx(size / 3, rel=0.02)
    # every batch draws from the whole corpus: counts over ten parts, chi-squared with 9 degrees of freedom
    counts = np.stack([np.bincount(batch * 10 // size, minlength=10) for batch in values[: 97 * 1024].reshape(97, 1024)])
    chi = ((counts - 102.4) ** 2 / 102.4).sum(axis=1)
    assert 7 < chi.mean() < 11
    assert chi.max() < 35
    assert (values == places).sum() < 10  # one fixed point is expected


def test_seeds_and_epochs_differ_and_repeat():
    def first(seed, epoch):
        return next(iter(FrameSampler(1000, 100, seed, epoch)))

    assert torch.equal(first(0, 0), first(0, 0))
    assert not torch.equal(first(0, 0), first(0, 1))
    assert not torch.equal(first(0, 0), first(1, 0))
    assert not torch.equal(first(1, 0), first(-1, 0))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 400), batch=st.integers(1, 90), step=st.integers(0, 400), drop_last=st.booleans())
def test_resuming_gives_the_rest(size, batch, step, drop_last):
    whole = list(FrameSampler(size, batch, seed=7, epoch=2, drop_last=drop_last))
    sampler = FrameSampler(size, batch, seed=7, epoch=2, drop_last=drop_last)
    assert len(sampler) == len(whole)
    if step > len(whole):
        with pytest.raises(UserError, match="cannot start"):
            sampler.batches(step)
        return
    rest = list(sampler.batches(step))
    assert len(rest) == len(whole) - step
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[step:], strict=True))
    seen = torch.cat(whole) if whole else torch.zeros(0, dtype=torch.int64)
    assert len(seen.unique()) == len(seen) == (len(whole) * batch if drop_last else size)


def test_chunks_do_not_show():
    size = 200_000  # several chunks of the permutation
    batches = list(FrameSampler(size, 999, seed=0))
    assert {len(batch) for batch in batches[:-1]} == {999}
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(size))


def test_a_choice_of_frames():
    chosen = np.array([5, 17, 100, 3])
    seen = torch.cat(list(FrameSampler(1000, 3, seed=0, frames=chosen)))
    assert sorted(seen.tolist()) == [3, 5, 17, 100]


def test_bad_sizes_are_refused():
    with pytest.raises(UserError, match="nothing to shuffle"):
        FrameSampler(0, 10, seed=0)
    with pytest.raises(UserError, match="batch_size"):
        FrameSampler(10, 0, seed=0)

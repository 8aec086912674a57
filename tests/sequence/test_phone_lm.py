"""The phone n-gram: by hand, as a distribution, bounded."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.sequence import estimate_phone_lm

sequences = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=8), min_size=1, max_size=8)


def test_a_bigram_by_hand() -> None:
    """1 2 and 1 1: after the start 1; after 1 (three times) 2, 1 or the end; after 2 (once) the end."""
    lm = estimate_phone_lm([(1, 2), (1, 1)], order=2)
    assert lm.num_states == 3
    assert lm.log_probability((1, 2)) == pytest.approx(np.log(1 * 1 / 3 * 1))
    assert lm.log_probability((1, 1)) == pytest.approx(np.log(1 * 1 / 3 * 1 / 3))
    assert lm.log_probability((1, 1, 1, 2)) == pytest.approx(np.log(1 / 3**3))
    assert lm.log_probability((2,)) == -np.inf
    assert lm.log_probability((1, 2, 1)) == -np.inf


def test_a_trigram_knows_two_phones_where_it_has_room() -> None:
    """After 1 2 always 3, after 4 2 always 1: a bigram mixes them."""
    data = [(1, 2, 3), (1, 2, 3), (4, 2, 1)]
    whole, bounded = estimate_phone_lm(data, order=3), estimate_phone_lm(data, order=3, max_states=6)
    assert whole.log_probability((4, 2, 1)) == pytest.approx(np.log(1 / 3))
    assert whole.log_probability((4, 2, 3)) == -np.inf
    assert bounded.num_states <= 6
    assert np.isfinite(bounded.log_probability((4, 2, 3)))  # the history 4 2 fell to 2
    assert estimate_phone_lm(data, order=2).hash != whole.hash == estimate_phone_lm(data[::-1], order=3).hash


@given(sequences, st.integers(2, 4), st.integers(5, 40))
def test_it_is_a_distribution_that_accepts_its_data(data: list[list[int]], order: int, max_states: int) -> None:
    lm = estimate_phone_lm(data, order=order, max_states=max_states)
    assert lm.num_states <= max_states
    mass = np.bincount(lm.source, np.exp(lm.log_prob), lm.num_states) + np.exp(lm.final)
    np.testing.assert_allclose(mass, 1.0, atol=1e-12)
    assert len(np.unique(lm.source * 10 + lm.phone)) == len(lm.phone)
    assert all(np.isfinite(lm.log_probability(sequence)) for sequence in data)
    short = [s for n in (1, 2, 3, 4) for s in itertools.product(range(1, 5), repeat=n)]
    assert sum(np.exp(lm.log_probability(sequence)) for sequence in short) <= 1 + 1e-9


def test_what_cannot_be_estimated_is_refused() -> None:
    for data in ([], [()], [(1, 0)]):
        with pytest.raises(UserError, match="phone ids"):
            estimate_phone_lm(data)
    with pytest.raises(UserError, match="order 1"):
        estimate_phone_lm([(1,)], order=1)
    with pytest.raises(UserError, match="need 4 states"):
        estimate_phone_lm([(1, 2, 3)], max_states=3)

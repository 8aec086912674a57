"""The setting that dev chooses: the first of the best, and on few words the one in the midst of the best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.decoding.tuning import FEW_WORDS, best_setting


def test_many_words_decide_by_themselves() -> None:
    assert best_setting([3, 1, 1, 2], [0, 0, 0, 0], 2, FEW_WORDS) == 1
    assert best_setting([3, 1, 1, 2], [0, 2, 1, 0], 2, FEW_WORDS) == 2


@pytest.mark.parametrize(
    ("errors", "scales", "expected"),
    [
        ([2, 0, 0, 0, 1], 5, 2),  # a plateau of one graph
        ([0, 0, 0, 0, 0], 5, 2),
        ([0] * 15, 5, 7),
        ([2, 2, 7, 8, 0, 0, 0, 4, 1, 0, 0, 0, 8, 0, 0, 0], 4, 10),  # a network on 24 words: penalty 4 and scale 0.2
        ([1, 2, 3], 3, 0),  # the fewest errors come first all the same
    ],
)
def test_few_words_take_the_midst(errors: list[float], scales: int, expected: int) -> None:
    assert best_setting(errors, [0] * len(errors), scales, 24) == expected


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from([10, 1000]))
def test_no_setting_has_fewer_errors(graphs: int, scales: int, seed: int, words: int) -> None:
    generator = np.random.default_rng(seed)
    errors, lost = (generator.integers(0, 3, graphs * scales).tolist() for _ in range(2))
    chosen = best_setting(errors, lost, scales, words)
    assert (errors[chosen], lost[chosen]) == min(zip(errors, lost, strict=True))

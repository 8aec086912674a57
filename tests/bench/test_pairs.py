"""Turns and ratios, by hand."""

from __future__ import annotations

import pytest

from asr_distill.bench.pairs import Ratio, compare, interleave


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ratio_is_the_median_of_neighbours_not_the_ratio_of_medians() -> None:
    ratio = Ratio.of_seconds(ours=[1.0, 10.0, 4.0], reference=[2.0, 10.0, 2.0])
    assert ratio == Ratio(median=1.0, lowest=0.5, highest=2.0, pairs=3)
    with pytest.raises(ValueError, match="zip"):
        Ratio.of_seconds([1.0], [1.0, 2.0])


def test_work_is_done_in_turn_and_the_first_round_does_not_count() -> None:
    clock, done = Clock(), []

    def work(name: str, seconds: list[float]) -> None:
        done.append(name)
        clock.now += seconds.pop(0)

    slow, fast = [100.0, 2.0, 4.0], [100.0, 1.0, 1.0]
    seconds = interleave({"a": lambda: work("a", slow), "b": lambda: work("b", fast)}, 2, clock=clock)
    assert done == ["a", "b"] * 3
    assert seconds == {"a": [2.0, 4.0], "b": [1.0, 1.0]}
    row = compare(seconds, "a", "b", amount=6, unit="frame", goal=0.9)
    assert row == {
        "ratio": {"median": 0.375, "min": 0.25, "max": 0.5, "pairs": 2},
        "goal": 0.9,
        "unit": "frame/s",
        "ours": 2.0,
        "reference": 6.0,
    }

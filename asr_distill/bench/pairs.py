"""Two or more pieces of work in turn, A B A B: what disturbs the machine disturbs both, and the ratio of neighbours holds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """Speed of ours over that of the reference, above 1 where ours is faster: median, lowest, highest over ``pairs`` pairs."""

    median: float
    lowest: float
    highest: float
    pairs: int

    @classmethod
    def of_seconds(cls, ours: Sequence[float], reference: Sequence[float]) -> Ratio:
        """From the seconds of the same amount of work, pair by pair. Raises ValueError where the two differ in length."""
        ratios = [theirs / mine for mine, theirs in zip(ours, reference, strict=True)]
        return cls(statistics.median(ratios), min(ratios), max(ratios), len(ratios))

    def to_dict(self) -> dict[str, Any]:
        """``median``, ``min``, ``max``, ``pairs``."""
        return {"median": self.median, "min": self.lowest, "max": self.highest, "pairs": self.pairs}


def interleave(
    works: Mapping[str, Callable[[], object]],
    pairs: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Does each piece of work in turn, ``warm_up + pairs`` rounds; the seconds of the last ``pairs`` rounds by name."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm_up + pairs):
        for name, work in works.items():
            start = clock()
            work()
            if turn >= warm_up:
                seconds[name].append(clock() - start)
    return seconds


def compare(
    seconds: Mapping[str, Sequence[float]], ours: str, reference: str, amount: float, unit: str, goal: float | None
) -> dict[str, Any]:
    """One row: the ratio, the goal, and the median speeds in ``unit`` per second, for ``amount`` units of work a turn."""
    return {
        "ratio": Ratio.of_seconds(seconds[ours], seconds[reference]).to_dict(),
        "goal": goal,
        "unit": f"{unit}/s",
        "ours": amount / statistics.median(seconds[ours]),
        "reference": amount / statistics.median(seconds[reference]),
    }

"""A sweep over temperatures and hard weights: its points, and the best of them by dev frame accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Point:
    """A temperature and a weight of the labels' term, and the name of its folder."""

    temperature: float
    hard_weight: float

    @property
    def name(self) -> str:
        """Return the folder's name, such as ``T2_h0.5``."""
        return f"T{self.temperature:g}_h{self.hard_weight:g}"


def choose(folder: Path, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return dev frame accuracy of each point, the mean over its seeds, and the best point: ``sweep.json``.

    Args:
        folder: over the points' folders.
        rows: summaries of the students, with ``temperature``, ``hard_weight``, ``seed`` and ``dev_accuracy`` (per cent).
    """
    table: dict[Point, dict[str, Any]] = {}
    for row in rows:
        point = Point(row["temperature"], row["hard_weight"])
        start = {**vars(point), "path": str(folder / point.name), "seeds": [], "accuracies": []}
        entry = table.setdefault(point, start)
        entry["seeds"].append(row["seed"])
        entry["accuracies"].append(row["dev_accuracy"])
    for entry in table.values():
        entry["dev_accuracy"] = sum(entry["accuracies"]) / len(entry["accuracies"])
    best = max(table.values(), key=lambda entry: entry["dev_accuracy"])
    return {"chosen": best, "points": list(table.values()), "criterion": "dev frame accuracy, mean over seeds"}

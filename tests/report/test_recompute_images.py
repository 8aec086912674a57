"""Figures of images against the lines of the wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr_distill.base import UserError, write_json, write_jsonl
from asr_distill.report import WRONG_IMAGES_ONLY, recompute


def write(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> tuple[Path, Path]:
    """Two systems on ten images: a of two seeds, with one and two errors, b without any."""
    a = {"name": "a", "seeds": [0, 1], "frame_accuracy": {"test": 85.0}, "errors": {"mean": 1.5, "per_seed": [1, 2]}}
    b = {"name": "b", "seeds": [3], "frame_accuracy": {"test": 100.0}}
    results = {
        "systems": [a | changes, b],
        "data": {"counts": {"test": 10}},
        "per_utterance": WRONG_IMAGES_ONLY,
        "comparisons": [{"a": "a", "b": "b", "metric": "top-1 accuracy, test", "difference": -15.0}],
    }
    write_json(folder / "results.json", results)
    write_jsonl(folder / "per_utterance.jsonl", rows)
    return folder / "per_utterance.jsonl", folder / "results.json"


def line(seed: int, image: str, **changes: Any) -> dict[str, Any]:
    return {"id": image, "system": "a", "seed": seed, "reference": "3", "hypothesis": "5"} | changes


ROWS = [line(0, "00001"), line(1, "00001"), line(1, "00004")]


def test_counted_by_hand(tmp_path: Path) -> None:
    rows = recompute(*write(tmp_path, ROWS))
    assert [(row["system"], row["figure"], row["recomputed"]) for row in rows] == [
        ("a", "frame_accuracy.test", pytest.approx(85.0)),
        ("a", "errors", 1.5),
        ("a", "seed 0 errors", 1),
        ("a", "seed 1 errors", 2),
        ("b", "frame_accuracy.test", 100.0),
        ("a - b", "top-1 accuracy, test", pytest.approx(-15.0)),
    ]
    assert all(row["same"] for row in rows)


def test_a_line_less_and_the_figures_differ(tmp_path: Path) -> None:
    different = [row["figure"] for row in recompute(*write(tmp_path, ROWS[:-1])) if not row["same"]]
    assert different == ["frame_accuracy.test", "errors", "seed 1 errors", "top-1 accuracy, test"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (line(0, "00001"), "line 4: image 00001 of a, seed 0, occurs twice"),
        (line(0, "00002", hypothesis="3"), "line 4: image 00002 of a, seed 0, is right"),
        (line(7, "00002"), r"images of a \(seed 7\)"),
        ({"id": "00002"}, "line 4: expected an object with id, system, seed, reference and hypothesis"),
    ],
)
def test_lines_that_do_not_belong(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recompute(*write(tmp_path, [*ROWS, row]))

"""Published figures against the utterances they were published with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, read_json
from asr_distill.report.figures import system_figures
from asr_distill.report.per_utterance import read_per_utterance

_TOLERANCE = 1e-4  # percentage points, words
_POINTS = (
    "frame_accuracy.test",
    "frame_accuracy_speech",
    "frame_accuracy_silence",
    "k2_path_accuracy",
    "k2_path_accuracy_speech",
    "wer.test",
    "wer.ins",
    "wer.del",
    "wer.sub",
    "ser",
    "per",
)


def recompute(per_utterance: str | Path, results: str | Path) -> list[dict[str, Any]]:
    """Rows ``{"system", "figure", "published", "recomputed", "same"}`` for every system and seed, and every comparison.

    Raises `UserError` where systems or seeds of the two files differ, or a file is not of its contract.
    """
    published, systems = read_json(results), read_per_utterance(per_utterance)
    if not isinstance(published, dict) or not isinstance(published.get("systems"), list):
        raise UserError(f"{results}: expected an object with 'systems'")
    names = {entry["name"] for entry in published["systems"]}
    if names != set(systems):
        differing = ", ".join(sorted(names ^ set(systems)))
        raise UserError(f"{results} and {per_utterance} do not hold the same systems: {differing} is in one of them only")
    rows: list[dict[str, Any]] = []
    values: dict[tuple[str, str], Any] = {}
    for entry in published["systems"]:
        name, seeds = entry["name"], systems[entry["name"]]
        if sorted(entry["seeds"]) != sorted(seeds):
            raise UserError(f"{name}: {results} has seeds {entry['seeds']}, {per_utterance} has {sorted(seeds)}")
        figures = system_figures(seeds, "utterance", 1, 0, name)
        for point in _POINTS:
            values[name, point] = _get(figures, point)
            rows.append(_row(name, point, _get(entry, point), values[name, point]))
        for ours, theirs in zip(figures.get("per_seed", []), entry.get("per_seed") or [], strict=True):
            for metric in ("wer", "frame_accuracy", "per"):
                rows.append(_row(name, f"seed {ours['seed']} {metric}", theirs.get(metric), ours[metric]))
    for pair in published.get("comparisons") or []:
        point = {"wer": "wer.test", "frame_accuracy": "frame_accuracy.test"}.get(pair["metric"], pair["metric"])
        a, b = values.get((pair["a"], point)), values.get((pair["b"], point))
        if a is not None and b is not None:
            rows.append(_row(f"{pair['a']} - {pair['b']}", pair["metric"], pair["difference"], a - b))
    return rows


def _get(entry: Mapping[str, Any], point: str) -> Any:
    value: Any = entry
    for key in point.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _row(system: str, figure: str, published: Any, recomputed: Any) -> dict[str, Any]:
    same = published == recomputed
    if isinstance(published, (int, float)) and isinstance(recomputed, (int, float)):
        same = abs(published - recomputed) <= _TOLERANCE
    return {"system": system, "figure": figure, "published": published, "recomputed": recomputed, "same": same}

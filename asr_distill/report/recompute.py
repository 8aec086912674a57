"""Published figures against the utterances, or the wrongly classified images, they were published with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, read_json, read_jsonl
from asr_distill.report.figures import system_figures
from asr_distill.report.per_utterance import read_per_utterance
from asr_distill.report.results import of_contract

# What a results.json says under ``per_utterance`` whose lines are images, to keep them few.
WRONG_IMAGES_ONLY = "the wrongly classified test images of each system and seed; those without a line are right"

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

    Of images (`WRONG_IMAGES_ONLY`) accuracy and errors on test, of all seeds and of each; what needs more than the most
    probable class, such as conditional accuracy, does not follow from the lines.
    Raises `UserError` where systems or seeds of the two files differ, or a file is not of its contract.
    """
    with of_contract(results):
        return _recompute(per_utterance, results)


def _recompute(per_utterance: str | Path, results: str | Path) -> list[dict[str, Any]]:
    published = read_json(results)
    if not isinstance(published, dict) or not isinstance(published.get("systems"), list):
        raise UserError(f"{results}: expected an object with 'systems'")
    if published.get("per_utterance") == WRONG_IMAGES_ONLY:
        return _recompute_images(published, per_utterance, results)
    systems = read_per_utterance(per_utterance)
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


def _recompute_images(published: Mapping[str, Any], lines: str | Path, results: str | Path) -> list[dict[str, Any]]:
    wrong, number = _wrong_images(lines), _get(published, "data.counts.test")
    if not isinstance(number, int) or number < 1:
        raise UserError(f"{results}: data.counts.test is {number!r}; expected the number of test images")
    rows: list[dict[str, Any]] = []
    accuracies: dict[str, float] = {}
    for entry in published["systems"]:
        name, seeds, said = entry["name"], entry["seeds"], entry.get("errors") or {}
        if not seeds or (said and len(said["per_seed"]) != len(seeds)):
            raise UserError(f"{results}: {name} has seeds {seeds} and errors {said}; expected a number of errors for each seed")
        errors = [wrong.pop((name, seed), 0) for seed in seeds]
        accuracies[name] = 100 * (1 - sum(errors) / (len(seeds) * number))
        rows.append(_row(name, "frame_accuracy.test", _get(entry, "frame_accuracy.test"), accuracies[name]))
        if said:
            rows.append(_row(name, "errors", said["mean"], sum(errors) / len(seeds)))
            for seed, number_said, found in zip(seeds, said["per_seed"], errors, strict=True):
                rows.append(_row(name, f"seed {seed} errors", number_said, found))
    if wrong:
        others = ", ".join(f"{name} (seed {seed})" for name, seed in sorted(wrong))
        raise UserError(f"{lines} has images of {others}, which {results} does not have")
    for pair in published.get("comparisons") or []:
        if pair["metric"] in ("frame_accuracy", "top-1 accuracy, test") and {pair["a"], pair["b"]} <= set(accuracies):
            difference = accuracies[pair["a"]] - accuracies[pair["b"]]
            rows.append(_row(f"{pair['a']} - {pair['b']}", pair["metric"], pair["difference"], difference))
    return rows


def _wrong_images(path: str | Path) -> dict[tuple[str, int], int]:
    """The number of lines of each system and seed."""
    counts: dict[tuple[str, int], int] = {}
    seen: set[tuple[str, int, str]] = set()
    for number, row in enumerate(read_jsonl(path), 1):
        if not isinstance(row, dict) or not {"id", "system", "seed", "reference", "hypothesis"} <= set(row):
            raise UserError(f"{path}, line {number}: expected an object with id, system, seed, reference and hypothesis")
        image = (row["system"], row["seed"], row["id"])
        if image in seen or row["reference"] == row["hypothesis"]:
            what = "occurs twice" if image in seen else "is right; only wrong ones belong here"
            raise UserError(f"{path}, line {number}: image {row['id']} of {row['system']}, seed {row['seed']}, {what}")
        seen.add(image)
        counts[image[:2]] = counts.get(image[:2], 0) + 1
    return counts


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

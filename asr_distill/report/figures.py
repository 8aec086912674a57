"""The figures of one system on the test set, from its utterances alone: what is published is what anyone can recompute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asr_distill.scoring import ErrorCounts, Utterance, bootstrap_interval, metric_counts


def rounded(value: Any) -> Any:
    """Numbers to six decimals, at any depth, so that files are read and compared with ease."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def system_figures(seeds: Mapping[int, Sequence[Utterance]], unit: str, samples: int, seed: int, name: str) -> dict[str, Any]:
    """Means over seeds, percentages; ``wer`` with mean ins, del, sub and interval; per seed too where there are several.

    Keys are those of a system of results.json (``frame_accuracy`` and ``wer`` without the other splits).
    """
    utterances = [seeds[number] for number in sorted(seeds)]

    def value(metric: str) -> float | None:
        return metric_counts(metric, utterances, name).value

    def interval(metric: str, over: str = unit) -> list[float] | None:
        found = bootstrap_interval(metric_counts(metric, utterances, name), over, samples, seed).ci95
        return list(found) if found else None

    totals = [sum((utterance.errors for utterance in one), ErrorCounts()) for one in utterances]
    figures: dict[str, Any] = {
        "frame_accuracy": {"test": value("frame_accuracy")},
        "frame_accuracy_ci95": interval("frame_accuracy"),
        "frame_accuracy_speech": value("frame_accuracy_speech"),
        "frame_accuracy_silence": value("frame_accuracy_silence"),
        "k2_path_accuracy": value("k2_path_accuracy"),
        "k2_path_accuracy_speech": value("k2_path_accuracy_speech"),
        "wer": {
            "test": value("wer"),
            "ins": _mean([total.insertions for total in totals]),
            "del": _mean([total.deletions for total in totals]),
            "sub": _mean([total.substitutions for total in totals]),
            "ci95": interval("wer"),
            "ci95_utterance": interval("wer", "utterance"),
        },
        "ser": value("ser"),
        "per": value("per"),
        "per_ci95": interval("per"),
    }
    if len(utterances) > 1:
        metrics = ("wer", "frame_accuracy", "per")
        by_metric = {metric: metric_counts(metric, utterances, name).values for metric in metrics}
        figures["per_seed"] = [
            {"seed": number, **{metric: by_metric[metric][position] for metric in metrics}}
            for position, number in enumerate(sorted(seeds))
        ]
    return dict(rounded(figures))


def _mean(counts: Sequence[int]) -> int | float:
    return counts[0] if len(set(counts)) == 1 else sum(counts) / len(counts)

"""Everything that score.json says about one decode of one set of utterances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from asr_distill.scoring.bootstrap import FEWEST, SAMPLES, bootstrap_interval, named_unit, resampled_unit
from asr_distill.scoring.errors import ErrorCounts
from asr_distill.scoring.metrics import metric_counts
from asr_distill.scoring.utterances import Utterance


def error_figures(utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Pooled counts: ``wer`` in per cent (null without reference words), ``ser`` in per cent, ins, del, sub, correct, words."""
    total = sum((utterance.errors for utterance in utterances), ErrorCounts())
    wrong = sum(utterance.errors.errors > 0 for utterance in utterances)
    return {
        "wer": total.rate,
        "ser": 100.0 * wrong / len(utterances) if utterances else None,
        "ins": total.insertions,
        "del": total.deletions,
        "sub": total.substitutions,
        "correct": total.correct,
        "words": total.words,
        "utterances": len(utterances),
    }


def frame_figures(utterances: Sequence[Utterance], prefix: str) -> dict[str, Any] | None:
    """Frame accuracy in per cent over all frames, speech and silence; None where no utterance has labels."""
    whole = metric_counts(prefix, [utterances])
    if whole.value is None:
        return None
    speech, silence = metric_counts(f"{prefix}_speech", [utterances]), metric_counts(f"{prefix}_silence", [utterances])
    return {
        "all": whole.value,
        "speech": speech.value,
        "silence": silence.value,
        "frames": int(whole.denominators.sum()),
        "utterances_without_labels": whole.unknown,
    }


def split_by_training(utterances: Sequence[Utterance], training: Collection[tuple[str, ...]]) -> dict[str, dict[str, Any]]:
    """Figures of utterances whose transcript occurs in the training text (``seen``), and of the others (``unseen``)."""
    seen = [utterance for utterance in utterances if utterance.reference in training]
    unseen = [utterance for utterance in utterances if utterance.reference not in training]
    return {"seen": error_figures(seen), "unseen": error_figures(unseen)}


def out_of_vocabulary(utterances: Sequence[Utterance], vocabulary: Collection[str]) -> dict[str, Any]:
    """Reference words outside the vocabulary: how many, their share (0-1) of all reference words, and each with its count."""
    counts = Counter(word for utterance in utterances for word in utterance.reference)
    outside = {word: count for word, count in counts.most_common() if word not in vocabulary}
    words = sum(counts.values())
    return {"words": sum(outside.values()), "share": sum(outside.values()) / words if words else None, "counts": outside}


def score_utterances(
    utterances: Sequence[Utterance],
    *,
    unknown: Sequence[str] = (),
    training: Collection[tuple[str, ...]] | None = None,
    vocabulary: Collection[str] | None = None,
    unit: str | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The content of score.json: plain values, percentages 0-100, null where unknown.

    ``unit`` names the interval that stands first (``ci95``); default speaker where all speakers are known and there are at
    least two, else utterance; what `resampled_unit` makes of it stands under ``bootstrap``. Missing hypotheses count as
    deletions and are listed under ``missing``.
    """
    speakers = sorted({utterance.speaker for utterance in utterances if utterance.speaker is not None})
    all_named = all(utterance.speaker is not None for utterance in utterances)
    unit = unit or ("speaker" if all_named and len(speakers) > 1 else "utterance")
    intervals: dict[str, dict[str, list[float] | None]] = {}
    for metric in ("wer", "ser", "frame_accuracy", "frame_accuracy_speech", "k2_path_accuracy"):
        counts = metric_counts(metric, [utterances])
        units = ["utterance"] if not all_named and unit != "speaker" else ["utterance", "speaker"]
        found = {name: bootstrap_interval(counts, name, samples, seed).ci95 for name in units}
        intervals[metric] = {name: list(interval) if interval else None for name, interval in found.items()}
    frames, path = frame_figures(utterances, "frame_accuracy"), frame_figures(utterances, "k2_path_accuracy")
    if frames:
        frames |= {"ci95": intervals["frame_accuracy"][unit], "speech_ci95": intervals["frame_accuracy_speech"][unit]}
    if path:
        path |= {"ci95": intervals["k2_path_accuracy"][unit]}
    by_speaker = {name: error_figures([u for u in utterances if u.speaker == name]) for name in speakers}
    return {
        "schema": 1,
        "split": _only({utterance.split for utterance in utterances}),
        "speakers": len(speakers) if all_named else None,
        **error_figures(utterances),
        "ci95": intervals["wer"][unit],
        "ci95_utterance": intervals["wer"]["utterance"],
        "ci95_speaker": intervals["wer"].get("speaker") if len(speakers) >= FEWEST else None,
        "ser_ci95": intervals["ser"][unit],
        "frame_accuracy": frames,
        "k2_path_accuracy": path,
        "bootstrap": {"unit": resampled_unit(unit, speakers), "samples": samples, "seed": seed},
        "training_text": split_by_training(utterances, training) if training is not None else None,
        "out_of_vocabulary": out_of_vocabulary(utterances, vocabulary) if vocabulary is not None else None,
        "empty_references": sum(not utterance.reference for utterance in utterances),
        "missing": [utterance.id for utterance in utterances if utterance.hypothesis is None],
        "unknown": list(unknown),
        "not_final": [utterance.id for utterance in utterances if utterance.reached_final is False],
        "per_speaker": by_speaker,
    }


def _only(values: Collection[str | None]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None


def _per_cent(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def score_table(score: dict[str, Any]) -> str:
    """A score for people, some ten lines."""
    how = f"{named_unit(score['bootstrap']['unit'])} resampled" if score["ci95"] else "too few utterances for an interval"
    lines = [
        f"WER {_per_cent(score['wer'], score['ci95'])} % ({how}), "
        f"{score['ins']} ins, {score['del']} del, {score['sub']} sub in {score['words']} words",
        f"SER {_per_cent(score['ser'], score['ser_ci95'])} % of {score['utterances']} utterances"
        + (f", {score['speakers']} speakers" if score["speakers"] else ""),
    ]
    for key, title in (("frame_accuracy", "frame accuracy"), ("k2_path_accuracy", "frame accuracy of the best path")):
        if score[key]:
            figures = score[key]
            lines.append(
                f"{title} {_per_cent(figures['all'], figures['ci95'])} %, speech {_per_cent(figures['speech'])},"
                f" silence {_per_cent(figures['silence'])}, {figures['frames']} frames"
            )
    if score["training_text"]:
        for key, title in (("seen", "text also in the training text"), ("unseen", "text not in the training text")):
            part = score["training_text"][key]
            lines.append(f"{title}: WER {_per_cent(part['wer'])} % of {part['words']} words, {part['utterances']} utterances")
    if score["out_of_vocabulary"]:
        outside = score["out_of_vocabulary"]
        lines.append(f"out of vocabulary: {outside['words']} words ({_per_cent(100 * (outside['share'] or 0))} %)")
    for key, title in (
        ("missing", "without a hypothesis, counted as deleted"),
        ("unknown", "hypotheses without a reference, not scored"),
        ("not_final", "reached no final state"),
    ):
        if score[key]:
            lines.append(f"{title}: {len(score[key])} ({', '.join(score[key][:5])}{', ...' if len(score[key]) > 5 else ''})")
    return "\n".join(lines)

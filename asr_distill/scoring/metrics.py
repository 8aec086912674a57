"""Metrics as counts: every figure is 100 * sum of numerators / sum of denominators over utterances, to be resampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr_distill.base import UserError
from asr_distill.scoring.utterances import Utterance

Counts = tuple[int, int] | None


@dataclass(frozen=True)
class Metric:
    """A name for people, which direction is better, and the (numerator, denominator) of one utterance, None where unknown."""

    title: str
    higher_is_better: bool
    count: Callable[[Utterance], Counts]
    on_frames: bool = False


def _part(numerator: int | None, denominator: int | None) -> Counts:
    return None if numerator is None or denominator is None else (numerator, denominator)


def _without(numerator: int | None, part: int | None, denominator: int | None, part_of_it: int | None) -> Counts:
    if numerator is None or part is None or denominator is None or part_of_it is None:
        return None
    return numerator - part, denominator - part_of_it


METRICS: dict[str, Metric] = {
    "wer": Metric("word error rate", False, lambda u: (u.errors.errors, u.errors.words)),
    "ser": Metric("sentence error rate", False, lambda u: (int(u.errors.errors > 0), 1)),
    "per": Metric("phone error rate", False, lambda u: _part(u.phone_errors, u.phones)),
    "frame_accuracy": Metric("frame accuracy", True, lambda u: _part(u.correct_frames, u.frames), True),
    "frame_accuracy_speech": Metric(
        "frame accuracy on speech", True, lambda u: _part(u.correct_frames_speech, u.frames_speech), True
    ),
    "frame_accuracy_silence": Metric(
        "frame accuracy on silence",
        True,
        lambda u: _without(u.correct_frames, u.correct_frames_speech, u.frames, u.frames_speech),
        True,
    ),
    "k2_path_accuracy": Metric(
        "frame accuracy of the best path", True, lambda u: _part(u.k2_path_correct_frames, u.frames), True
    ),
    "k2_path_accuracy_speech": Metric(
        "frame accuracy of the best path on speech",
        True,
        lambda u: _part(u.k2_path_correct_frames_speech, u.frames_speech),
        True,
    ),
    "k2_path_accuracy_silence": Metric(
        "frame accuracy of the best path on silence",
        True,
        lambda u: _without(u.k2_path_correct_frames, u.k2_path_correct_frames_speech, u.frames, u.frames_speech),
        True,
    ),
}


@dataclass(frozen=True)
class MetricCounts:
    """Counts of one system: ``numerators`` and ``denominators`` float64 (S, N): S seeds, N units (utterances or speakers).

    ``units`` are their N names; ``unknown`` counts the utterances left out because the metric is unknown for them.
    """

    metric: str
    units: tuple[str, ...]
    numerators: np.ndarray
    denominators: np.ndarray
    speakers: tuple[str | None, ...]
    references: tuple[tuple[str, ...], ...]
    unit: str = "utterance"
    unknown: int = 0

    @property
    def value(self) -> float | None:
        """Mean over seeds of the metric, per cent; None where there is nothing to divide by."""
        totals = self.denominators.sum(axis=1)
        if totals.size == 0 or (totals == 0).any():
            return None
        return float(np.mean(100.0 * self.numerators.sum(axis=1) / totals))

    @property
    def values(self) -> list[float | None]:
        """The metric of each seed, per cent."""
        pairs = zip(self.numerators.sum(axis=1), self.denominators.sum(axis=1), strict=True)
        return [float(100.0 * numerator / total) if total else None for numerator, total in pairs]

    def by_speaker(self) -> MetricCounts:
        """The same counts summed over each speaker's utterances. Raises `UserError` where a speaker is unknown."""
        if self.unit == "speaker":
            return self
        nameless = [unit for unit, speaker in zip(self.units, self.speakers, strict=True) if speaker is None]
        if nameless:
            raise UserError(
                f"{len(nameless)} utterances have no speaker ({some(nameless)}), so nothing can be resampled by speaker;"
                " give --utt2spk FILE or --unit utterance"
            )
        names = sorted({str(speaker) for speaker in self.speakers})
        member = np.array([names.index(str(speaker)) for speaker in self.speakers], dtype=np.int64)
        membership = np.zeros((len(self.units), len(names)))
        membership[np.arange(len(self.units)), member] = 1.0
        return replace(
            self,
            units=tuple(names),
            numerators=self.numerators @ membership,
            denominators=self.denominators @ membership,
            speakers=tuple(names),
            references=(),
            unit="speaker",
        )


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_same_utterances(a: Sequence[Utterance], b: Sequence[Utterance], name_a: str, name_b: str) -> None:
    """Raises `UserError` naming ids where two sets differ in their utterances, reference texts or counts of frames."""
    by_id_a, by_id_b = {u.id: u for u in a}, {u.id: u for u in b}
    for mine, other, name, name_other in ((by_id_a, by_id_b, name_a, name_b), (by_id_b, by_id_a, name_b, name_a)):
        absent = [id for id in mine if id not in other]
        if absent:
            raise UserError(
                f"{len(absent)} utterances of {name} are missing in {name_other}: {some(absent)};"
                " a paired comparison needs the same utterances on both sides: decode the same cuts again"
            )
    differing = [id for id in by_id_a if by_id_a[id].reference != by_id_b[id].reference]
    if differing:
        first = differing[0]
        raise UserError(
            f"the reference texts of {len(differing)} utterances differ between {name_a} and {name_b}: {some(differing)};"
            f" {first}: {' '.join(by_id_a[first].reference)!r} against {' '.join(by_id_b[first].reference)!r}."
            " Decode both with the same manifests"
        )


def metric_counts(metric: str, seeds: Sequence[Sequence[Utterance]], name: str = "the system") -> MetricCounts:
    """Counts of a system's seeds, each a list of the same utterances, in the first seed's order of ids.

    Utterances for which the metric is unknown in every seed are left out (``unknown`` says how many). Raises `UserError` for
    an unknown metric, for seeds with differing utterances, and for a metric known in some seeds only.
    """
    if metric not in METRICS:
        raise UserError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    first = sorted(seeds[0], key=lambda utterance: utterance.id)
    rows = []
    for number, utterances in enumerate(seeds):
        if number:
            check_same_utterances(first, utterances, f"{name} (first seed)", f"{name} (seed no. {number + 1})")
        rows.append([METRICS[metric].count(u) for u in sorted(utterances, key=lambda utterance: utterance.id)])
    keep = []
    for position, utterance in enumerate(first):
        known = [row[position] is not None for row in rows]
        if any(known) and not all(known):
            raise UserError(f"{METRICS[metric].title} of {name}: {utterance.id} has counts in some seeds only; decode again")
        if known[0]:
            keep.append(position)
    counts = np.array([[row[position] for position in keep] for row in rows], dtype=np.float64).reshape(len(rows), len(keep), 2)
    if METRICS[metric].on_frames and (counts[..., 1] != counts[:1, :, 1]).any():
        position = int(np.argwhere(counts[..., 1] != counts[:1, :, 1])[0][1])
        raise UserError(f"{name}: the seeds differ in the number of frames of {first[keep[position]].id}; decode the same cuts")
    kept = [first[position] for position in keep]
    return MetricCounts(
        metric=metric,
        units=tuple(u.id for u in kept),
        numerators=counts[..., 0],
        denominators=counts[..., 1],
        speakers=tuple(u.speaker for u in kept),
        references=tuple(u.reference for u in kept),
        unknown=len(first) - len(kept),
    )

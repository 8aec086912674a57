"""Figures of generalist and specialists on one store: accuracies, gains by coverage, paired bootstraps over speakers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from asr_distill.scoring import MetricCounts, paired_comparison
from asr_distill.student.specialist_combination import GENERALIST, SpecialistOutcomes

FIGURES = ("accuracy", "speech_accuracy", "cross_entropy", "conditional_accuracy")


def split_figures(outcomes: SpecialistOutcomes, groups: Sequence[str], samples: int, seed: int) -> dict[str, Any]:
    """Plain values of one store. groups: the names of the specialists' systems, in order.

    Each system has `FIGURES` (per cent; cross-entropy in nats a frame), each but the generalist ``vs_generalist`` with the
    difference, interval and probability of improvement of each figure; Eq. 5 has ``vs_addition`` too, and later groups
    ``vs_`` the first. ``table`` has one flat row a system, for reports.
    """
    counts = {name: _counts(outcomes, name) for name in outcomes.systems}
    counted = counts[GENERALIST]["accuracy"]
    unit = "speaker" if None not in counted.speakers and len(set(counted.speakers)) > 1 else "utterance"

    def against(name: str, other: str) -> dict[str, Any]:
        pairs = ((figure, counts[name][figure], counts[other][figure]) for figure in FIGURES)
        return {figure: _compared(a, b, unit, samples, seed, (name, other)) for figure, a, b in pairs}

    systems: dict[str, dict[str, Any]] = {}
    for name in outcomes.systems:
        systems[name] = {figure: counts[name][figure].value for figure in FIGURES}
        if name != GENERALIST:
            systems[name]["vs_generalist"] = against(name, GENERALIST)
            systems[name]["gain_by_coverage"] = outcomes.gain(name)
        if name in groups:
            systems[name]["vs_addition"] = against(name, f"{name}_addition")
            systems[name]["solver"] = dict(vars(outcomes.solver[name]))
            if name != groups[0]:
                systems[name][f"vs_{groups[0]}"] = against(name, groups[0])
    frames = len(outcomes.labels)
    facts = outcomes.solver[groups[0]]
    return {
        "frames": frames,
        "speech_frames": int(outcomes.speech.sum()),
        "frames_of_no_specialist": int((outcomes.conditional_total == 0).sum()),
        "calls_per_frame": facts.calls / frames,
        "unit": unit,
        "units": len(set(counted.speakers if unit == "speaker" else counted.units)),
        "table": [_table_row(name, row) for name, row in systems.items()],
        "systems": systems,
    }


def _table_row(system: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for reports, flat: the figures, and gains in frame accuracy over the generalist with their intervals."""
    against = row.get("vs_generalist") or {}
    cells: dict[str, Any] = {"system": system, **{figure: row[figure] for figure in FIGURES}}
    for name, figure in (("", "accuracy"), ("speech_", "speech_accuracy"), ("conditional_", "conditional_accuracy")):
        found = against.get(figure) or {}
        low, high = found.get("ci95") or (None, None)
        gain, better = found.get("difference"), found.get("p_improvement")
        cells |= {f"{name}gain": gain, f"{name}gain_low": low, f"{name}gain_high": high, f"{name}p_better": better}
    return cells


def utterance_rows(outcomes: SpecialistOutcomes, split: str, seed: int) -> Iterator[dict[str, Any]]:
    """A row for each system and cut: those of `CutAccuracies.rows`, and the counts behind the conditional accuracy."""
    for name in outcomes.systems:
        columns = (column.tolist() for column in outcomes.conditional_counts(name))
        conditional = dict(zip(outcomes.store.cut_ids, zip(*columns, strict=True), strict=True))
        for row in outcomes.cut_accuracies(name).rows(split, name, seed):
            correct, total = conditional[row["id"]]
            yield {**row, "conditional_correct": correct, "conditional_total": total}


def _counts(outcomes: SpecialistOutcomes, system: str) -> dict[str, MetricCounts]:
    """Of each figure the numerators and denominators, cut by cut, over cuts that have labels."""
    cuts, (conditional, total) = outcomes.cut_accuracies(system), outcomes.conditional_counts(system)
    kept = np.flatnonzero(cuts.frames)
    ids = tuple(outcomes.store.cut_ids[index] for index in kept)
    speakers = tuple(outcomes.store.speakers[index] for index in kept)

    def counts(metric: str, numerators: np.ndarray, denominators: np.ndarray) -> MetricCounts:
        above, below = (column[kept][None].astype(np.float64) for column in (numerators, denominators))
        return MetricCounts(metric, ids, above, below, speakers, ((),) * len(ids))

    return {
        "accuracy": counts("frame_accuracy", cuts.correct, cuts.frames),
        "speech_accuracy": counts("frame_accuracy_speech", cuts.correct_speech, cuts.frames_speech),
        # The room of scoring counts in per cent, and knows by the metric's name which direction is better: wer is one of
        # which less is better.
        "cross_entropy": counts("wer", cuts.cross_entropy / 100, cuts.frames),
        "conditional_accuracy": counts("frame_accuracy", conditional, total),
    }


def _compared(a: MetricCounts, b: MetricCounts, unit: str, samples: int, seed: int, names: tuple[str, str]) -> dict[str, Any]:
    found = paired_comparison(a, b, unit, samples, seed, names).to_dict()
    return {key: found[key] for key in ("difference", "ci95", "p_improvement")}


def split_table(name: str, figures: Mapping[str, Any]) -> str:
    """The systems of one store in columns, with the differences to the generalist."""
    lines = [
        f"{name}: {figures['frames']:,} frames, {figures['speech_frames']:,} of speech; {figures['calls_per_frame']:.2f}"
        f" specialists asked a frame; 95 % over {figures['units']} {figures['unit']}s",
        f"{'':<20}{'all %':>8}{'speech %':>10}{'x-entropy':>11}{'condit. %':>11}   against the generalist, all",
    ]
    for system, row in figures["systems"].items():
        cells = f"{_cell(row['accuracy'], 2):>8}{_cell(row['speech_accuracy'], 2):>10}"
        cells += f"{_cell(row['cross_entropy'], 4):>11}{_cell(row['conditional_accuracy'], 2):>11}"
        lines.append(f"{system:<20}{cells}{_difference(row.get('vs_generalist'))}")
    for system, row in figures["systems"].items():
        if (row.get("solver") or {}).get("not_converged"):
            lines.append(f"{system}: {row['solver']['not_converged']} frames have not converged")
    return "\n".join(lines)


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _difference(against: Mapping[str, Any] | None) -> str:
    found = against["accuracy"] if against else None
    if found is None or found["ci95"] is None:
        return ""
    low, high = found["ci95"]
    return f"   {found['difference']:+.2f} [{low:+.2f}, {high:+.2f}], p {found['p_improvement']:.3f}"


def gain_table(name: str, figures: Mapping[str, Any]) -> str:
    """The paper's Table 4: the gain by how many specialists cover the true senone, with counts."""
    systems = [system for system, row in figures["systems"].items() if "solver" in row]
    most = figures["systems"][systems[0]]["gain_by_coverage"][-1]["specialists"]
    lines = [
        f"{name}, true senone in{'frames':>10}" + "".join(f"{system + ': correct':>24}{'relative':>10}" for system in systems)
    ]
    for rows in zip(*(figures["systems"][system]["gain_by_coverage"] for system in systems), strict=True):
        if not rows[0]["examples"]:
            continue
        number = rows[0]["specialists"]
        label = f"{number} or more" if number == most else f"{number}"
        cells = "".join(
            f"{row['delta']:>+24,}" + ("" if row["relative_change"] is None else f"{row['relative_change']:>+9.1f}%")
            for row in rows
        )
        lines.append(f"{label:>{len(name) + 17}}{rows[0]['examples']:>10,}{cells}")
    return "\n".join(lines)

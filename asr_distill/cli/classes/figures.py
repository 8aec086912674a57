"""Figures of a run with many classes, from its predictions: accuracies with intervals, the paper's Tables 3 and 4, comparisons.

The bootstrap draws classes, each with all its test images: images of one class are no independent trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import UserError, has_file, read_json
from asr_distill.images.image_set import ImageSet
from asr_distill.images.large_labels.counting import Predictions
from asr_distill.images.large_labels.data import LargeLabelData
from asr_distill.images.large_labels.plan import Run
from asr_distill.images.large_labels.predicting import DETAILS
from asr_distill.scoring import bootstrap_interval, paired_comparison
from asr_distill.scoring.metrics import MetricCounts
from asr_distill.specialists import ClassClusters, gain_by_coverage
from asr_distill.training.state import COMPLETED_FILE

LABELS = {
    "generalist": "generalist",
    "specialists": "generalist and specialists",
    "specialists_reverse": "the same, KL(q, p)",
    "specialists_addition": "the same, probabilities added",
    "soft_specialists": "generalist and specialists with soft targets (6.1)",
    "soft_specialists_reverse": "the same, KL(q, p)",
    "soft_specialists_addition": "the same, probabilities added",
    "distilled_back": "distilled back into one network",
    "continued": "generalist trained on, labels only",
    "longer": "generalist trained longer, equal cost",
    "wider": "wider generalist, equal cost",
    "ensemble": "ensemble of generalists, equal cost",
    "mixture": "mixture of experts with a gate, equal cost",
}
COMPARED = (
    *(
        (name, "generalist")
        for name in ("specialists", "soft_specialists", "distilled_back", "longer", "wider", "ensemble", "mixture")
    ),
    *(
        ("specialists", name)
        for name in ("longer", "wider", "ensemble", "mixture", "specialists_reverse", "specialists_addition")
    ),
    *(("soft_specialists", name) for name in ("specialists", "longer", "ensemble")),
    ("distilled_back", "continued"),
)
_BUILT_ON = {  # what must be trained before, which counts into the cost
    "specialists": ("generalist",),
    "soft_specialists": ("generalist",),
    "ensemble": ("generalist",),
    "continued": ("generalist",),
    "distilled_back": ("generalist", "specialists"),
}
_SEED = 0
_MOST = 10  # specialists, or more, in the last row of Table 4


@dataclass(frozen=True)
class SystemFigures:
    """A system's predictions by part, what `predict_all` noted, and its training: cost and seconds of all networks that it
    needs, accuracy on perturbed training images in the last epoch, per cent, where it is one network."""

    name: str
    predictions: dict[str, Predictions]
    details: dict[str, Any]
    cost: int
    seconds: float
    train_accuracy: float | None


@dataclass(frozen=True)
class Figures:
    """Of a whole run; ``parts``: dev and the test parts."""

    systems: dict[str, SystemFigures]
    parts: dict[str, ImageSet]
    clusters: ClassClusters
    budget: int
    samples: int

    def counts(self, system: str, part: str, conditional: bool = False) -> MetricCounts:
        """Right and all predictions of each class; ``conditional``: among its clusters' classes, a time for each cluster."""
        predictions, images = self.systems[system].predictions[part], self.parts[part]
        if conditional:
            right, total = predictions.conditional_correct, predictions.conditional_total
        else:
            right, total = (predictions.predicted == images.labels).long(), torch.ones_like(images.labels)
        by_class = torch.zeros(2, images.num_classes, dtype=torch.float64)
        by_class.index_add_(1, images.labels, torch.stack([right, total]).double())
        kept = (by_class[1] > 0).nonzero().flatten()
        units = tuple(f"{number:05d}" for number in kept.tolist())
        counted = by_class[:, kept].unsqueeze(1).numpy()
        return MetricCounts("frame_accuracy", units, counted[0], counted[1], (None,) * len(units), ((),) * len(units))

    def accuracy(self, system: str, part: str, conditional: bool = False) -> float | None:
        """Per cent."""
        return self.counts(system, part, conditional).value

    def interval(self, system: str, part: str, conditional: bool = False) -> list[float] | None:
        """95 per cent, over classes."""
        found = bootstrap_interval(self.counts(system, part, conditional), samples=self.samples, seed=_SEED).ci95
        return list(found) if found else None

    def in_five(self, system: str, part: str) -> float:
        """Per cent of images whose class is among the first five."""
        return 100 * float(self.systems[system].predictions[part].in_five.float().mean())


def collect(root: Path, data: LargeLabelData, clusters: ClassClusters, runs: list[Run], total: int, samples: int) -> Figures:
    """Reads the predictions of every system that has some. Raises `UserError` where the generalist has none."""
    parts = {name: data.part(name) for name in ("dev", *data.test_parts)}
    systems = {}
    for name in LABELS:
        folder = root / "predictions" / name
        if has_file(folder / DETAILS):
            systems[name] = _system(name, folder, root, parts, runs)
    if "generalist" not in systems:
        raise UserError(f"{root / 'predictions'} has none of the generalist; run `asr-distill classes predict` first")
    return Figures(systems, parts, clusters, total, samples)


def _system(name: str, folder: Path, root: Path, parts: dict[str, ImageSet], runs: list[Run]) -> SystemFigures:
    predictions = {part: Predictions.load(folder / f"{part}.safetensors") for part in parts}
    trained = name.removesuffix("_reverse").removesuffix("_addition")
    needed = [run for run in runs if run.system in (*_BUILT_ON.get(trained, ()), trained)]
    summaries = [read_json(root / "models" / run.name / COMPLETED_FILE)["summary"] for run in needed]
    single = sum(run.system == trained for run in needed) == 1
    return SystemFigures(
        name,
        predictions,
        read_json(folder / DETAILS),
        sum(run.cost for run in needed),
        sum(summary["seconds"] for summary in summaries),
        summaries[-1]["train_accuracy"] if single else None,
    )


def table3(figures: Figures, test_parts: tuple[str, ...]) -> list[dict[str, Any]]:
    """The paper's Table 3: top-1 and conditional accuracy of every system, and what it cost."""
    rows = []
    for name, system in figures.systems.items():
        row: dict[str, Any] = {"system": LABELS[name], "test %": figures.accuracy(name, "test")}
        row["test 95 %"] = figures.interval(name, "test")
        row["conditional %"] = figures.accuracy(name, "test", conditional=True)
        row["conditional 95 %"] = figures.interval(name, "test", conditional=True)
        row["among five %"] = figures.in_five(name, "test")
        row |= {f"{part} %": figures.accuracy(name, part) for part in ("dev", *test_parts) if part != "test"}
        row["networks"] = system.details["models"]
        row["parameters"] = system.details["parameters"]
        row["training cost"] = system.cost / figures.budget
        row["MMAC an image"] = system.details["multiply_accumulates"] / 1e6
        row["training hours"] = system.seconds / 3600
        rows.append(row)
    return rows


def table4(figures: Figures, system: str, part: str = "test") -> list[dict[str, Any]]:
    """The paper's Table 4: what ``system`` gains over the generalist, by the number of specialists that know the true class."""
    labels, coverage = figures.parts[part].labels, figures.clusters.coverage()
    before, after = (figures.systems[name].predictions[part].predicted == labels for name in ("generalist", system))
    classes = torch.bincount(coverage.clamp(max=_MOST), minlength=_MOST + 1).tolist()
    rows = gain_by_coverage(before, after, labels, coverage, _MOST)
    return [
        {
            "specialists covering": f"{row['specialists']}{' or more' if row['specialists'] == _MOST else ''}",
            "classes": classes[row["specialists"]],
            "test images": row["examples"],
            "delta in right ones": row["delta"],
            "generalist %": row["generalist_accuracy"],
            "with specialists %": row["combined_accuracy"],
            "relative change %": row["relative_change"],
        }
        for row in rows
        if row["examples"]
    ]


def comparisons(figures: Figures, test_parts: tuple[str, ...]) -> list[dict[str, Any]]:
    """Paired bootstrap of each difference: top-1 on each test part, conditional accuracy on test."""
    rows = []
    for a, b in COMPARED:
        if a not in figures.systems or b not in figures.systems:
            continue
        for part, conditional in (*((part, False) for part in test_parts), ("test", True)):
            pair = [figures.counts(name, part, conditional) for name in (a, b)]
            found = paired_comparison(pair[0], pair[1], samples=figures.samples, seed=_SEED, names=(a, b))
            row: dict[str, Any] = {"a": a, "b": b, "metric": f"{'conditional' if conditional else 'top-1'} accuracy, {part}"}
            row |= {"difference": found.difference, "ci95": list(found.ci95) if found.ci95 else None}
            rows.append(row | {"p_improvement": found.p_improvement})
    return rows

"""Figures of a run with many classes as results.json, per_utterance.jsonl, RESULTS.md and a page of clusters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr_distill.base import has_file, only_writer, read_json, write_text, written_together
from asr_distill.cli.classes.figures import LABELS, Figures, collect, comparisons, table3, table4
from asr_distill.images.large_labels.clusters import load_clusters
from asr_distill.images.large_labels.configuration import LargeLabelConfig, as_plain
from asr_distill.images.large_labels.data import LargeLabelData, open_data
from asr_distill.images.large_labels.plan import budget
from asr_distill.images.large_labels.running import plan_of
from asr_distill.report import WRONG_IMAGES_ONLY, check_results, empty_results, empty_system, markdown_page, results_page
from asr_distill.report.class_pages import plot_clusters
from asr_distill.report.environment import commit, environment, today
from asr_distill.report.page import Section
from asr_distill.report.publish import PUBLISHED, check_publishable, is_part_of

SCALE = "scale.json"  # of ``asr-distill classes scale``
_PLOT, _CLUSTERS_SHOWN = "plots/clusters.png", 20
_TITLES = {
    "omniglot": "Omniglot: specialists on real handwriting, few examples a class",
    "glyphs": "Glyphs: specialists on rendered characters without end",
}
_ABOUT = (
    "Specialists after Hinton, Vinyals and Dean (2015), section 5, by the toolkit's one training loop. Per cent of test images."
    " Conditional accuracy: images of a specialist's classes, the most probable among these, pooled over specialists. The cost"
    " of training is counted in multiply-accumulates, a teacher's answers included, with 1 for generalist and specialists"
    " together. Intervals are from a bootstrap over classes, each with all its test images. One seed."
)
_PAPER = "In the paper, on 15,000 labels and 100 million images: top-1 25.0 to 26.1, conditional accuracy 43.1 to 45.9."
_HEADLINE = {
    "generalist_accuracy": ("generalist", False),
    "specialists_accuracy": ("specialists", False),
    "generalist_conditional_accuracy": ("generalist", True),
    "specialists_conditional_accuracy": ("specialists", True),
    "soft_regularised_specialists_accuracy": ("soft_specialists", False),
    "distilled_back_accuracy": ("distilled_back", False),
    "equal_cost_ensemble_accuracy": ("ensemble", False),
}


def publish(
    config: LargeLabelConfig, root: Path, folder: Path, command: str | None, plots: bool = True
) -> tuple[dict[str, Any], list[Path]]:
    """Writes the files, whole or not at all, to ``folder``; returns the results and the paths."""
    check_publishable(folder)
    data = open_data(config, root)
    runs = plan_of(config, root)
    clusters, details = load_clusters(root)
    figures = collect(root, data, clusters, runs, budget(runs), config.samples)
    scale = read_json(root / SCALE) if has_file(root / SCALE) else None
    results = class_results(config, figures, data, details, command, scale)
    check_results(results)
    pictures = []
    if plots:
        rows = [(f"cluster {number}", shown) for number, shown in enumerate(details["shown"][:_CLUSTERS_SHOWN])]
        pictures.append(plot_clusters(data.pictures().numpy(), rows, folder / _PLOT))
    texts = {
        "results.json": json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "per_utterance.jsonl": "".join(
            json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in _rows(figures, data)
        ),
        "RESULTS.md": markdown_page(_page(results, bool(pictures))),
    }
    with only_writer(folder / PUBLISHED[0]), written_together():
        for name, text in texts.items():
            write_text(folder / name, text, listed=is_part_of(root, folder))
    return results, [*(folder / name for name in texts), *pictures]


def class_results(
    config: LargeLabelConfig,
    figures: Figures,
    data: LargeLabelData,
    clusters: dict[str, Any],
    command: str | None,
    scale: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """results.json; what was not measured is null. scale: of ``asr-distill classes scale``."""
    results = empty_results(config.recipe)
    compared = comparisons(figures, data.test_parts)
    tables = {"table3": table3(figures, data.test_parts)}
    for number, name in enumerate(("specialists", "soft_specialists")):
        if name in figures.systems:
            tables[f"table4{'_soft' * number}"] = table4(figures, name)
    tables["combination"] = _combination_rows(figures)
    tables["scale"] = [] if scale is None else _scale_rows(scale)
    results.update(
        title=_TITLES[config.recipe],
        about=f"{_ABOUT} {_PAPER}",
        command=command,
        commit=commit(),
        date=today(),
        environment=environment(None, "cpu"),
        data={
            "source": data.source,
            "counts": {"classes": len(data.class_names), **{name: len(part) for name, part in figures.parts.items()}},
        },
        systems=[_system(figures, name) for name in figures.systems],
        comparisons=compared,
        tables=tables,
        table_titles={
            "table3": "Accuracy (the paper's Table 3)",
            "table4": "Specialists that cover the true class (the paper's Table 4)",
            "table4_soft": "The same for specialists with soft targets",
            "combination": "Combining: Eq. 5",
            "scale": "Time and memory at the paper's size, on random predictions",
        },
        clusters={key: clusters[key] for key in ("predictions", "seconds_predictions", "seconds_clustering", "coverage")},
        per_utterance=WRONG_IMAGES_ONLY,
        bootstrap={"unit": "class", "samples": config.samples, "seed": 0},
        config=as_plain(config),
    )
    for name, (system, conditional) in _HEADLINE.items():
        if system in figures.systems:
            results["headline"][name] = figures.accuracy(system, "test", conditional)
    for row in compared:
        if (row["a"], row["b"], row["metric"]) == ("specialists", "generalist", "top-1 accuracy, test"):
            results["headline"]["p_specialists_improve"] = row["p_improvement"]
    if "specialists" in figures.systems:
        results["headline"]["specialists"] = len(figures.clusters)
    return results


def _system(figures: Figures, name: str) -> dict[str, Any]:
    system = figures.systems[name]
    return empty_system(name) | {
        "label": LABELS[name],
        "seeds": [0],
        "parameters": system.details["parameters"],
        "models": system.details["models"],
        "frame_accuracy": {
            "train": system.train_accuracy,
            "dev": figures.accuracy(name, "dev"),
            "test": figures.accuracy(name, "test"),
        },
        "frame_accuracy_ci95": figures.interval(name, "test"),
        "conditional_accuracy": figures.accuracy(name, "test", conditional=True),
        "training_cost": system.cost / figures.budget,
        "training_seconds": system.seconds,
        "details": {key: value for key, value in system.details.items() if key != "identity"},
    }


def _combination_rows(figures: Figures) -> list[dict[str, Any]]:
    rows = []
    for name, system in figures.systems.items():
        if "calls" in system.details:
            details, excess = system.details, system.details.get("largest_excess_nats")
            rows.append(
                {
                    "system": LABELS[name],
                    "specialists an image": details["calls"] / details["images"],
                    "images without one %": 100 * details["images_without_specialist"] / details["images"],
                    "most iterations": details.get("most_iterations"),
                    "objective above its minimum, nats, at most": None if excess is None else f"{excess:.1e}",
                }
            )
    return rows


def _scale_rows(scale: dict[str, Any]) -> list[dict[str, Any]]:
    """What ``asr-distill classes scale`` measured, a row for each part."""
    classes, clusters = f"{scale['num_classes']:,} classes", f"{scale['num_clusters']} clusters of {scale['size']}"
    what = {
        "covariance": f"covariance of {scale['predictions']:,} predictions, {classes}",
        "clustering": f"{clusters} from it",
        "combination": f"Eq. 5 for {scale['rows']:,} images of {classes}, {scale['converged']:,} converged",
    }
    return [
        {
            "part": text,
            "seconds": scale["seconds"][name],
            "threads": scale["threads"],
            "peak MiB of the whole": scale["peak_mb"],
        }
        for name, text in what.items()
    ]


def _page(results: dict[str, Any], pictures: bool) -> list[Section]:
    # The page's tables of systems are those of recognisers; here Tables 3 and 4 say it.
    opening, *rest = results_page({**results, "systems": []})
    for section in rest:
        if section.title == "Paired comparisons":
            section.paragraphs = ["Both systems on the same bootstrap draws of classes; percentage points."]
    comparing = [section for section in rest if section.title == "Paired comparisons"]
    others = [section for section in rest if section.title != "Paired comparisons"]
    shown = Section(
        "Clusters",
        [
            "Of each cluster, the class that is confused most with others of it, and those it is confused with:"
            f" from the generalist's predictions alone, no label.\n\n![clusters]({_PLOT})"
        ],
    )
    return [opening, others[0], *comparing, *([shown] if pictures else []), *others[1:]]


def _rows(figures: Figures, data: LargeLabelData) -> Iterator[dict[str, Any]]:
    """One line for each wrongly classified test image and system: the true class, the predicted one; others are right."""
    part = figures.parts["test"]
    drawers = data.drawers("test")
    each = len(part) // part.num_classes
    names = data.class_names
    for system in figures.systems:
        predicted = figures.systems[system].predictions["test"].predicted.tolist()
        for number, (label, found) in enumerate(zip(part.labels.tolist(), predicted, strict=True)):
            if label == found:
                continue
            row: dict[str, Any] = {"id": f"{label:05d}-{number % each}"}
            if drawers is not None:
                row["speaker"] = drawers[number]
            yield row | {"system": system, "seed": 0, "reference": names[label], "hypothesis": names[found]}

"""The MNIST figures as results.json, per_utterance.jsonl and RESULTS.md, by the report's own contract and pages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import only_writer, to_mapping, write_text, written_together
from asr_distill.images.mnist import MnistConfig
from asr_distill.images.mnist.figures import Figures, System
from asr_distill.report import WRONG_IMAGES_ONLY, check_results, empty_results, empty_system, markdown_page, results_page
from asr_distill.report.environment import commit, environment, today
from asr_distill.report.markdown import pictures_section
from asr_distill.report.publish import PUBLISHED, check_publishable, is_part_of
from asr_distill.scoring import paired_comparison
from asr_distill.scoring.metrics import MetricCounts

_SAMPLES = 2000
_COMPARED = (("small_distilled", "small_hard"), ("small_distilled", "teacher"), ("teacher", "small_hard"))
_ABOUT = (
    "Every MNIST experiment of Hinton, Vinyals and Dean (2015), section 3, by the toolkit's one training loop, losses and"
    " soft-target store. Figures are errors on the 10,000 test images, means over seeds; no test label decides anything but"
    " the rows of the paper's protocol, whose bias has the fewest test errors. The students with missing digits do not see the"
    " held-out training images; the bias of the digits is fitted there, so that they come out as often as they occur among the"
    " training labels."
)
_CAPTIONS = {
    "soft_targets": "What the teacher says about test images that look like another digit, at several temperatures.",
    "errors_by_temperature": "Students of each width on soft targets, by temperature.",
    "width_and_temperature": "The same as a table in colours.",
    "bias_curves": "Test errors against the digits' bias; the solid line is the shift found without test labels.",
    "each_digit_omitted": "Every digit left out of the transfer set in turn, one seed.",
    "each_pair_kept": "Every pair of digits as the only ones in the transfer set, one seed.",
}


def publish(
    figures: Figures,
    config: MnistConfig,
    counts: dict[str, int],
    root: Path,
    folder: Path,
    command: str | None,
    plots: Sequence[Path],
) -> tuple[dict[str, Any], list[Path]]:
    """Writes the three files, whole or not at all, and returns the results and the paths; ``plots`` are shown in RESULTS.md."""
    check_publishable(folder)
    results = mnist_results(figures, config, counts, command)
    check_results(results)
    # The page's tables of systems are those of recognisers; here the tables of errors say it.
    opening, *rest = results_page({**results, "systems": [], "comparisons": []})
    pictures = pictures_section({path.relative_to(folder).as_posix(): _CAPTIONS[path.stem] for path in plots})
    comparisons = [section for section in results_page({**results, "systems": []}) if section.title == "Paired comparisons"]
    for section in comparisons:
        section.paragraphs = ["Accuracy over the test images, both systems on the same draws of images and seeds; points."]
    pages = [opening, *rest[:2], *comparisons, *pictures, *rest[2:]]
    texts = {
        "results.json": json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "per_utterance.jsonl": "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in _rows(figures)),
        "RESULTS.md": markdown_page(pages),
    }
    with only_writer(folder / PUBLISHED[0]), written_together():
        for name, text in texts.items():
            write_text(folder / name, text, listed=is_part_of(root, folder))
    return results, [folder / name for name in texts]


def mnist_results(figures: Figures, config: MnistConfig, counts: dict[str, int], command: str | None) -> dict[str, Any]:
    """results.json; what was not measured is null."""
    results = empty_results("mnist")
    results.update(
        title="MNIST: the paper's section 3",
        about=_ABOUT,
        command=command,
        commit=commit(),
        date=today(),
        environment=environment(None, "cpu"),
        data={"source": "real", "counts": counts},
        systems=[_system(system, figures) for system in figures.systems.values()],
        comparisons=_comparisons(figures),
        tables={
            "experiments": [_experiment_row(system, figures) for system in figures.systems.values() if not system.group],
            "biases": [_bias_row(system, figures) for system in figures.systems.values() if system.group],
            "widths": _width_rows(figures),
            "omitted": [{"digit left out": row["digits"][0], **_without(row, "digits")} for row in figures.sweep_digits],
        },
        table_titles={
            "experiments": "Experiments: test errors",
            "biases": "Missing digits: errors after a bias",
            "widths": "Test errors by width and temperature",
            "omitted": "Each digit left out",
        },
        grid=figures.grid,
        sweep_pairs=figures.sweep_pairs,
        per_utterance=WRONG_IMAGES_ONLY,
        bootstrap={"unit": "utterance", "samples": _SAMPLES, "seed": 0},
        config=to_mapping(config),
    )
    results["headline"].update(_headline(figures))
    return results


def _headline(figures: Figures) -> dict[str, float]:
    """The fixed names, means over seeds."""
    values = {}
    for name, system, digit in (
        ("teacher_errors", "teacher", None),
        ("small_hard_errors", "small_hard", None),
        ("small_distilled_errors", "small_distilled", None),
        ("omit3_errors", "omit3", None),
        ("omit3_bias_errors", "omit3_bias", None),
        ("omit3_bias_errors_on_threes", "omit3_bias", 3),
        ("omit3_bias_errors_paper_protocol", "omit3_bias_paper_protocol", None),
        ("omit3_bias_errors_on_threes_paper_protocol", "omit3_bias_paper_protocol", 3),
    ):
        if system in figures.systems:
            values[name] = figures.systems[system].mean_errors(figures.labels, digit)
    for name, system in (
        ("only78_error_percent", "only78"),
        ("only78_bias_error_percent", "only78_bias"),
        ("only78_bias_error_percent_paper_protocol", "only78_bias_paper_protocol"),
    ):
        if system in figures.systems:
            values[name] = round(100 * figures.systems[system].mean_errors(figures.labels) / len(figures.labels), 4)
    return values


def _system(system: System, figures: Figures) -> dict[str, Any]:
    errors, images, run = system.errors(figures.labels), len(figures.labels), system.runs[0]
    mean = system.mean_errors(figures.labels)
    entry = empty_system(system.name) | {
        "label": system.label,
        "seeds": list(system.predictions),
        "parameters": system.parameters,
        "models": 1,
        "temperature": run.temperature,
        "soft_weight": run.soft_weight,
        "hard_weight": run.hard_weight,
        "frame_accuracy": {"train": None, "dev": None, "test": round(100 * (1 - mean / images), 4)},
        "errors": {"mean": mean, "best": min(errors), "per_seed": errors},
        "paper_errors": system.paper,
    }
    if system.group:
        entry["bias"] = {"digits": list(system.group), "rule": system.rule, "per_seed": list(system.shifts.values())}
    return entry


def _experiment_row(system: System, figures: Figures) -> dict[str, Any]:
    errors, run = system.errors(figures.labels), system.runs[0]
    return {
        "experiment": system.label,
        "paper": None if system.paper is None else int(system.paper),
        "errors, mean": system.mean_errors(figures.labels),
        "best": min(errors),
        "worst": max(errors),
        "on threes": system.mean_errors(figures.labels, 3) if system.name == "omit3" else None,
        "seeds": len(errors),
        "T": "-" if run.temperature is None else f"{run.temperature:g}",
        "soft, hard weight": f"{run.soft_weight:g}, {run.hard_weight:g}",
        "epochs": run.training.epochs,
        "parameters": system.parameters,
    }


def _bias_row(system: System, figures: Figures) -> dict[str, Any]:
    shifts = list(system.shifts.values())
    return {
        "system": system.label,
        "paper": None if system.paper is None else int(system.paper),
        "bias, mean": sum(shifts) / len(shifts),
        "errors, mean": system.mean_errors(figures.labels),
        "best": min(system.errors(figures.labels)),
        "on threes": system.mean_errors(figures.labels, 3) if system.group == (3,) else None,
        "errors %": 100 * system.mean_errors(figures.labels) / len(figures.labels),
        "seeds": len(shifts),
    }


def _width_rows(figures: Figures) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for row in figures.grid:
        column = "labels" if row["temperature"] is None else f"T = {row['temperature']:g}"
        rows.setdefault(row["width"], {"units": f"2 x {row['width']}"})[column] = row["errors"]
    for width, cells in rows.items():
        cells["seeds"] = max(len(row["per_seed"]) for row in figures.grid if row["width"] == width)
    return list(rows.values())


def _without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


def _comparisons(figures: Figures) -> list[dict[str, Any]]:
    """Paired bootstrap over test images and seeds, by the scoring room."""
    rows = []
    for a, b in _COMPARED:
        if a in figures.systems and b in figures.systems:
            pair = [_counts(figures.systems[name], figures) for name in (a, b)]
            found = paired_comparison(pair[0], pair[1], "utterance", _SAMPLES, names=(a, b))
            row: dict[str, Any] = {"a": a, "b": b, "metric": "frame_accuracy", "difference": found.difference}
            row |= {"ci95": list(found.ci95) if found.ci95 else None, "p_improvement": found.p_improvement}
            rows.append(row)
    return rows


def _counts(system: System, figures: Figures) -> MetricCounts:
    right = np.stack([(found == figures.labels).numpy() for found in system.predictions.values()]).astype(np.float64)
    ids = tuple(_id(number) for number in range(len(figures.labels)))
    references = tuple((str(label),) for label in figures.labels.tolist())
    return MetricCounts("frame_accuracy", ids, right, np.ones_like(right), (None,) * len(ids), references)


def _id(number: int) -> str:
    """Of a test image, from its place in the file, from 0."""
    return f"{number:05d}"


def _rows(figures: Figures) -> Iterator[dict[str, Any]]:
    """One line for each wrongly classified test image, system and seed; the images between are right."""
    labels = figures.labels.tolist()
    for system in figures.systems.values():
        for seed, predictions in system.predictions.items():
            for number, (label, found) in enumerate(zip(labels, predictions.tolist(), strict=True)):
                if label == found:
                    continue
                row = {"id": _id(number), "system": system.name, "seed": seed}
                yield row | {"reference": str(label), "hypothesis": str(found)}

"""The recipe's pictures, small PNG files: soft targets, errors against the temperature, bias curves, the grid, the sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import atomic_path, missing_package
from asr_distill.images.image_set import ImageSet
from asr_distill.images.mnist import bias
from asr_distill.images.mnist.experiments import read_logits
from asr_distill.images.mnist.figures import FREQUENCY, PAPER, Figures, System

_TEMPERATURES = (1.0, 2.0, 5.0, 20.0)


def plot_all(figures: Figures, test: ImageSet, root: Path, folder: Path) -> list[Path]:
    """Draws what there are figures for; returns the files. Needs matplotlib, else raises `UserError`."""
    drawn = []
    teacher = figures.systems.get("teacher")
    if teacher is not None:
        with _page(folder / "soft_targets.png", (8.5, 7.0)) as page:
            _soft_targets(page, read_logits(teacher.runs[0], root)["test"], test)
        drawn.append(folder / "soft_targets.png")
    if figures.grid:
        with _page(folder / "errors_by_temperature.png", (6.5, 4.2)) as page:
            _temperatures(page.add_subplot(), figures)
        with _page(folder / "width_and_temperature.png", (6.5, 3.2)) as page:
            _heat_map(page.add_subplot(), figures)
        drawn += [folder / "errors_by_temperature.png", folder / "width_and_temperature.png"]
    curves = [name for name in ("omit3", "only78") if name in figures.systems]
    if curves:
        with _page(folder / "bias_curves.png", (4.6 * len(curves), 3.8)) as page:
            for position, name in enumerate(curves):
                _bias_curve(page.add_subplot(1, len(curves), position + 1), figures, name, root)
        drawn.append(folder / "bias_curves.png")
    if figures.sweep_digits:
        with _page(folder / "each_digit_omitted.png", (6.5, 3.4)) as page:
            _digits(page.add_subplot(), figures)
        drawn.append(folder / "each_digit_omitted.png")
    if figures.sweep_pairs:
        with _page(folder / "each_pair_kept.png", (9.5, 4.4)) as page:
            for position, (key, title) in enumerate((("errors", "as trained"), ("bias_errors", "bias by class frequency"))):
                _pairs(page.add_subplot(1, 2, position + 1), figures, key, title)
        drawn.append(folder / "each_pair_kept.png")
    return drawn


@contextmanager
def _page(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("matplotlib", "the plots of mnist") from None
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _soft_targets(page: Any, logits: torch.Tensor, test: ImageSet, count: int = 6) -> None:
    """Test images that the teacher gets right while it finds another digit most likely of all, one of each true digit."""
    top = logits.softmax(dim=1).topk(2, dim=1)
    doubt = torch.where(top.indices[:, 0] == test.labels, top.values[:, 1], -1.0)
    best = torch.stack([torch.where(test.labels == digit, doubt, -1.0).argmax() for digit in range(test.num_classes)])
    rows = best[doubt[best].argsort(descending=True)][:count].tolist()
    for line, row in enumerate(rows):
        axes = page.add_subplot(count, 1 + len(_TEMPERATURES), line * (1 + len(_TEMPERATURES)) + 1)
        axes.imshow(test.images[row].numpy(), cmap="gray_r")
        axes.set_axis_off()
        axes.set_title(f"a {int(test.labels[row])} like a {int(top.indices[row, 1])}", fontsize=8)
        for column, temperature in enumerate(_TEMPERATURES):
            axes = page.add_subplot(count, 1 + len(_TEMPERATURES), line * (1 + len(_TEMPERATURES)) + 2 + column)
            axes.bar(range(test.num_classes), (logits[row] / temperature).softmax(dim=0).tolist(), color="tab:blue")
            axes.set_ylim(0, 1)
            axes.set_xticks(range(test.num_classes))
            axes.tick_params(labelsize=6)
            if line == 0:
                axes.set_title(f"T = {temperature:g}", fontsize=8)


def _temperatures(axes: Any, figures: Figures) -> None:
    for number, width in enumerate(dict.fromkeys(row["width"] for row in figures.grid)):
        rows = [row for row in figures.grid if row["width"] == width and row["temperature"] is not None]
        hard = [row["errors"] for row in figures.grid if row["width"] == width and row["temperature"] is None]
        at, colour = [row["temperature"] for row in rows], f"C{number}"
        axes.plot(at, [row["errors"] for row in rows], "o-", color=colour, label=f"2 x {width}")
        axes.fill_between(at, [min(r["per_seed"]) for r in rows], [max(r["per_seed"]) for r in rows], color=colour, alpha=0.2)
        if hard:
            axes.axhline(hard[0], color=colour, linestyle=":", linewidth=1)
    axes.set(xlabel="temperature", ylabel="test errors of 10,000", xscale="log", yscale="log")
    axes.set_title("Students by width; dotted: on labels alone; shaded: lowest and highest seed", fontsize=9)
    axes.legend()
    axes.grid(alpha=0.3, which="both")


def _heat_map(axes: Any, figures: Figures) -> None:
    """Each width's row relative to its own best, for the widths differ more than the temperatures."""
    widths = list(dict.fromkeys(row["width"] for row in figures.grid))
    columns = list(dict.fromkeys(row["temperature"] for row in figures.grid))
    errors = torch.full((len(widths), len(columns)), float("nan"))
    for row in figures.grid:
        errors[widths.index(row["width"]), columns.index(row["temperature"])] = row["errors"]
    best = errors.nan_to_num(float("inf")).min(dim=1, keepdim=True).values
    axes.imshow((errors / best).numpy(), cmap="YlOrRd", aspect="auto", vmin=1.0, vmax=1.6)
    _numbers(axes, errors)
    axes.set_xticks(range(len(columns)), ["labels" if column is None else f"{column:g}" for column in columns])
    axes.set_yticks(range(len(widths)), [f"2 x {width}" for width in widths])
    axes.set_xlabel("temperature")
    axes.set_title("Test errors, mean over seeds; colour: relative to the best of the row", fontsize=9)


def _bias_curve(axes: Any, figures: Figures, name: str, root: Path) -> None:
    plain, labels = figures.systems[name], figures.labels
    corrected = [found for found in figures.systems.values() if found.runs is plain.runs and found.group]
    group = corrected[0].group
    shifts = torch.linspace(-12, 4, 161) if len(group) > 1 else torch.linspace(-2, 10, 121)
    for run in plain.runs:
        errors = bias.error_curve(read_logits(run, root)["test"], labels, group, shifts)
        axes.plot(shifts.tolist(), errors.tolist(), color="tab:blue", linewidth=1)
    for found in corrected:
        style = {FREQUENCY: ("class frequency", "-"), PAPER: ("fewest test errors", ":")}.get(found.rule or "")
        if style:
            axes.axvline(_mean_shift(found), color="tab:red", linestyle=style[1], linewidth=1, label=style[0])
    axes.set(xlabel=f"added to the bias of {' and '.join(map(str, group))}", ylabel="test errors", yscale="log")
    axes.set_title(plain.label, fontsize=9)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3, which="both")


def _mean_shift(system: System) -> float:
    return sum(system.shifts.values()) / len(system.shifts)


def _digits(axes: Any, figures: Figures) -> None:
    rows = figures.sweep_digits
    parts = (
        ("errors", -0.3, "tab:blue", "all"),
        ("errors_on_digit", -0.1, "tab:cyan", "on the digit"),
        ("bias_errors", 0.1, "tab:red", "all, bias by class frequency"),
        ("bias_errors_on_digit", 0.3, "tab:pink", "on the digit, bias by class frequency"),
    )
    for key, offset, colour, label in parts:
        axes.bar([row["digits"][0] + offset for row in rows], [row[key] for row in rows], 0.2, color=colour, label=label)
    axes.set_xticks([row["digits"][0] for row in rows])
    axes.set(xlabel="digit left out of the transfer set", ylabel="test errors of 10,000")
    axes.legend(fontsize=8)
    axes.grid(axis="y", alpha=0.3)


def _pairs(axes: Any, figures: Figures, key: str, title: str) -> None:
    errors = torch.full((10, 10), float("nan"))
    for row in figures.sweep_pairs:
        first, second = row["digits"]
        errors[second, first] = row[key] / 100
    axes.imshow(errors.numpy(), cmap="YlOrRd", vmin=0, vmax=80)
    _numbers(axes, errors)
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.set_title(f"Test errors, %, with one pair of digits kept; {title}", fontsize=9)


def _numbers(axes: Any, values: torch.Tensor) -> None:
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            if math.isfinite(value):
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7)

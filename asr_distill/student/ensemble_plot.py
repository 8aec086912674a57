"""The picture of an ensemble's curve: gain in frame accuracy against the number of models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import atomic_path, missing_package


def plot_curve(splits: Mapping[str, Mapping[str, Any]], modes: list[str], path: str | Path) -> None:
    """Writes a PNG: for each split and mode the points above the mean single model, all frames and speech only.

    splits: what `asr_distill.student.ensemble_curve.ensemble_curve` gave, by the split's name. Dashed: mean over random orders.
    Raises `UserError` where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("matplotlib", "ensemble curve --plot") from None
    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharex=True)
    for axes, gain, title in zip(panels, ("gain", "speech_gain"), ("all frames", "speech only"), strict=True):
        number = 0
        for split, curve in splits.items():
            for mode in modes:
                colour, number = f"C{number}", number + 1
                sizes = [row["size"] for row in curve[mode]]
                for label, style, rows in (
                    (f"{split}, {mode}", "o-", curve[mode]),
                    (None, "--", [row["random_orders"] or {} for row in curve[mode]]),
                ):
                    values = [row.get(gain) for row in rows]
                    if None not in values:
                        axes.plot(sizes, values, style, color=colour, label=label, markersize=4)
        axes.set_title(title)
        axes.set_xlabel("models")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[0].set_ylabel("frame accuracy above the mean\nsingle model, points")
    panels[0].legend(fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")

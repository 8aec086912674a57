"""Small plots of the systems: word error rate and frame accuracy with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import atomic_path, missing_package


def plot_systems(results: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Writes wer.png and frame_accuracy.png, each where measured, and returns their paths. Needs matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("matplotlib", "report --plots") from None
    written = []
    for name, title, value, interval in (
        ("wer", "word error rate on test, %", lambda e: e["wer"]["test"], lambda e: e["wer"]["ci95"]),
        (
            "frame_accuracy",
            "frame accuracy on test, %",
            lambda e: e["frame_accuracy"]["test"],
            lambda e: e["frame_accuracy_ci95"],
        ),
    ):
        entries = [entry for entry in results["systems"] if value(entry) is not None]
        if not entries:
            continue
        figure = Figure(figsize=(7, 1 + 0.35 * len(entries)), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for position, entry in enumerate(reversed(entries)):
            axes.plot(value(entry), position, "o", color="tab:blue")
            if interval(entry):
                axes.hlines(position, *interval(entry), color="tab:blue")
        axes.set_yticks(range(len(entries)), [entry["label"] or entry["name"] for entry in reversed(entries)])
        axes.set_xlabel(f"{title}, with 95 % interval ({results['data']['source']} data)")
        axes.grid(axis="x", alpha=0.3)
        path = Path(folder) / f"{name}.png"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")
        written.append(path)
    return written

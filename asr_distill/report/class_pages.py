"""A page of clusters: each a row of its classes' pictures, so that a reader sees whether they are confusable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_distill.base import atomic_path, missing_package

_LEVELS = 8  # of grey: a page of small pictures then takes half the bytes


def plot_clusters(pictures: np.ndarray, rows: Sequence[tuple[str, Sequence[int]]], path: str | Path, across: int = 20) -> Path:
    """Writes a PNG: a row for each of ``rows`` (its label, its classes), ``across`` pictures wide.

    pictures: ``(C, H, W)`` uint8, 0 paper to 255 ink. Needs matplotlib, else raises `UserError`.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("matplotlib", "the page of clusters") from None
    height, width = pictures.shape[1:]
    gap = 3
    page = np.zeros((len(rows) * (height + gap), across * (width + gap)), dtype=np.uint8)
    for row, (_, classes) in enumerate(rows):
        for column, label in enumerate(classes[:across]):
            top, left = row * (height + gap), column * (width + gap)
            page[top : top + height, left : left + width] = pictures[label]
    step = 255 // (_LEVELS - 1)
    page = ((page.astype(np.int64) + step // 2) // step * step).astype(np.uint8)
    margin, dpi = 70, 100  # pixels for the labels
    size = ((page.shape[1] + margin) / dpi, page.shape[0] / dpi)
    figure = Figure(figsize=size, dpi=dpi)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((margin / (page.shape[1] + margin), 0, page.shape[1] / (page.shape[1] + margin), 1))
    axes.imshow(255 - page, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
    axes.set_yticks([row * (height + gap) + height / 2 for row in range(len(rows))], [label for label, _ in rows], fontsize=7)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return Path(path)

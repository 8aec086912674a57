"""A picture of one aligned utterance: its filterbanks with phone boundaries, words above."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_distill.base import UserError, atomic_path, missing_package
from asr_distill.senones import FrameAlignment


def plot_alignment(
    path: str | Path,
    title: str,
    fbank: np.ndarray,
    alignment: FrameAlignment,
    phones: Sequence[str],
    silence_phones: Sequence[str] = (),
    frame_shift: float = 0.01,
) -> None:
    """Writes a PNG.

    Args:
        fbank: ``(T, bands)`` log-Mel energies.
        phones: names in id order, id 1 first.

    Raises `UserError` where matplotlib is missing, or features and alignment differ in their number of frames.
    """
    if len(fbank) != len(alignment):
        raise UserError(f"{title}: {len(fbank)} frames of features, {len(alignment)} of alignment; align these features")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("matplotlib", "a plot of an alignment") from None
    seconds = len(fbank) * frame_shift
    # About 60 pixels a phone keep the labels apart; more than 40 inches no viewer likes.
    figure = Figure(figsize=(min(40.0, max(8.0, 0.45 * len(alignment.phones) + 1.5)), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    low, high = np.percentile(fbank, [2, 99.5])
    axes.imshow(
        fbank.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high, extent=(0, seconds, 0, fbank.shape[1])
    )
    top = fbank.shape[1]
    for phone, first, last in alignment.phone_segments():
        name, start, end = phones[phone - 1], first * frame_shift, last * frame_shift
        axes.axvline(start, color="white", linewidth=0.8, alpha=0.9)
        colour = "silver" if name in silence_phones else "white"
        shade = {"facecolor": "black", "edgecolor": "none", "alpha": 0.45, "pad": 1.0}
        axes.text((start + end) / 2, top - 2, name, color=colour, ha="center", va="top", fontsize=8, clip_on=True, bbox=shade)
    for word, start, duration in alignment.word_segments(frame_shift):
        axes.axvline(start, color="cyan", linewidth=1.4)
        axes.axvline(start + duration, color="cyan", linewidth=1.4)
        axes.text(start + duration / 2, top + 0.6, word, ha="center", va="bottom", fontsize=9, clip_on=False)
    axes.set_xlim(0, seconds)
    axes.set_xlabel("seconds")
    axes.set_ylabel("Mel band")
    axes.set_title(title, fontsize=10, loc="left", pad=18)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")

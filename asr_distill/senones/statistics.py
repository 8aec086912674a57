"""Sufficient statistics for the tree: one diagonal Gaussian per triphone and pdf class, gathered utterance by utterance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from asr_distill.base import UserError
from asr_distill.senones.frame_alignment import FrameAlignment, context_windows
from asr_distill.senones.gaussian import mean_and_variance, pack
from asr_distill.senones.topology import Topology

CHUNK_FRAMES = 65_536


@dataclass(frozen=True, eq=False)
class TreeStatistics:
    """Rows sorted by context, then pdf class; each ``(context, pdf class)`` occurs once.

    Attributes:
        contexts: ``(S, 3)`` int32 phone ids (left, centre, right), 0 beyond the ends of the utterance.
        pdf_classes: ``(S,)`` int32.
        counts: ``(S,)`` float64 frames.
        sums: ``(S, D)`` float64 sums of the features.
        squares: ``(S, D)`` float64 sums of their squares.
    """

    contexts: np.ndarray
    pdf_classes: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, dimension: int) -> TreeStatistics:
        """Statistics of nothing, ``(0, D)``."""
        zeros = np.zeros((0, dimension))
        return cls(np.zeros((0, 3), np.int32), np.zeros(0, np.int32), np.zeros(0), zeros, zeros)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def dimension(self) -> int:
        """D."""
        return self.sums.shape[1]

    @property
    def num_frames(self) -> int:
        """Frames counted."""
        return round(float(self.counts.sum()))

    def packed(self) -> np.ndarray:
        """``(S, 2D + 1)``: see `asr_distill.senones.gaussian`."""
        return pack(self.counts, self.sums, self.squares)

    def variance_floor(self, share: float = 0.01) -> np.ndarray:
        """``(D,)``: that share of the variance of all frames. Raises `UserError` where a feature never varies."""
        _, variances = mean_and_variance(self.packed().sum(axis=0))
        if not len(self) or (variances <= 0).any():
            where = "there are no frames" if not len(self) else f"feature {int(np.argmin(variances))} never varies"
            raise UserError(f"statistics for the tree: {where}; check the features and alignments given")
        return share * variances

    def merge(self, other: TreeStatistics) -> TreeStatistics:
        """The statistics of both bodies of data. Raises `UserError` where dimensions differ."""
        if self.dimension != other.dimension:
            raise UserError(f"statistics of {self.dimension} and of {other.dimension} features can't be merged")
        return _pool(
            np.concatenate([self.contexts, other.contexts]),
            np.concatenate([self.pdf_classes, other.pdf_classes]),
            np.concatenate([self.packed(), other.packed()]),
        )


def _pool(contexts: np.ndarray, pdf_classes: np.ndarray, packed: np.ndarray) -> TreeStatistics:
    """Adds up rows of the same context and pdf class."""
    dimension = (packed.shape[1] - 1) // 2
    if not len(packed):
        return TreeStatistics.empty(dimension)
    order = np.lexsort((pdf_classes, contexts[:, 2], contexts[:, 1], contexts[:, 0]))
    keys = np.column_stack([contexts, pdf_classes])[order]
    starts = np.flatnonzero(np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)]))
    pooled = np.add.reduceat(packed[order], starts, axis=0)
    return TreeStatistics(
        keys[starts, :3].astype(np.int32),
        keys[starts, 3].astype(np.int32),
        pooled[:, 0],
        pooled[:, 1 : dimension + 1],
        pooled[:, dimension + 1 :],
    )


def accumulate_triphone_statistics(
    alignments: Mapping[str, FrameAlignment], features: Iterable[tuple[str, np.ndarray]], topology: Topology
) -> TreeStatistics:
    """Streams over utterances; memory holds the statistics and at most some 65,000 frames (or one utterance, if longer).

    Args:
        alignments: by utterance id.
        features: ``(utterance id, (T, D))`` pairs; whatever the tree shall be grown on (deltas, normalised, spliced).
            Utterances without an alignment are passed over: the caller counts them.
        topology: maps HMM states to pdf classes.

    Raises `UserError`, naming the utterance, where lengths differ, features are not finite or the alignment doesn't fit the
    topology, and where no utterance has both.
    """
    total: TreeStatistics | None = None
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    waiting_frames = 0

    def flush(total: TreeStatistics | None) -> TreeStatistics | None:
        if not waiting:
            return total
        contexts, pdf_classes, frames = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
        waiting.clear()
        chunk = _pool(contexts, pdf_classes, pack(np.ones(len(frames)), frames, frames**2))
        return chunk if total is None else total.merge(chunk)

    for key, frames in features:
        alignment = alignments.get(key)
        if alignment is None or not len(alignment):
            continue
        frames = np.asarray(frames, dtype=np.float64)
        if frames.ndim != 2 or len(frames) != len(alignment):
            raise UserError(
                f"utterance {key!r}: features of shape {frames.shape} for an alignment of {len(alignment)} frames;"
                " align again on these features"
            )
        if not np.isfinite(frames).all():
            raise UserError(f"utterance {key!r}: frame {int(np.argmin(np.isfinite(frames).all(1)))} holds NaN or infinity")
        try:
            pdf_classes = alignment.pdf_classes(topology)
        except UserError as error:
            raise UserError(f"utterance {key!r}: {error}") from None
        waiting.append((context_windows(alignment.phones)[alignment.phone_index], pdf_classes, frames))
        waiting_frames += len(frames)
        if waiting_frames >= CHUNK_FRAMES:
            total, waiting_frames = flush(total), 0
    total = flush(total)
    if total is None:
        raise UserError("no utterance has both features and an alignment; do the cuts and the alignments name the same ids?")
    return total

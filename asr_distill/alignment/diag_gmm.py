"""Diagonal-covariance Gaussian mixtures, one per senone, all in packed arrays, so that likelihoods are matrix products.

The estimation follows Kaldi's ``gmm-est``: occupancy thresholds, removal of starved components, mixing up by a power of
the counts.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from asr_distill.base import UserError, read_tensors, write_tensors

MIN_WEIGHT = 1e-5
MIN_VARIANCE = 1e-3
PERTURBATION = 0.01


@dataclass(frozen=True, eq=False)
class DiagGmm:
    """C mixtures with G Gaussians in all.

    Attributes:
        weights: ``(G,)`` float64, summing to 1 within each mixture.
        means, variances: ``(G, D)`` float64.
        offsets: ``(C + 1,)`` int64; the Gaussians of mixture c are ``offsets[c]`` to ``offsets[c + 1]``.
    """

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    offsets: np.ndarray

    @property
    def num_senones(self) -> int:
        """C."""
        return len(self.offsets) - 1

    @property
    def num_gaussians(self) -> int:
        """G."""
        return len(self.weights)

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.means.shape[1])

    @classmethod
    def flat(cls, mean: np.ndarray, variance: np.ndarray, num_senones: int) -> DiagGmm:
        """One and the same Gaussian for every senone: where a flat start begins."""
        tile = (num_senones, 1)
        return cls(np.ones(num_senones), np.tile(mean, tile), np.tile(variance, tile), np.arange(num_senones + 1))

    @cached_property
    def _coefficients(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log N = constant + x . linear + x^2 . quadratic; ``(G,)``, ``(D, G)``, ``(D, G)``."""
        precision = 1.0 / self.variances
        constant = np.log(self.weights) - 0.5 * (
            self.dimension * np.log(2 * np.pi) + np.log(self.variances).sum(1) + (np.square(self.means) * precision).sum(1)
        )
        return constant, (self.means * precision).T.copy(), (-0.5 * precision).T.copy()

    def component_log_likelihoods(self, features: np.ndarray, senone: int | None = None) -> np.ndarray:
        """``(T, G)`` float64, weights included; with ``senone`` only that mixture's Gaussians."""
        part = slice(None) if senone is None else slice(self.offsets[senone], self.offsets[senone + 1])
        constant, linear, quadratic = self._coefficients
        x = features.astype(np.float64)
        return constant[part] + x @ linear[:, part] + np.square(x) @ quadratic[:, part]

    def log_likelihoods(self, features: np.ndarray) -> np.ndarray:
        """``(T, D)`` to ``(T, C)`` float32: log of each mixture's density, in nats."""
        if features.ndim != 2 or features.shape[1] != self.dimension:
            raise UserError(f"features have shape {features.shape}, the GMM expects (frames, {self.dimension})")
        scores = self.component_log_likelihoods(features)
        starts = self.offsets[:-1]
        if not len(scores):
            return np.zeros((0, self.num_senones), dtype=np.float32)
        best = np.maximum.reduceat(scores, starts, axis=1)
        scores -= np.repeat(best, np.diff(self.offsets), axis=1)
        np.exp(scores, out=scores)
        return (best + np.log(np.add.reduceat(scores, starts, axis=1))).astype(np.float32)

    def save(self, path: str | Path) -> None:
        """Writes safetensors."""
        write_tensors(path, self.arrays(), listed=True)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {"weights": self.weights, "means": self.means, "variances": self.variances, "offsets": self.offsets}

    @classmethod
    def load(cls, path: str | Path) -> DiagGmm:
        """Reads what `save` wrote. Raises `UserError` where the file is missing or something else."""
        values, _ = read_tensors(path, again="train the GMM: asr-distill align mono")
        try:
            gmm = cls(*(values[name] for name in ("weights", "means", "variances", "offsets")))
            if wrong := [name for name, array in gmm.arrays().items() if not np.isfinite(array).all()]:
                raise KeyError(f"{wrong[0]} holds NaN or infinity")
            if min(gmm.variances.min(), gmm.weights.min()) <= 0:
                raise KeyError("a variance or a weight is not above 0")
        except KeyError as error:
            raise UserError(f"{path} is not a GMM of this program ({error}); train it again: asr-distill align mono") from None
        return gmm


@dataclass(eq=False)
class GmmStatistics:
    """Zeroth, first and second order statistics of each Gaussian: ``(G,)``, ``(G, D)``, ``(G, D)`` float64."""

    occupancies: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    log_likelihood: float = 0.0
    num_frames: int = 0

    def senone_occupancies(self, gmm: DiagGmm) -> np.ndarray:
        """``(C,)`` frames of each senone."""
        return np.add.reduceat(self.occupancies, gmm.offsets[:-1])


def accumulate(gmm: DiagGmm, features: np.ndarray, senones: np.ndarray) -> GmmStatistics:
    """Statistics of frames ``(F, D)`` whose senones ``(F,)`` are known; a senone of -1 leaves the frame out."""
    shape = (gmm.num_gaussians, gmm.dimension)
    statistics = GmmStatistics(np.zeros(shape[0]), np.zeros(shape), np.zeros(shape))
    order = np.argsort(senones, kind="stable")
    bounds = np.searchsorted(senones[order], np.arange(gmm.num_senones + 1))
    for senone in range(gmm.num_senones):
        frames = features[order[bounds[senone] : bounds[senone + 1]]].astype(np.float64)
        if not len(frames):
            continue
        part = slice(gmm.offsets[senone], gmm.offsets[senone + 1])
        scores = gmm.component_log_likelihoods(frames, senone)
        best = scores.max(1, keepdims=True)
        posteriors = np.exp(scores - best)
        total = posteriors.sum(1, keepdims=True)
        posteriors /= total
        statistics.occupancies[part] = posteriors.sum(0)
        statistics.sums[part] = posteriors.T @ frames
        statistics.squares[part] = posteriors.T @ np.square(frames)
        statistics.log_likelihood += float((best + np.log(total)).sum())
        statistics.num_frames += len(frames)
    return statistics


def estimate(gmm: DiagGmm, statistics: GmmStatistics, *, min_occupancy: float = 10.0) -> DiagGmm:
    """Maximum-likelihood update; Gaussians of ``min_occupancy`` frames or less go, a mixture's last one stays as it was."""
    pieces = []
    for senone in range(gmm.num_senones):
        part = np.arange(gmm.offsets[senone], gmm.offsets[senone + 1])
        occupancies = statistics.occupancies[part]
        total = occupancies.sum()
        shares = occupancies / total if total > 0 else np.full(len(part), 1 / len(part))
        good = (occupancies > min_occupancy) & (shares > MIN_WEIGHT)
        starved = np.flatnonzero(~good)
        removed = starved[: len(part) - 1]  # as Kaldi: in order, and never the last one
        kept = np.setdiff1d(np.arange(len(part)), removed)
        weights = np.where(good, shares, np.maximum(shares, MIN_WEIGHT))[kept]
        means, variances = gmm.means[part].copy(), gmm.variances[part].copy()
        means[good] = statistics.sums[part[good]] / occupancies[good, None]
        variances[good] = statistics.squares[part[good]] / occupancies[good, None] - np.square(means[good])
        variances = np.maximum(variances, MIN_VARIANCE)
        pieces.append((weights / weights.sum(), means[kept], variances[kept]))
    return _packed(pieces)


def _packed(pieces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> DiagGmm:
    weights, means, variances = (np.concatenate(values) for values in zip(*pieces, strict=True))
    offsets = np.concatenate([[0], np.cumsum([len(piece[0]) for piece in pieces])]).astype(np.int64)
    return DiagGmm(weights, means, variances, offsets)


def split_targets(occupancies: np.ndarray, total: int, *, power: float = 0.25, min_count: float = 20.0) -> np.ndarray:
    """How many Gaussians each senone gets so that all together have ``total``: shares go by ``count ** power``.

    Each next Gaussian goes to the senone with the most ``count ** power`` per Gaussian; none below ``min_count`` frames each.
    """
    targets = np.ones(len(occupancies), dtype=np.int64)
    weight = np.maximum(occupancies, 1.0) ** power
    heap = [(-float(weight[i]), i) for i in range(len(occupancies))]
    heapq.heapify(heap)
    while heap and targets.sum() < total:
        _, senone = heapq.heappop(heap)
        if (targets[senone] + 1) * min_count > occupancies[senone]:
            continue  # not pushed back: it has as many as it can feed
        targets[senone] += 1
        heapq.heappush(heap, (-float(weight[senone] / targets[senone]), senone))
    return targets


def mix_up(gmm: DiagGmm, targets: np.ndarray, generator: np.random.Generator) -> DiagGmm:
    """Splits the heaviest Gaussian of each mixture, again and again, until it has its target; never takes one away.

    The halves' means are moved apart by a random hundredth of a standard deviation.
    """
    pieces = []
    for senone in range(gmm.num_senones):
        part = slice(gmm.offsets[senone], gmm.offsets[senone + 1])
        weights, means, variances = list(gmm.weights[part]), list(gmm.means[part]), list(gmm.variances[part])
        while len(weights) < targets[senone]:
            heaviest = int(np.argmax(weights))
            weights[heaviest] /= 2
            shift = PERTURBATION * generator.standard_normal(gmm.dimension) * np.sqrt(variances[heaviest])
            weights.append(weights[heaviest])
            means.append(means[heaviest] + shift)
            variances.append(variances[heaviest])
            means[heaviest] = means[heaviest] - shift
        pieces.append((np.array(weights), np.stack(means), np.stack(variances)))
    return _packed(pieces)

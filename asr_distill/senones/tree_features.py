"""Features for the tree: cepstra of the filterbank, normalised per speaker, with deltas.

A single diagonal Gaussian assumes that its features don't go together. Neighbouring mel bands do, so the same evidence
would count many times over; their cosine transform does so far less. These features serve the tree only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from asr_distill.base import UserError

DELTA_WINDOW = 2


def cepstra(features: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` coefficients of the orthonormal DCT-II over the bands, ``(T, B)`` to ``(T, count)`` float64.

    ``count`` of 0 returns the features as they are. Raises `ValueError` where it exceeds the number of bands.
    """
    bands = features.shape[1]
    if not 0 <= count <= bands:
        raise ValueError(f"{count} cepstra of {bands} bands; expected 0 (no transform) to {bands}")
    features = features.astype(np.float64)
    if count == 0:
        return features
    basis = np.cos(np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(count))) * np.sqrt(2.0 / bands)
    basis[:, 0] /= np.sqrt(2.0)
    return features @ basis


def add_deltas(features: np.ndarray, order: int = 2, window: int = DELTA_WINDOW) -> np.ndarray:
    r"""Features with their first ``order`` time derivatives, ``(T, D)`` to ``(T, (order + 1) D)``, as Kaldi computes them.

    .. math:: \Delta x_t = \sum_{k=1}^{w} k (x_{t+k} - x_{t-k}) / (2 \sum_k k^2)

    Higher orders convolve that filter with itself; beyond the ends the first and the last frame repeat.
    """
    slope = np.arange(-window, window + 1, dtype=np.float64)
    slope /= (slope**2).sum()
    kernel, parts = np.ones(1), [features]
    for _ in range(order):
        kernel = np.convolve(kernel, slope)
        reach = len(kernel) // 2
        padded = np.pad(features, ((reach, reach), (0, 0)), mode="edge")
        shifted = (weight * padded[shift : shift + len(features)] for shift, weight in enumerate(kernel))
        parts.append(sum(shifted, np.zeros_like(features)))
    return np.concatenate(parts, axis=1)


def normalised_by_speaker(
    utterances: Callable[[], Iterable[tuple[str, str, np.ndarray]]],
) -> Iterator[tuple[str, np.ndarray]]:
    """Reads the utterances twice: first for each speaker's mean and variance, then to yield them normalised.

    Args:
        utterances: gives ``(utterance id, speaker, (T, D))`` anew each time it is called.

    Yields:
        ``(utterance id, (T, D))`` float64 with mean 0 and variance 1 over each speaker's frames. A feature that never varies
        for a speaker becomes 0. Raises `UserError` naming the utterance where a feature is not finite.
    """
    totals: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}
    for key, speaker, features in utterances():
        if not np.isfinite(features).all():
            raise UserError(f"utterance {key!r}: its features hold NaN or infinity; compute them again: asr-distill features")
        frames, sums, squares = totals.get(speaker, (0, 0.0, 0.0))
        frames64 = features.astype(np.float64)
        totals[speaker] = (frames + len(features), sums + frames64.sum(axis=0), squares + (frames64**2).sum(axis=0))
    scales = {}
    for speaker, (frames, sums, squares) in totals.items():
        mean = sums / max(frames, 1)
        deviation = np.sqrt(np.maximum(squares / max(frames, 1) - mean**2, 0.0))
        scales[speaker] = (mean, np.where(deviation > 1e-6, 1.0 / np.maximum(deviation, 1e-6), 0.0))
    for key, speaker, features in utterances():
        mean, scale = scales[speaker]
        yield key, (features - mean) * scale

"""Cepstra for diagonal-covariance Gaussians: a cosine transform of the stored log-Mel energies, normalised, with differences.

Neighbouring Mel bands are correlated, which a diagonal Gaussian can't model; their cosine transform is nearly not. The
statistics are per speaker where speakers are known, as Kaldi's monophone recipes have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr_distill.base import UserError, normalise_text, split_words
from asr_distill.data.cut_features import load_features
from asr_distill.senones import tree_features

Statistics = tuple[np.ndarray, np.ndarray]
SMALLEST_DEVIATION = 1e-3


@dataclass(frozen=True)
class CepstraConfig:
    """What the cepstra depend on; recorded in the model.

    num_mel_bins: bands of the stored filterbanks. num_cepstra: coefficients kept, the first (energy) included.
    delta_window: frames to each side over which a difference is taken. delta_order: 2 appends first and second differences.
    normalise_variance: divide by the standard deviation, besides subtracting the mean.
    """

    num_mel_bins: int = 40
    num_cepstra: int = 13
    delta_window: int = 2
    delta_order: int = 2
    normalise_variance: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.num_cepstra <= self.num_mel_bins or self.delta_window < 1 or self.delta_order < 0:
            raise ValueError("expected 1 <= num_cepstra <= num_mel_bins, delta_window >= 1 and delta_order >= 0")

    @property
    def dimension(self) -> int:
        """D, the size of one feature vector."""
        return self.num_cepstra * (self.delta_order + 1)


class Cepstra:
    """Filterbanks ``(T, num_mel_bins)`` to ``(T, D)`` float32."""

    def __init__(self, config: CepstraConfig | None = None) -> None:
        self.config = config or CepstraConfig()

    def static(self, fbank: np.ndarray) -> np.ndarray:
        """``(T, num_cepstra)`` float64, not normalised. Raises `UserError` on another number of bands or NaN."""
        if fbank.ndim != 2 or fbank.shape[1] != self.config.num_mel_bins:
            raise UserError(
                f"features have shape {fbank.shape}, expected (frames, {self.config.num_mel_bins}) filterbanks;"
                " compute them with `asr-distill features`"
            )
        if not np.isfinite(fbank).all():
            raise UserError("features hold NaN or infinity; compute them again with `asr-distill features`")
        return tree_features.cepstra(fbank, self.config.num_cepstra)

    def __call__(self, fbank: np.ndarray, statistics: Statistics | None = None) -> np.ndarray:
        """Normalised cepstra with differences; without ``statistics`` those of this utterance are taken."""
        cepstra = self.static(fbank)
        mean, deviation = statistics or _finish(len(cepstra), cepstra.sum(0), np.square(cepstra).sum(0))
        cepstra = cepstra - mean
        if self.config.normalise_variance:
            cepstra /= deviation
        return tree_features.add_deltas(cepstra, self.config.delta_order, self.config.delta_window).astype(np.float32)

    def speaker_statistics(self, cuts: Iterable[Any]) -> dict[str, Statistics]:
        """Mean and standard deviation ``(num_cepstra,)`` by `speaker_of`, over all frames of each speaker's cuts."""
        sums: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}
        for cut in cuts:
            cepstra = self.static(load_fbank(cut))
            count, total, squares = sums.get(speaker_of(cut), (0, 0.0, 0.0))
            sums[speaker_of(cut)] = (count + len(cepstra), total + cepstra.sum(0), squares + np.square(cepstra).sum(0))
        return {speaker: _finish(*values) for speaker, values in sums.items()}

    def of_cut(self, cut: Any, statistics: Mapping[str, Statistics]) -> np.ndarray:
        """``(T, D)`` of one cut, normalised for its speaker (by the cut alone where the speaker is not in ``statistics``)."""
        return self(load_fbank(cut), statistics.get(speaker_of(cut)))


def _finish(count: int, total: np.ndarray, squares: np.ndarray) -> Statistics:
    mean = total / max(count, 1)
    variance = squares / max(count, 1) - np.square(mean)
    return mean, np.sqrt(np.maximum(variance, SMALLEST_DEVIATION**2))


def speaker_of(cut: Any) -> str:
    """The speaker of a cut; a cut without one counts as a speaker of its own."""
    speaker = cut.supervisions[0].speaker if cut.supervisions else None
    return speaker or f"cut:{cut.id}"


def load_fbank(cut: Any) -> np.ndarray:
    """The stored features of a cut, ``(T, bands)``. Raises `UserError` naming the cut where it has none or they are lost."""
    if not cut.has_features:
        raise UserError(f"cut {cut.id!r} has no features; compute them first: asr-distill features")
    return load_features(cut)


def transcript_of(cut: Any) -> tuple[str, ...]:
    """The words of a cut. Raises `UserError` where it has not exactly one supervision."""
    if len(cut.supervisions) != 1:
        raise UserError(f"cut {cut.id!r} has {len(cut.supervisions)} supervisions, expected one; trim the cuts to supervisions")
    return tuple(split_words(normalise_text(cut.supervisions[0].text or ""), f"the transcript of cut {cut.id!r}"))

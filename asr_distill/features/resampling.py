"""Other sampling rates and speeds, and how many samples come out: the one rule for it.

`resample` is lhotse's (torchaudio's) filter, cut or filled up to the rule's count; `resample_sharply` goes by the Fourier
transform, for files that are written anew at another rate.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from lhotse.augmentation.resample import Resample as ResampleTensor
from lhotse.utils import perturb_num_samples
from numpy.typing import NDArray

# The band edge is rolled off over its last 4 % so that clicks do not ring for long; speech features stop well below it.
_ROLL_OFF = 0.04


_LARGEST_KERNEL = 1 << 22  # values of lhotse's filter: rates without a common divisor would ask for gigabytes


def resampled_count(num_samples: int, rate: int, new_rate: int) -> int:
    """How many samples ``num_samples`` at ``rate`` are at ``new_rate``: rounded, halves up, as lhotse does."""
    return (2 * num_samples * new_rate + rate) // (2 * rate)


def count_at_speed(num_samples: int, factor: float) -> int:
    """How many samples are left of ``num_samples`` played ``factor`` times as fast, by lhotse's ``perturb_speed``."""
    return num_samples if factor == 1 else int(perturb_num_samples(num_samples, factor))


def resample(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """``(N,)`` samples at another rate, band-limited, as `resampled_count` counts them."""
    if rate == new_rate:
        return samples
    return fitted(_filtered(samples, rate, new_rate), resampled_count(len(samples), rate, new_rate))


def change_speed(samples: NDArray[np.float32], rate: int, factor: float) -> NDArray[np.float32]:
    """``(N,)`` samples played ``factor`` times as fast, pitch included, as lhotse's ``perturb_speed`` does."""
    if factor == 1:
        return samples
    return fitted(_filtered(samples, round(rate * factor), rate), count_at_speed(len(samples), factor))


def fitted(samples: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The first ``count`` of ``(N,)`` samples, zeros behind them where there are fewer."""
    return np.pad(samples, (0, count - len(samples))) if count > len(samples) else samples[:count]


def _filtered(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    divisor = math.gcd(rate, new_rate)
    if (rate // divisor) * (new_rate // divisor) > _LARGEST_KERNEL:
        return resample_sharply(samples, rate, new_rate)
    converted: NDArray[np.float32] = _resampler(rate, new_rate)(torch.from_numpy(samples[None]))[0].numpy()
    return converted


@lru_cache(maxsize=32)  # lhotse keeps every one, and a manifest may name any number of rates
def _resampler(rate: int, new_rate: int) -> Any:
    return ResampleTensor(rate, new_rate)


def resample_sharply(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """Band-limited conversion of ``(N,)`` samples at ``rate`` Hz to ``(M,)`, M by `resampled_count`,` at ``new_rate`` Hz.

    The spectrum is cut (or zero-padded) at the lower of the two Nyquist frequencies; the signal is taken as zero outside.
    Raises `ValueError` for rates that are not positive.
    """
    if rate <= 0 or new_rate <= 0:
        raise ValueError(f"sampling rates must be positive, found {rate} and {new_rate}")
    if rate == new_rate or len(samples) == 0:
        return samples.astype(np.float32)
    divisor = math.gcd(rate, new_rate)
    up, down = new_rate // divisor, rate // divisor
    # Whole blocks of `down` input samples become whole blocks of `up` outputs; 20 ms of zeros keep the wrapped ends apart.
    blocks = _fast_length(-(-(len(samples) + rate // 50) // down))
    spectrum = np.fft.rfft(samples.astype(np.float64), blocks * down)
    kept = min(blocks * down, blocks * up) // 2 + 1
    spectrum = spectrum[:kept]
    edge = max(1, int(kept * _ROLL_OFF))
    spectrum[-edge:] *= 0.5 * (1 + np.cos(np.pi * np.arange(1, edge + 1) / edge))
    converted = np.fft.irfft(spectrum, blocks * up) * (up / down)
    return fitted(converted.astype(np.float32), resampled_count(len(samples), rate, new_rate))


def _fast_length(length: int) -> int:
    """The next number at or above ``length`` with no prime factor above 5 (what the transform is quick at)."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1

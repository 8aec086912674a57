"""Sampling-rate conversion by the Fourier transform: no filter to design, no dependency besides numpy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# The band edge is rolled off over its last 4 % so that clicks do not ring for long; speech features stop well below it.
_ROLL_OFF = 0.04


def resample(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """Band-limited conversion of ``(N,)`` samples at ``rate`` Hz to ``(round(N * new_rate / rate),)`` at ``new_rate`` Hz.

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
    return converted[: round(len(samples) * new_rate / rate)].astype(np.float32)


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

"""Additive noise at a given signal-to-noise ratio, and levels: what keeps synthesised speech from being trivial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]


def white_noise(length: int, generator: np.random.Generator) -> Signal:
    """``(length,)`` Gaussian samples of unit power."""
    return generator.standard_normal(length).astype(np.float32)


def pink_noise(length: int, generator: np.random.Generator) -> Signal:
    """``(length,)`` samples of unit power whose power density falls as 1/f."""
    spectrum = np.fft.rfft(generator.standard_normal(length))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return unit_power(np.fft.irfft(spectrum, length).astype(np.float32))


def babble(length: int, speech: Sequence[Signal], generator: np.random.Generator, voices: int = 5) -> Signal:
    """``voices`` utterances out of ``speech``, each repeated from a random place on, added up to unit power."""
    total = np.zeros(length, dtype=np.float32)
    for index in generator.choice(len(speech), size=min(voices, len(speech)), replace=False):
        signal = unit_power(speech[int(index)])
        shifted = np.roll(signal, int(generator.integers(len(signal))))
        total += np.resize(shifted, length)
    return unit_power(total)


def unit_power(signal: Signal) -> Signal:
    """``signal`` scaled to a mean square of 1; silence stays as it is."""
    power = float(np.mean(np.square(signal, dtype=np.float64)))
    return signal / np.float32(np.sqrt(power)) if power > 0 else signal


def mix(speech: Signal, noise: Signal, snr_db: float) -> Signal:
    """``speech`` plus unit-power ``noise`` at ``snr_db``; speech power is taken over its non-zero samples."""
    sounding = speech[speech != 0]
    power = float(np.mean(np.square(sounding, dtype=np.float64))) if len(sounding) else 0.0
    return speech + noise * np.float32(np.sqrt(power / 10 ** (snr_db / 10)))


def set_peak(signal: Signal, peak_db: float) -> Signal:
    """``signal`` scaled so that its largest sample lies ``peak_db`` (at most 0) below full scale."""
    peak = float(np.abs(signal).max(initial=0.0))
    return signal * np.float32(10 ** (peak_db / 20) / peak) if peak > 0 else signal

"""Signs that audio is not what a model takes it for: telephone speech under another rate, digital silence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr_distill.features.fbank import Fbank40Config

_WINDOW = 512  # samples
_SPEECH, _UPPER, _MISSING = (300, 3400), (2400, 3300), (5000, 5600)  # hertz; MP3 of few bits has nothing above 5.6 kHz
# Decibels. Of 7,391 wide-band utterances (AN4, LibriSpeech as MP3, speechocean762) none has all three, and 6 in a thousand of
# the same speech brought to 8 kHz and back have not.
_PEAK, _MEAN, _BOTH = -40.0, -40.0, -89.0
_LEAST_LEVEL = -70.0  # of full scale: what is softer says nothing
_LEAST_SECONDS = 0.3


def lacks_upper_band(samples: NDArray[np.float32], sampling_rate: int) -> bool:
    """Whether ``(n,)`` samples of speech have nothing above 4 kHz, as telephone speech at a higher rate; False where unsure.

    Judged by 5.0 to 5.6 kHz: its loudest frames against those of the band of speech, and its mean against 2.4 to 3.3 kHz.
    """
    if sampling_rate < 2 * _MISSING[1] or len(samples) < max(_WINDOW, _LEAST_SECONDS * sampling_rate):
        return False
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[:: _WINDOW // 2] * np.hanning(_WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames))) / np.square(_WINDOW / 4)  # of a sine at full scale: 1
    hertz = np.fft.rfftfreq(_WINDOW, 1 / sampling_rate)
    speech, upper, missing = (power[:, (hertz >= a) & (hertz < b)].mean(axis=1) for a, b in (_SPEECH, _UPPER, _MISSING))
    level = float(np.percentile(speech, 95))
    if _decibels(level) < _LEAST_LEVEL:
        return False
    peak = _decibels(float(np.percentile(missing, 98))) - _decibels(level)
    mean = _decibels(float(missing.mean())) - _decibels(float(upper.mean()))
    return peak < _PEAK and mean < _MEAN and peak + mean < _BOTH


def _decibels(power: float) -> float:
    return float(10 * np.log10(power + 1e-30))


def hears_upper_band(config: Fbank40Config) -> bool:
    """Whether a filterbank has bands in what telephone speech lacks."""
    highest = config.high_freq if config.high_freq > 0 else config.sampling_rate / 2 + config.high_freq
    return highest > _MISSING[0]


def is_constant(features: NDArray[np.float32]) -> bool:
    """Whether all frames of ``(T, D)`` features are alike, as those of digital silence are, and of no speech."""
    return bool(len(features) and float(np.ptp(features, axis=0).max()) < 1e-4)

"""Telephone speech and digital silence are heard, and nothing else is taken for them; on real speech where it is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asr_distill.features import Fbank40, Fbank40Config
from asr_distill.features.audio_files import read_audio
from asr_distill.features.audio_signs import hears_upper_band, is_constant, lacks_upper_band
from asr_distill.features.resampling import resample, resample_sharply

RATE = 16000


def in_16_bits(samples: np.ndarray) -> np.ndarray:
    return (np.round(samples * 32768) / 32768).astype(np.float32)


def share_narrow(paths: list[Path], change) -> float:
    return float(np.mean([lacks_upper_band(change(read_audio(path)[0][0]), RATE) for path in paths]))


@pytest.fixture(scope="session", params=["an4", "speechocean762", "librispeech"])
def speech(request: pytest.FixtureRequest) -> list[Path]:
    """Sixty wide-band utterances of each corpus, from all over it."""
    if request.param == "an4":
        files = sorted(request.getfixturevalue("an4_dir").glob("wav/**/*.wav"))
    elif request.param == "speechocean762":
        files = sorted(request.getfixturevalue("speechocean762_dir").glob("WAVE/**/*.ogg"))
    else:
        files = sorted(request.getfixturevalue("librispeech_small_dir").glob("audio/**/*.mp3"))
    return files[:: max(1, len(files) // 60)]


def test_wide_band_speech_raises_no_alarm(speech: list[Path]) -> None:
    assert share_narrow(speech, lambda samples: samples) == 0
    assert share_narrow(speech, lambda samples: in_16_bits(samples / 50)) == 0  # softly spoken


@pytest.mark.parametrize("way", [resample, resample_sharply])
def test_speech_that_went_through_8_khz_is_heard(speech: list[Path], way) -> None:
    assert share_narrow(speech, lambda samples: in_16_bits(way(in_16_bits(way(samples, RATE, 8000)), 8000, RATE))) > 0.95


@pytest.mark.parametrize("length", [0, 1, 511, 4000, 16000])
def test_what_says_nothing_is_not_narrow(length: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, length).astype(np.float32)
    for samples in (np.zeros(length, np.float32), noise, noise * 1e-4):
        assert not lacks_upper_band(samples, RATE)


def test_only_a_filterbank_that_hears_the_band_asks() -> None:
    assert hears_upper_band(Fbank40Config())
    assert not hears_upper_band(Fbank40Config(sampling_rate=8000))
    assert not hears_upper_band(Fbank40Config(high_freq=3800))


@pytest.mark.parametrize("value", [0.0, 0.25, -1.0])
@pytest.mark.parametrize("snip_edges", [False, True])
def test_constant_audio_is_silence(value: float, snip_edges: bool) -> None:
    fbank = Fbank40(Fbank40Config(snip_edges=snip_edges))
    assert is_constant(fbank.extract(np.full(RATE, value, np.float32), RATE))
    assert not is_constant(fbank.extract(np.random.default_rng(0).normal(0, 1e-3, RATE).astype(np.float32), RATE))

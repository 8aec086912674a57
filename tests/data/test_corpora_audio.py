"""Audio in every container of AN4, audio that is broken, and the conversion of sampling rates against scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from asr_distill.base import UserError
from asr_distill.data.audio_files import find_audio, read_raw, write_wav
from asr_distill.features import audio_files
from asr_distill.features.resampling import resample_sharply as resample


def speech_like(length: int = 8000, seed: int = 0) -> np.ndarray:
    """16-bit low-pass noise: neighbouring samples are alike, as in speech."""
    noise = np.random.default_rng(seed).standard_normal(length + 15)
    return (np.convolve(noise, np.ones(16) / 16, "valid") * 8000).astype(np.int16)


def read_audio(path: Path) -> tuple[np.ndarray, int]:
    return (read_raw(path), 16000) if path.suffix == ".raw" else audio_files.read_audio(path)


def sphere(samples: np.ndarray, *, byte_format: str = "01", count: int | None = None, coding: str = "pcm") -> bytes:
    fields = [
        f"sample_count -i {len(samples) if count is None else count}",
        "sample_rate -i 16000",
        "channel_count -i 1",
        "sample_n_bytes -i 2",
        f"sample_byte_format -s2 {byte_format}",
        f"sample_coding -s{len(coding)} {coding}",
    ]
    header = "\n".join(["NIST_1A", "   1024", *fields, "end_head", ""]).encode().ljust(1024)
    return header + samples.astype(">i2" if byte_format == "10" else "<i2").tobytes()


def contents(samples: np.ndarray) -> dict[str, bytes]:
    return {
        "little.sph": sphere(samples),
        "big.sph": sphere(samples, byte_format="10"),
        "big.raw": samples.astype(">i2").tobytes(),
        "little.raw": samples.astype("<i2").tobytes(),
    }


@pytest.mark.parametrize("name", ["little.sph", "big.sph", "big.raw", "little.raw", "a.wav", "a.flac"])
def test_every_container_gives_the_same_samples(tmp_path: Path, name: str) -> None:
    samples, path = speech_like(), tmp_path / name
    if name in contents(samples):
        path.write_bytes(contents(samples)[name])
    else:
        soundfile.write(path, samples, 16000)
    read, rate = read_audio(path)
    assert rate == 16000
    np.testing.assert_array_equal(read, samples[None].astype(np.float32) / 32768)
    write_wav(tmp_path / "copy.wav", read[0], rate)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "copy.wav", dtype="int16")[0], samples)


def test_sphere_agrees_with_libsndfile(tmp_path: Path) -> None:
    path = tmp_path / "a.sph"
    path.write_bytes(sphere(speech_like(), byte_format="10"))
    try:
        reference, _ = soundfile.read(path, dtype="float32")
    except soundfile.SoundFileError:
        pytest.skip("this libsndfile does not read sphere")
    np.testing.assert_array_equal(read_audio(path)[0][0], reference)


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_16"])
@pytest.mark.parametrize("name", ["a.sph", "a.wv1", "a.WAV"])
def test_sphere_of_telephones_and_under_other_names(tmp_path: Path, subtype: str, name: str) -> None:
    stereo = np.stack([speech_like(), speech_like()[::-1]], 1)
    soundfile.write(tmp_path / name, stereo, 8000, format="NIST", subtype=subtype)
    samples, rate = read_audio(tmp_path / name)
    assert rate == 8000
    np.testing.assert_array_equal(samples.T, soundfile.read(tmp_path / name, dtype="float32")[0])
    assert np.abs(samples.T - stereo / 32768).max() < 0.02
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-100])
    with pytest.raises(UserError, match="truncated"):
        read_audio(tmp_path / name)


def broken(tmp_path: Path, kind: str) -> Path:
    samples = speech_like()
    wav = tmp_path / "whole.wav"
    soundfile.write(wav, samples, 16000)
    path = tmp_path / f"broken{'.wav' if '.' not in kind else '.' + kind.split('.')[1]}"
    if kind == "empty":
        path.touch()
    elif kind == "no samples":
        soundfile.write(path, samples[:0], 16000)
    elif kind == "truncated":
        path.write_bytes(wav.read_bytes()[:5000])
    elif kind == "header only":
        path.write_bytes(wav.read_bytes()[:20])
    elif kind == "text":
        path.write_text("this is not audio at all, whatever its name may say")
    elif kind == "nan":
        floats = samples.astype(np.float32) / 32768
        floats[100] = np.nan
        soundfile.write(path, floats, 16000, subtype="FLOAT")
    elif kind in ("cut.ogg", "cut.flac"):
        soundfile.write(path, np.tile(samples, 10), 16000)
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "cut.sph":
        path.write_bytes(sphere(samples, count=9000))
    elif kind in ("shorten.sph", "shorten.wv1", "shorten.wav"):
        path.write_bytes(sphere(samples, coding="pcm,embedded-shorten-v2.00"))
    elif kind == "odd.raw":
        path.write_bytes(samples.tobytes()[:-1])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such audio file"),
        ("empty", "empty"),
        ("no samples", "empty"),
        ("truncated", "truncated: 4956 bytes of samples, the header promises 16000"),
        ("header only", "truncated"),
        ("text", "not audio that is read here"),
        ("nan", "sample 100 is NaN"),
        ("cut.ogg", "truncated"),
        ("cut.flac", "truncated|cannot read"),
        ("cut.sph", "truncated: 8000 samples, the header promises 9000"),
        ("shorten.sph", r"compressed by shorten are not read here\. Next: sph2pipe -f wav -p .*broken\.sph broken\.pcm\.wav"),
        ("shorten.wv1", r"compressed by shorten are not read here\. Next: sph2pipe"),
        ("shorten.wav", r"compressed by shorten are not read here\. Next: sph2pipe"),
        ("odd.raw", "truncated"),
    ],
)
def test_broken_audio_is_refused_by_name(tmp_path: Path, kind: str, message: str) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(UserError, match=message) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)


def test_find_audio_takes_either_case(tmp_path: Path) -> None:
    (tmp_path / "an1-x.b.WAV").touch()
    assert find_audio(tmp_path / "an1-x.b") == tmp_path / "an1-x.b.WAV"
    assert find_audio(tmp_path / "other") is None


@pytest.mark.parametrize(("rate", "new_rate"), [(22050, 16000), (8000, 16000), (44100, 16000), (16000, 8000)])
def test_resampling_agrees_with_scipy_inside_the_band(rate: int, new_rate: int) -> None:
    time = np.arange(rate) / rate
    signal = sum(np.sin(2 * np.pi * hertz * time + hertz) for hertz in (211.0, 1003.0, 2301.0)) * np.hanning(rate)
    found = resample(signal.astype(np.float32), rate, new_rate)
    expected = resample_poly(signal, new_rate, rate, window=("kaiser", 12.0))[: len(found)]
    assert len(found) == new_rate
    assert np.abs(found - expected).max() < 0.01
    exact = sum(np.sin(2 * np.pi * hertz * np.arange(new_rate) / new_rate + hertz) for hertz in (211.0, 1003.0, 2301.0))
    middle = slice(new_rate // 4, new_rate // 2)
    window = np.interp(np.arange(new_rate) / new_rate, time, np.hanning(rate))
    np.testing.assert_allclose(found[middle], (exact * window)[middle], atol=2e-3)


def test_resampling_removes_what_would_alias() -> None:
    high = np.sin(2 * np.pi * 9500 * np.arange(22050) / 22050).astype(np.float32)
    assert np.abs(resample(high, 22050, 16000)[1000:-1000]).max() < 1e-3


@settings(max_examples=30, deadline=None)
@given(length=st.integers(0, 3000), rate=st.integers(4000, 48000), new_rate=st.sampled_from([8000, 16000]))
def test_resampled_length_and_level(length: int, rate: int, new_rate: int) -> None:
    found = resample(np.full(length, 0.5, dtype=np.float32), rate, new_rate)
    assert found.dtype == np.float32
    assert len(found) == round(length * new_rate / rate) or rate == new_rate
    assert len(found) < 400 or abs(found[len(found) // 2] - 0.5) < 0.02

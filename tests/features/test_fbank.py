import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse.features.base import FeatureExtractor, get_extractor_type
from lhotse.utils import compute_num_frames

from asr_distill.base import UserError, from_mapping
from asr_distill.features import Fbank40, Fbank40Config, config_difference

ROOT = Path(__file__).resolve().parents[2]


def noise(num_samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def assert_lhotse_count(config, lengths):
    extractor, samples = Fbank40(config), noise(max(lengths))
    for length in lengths:
        features = extractor.extract(samples[:length], config.sampling_rate)
        expected = compute_num_frames(length / config.sampling_rate, config.frame_shift, config.sampling_rate)
        assert features.shape == (expected, config.num_mel_bins), length


def test_frame_count_is_lhotses_at_every_length_of_a_low_rate():
    # 25 ms to 2 s in one-sample steps; 4 kHz keeps it quick, and the arithmetic of the count is the same
    assert_lhotse_count(Fbank40Config(sampling_rate=4000, num_mel_bins=8), range(100, 8001))


def test_frame_count_is_lhotses_where_it_changes_at_16_khz():
    around = [160 * frames + 80 + step for frames in range(2, 199) for step in (-1, 0, 1)]
    assert_lhotse_count(Fbank40Config(), [*range(400, 800), *around, 32000])


@pytest.mark.slow
def test_frame_count_is_lhotses_at_every_length_at_16_khz():
    assert_lhotse_count(Fbank40Config(), range(400, 32001))


def test_predicted_frame_count_is_lhotses_at_every_length():
    for rate in (8000, 16000, 22050, 44100):
        config = Fbank40Config(sampling_rate=rate)
        for length in range(round(0.025 * rate), 2 * rate + 1):
            assert config.num_frames(length) == compute_num_frames(length / rate, 0.01, rate)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_other_rates_have_lhotses_count(rate):
    assert_lhotse_count(
        Fbank40Config(sampling_rate=rate, num_mel_bins=20), [rate // 40, rate // 3, rate - 1, rate, rate + rate // 200]
    )


@pytest.mark.parametrize("length", [400, 559, 560, 561, 16000])
def test_snipped_edges_are_honoured(length):
    features = Fbank40(Fbank40Config(snip_edges=True)).extract(noise(length), 16000)
    assert len(features) == (length - 400) // 160 + 1


def test_snipped_frames_are_the_inner_ones_of_a_shifted_signal():
    # Mirrored frame t is centred at 160 t + 80, snipped frame t at 160 t + 200: 120 samples later.
    samples = noise(8000)
    snipped = Fbank40(Fbank40Config(snip_edges=True)).extract(samples, 16000)
    mirrored = Fbank40(Fbank40Config()).extract(samples[120:], 16000)
    np.testing.assert_allclose(mirrored[2:40], snipped[2:40], atol=1e-4)
    assert np.abs(mirrored[0] - snipped[0]).max() > 1e-3


def test_parity_with_lhotses_own_filterbank(an4_dir):
    import soundfile
    from lhotse.features.kaldi.extractors import Fbank, FbankConfig

    path = sorted(an4_dir.glob("wav/an4_clstk/*/*.wav"))[0]
    samples, rate = soundfile.read(str(path), dtype="float32")
    reference = Fbank(
        FbankConfig(
            num_filters=40, low_freq=20.0, high_freq=0.0, dither=0.0, snip_edges=False, torchaudio_compatible_mel_scale=True
        )
    )
    theirs = reference.extract(samples, rate)
    ours = Fbank40().extract(samples, rate)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_parity_with_torchaudio_in_the_system_python(an4_dir, tmp_path):
    system = Path("/usr/bin/python3")
    found = system.exists() and subprocess.run([str(system), "-c", "import torchaudio"], capture_output=True).returncode == 0
    if not found:
        pytest.skip("the system's Python has no torchaudio (Debian: apt-get install python3-torchaudio)")
    script = str(ROOT / "local" / "check_fbank_torchaudio.py")
    wavs = [str(path) for path in sorted(an4_dir.glob("wav/an4_clstk/*/*.wav"))[:60:20]]
    subprocess.run([sys.executable, script, "write", str(tmp_path), *wavs], check=True, capture_output=True)
    done = subprocess.run([str(system), script, "compare", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_tone_lands_in_its_own_band():
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    features = Fbank40().extract(tone, 16000)
    low, tone_mel, high = (1127 * np.log1p(hertz / 700) for hertz in (20, 1000, 8000))
    expected = (tone_mel - low) / (high - low) * 41 - 1
    assert abs(features[50].argmax() - expected) <= 0.5 + 1e-6


def test_shapes_types_and_registration():
    samples = noise(4000)
    ours = Fbank40()
    expected = ours.extract(samples, 16000)
    assert expected.dtype == np.float32
    for variant in (samples[None], torch.from_numpy(samples), torch.from_numpy(samples)[None], samples.astype(np.float64)):
        np.testing.assert_array_equal(ours.extract(variant, 16000), expected)
    assert get_extractor_type("fbank40") is Fbank40
    again = FeatureExtractor.from_dict(json.loads(json.dumps(ours.to_dict())))
    assert isinstance(again, Fbank40)
    assert again.config == ours.config
    assert ours.frame_shift == 0.01
    assert ours.feature_dim(16000) == 40


def test_yaml_round_trip(tmp_path):
    config = Fbank40Config(snip_edges=True, high_freq=-400.0)
    Fbank40(config).to_yaml(tmp_path / "fbank.yaml")
    assert Fbank40.from_yaml(tmp_path / "fbank.yaml").config == config


def test_a_copy_works():
    again = copy.deepcopy(Fbank40(Fbank40Config(num_mel_bins=23)))
    assert again.extract(noise(4000), 16000).shape[1] == 23


@pytest.mark.parametrize(
    ("samples", "rate", "says"),
    [
        (noise(8000), 8000, "resample"),
        (noise(8000).reshape(2, 4000), 16000, "channel"),
        (noise(79), 16000, "too few"),
        (noise(0), 16000, "too few"),
        (np.full(8000, np.nan, dtype=np.float32), 16000, "NaN"),
        (np.full(8000, np.inf, dtype=np.float32), 16000, "infinite"),
    ],
)
def test_bad_audio_is_refused(samples, rate, says):
    with pytest.raises(UserError, match=says):
        Fbank40().extract(samples, rate)


@pytest.mark.parametrize(
    "values",
    [
        {"frame_shift": 0.0125, "sampling_rate": 22050},  # 275.6 samples: Kaldi cuts it off, lhotse rounds it
        {"frame_length": 0.005},
        {"low_freq": 9000.0},
        {"high_freq": 9000.0},
        {"window_type": "kaiser"},
        {"num_mel_bins": 0},
        {"dither": -1.0},
        {"snip_edge": True},
        {"snip_edges": "no"},
    ],
)
def test_bad_configurations_are_refused(values):
    with pytest.raises(UserError):
        from_mapping(Fbank40Config, values)


def test_dither_is_off_by_default_and_reproducible_when_on():
    samples = noise(4000)
    plain = Fbank40().extract(samples, 16000)
    dithered = Fbank40(Fbank40Config(dither=0.01)).extract(samples, 16000)
    np.testing.assert_array_equal(dithered, Fbank40(Fbank40Config(dither=0.01)).extract(samples, 16000))
    assert np.abs(plain - dithered).max() > 1e-3


def test_energy_floor():
    silence = np.zeros(4000, dtype=np.float32)
    assert Fbank40().extract(silence, 16000).max() == pytest.approx(np.log(np.finfo(np.float32).eps), rel=1e-6)
    floored = Fbank40(Fbank40Config(energy_floor=0.1)).extract(silence, 16000)
    np.testing.assert_allclose(floored, np.log(0.1), rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(80, 6000), gain=st.floats(0.1, 0.9))
def test_gain_shifts_all_bins_alike(length, gain):
    samples = noise(length, seed=length)
    loud, soft = Fbank40().extract(samples, 16000), Fbank40().extract(samples * np.float32(gain), 16000)
    above = (soft > -15) & (loud > -15)
    np.testing.assert_allclose((loud - soft)[above], -2 * np.log(gain), atol=2e-2)


def test_mix_adds_power():
    a, b = np.log(np.full((2, 3), 2.0, dtype=np.float32)), np.log(np.full((2, 3), 4.0, dtype=np.float32))
    np.testing.assert_allclose(Fbank40.mix(a, b, 0.5), np.log(4.0), rtol=1e-6)
    assert Fbank40.compute_energy(a) == pytest.approx(12.0)


def test_difference_names_the_fields():
    assert config_difference(Fbank40Config(), Fbank40Config()) == ""
    assert "snip_edges" in config_difference(Fbank40Config(), Fbank40Config(snip_edges=True))


def test_a_description_of_something_else_is_refused_by_name(tmp_path):
    path = tmp_path / "fbank.json"
    path.write_text(json.dumps(Fbank40(Fbank40Config(num_mel_bins=23)).to_dict()))
    assert Fbank40Config.load(path) == Fbank40Config(num_mel_bins=23)
    for text in ("[1]", '{"feature_type": "kaldifeat-fbank"}', '{"num_mel_bin": 40}', "{"):
        path.write_text(text)
        with pytest.raises(UserError, match=str(path)):
            Fbank40Config.load(path)

"""40-dimensional log-Mel filterbanks by kaldi-native-fbank, as a lhotse feature extractor."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import numpy as np
import torch
from lhotse.features.base import FeatureExtractor, register_extractor

from asr_distill.base import UserError, from_mapping, read_json, to_mapping

_FLOAT32_EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Fbank40Config:
    """What the filterbank depends on; every store and bundle carries it whole.

    sampling_rate: hertz; audio of another rate is refused by the extractor, so resample first.
    frame_length, frame_shift: seconds.
    snip_edges: False gives lhotse's count ``(n + shift // 2) // shift`` frames for n samples (the signal is mirrored at its
      edges); True gives ``(n - length) // shift + 1`` whole frames, whose centres lie ``(length - shift) / 2`` later.
    low_freq, high_freq: hertz; a high_freq of 0 or below counts down from the Nyquist frequency. Both as in torchaudio.
    dither: standard deviation of added noise, in the unit of the samples (+-1); its seed is taken from the samples, so the
      same audio gives the same bits.
    energy_floor: floor of the Mel energies before the logarithm.
    """

    sampling_rate: int = 16000
    frame_length: float = 0.025
    frame_shift: float = 0.01
    num_mel_bins: int = 40
    snip_edges: bool = False
    dither: float = 0.0
    low_freq: float = 20.0
    high_freq: float = 0.0
    preemphasis_coefficient: float = 0.97
    remove_dc_offset: bool = True
    window_type: str = "povey"
    round_to_power_of_two: bool = True
    energy_floor: float = _FLOAT32_EPSILON

    def __post_init__(self) -> None:
        if self.sampling_rate <= 0 or self.frame_shift <= 0 or self.frame_length <= 0 or self.num_mel_bins <= 0:
            raise ValueError("sampling_rate, frame_length, frame_shift and num_mel_bins must be above 0")
        for name, most in (("sampling_rate", 1_000_000), ("frame_length", 1), ("frame_shift", 1), ("num_mel_bins", 1000)):
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at most {most}")
        if int(self.sampling_rate * 0.001 * (self.frame_shift * 1000.0) + 1e-6) != self.shift_samples or self.shift_samples < 1:
            raise ValueError(
                f"frame_shift {self.frame_shift} s at {self.sampling_rate} Hz is {self.frame_shift * self.sampling_rate:.3f}"
                " samples, which Kaldi and lhotse round differently; choose a shift of a whole number of samples"
            )
        if self.length_samples < self.shift_samples:
            raise ValueError(f"frame_length {self.frame_length} s is shorter than frame_shift {self.frame_shift} s")
        nyquist = self.sampling_rate / 2
        high = self.high_freq if self.high_freq > 0 else nyquist + self.high_freq
        if not 0 <= self.low_freq < high <= nyquist:
            raise ValueError(
                f"low_freq {self.low_freq} and high_freq {self.high_freq} (that is {high} Hz) must satisfy"
                f" 0 <= low < high <= {nyquist} at {self.sampling_rate} Hz"
            )
        if self.dither < 0 or self.energy_floor < 0:
            raise ValueError("dither and energy_floor must not be negative")
        if self.window_type not in _WINDOWS:
            raise ValueError(f"window_type {self.window_type!r} is not one of {', '.join(_WINDOWS)}")

    @property
    def shift_samples(self) -> int:
        """Samples from one frame to the next, rounded as lhotse does."""
        return round(self.frame_shift * self.sampling_rate)

    @property
    def length_samples(self) -> int:
        """Samples in one frame."""
        return int(self.sampling_rate * 0.001 * (self.frame_length * 1000.0) + 1e-6)

    def num_frames(self, num_samples: int) -> int:
        """The number of frames of ``num_samples`` samples; 0 where there is not one."""
        if self.snip_edges:
            return max(0, (num_samples - self.length_samples) // self.shift_samples + 1)
        return (num_samples + self.shift_samples // 2) // self.shift_samples

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as lhotse's configurations give."""
        return to_mapping(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Fbank40Config:
        """The reverse of `to_dict`. Raises `UserError` on unknown keys."""
        return from_mapping(Fbank40Config, data, "filterbank configuration")

    @staticmethod
    def load(path: str | Path) -> Fbank40Config:
        """What an ``fbank.json`` says. Raises `UserError` naming the file where it is something else."""
        values = read_json(path)
        if not isinstance(values, dict) or values.pop("feature_type", Fbank40.name) != Fbank40.name:
            raise UserError(f"{path} does not describe {Fbank40.name} features; give the fbank.json of `asr-distill features`")
        return from_mapping(Fbank40Config, values, str(path))


_WINDOWS = ("povey", "hanning", "hamming", "rectangular", "blackman", "sine")


@register_extractor
class Fbank40(FeatureExtractor):
    """Log-Mel filterbank energies, Kaldi's arithmetic: parity with ``torchaudio.compliance.kaldi.fbank`` on samples in +-1."""

    name = "fbank40"
    config_type = Fbank40Config

    def __init__(self, config: Fbank40Config | None = None) -> None:
        super().__init__(config)
        self._options = self._native_options()

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config}  # the native options do not travel between processes

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.config = state["config"]
        self._options = self._native_options()

    @property
    def frame_shift(self) -> float:
        """Seconds between frames."""
        return self.config.frame_shift

    def feature_dim(self, sampling_rate: int) -> int:
        """The number of Mel bins."""
        return self.config.num_mel_bins

    def extract(self, samples: np.ndarray | torch.Tensor, sampling_rate: int) -> np.ndarray:
        """Features of one channel of audio.

        samples: ``(n,)`` or ``(1, n)`` in +-1. Returns ``(T, num_mel_bins)`` float32, natural logarithm of energies.
        Raises `UserError` where the sampling rate is not the configuration's, there is more than one channel, a sample is
        not finite, or there is too little audio for one frame.
        """
        if int(sampling_rate) != self.config.sampling_rate:
            raise UserError(
                f"audio of {sampling_rate} Hz met a filterbank for {self.config.sampling_rate} Hz; resample it first, or set"
                " sampling_rate in the feature configuration"
            )
        wave = samples.detach().cpu().numpy() if isinstance(samples, torch.Tensor) else np.asarray(samples)
        if wave.ndim == 2 and wave.shape[0] == 1:
            wave = wave[0]
        if wave.ndim != 1:
            raise UserError(f"expected one channel of audio, (n,) or (1, n); found shape {tuple(wave.shape)}: pick a channel")
        wave = np.ascontiguousarray(wave, dtype=np.float32)
        expected = self.config.num_frames(len(wave))
        if expected < 1:
            raise UserError(f"{len(wave)} samples at {sampling_rate} Hz are too few for one frame; remove the utterance")
        if not np.isfinite(wave).all():
            raise UserError(f"{int((~np.isfinite(wave)).sum())} of {len(wave)} samples are NaN or infinite; mend the audio")
        if self.config.dither > 0:
            generator = np.random.default_rng(zlib.crc32(wave.tobytes()))
            wave = wave + (self.config.dither * generator.standard_normal(len(wave))).astype(np.float32)
        native = knf.OnlineFbank(self._options)
        native.accept_waveform(sampling_rate, wave)
        native.input_finished()
        features = np.stack([native.get_frame(index) for index in range(native.num_frames_ready)])
        if len(features) != expected:
            raise RuntimeError(f"kaldi-native-fbank gave {len(features)} frames for {len(wave)} samples, expected {expected}")
        if self.config.energy_floor > _FLOAT32_EPSILON:  # the native floor
            np.maximum(features, np.float32(np.log(self.config.energy_floor)), out=features)
        return features

    @staticmethod
    def mix(features_a: np.ndarray, features_b: np.ndarray, energy_scaling_factor_b: float) -> np.ndarray:
        """Adds two signals in the power domain (lhotse calls it for mixed cuts); ``(T, bins)`` each."""
        power = np.exp(features_a) + energy_scaling_factor_b * np.exp(features_b)
        return np.log(np.maximum(power, _FLOAT32_EPSILON)).astype(np.float32)

    @staticmethod
    def compute_energy(features: np.ndarray) -> float:
        """Total energy of ``(T, bins)`` log energies."""
        return float(np.sum(np.exp(features)))

    @staticmethod
    def scale(features: np.ndarray, energy_scaling_factor: float) -> np.ndarray:
        """Log energies scaled by a factor of energy."""
        return features + np.float32(np.log(energy_scaling_factor))

    def _native_options(self) -> knf.FbankOptions:
        config, options = self.config, knf.FbankOptions()
        frame, mel = options.frame_opts, options.mel_opts
        frame.samp_freq = config.sampling_rate
        frame.frame_length_ms = config.frame_length * 1000.0
        frame.frame_shift_ms = config.frame_shift * 1000.0
        frame.snip_edges = config.snip_edges
        frame.dither = 0.0  # ours is reproducible
        frame.preemph_coeff = config.preemphasis_coefficient
        frame.remove_dc_offset = config.remove_dc_offset
        frame.window_type = config.window_type
        frame.round_to_power_of_two = config.round_to_power_of_two
        mel.num_bins = config.num_mel_bins
        mel.low_freq = config.low_freq
        mel.high_freq = config.high_freq
        options.use_energy = False
        options.energy_floor = 0.0
        return options


def config_difference(ours: Fbank40Config, theirs: Fbank40Config) -> str:
    """The fields in which two configurations differ, as ``name: ours, theirs`` lines; empty where there are none."""
    return "; ".join(
        f"{field.name}: {getattr(ours, field.name)} and {getattr(theirs, field.name)}"
        for field in fields(Fbank40Config)
        if getattr(ours, field.name) != getattr(theirs, field.name)
    )

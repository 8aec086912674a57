"""Reads the audio of a cut, whole and clean, or says what is wrong with it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lhotse import MonoCut, MultiCut
from lhotse.augmentation.torchaudio import get_or_create_resampler
from lhotse.utils import fastcopy

from asr_distill.base import UserError

_LENGTH_TOLERANCE = 0.025  # seconds; lossy formats differ a little in length from decoder to decoder


def audio_files(cut: Any) -> list[str]:
    """The local audio files that a cut reads, for messages."""
    recordings = [cut.recording] if getattr(cut, "recording", None) is not None else []
    recordings += [
        track.cut.recording for track in getattr(cut, "tracks", ()) if getattr(track.cut, "recording", None) is not None
    ]
    return [str(source.source) for recording in recordings for source in recording.sources if source.type == "file"]


def name_of(cut: Any) -> str:
    """``cut ID (FILE)``: how a message names a cut."""
    files = audio_files(cut)
    return f"cut {cut.id}" + (f" ({', '.join(files)})" if files else "")


def pick_channel(cut: Any, channel: int | None) -> Any:
    """The cut with one channel: what it names itself, or ``channel`` where that is given.

    Raises `UserError` where a recording has several channels and none is picked, or not the one that was asked for.
    """
    if not isinstance(cut, (MonoCut, MultiCut)):
        return cut
    channels = sorted(cut.recording.channel_ids) if cut.recording is not None else []
    if channel is None and isinstance(cut, MonoCut):
        return cut
    if channel is None and len(channels) == 1:
        channel = channels[0]
    if channel is None:
        raise UserError(f"{name_of(cut)} has channels {channels}; pick one with --channel {channels[0] if channels else 0}")
    if channels and channel not in channels:
        raise UserError(f"{name_of(cut)} has channels {channels}, not {channel}; pick one of them with --channel")
    supervisions = [fastcopy(supervision, channel=channel) for supervision in cut.supervisions]
    return MonoCut(
        id=cut.id,
        start=cut.start,
        duration=cut.duration,
        channel=channel,
        supervisions=supervisions,
        recording=cut.recording,
        custom=cut.custom,
    )


def missing_wav_bytes(path: str | Path) -> int:
    """How many bytes of samples the header of a RIFF wav file promises that the file does not have; 0 for other files.

    libsndfile reads a truncated file as a shorter one without a word, so the header is looked at here.
    """
    with open(path, "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        head = stream.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        while len(chunk := stream.read(8)) == 8:
            name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            if name == b"data":
                # 0 and the largest number are what streaming writers leave there
                return 0 if length in (0, 0xFFFFFFFF, 0x7FFFFFFF) else max(0, stream.tell() + length - size)
            stream.seek(length + (length & 1), 1)
    return 0


def read_samples(cut: Any, sampling_rate: int) -> np.ndarray:
    """The samples ``(n,)`` float32 in +-1 of a cut with one channel, resampled to ``sampling_rate`` where that differs.

    Raises `UserError` naming the cut and its file where the audio is missing, empty, truncated, unreadable or not finite.
    """
    for path in audio_files(cut):
        if not Path(path).is_file():
            raise UserError(f"{name_of(cut)}: the audio file is missing; mend the path in the manifest or remove the cut")
        if Path(path).stat().st_size == 0:
            raise UserError(f"{name_of(cut)}: the audio file is empty (0 bytes); replace it or remove the cut")
        if missing := missing_wav_bytes(path):
            raise UserError(
                f"{name_of(cut)}: the audio file is truncated, {missing} bytes are missing at its end; fetch it again"
            )
    _check_length(cut)
    if cut.duration <= 0 or cut.num_samples == 0:
        raise UserError(f"{name_of(cut)}: no samples; remove the cut")
    try:
        samples = cut.load_audio()
    except Exception as error:  # decoders raise anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{name_of(cut)}: the audio is truncated or cannot be read ({type(error).__name__}: {reason}); fetch it again, or"
            " make the manifest anew"
        ) from None
    if samples is None or samples.size == 0:
        raise UserError(f"{name_of(cut)}: no samples; remove the cut")
    if samples.shape[0] != 1:
        raise UserError(f"{name_of(cut)} has {samples.shape[0]} channels; pick one with --channel")
    bad = samples.size - int(np.isfinite(samples).sum())
    if bad:
        raise UserError(
            f"{name_of(cut)}: {bad} of {samples.size} samples are NaN or infinite; mend the audio or remove the cut"
        )
    return resample(samples[0].astype(np.float32, copy=False), int(cut.sampling_rate), sampling_rate)


def _check_length(cut: Any) -> None:
    """Refuses a file of another length than its manifest says: lhotse would mirror up to half a second of it in silence."""
    recording = getattr(cut, "recording", None)
    if recording is None or recording.transforms:
        return
    for path in audio_files(cut):
        try:
            info = soundfile.info(path)
        except soundfile.SoundFileError:
            continue  # a format that lhotse reads by other means, or no audio: loading tells
        seconds = info.frames / info.samplerate
        if abs(seconds - recording.duration) > _LENGTH_TOLERANCE:
            raise UserError(
                f"{name_of(cut)}: the file has {seconds:.3f} s, the manifest says {recording.duration:.3f} s: it is truncated"
                " or was changed; fetch it again or make the manifest anew"
            )


def resample(samples: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """``(n,)`` samples at another rate, band-limited; needs neither torchaudio nor scipy."""
    if source_rate == target_rate:
        return samples
    return get_or_create_resampler(source_rate, target_rate)(torch.from_numpy(samples[None]))[0].numpy()


def change_speed(samples: np.ndarray, sampling_rate: int, factor: float) -> np.ndarray:
    """``(n,)`` samples played ``factor`` times as fast, pitch included, as lhotse's ``perturb_speed`` does."""
    return resample(samples, round(sampling_rate * factor), sampling_rate)

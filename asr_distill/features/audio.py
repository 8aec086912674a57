"""The audio of a cut: one channel, whole and clean, as many samples as the cut has; or what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lhotse import MonoCut, MultiCut, Recording
from lhotse.audio import AudioSource
from lhotse.augmentation import AudioTransform, Resample, Speed
from lhotse.utils import compute_num_samples, fastcopy
from numpy.typing import NDArray

from asr_distill.base import UserError
from asr_distill.features.audio_files import audio_info, open_audio
from asr_distill.features.resampling import change_speed, fitted, resample
from asr_distill.features.sources import check_sources, is_allowed_command

_LENGTH_TOLERANCE = 0.025  # seconds; lossy formats differ a little in length from decoder to decoder
_SAVE = "save the audio to files first (lhotse: CutSet.save_audios) and give the CutSet that comes back"


def recording_of(path: str | Path, recording_id: str | None = None) -> Recording:
    """A lhotse recording of an audio file, with rate, channels and samples as our reader finds them.

    ``lhotse.Recording.from_file`` believes libsndfile's counts instead. Raises `UserError` where the file cannot be read.
    """
    info = audio_info(path)
    channels = list(range(info.channels))
    return Recording(
        id=recording_id or Path(path).stem,
        sources=[AudioSource("file", channels, str(path))],
        sampling_rate=info.sampling_rate,
        num_samples=info.num_samples,
        duration=info.num_samples / info.sampling_rate,
        channel_ids=channels,
    )


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


def check_one_recording(cut: Any) -> None:
    """Raises `UserError` for mixed, padded and appended cuts: their labels and times are those of several recordings."""
    if not isinstance(cut, (MonoCut, MultiCut)):
        raise UserError(
            f"{name_of(cut)} is a {type(cut).__name__} (mixed, padded or appended), expected one recording; {_SAVE}"
        )


def pick_channel(cut: Any, channel: int | None) -> Any:
    """The cut with one channel: what it names itself, or ``channel`` where that is given.

    Raises `UserError` where a recording has several channels and none is picked, or not the one that was asked for, and for
    mixed, padded and appended cuts.
    """
    check_one_recording(cut)
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


def read_samples(cut: Any, sampling_rate: int) -> NDArray[np.float32]:
    """The samples ``(n,)`` float32 in +-1 of a cut with one channel, n by `resampled_count` of the cut's own samples and rate.

    What the recording's transforms (speed, volume, ...) say is done. Raises `UserError` naming the cut and its file where the
    audio is missing, empty, cut short, damaged, of another length, rate or number of channels than the manifest says, not
    finite or far outside +-1.
    """
    check_sources(cut)
    check_one_recording(cut)
    if cut.recording is None:
        raise UserError(f"{name_of(cut)} has no recording; give a CutSet with recordings")
    if cut.duration <= 0 or not cut.num_samples:
        raise UserError(f"{name_of(cut)}: no samples; remove the cut")
    if not isinstance(cut, MonoCut):
        raise UserError(f"{name_of(cut)} has channels {cut.channel}; pick one with --channel")
    return resample(_recorded(cut), int(cut.sampling_rate), sampling_rate)


def _recorded(cut: MonoCut) -> NDArray[np.float32]:
    """``(cut.num_samples,)`` at the cut's own rate."""
    recording = cut.recording
    source = next((source for source in recording.sources if cut.channel in source.channels), None)
    if source is None:
        raise UserError(f"{name_of(cut)} has channels {recording.channel_ids}, not {cut.channel}; make the manifest anew")
    if is_allowed_command(source):
        return _commanded(cut)
    changes = list(recording.transforms or ())
    offset, duration = cut.start, cut.duration
    for change in reversed(changes):
        offset, duration = change.reverse_timestamps(offset=offset, duration=duration, sampling_rate=recording.sampling_rate)
    try:
        samples = _part_of_file(cut, Path(source.source), source.channels, offset, duration, _first_rate(recording))
    except UserError as error:
        message = str(error)
        raise UserError(
            message if message.startswith("cut ") else f"{name_of(cut)}: {_without_path(message, source.source)}"
        ) from None
    for change in changes:
        samples = _changed(samples, change, recording.sampling_rate)
    if abs(len(samples) - cut.num_samples) > _LENGTH_TOLERANCE * cut.sampling_rate:
        raise UserError(
            f"{name_of(cut)}: the manifest says {cut.num_samples} samples, the audio has {len(samples)}; make it anew"
        )
    return fitted(samples, cut.num_samples)


def _first_rate(recording: Recording) -> int:
    """Hertz of the file, by the recording's rate and what is done to its samples."""
    rate = recording.sampling_rate
    for change in reversed(recording.transforms or ()):
        if isinstance(change, Resample):
            if change.target_sampling_rate != rate:
                raise UserError(f"it is resampled to {change.target_sampling_rate} Hz and then at {rate} Hz; make it anew")
            rate = change.source_sampling_rate
    return int(rate)


def _commanded(cut: MonoCut) -> NDArray[np.float32]:
    """What lhotse reads from the command that the manifest names, to which the user has agreed."""
    try:
        samples = np.asarray(cut.load_audio(), np.float32)[0]
    except Exception as error:  # lhotse and its decoders raise anything
        raise UserError(f"{name_of(cut)}: its command gives no audio ({error}); mend it, or save the audio to a file") from None
    return fitted(samples, cut.num_samples)


def _part_of_file(
    cut: MonoCut, path: Path, channels: list[int], offset: float, duration: float, stated_rate: int
) -> NDArray[np.float32]:
    """``(n,)`` samples of the cut's channel at ``stated_rate``, the file's by the manifest, which must agree with the file."""
    audio, recording = open_audio(path), cut.recording
    rate = audio.sampling_rate
    tolerance = max(_LENGTH_TOLERANCE, audio.filling / rate)
    if audio.channels != len(channels):
        raise UserError(
            f"{name_of(cut)}: the file has {audio.channels} channels, the manifest says {len(channels)}; make it anew"
        )
    if rate != stated_rate and not audio.any_rate:
        raise UserError(f"{name_of(cut)}: the file is at {rate} Hz, the manifest says {stated_rate} Hz; make it anew")
    if not recording.transforms:
        seconds = audio.num_samples / rate
        if abs(seconds - recording.duration) > tolerance:
            raise UserError(
                f"{name_of(cut)}: the file has {seconds:.3f} s, the manifest says {recording.duration:.3f} s: it is truncated,"
                " was changed, or its length was counted wrongly; fetch it again, or make the manifest anew (recordings by"
                " asr_distill.features.recording_of, where lhotse counts less than there is)"
            )
    start, count = compute_num_samples(offset, rate), compute_num_samples(duration, rate)
    there = max(0, min(count, audio.num_samples - start))
    if count - there > tolerance * rate:
        raise UserError(
            f"{name_of(cut)}: it ends at {offset + duration:.3f} s of a file of {audio.num_samples / rate:.3f} s; fetch it"
            " again or make the manifest anew"
        )
    samples = fitted(audio.read(start, there)[channels.index(cut.channel)], count)
    return resample(samples, rate, stated_rate)


def _changed(samples: NDArray[np.float32], change: AudioTransform, sampling_rate: int) -> NDArray[np.float32]:
    """What lhotse's transform makes of ``(n,)`` samples; resampled by our filter, for lhotse's depends on what is installed."""
    if isinstance(change, Resample):
        return resample(samples, change.source_sampling_rate, change.target_sampling_rate)
    if isinstance(change, Speed):
        return change_speed(samples, sampling_rate, change.factor)
    return np.asarray(change(samples[None], sampling_rate), np.float32)[0]


def _without_path(message: str, path: str) -> str:
    return message.removeprefix(path).removeprefix(": ").strip()

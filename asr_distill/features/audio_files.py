"""The one reader of audio files: by content, never by suffix, to the end, and without another program.

Linear, float, mu-law and A-law samples of wav, W64, AIFF, AU and sphere are read where they stand. FLAC, Ogg and MP3 are
decoded by libsndfile, whose count of samples is not believed: it is compared with what the container says, page by page.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_distill.base import UserError, check_file
from asr_distill.features.containers.aiff import aiff_samples, au_samples
from asr_distill.features.containers.decoded import DecodedSamples
from asr_distill.features.containers.flac import FLAC_MAGIC, FlacSamples, flac_samples
from asr_distill.features.containers.mpeg import id3_length, is_mpeg, mpeg_samples
from asr_distill.features.containers.ogg import OGG_MAGIC, ogg_samples
from asr_distill.features.containers.plain import PlainSamples
from asr_distill.features.containers.sphere import SPHERE_MAGIC, sphere_samples
from asr_distill.features.containers.wave import W64_MAGIC, wave_samples

LOUDEST = 16.0  # samples in +-1 may exceed full scale, never by so much; in 16-bit samples it is next to silence
_READ = "wav, flac, ogg (Vorbis, Opus), mp3, aiff, au or NIST sphere"
_KEPT_BYTES = 1 << 26  # of samples; the last recording is kept however long it is
_Key = tuple[str, int, int, int]


@dataclass(frozen=True)
class AudioInfo:
    """sampling_rate: hertz; num_samples: of each of ``channels``, as many as `read_audio` gives."""

    sampling_rate: int
    channels: int
    num_samples: int


class AudioFile:
    """An audio file that is open for reading, at ``sampling_rate`` hertz; see `open_audio`.

    any_rate: whether the rate is the decoder's choice, as it is of Opus. filling: samples at the end of compressed wav that are
    none of the recording's, and that other readers count.
    """

    def __init__(self, path: Path, source: PlainSamples | DecodedSamples) -> None:
        self.path, self._source = path, source
        self.sampling_rate, self.channels = source.sampling_rate, source.channels
        self.any_rate = isinstance(source, DecodedSamples) and source.any_rate
        self.filling = source.surplus if isinstance(source, DecodedSamples) else 0

    @cached_property
    def num_samples(self) -> int:
        """Of each channel; decoded where the container has no trustworthy count."""
        stated = self._source.num_samples if isinstance(self._source, (PlainSamples, FlacSamples)) else None
        count = self.decoded().shape[1] if stated is None else stated
        if not count:
            raise UserError(f"{self.path}: the audio is empty (a header and no samples)")
        return int(count)

    def read(self, start: int = 0, count: int | None = None) -> NDArray[np.float32]:
        """``count`` samples ``(channels, count)`` float32 in +-1 from ``start`` on; without ``count`` to the end.

        Wav and its relatives and FLAC are sought; Ogg and MP3 decoded whole, once for cuts that follow one another. Raises
        `UserError` where the file is cut short or damaged, does not have these samples, or has some that are not finite or far
        outside +-1.
        """
        count = self.num_samples - start if count is None else count
        if start < 0 or count < 0 or start + count > self.num_samples:
            raise UserError(f"{self.path}: samples {start} to {start + count} were asked for, it has {self.num_samples}")
        part = count < self.num_samples
        if isinstance(self._source, PlainSamples) or (
            part and isinstance(self._source, FlacSamples) and self._source.num_samples
        ):
            samples = self._source.read(start, count)
        else:
            samples = self.decoded()[:, start : start + count].copy()  # kept ones must not change
        _check_values(self.path, samples)
        return samples

    def decoded(self) -> NDArray[np.float32]:
        """All of it."""
        if isinstance(self._source, PlainSamples):
            return self._source.read(0, self._source.num_samples)
        return _recent.samples(self._source)


def open_audio(path: str | Path) -> AudioFile:
    """Opens an audio file, recognised by its content.

    Raises `UserError` naming the file where it is missing, empty, cut short, damaged or of a kind that is not read.
    """
    return AudioFile(Path(path), _open(Path(path)))


def audio_info(path: str | Path) -> AudioInfo:
    """What a file holds, exactly: what only decoding proves is decoded. Raises what `read_audio` raises."""
    audio = open_audio(path)
    source = audio._source
    if isinstance(source, DecodedSamples) or source.encoding == "float":
        audio.read()
    return AudioInfo(audio.sampling_rate, audio.channels, audio.num_samples)


def read_audio(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """All samples ``(channels, n)`` float32 in +-1, and their rate in hertz. Raises what `open_audio` and its reading raise."""
    audio = open_audio(path)
    return audio.read(), audio.sampling_rate


def _open(path: Path) -> PlainSamples | DecodedSamples:
    check_file(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the audio files in it, such as {path}/*.wav")
    if not path.is_file():
        raise UserError(f"{path}: no such audio file, it is missing; mend the path")
    try:
        with open(path, "rb") as stream:
            head = stream.read(16)
            if not head:
                raise UserError(f"{path}: the audio file is empty (0 bytes); replace it or leave it out")
            if head[:3] == b"ID3" and len(head) == 16:
                stream.seek(start := id3_length(head))
                return flac_samples(path, start) if stream.read(4) == FLAC_MAGIC else mpeg_samples(path)
        if (head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE") or head == W64_MAGIC:
            return wave_samples(path)
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return aiff_samples(path)
        if head[:4] == b".snd":
            return au_samples(path)
        if head[:8] == SPHERE_MAGIC:
            return sphere_samples(path)
        if head[:4] == FLAC_MAGIC:
            return flac_samples(path)
        if head[:4] == OGG_MAGIC:
            return ogg_samples(path)
        if is_mpeg(path):
            return mpeg_samples(path)
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror or error}); mend that and run it again") from None
    raise UserError(
        f"{path}: not audio that is read here, or its beginning cannot be read; give {_READ}, or convert it with ffmpeg"
    )


class _Recent:
    """The recordings decoded last: cuts of one recording come behind one another, and must not decode it each time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: dict[_Key, threading.Lock] = {}
        self._kept: OrderedDict[_Key, NDArray[np.float32]] = OrderedDict()

    def samples(self, source: DecodedSamples) -> NDArray[np.float32]:
        stat = source.path.stat()
        key = str(source.path), stat.st_size, stat.st_mtime_ns, stat.st_ino
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:  # one thread decodes, the others wait for it
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            try:
                samples = source.read_all()
            finally:
                with self._lock:
                    self._busy.pop(key, None)
            samples.flags.writeable = False
            with self._lock:
                self._kept[key] = samples
                while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
                    self._kept.popitem(last=False)
        return samples


_recent = _Recent()


def _check_values(path: Path, samples: NDArray[np.float32]) -> None:
    if not samples.size:
        return
    largest = float(np.abs(samples).max())
    if not np.isfinite(largest):
        wrong = ~np.isfinite(samples)
        raise UserError(
            f"{path}: sample {int(wrong.any(axis=0).argmax())} is NaN or infinite ({int(wrong.sum())} of {samples.size} are);"
            " mend the audio, or leave it out"
        )
    if largest > LOUDEST:
        raise UserError(
            f"{path}: samples reach {largest:g}, expected +-1 (full scale); divide them by what full scale is, or leave it out"
        )

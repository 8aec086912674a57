"""MP3 (MPEG audio, all layers), frame by frame: every byte belongs to a frame or a tag, and none is missing at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from asr_distill.base import UserError
from asr_distill.features.containers.decoded import DecodedSamples, Part

# kbit/s by (MPEG-1, layer); MPEG-2 and 2.5 share theirs
_V1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_V2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_V2[3] = _V2[2]
_DECODER_DELAY = 529  # samples
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the version's two bits


@dataclass(frozen=True)
class _Frame:
    length: int  # bytes
    bit_rate: int
    samples: int
    rate: int
    channels: int
    tag: int  # where a Xing or Info tag would be


@dataclass
class _Stream:
    """Frames of one encoding. ``tagged``: the end of a frame that describes the rest, which says that there are ``said``."""

    start: int
    end: int
    tagged: int | None = None
    said: int | None = None
    unheard: int = 0  # samples of the encoder's own that decoders leave out
    frames: list[_Frame] = field(default_factory=list)


def mpeg_header(head: bytes) -> _Frame | None:
    """The frame that begins with these four bytes; None where none does (free bit rates are not understood)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, speed, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or speed in (0, 15) or rate == 3:
        return None
    first, mono, padding, hertz = version == 3, head[3] >> 6 == 3, head[2] >> 1 & 1, _RATES[version][rate]
    bits = 1000 * (_V1 if first else _V2)[layer][speed - 1]
    samples = {1: 384, 2: 1152, 3: 1152 if first else 576}[layer]
    length = (12 * bits // hertz + padding) * 4 if layer == 1 else samples // 8 * bits // hertz + padding
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return _Frame(length, bits, samples, hertz, 1 if mono else 2, 4 + side)


def is_mpeg(path: Path) -> bool:
    """Whether MPEG audio begins here: a frame and, where the file goes on, another behind it."""
    with open(path, "rb") as stream:
        head = stream.read(10)
        at = id3_length(head) if head[:3] == b"ID3" and len(head) == 10 else 0
        stream.seek(at)
        frame = mpeg_header(stream.read(4))
        if frame is None:
            return at > 0
        stream.seek(at + frame.length)
        following = stream.read(4)
    return len(following) < 4 or mpeg_header(following) is not None or following[:3] in (b"TAG", b"ID3", b"APE")


def mpeg_samples(path: Path) -> DecodedSamples:
    """The samples of all encodings that an MP3 file holds, one behind the other.

    Raises `UserError` where bytes are neither frames nor tags, a frame is cut short, or there are fewer than a header promises.
    """
    data = path.read_bytes()
    streams = [stream for stream in _streams(path, data) if stream.frames]
    if not streams:
        raise UserError(f"{path}: truncated: MP3 without a frame of audio; fetch it again")
    parts: list[Part] = []
    for stream in streams:
        count = sum(frame.samples for frame in stream.frames)
        if stream.said is not None and stream.said > len(stream.frames):
            raise UserError(
                f"{path}: truncated: {len(stream.frames)} MP3 frames, its header promises {stream.said}; fetch it again"
            )
        trusted = stream.tagged is not None and stream.said == len(stream.frames) and stream.unheard < count
        if trusted:
            parts.append((data[stream.start : stream.end], count - stream.unheard, "MP3 frames"))
        else:
            start = stream.start if stream.tagged is None else stream.tagged
            constant = len({frame.bit_rate for frame in stream.frames}) == 1
            described = b"" if constant else _description(data[start : start + 4], len(stream.frames))
            parts.append((described + data[start : stream.end], count, "MP3 frames"))
    first = streams[0].frames[0]
    return DecodedSamples(path, first.rate, first.channels, parts, slack=2 * first.samples)


def _description(head: bytes, frames: int) -> bytes:
    """A Xing frame that tells libsndfile how many frames follow: where bit rates vary it guesses, and reads no further."""
    new = bytes(
        [head[0], head[1] | 1, 0xE0 | head[2] & 0x0C, head[3]]
    )  # the highest bit rate, for room; no checksum, no padding
    frame = mpeg_header(new)
    if frame is None or new[1] >> 1 & 3 != 1:  # layers I and II know no such frame
        return b""
    return (new.ljust(frame.tag, b"\0") + b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")).ljust(
        frame.length, b"\0"
    )


def _streams(path: Path, data: bytes) -> list[_Stream]:
    streams: list[_Stream] = []
    kinds: set[tuple[int, int]] = set()
    at, fresh = 0, True
    while at < len(data):
        frame = mpeg_header(data[at : at + 4])
        if frame is None:
            at, fresh = _behind_tag(path, data, at), True
            continue
        end = at + frame.length
        if end > len(data):
            raise UserError(f"{path}: truncated: its last MP3 frame is cut short; fetch it again")
        tag = _tag(data[at:end], frame)
        if fresh or tag is not None:
            streams.append(_Stream(at, end))
            fresh = False
        stream = streams[-1]
        stream.end = end
        if tag is None:
            stream.frames.append(frame)
        else:
            stream.tagged, (stream.said, stream.unheard) = end, tag
        kinds.add((frame.rate, frame.channels))
        if len(kinds) > 1:
            raise UserError(f"{path}: MP3 frames of {sorted(kinds)} (rate, channels) in one file; decode its parts apart")
        at = end
    return streams


def _tag(content: bytes, frame: _Frame) -> tuple[int | None, int] | None:
    """What a frame that describes the rest says: how many frames there are, and samples that are not heard; else None."""
    if content[36:40] == b"VBRI" and len(content) >= 54:
        return int.from_bytes(content[50:54], "big"), 0
    if content[frame.tag : frame.tag + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(content[frame.tag + 4 : frame.tag + 8], "big")
    at = frame.tag + 8
    if not flags & 1:
        return None, 0
    said = int.from_bytes(content[at : at + 4], "big")
    encoder = content[at + sum(length for bit, length in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit) :]
    if len(encoder) < 24:
        return said, 0
    trimmed = int.from_bytes(encoder[21:24], "big")
    # Of what the encoder added at the end, the decoder's own delay is never there.
    return said, (trimmed >> 12) + max(trimmed & 0xFFF, _DECODER_DELAY)


def id3_length(head: bytes) -> int:
    """Bytes of an ID3v2 tag that begins with these ten."""
    seven = [byte & 127 for byte in head[6:10]]
    return 10 + (seven[0] << 21 | seven[1] << 14 | seven[2] << 7 | seven[3]) + (10 if head[5] & 16 else 0)


def _behind_tag(path: Path, data: bytes, at: int) -> int:
    """Where a tag, or zeros that fill a gap, end. Raises `UserError` for anything else, and for a tag that is cut short."""
    head = data[at : at + 32]
    end = at
    if head[:3] == b"ID3" and len(head) >= 10:
        end = at + id3_length(head)
    elif head[:3] == b"TAG":
        end = at + 128
    elif head[:8] == b"APETAGEX" and len(head) == 32:
        end = at + int.from_bytes(head[12:16], "little") + (32 if head[23] & 0x20 else 0)
    elif head[:11] == b"LYRICSBEGIN" and (found := data.find(b"LYRICS200", at)) > 0:
        end = found + 9
    elif head[:1] == b"\0":
        end = len(data) - len(data[at:].lstrip(b"\0"))
    if not at < end <= len(data):
        raise UserError(
            f"{path}: truncated or damaged: neither an MP3 frame nor a tag at byte {at} of {len(data)}; fetch it again"
        )
    return end

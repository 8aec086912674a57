"""Apple's AIFF and AIFC, and Sun's AU (.snd): big-endian relatives of wav."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from asr_distill.base import UserError
from asr_distill.features.containers.plain import PlainSamples, bytes_of_samples, check_rest, streamed

_CODINGS = {b"NONE": "signed", b"twos": "signed", b"sowt": "signed", b"in24": "signed", b"in32": "signed", b"raw ": "unsigned"}
_CODINGS |= {b"fl32": "float", b"FL32": "float", b"fl64": "float", b"FL64": "float"}
_CODINGS |= {b"ulaw": "ulaw", b"ULAW": "ulaw", b"alaw": "alaw", b"ALAW": "alaw"}
# Sun's numbers of encodings: what they are, and bytes of a sample
_AU_CODINGS = {1: ("ulaw", 1), 2: ("signed", 1), 3: ("signed", 2), 4: ("signed", 3), 5: ("signed", 4)}
_AU_CODINGS |= {6: ("float", 4), 7: ("float", 8), 27: ("alaw", 1)}


def aiff_samples(path: Path) -> PlainSamples:
    """The samples of an AIFF or AIFC file. Raises `UserError` where it is damaged, cut short or compressed."""
    size = path.stat().st_size
    common, sound = b"", None
    with open(path, "rb") as stream:
        at = 12
        while at + 8 <= size:
            stream.seek(at)
            name, length = stream.read(4), int.from_bytes(stream.read(4), "big")
            if name == b"COMM":
                common = stream.read(min(length, 64))
            elif name == b"SSND":
                sound = at + 8 + 8 + int.from_bytes(stream.read(4), "big")
                promised = length - (sound - at - 8)
                if common:
                    break
            at += 8 + length + length % 2
        if sound is None or len(common) < 18:
            raise UserError(f"{path}: truncated: an AIFF header without {'samples' if common else 'a description'}")
    channels, count, bits = (int.from_bytes(common[a:b], "big") for a, b in ((0, 2), (2, 6), (6, 8)))
    coding = common[18:22] or b"NONE"
    encoding, width = _CODINGS.get(coding), {"ulaw": 1, "alaw": 1}.get(_CODINGS.get(coding, ""), -(-bits // 8))
    if encoding is None or channels < 1 or not 1 <= width <= 8:
        raise UserError(f"{path}: AIFC of coding {coding!r}, which is not read here. Next: convert it with sox or ffmpeg")
    frame = channels * width
    if promised <= 0 or streamed(length):
        count = bytes_of_samples(path, sound, 0, size, frame) // frame
    elif promised - count * frame not in (0, 1):  # libsndfile counts the byte that fills the chunk up
        raise UserError(f"{path}: damaged: {count} samples of {frame} bytes in a chunk of {promised} bytes; fetch it again")
    else:
        bytes_of_samples(path, sound, count * frame, size, frame)
    return PlainSamples(path, _extended(common[8:18]), channels, encoding, width, coding != b"sowt", sound, count)


def _extended(raw: bytes) -> int:
    """A whole number out of an 80-bit float; 0 where it is none that a rate may be."""
    exponent, mantissa = int.from_bytes(raw[:2], "big") - 16383 - 63, int.from_bytes(raw[2:], "big")
    return mantissa >> -exponent if -64 < exponent <= 0 else 0


def au_samples(path: Path) -> PlainSamples:
    """The samples of an AU file. Raises `UserError` where it is damaged, cut short or compressed."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        offset, promised, kind, rate, channels = _numbers(stream)
    if kind not in _AU_CODINGS or not 24 <= offset <= size or channels < 1:
        raise UserError(f"{path}: an AU file of encoding {kind}, {channels} channels; it is not read here, convert it with sox")
    encoding, width = _AU_CODINGS[kind]
    length = bytes_of_samples(path, offset, promised, size, channels * width)
    if not streamed(promised):
        check_rest(path, size - offset - length)
    return PlainSamples(path, rate, channels, encoding, width, True, offset, length // (channels * width))


def _numbers(stream: BinaryIO) -> list[int]:
    stream.seek(4)
    head = stream.read(20)
    return [int.from_bytes(head[at : at + 4], "big") for at in range(0, 20, 4)]

"""RIFF wav (also RIFX, RF64, BW64) and Sony's W64: their chunks, and the layout of the samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from asr_distill.base import UserError
from asr_distill.features.containers.decoded import DecodedSamples
from asr_distill.features.containers.plain import PlainSamples, bytes_of_samples, check_rest, streamed

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_BLOCKS = {2: "Microsoft ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM 6.10"}  # formats whose blocks hold a fixed number of samples
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # of a format number as a GUID
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of a chunk's name as a GUID, but for riff's
W64_MAGIC = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
_HEAD = 4096  # the longest fmt, ds64 or fact chunk that is looked at


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int  # of its content
    length: int  # as its header has it


def wave_samples(path: Path) -> PlainSamples | DecodedSamples:
    """The samples of a wav file. Raises `UserError` where it is damaged, cut short, or of a coding that is not read."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        magic = stream.read(16)
        w64, order = magic == W64_MAGIC, "big" if magic[:4] == b"RIFX" else "little"
        heads: dict[bytes, bytes] = {}
        for chunk in _chunks(stream, size, w64, order):
            if chunk.name == b"data":
                return _layout(path, stream, size, chunk, heads, order, w64)
            stream.seek(chunk.start)
            heads.setdefault(chunk.name, stream.read(min(chunk.length, _HEAD)))
    raise UserError(f"{path}: truncated: a wav header without a data chunk; fetch it again")


def _chunks(stream: BinaryIO, size: int, w64: bool, order: str, position: int | None = None) -> Iterator[_Chunk]:
    """The chunks from ``position`` on, up to where the file ends or no chunk begins."""
    at = (40 if w64 else 12) if position is None else position
    head = 24 if w64 else 8
    while at + head <= size:
        stream.seek(at)
        raw = stream.read(head)
        name, length = raw[:4], int.from_bytes(raw[16 if w64 else 4 :], order) - (24 if w64 else 0)  # type: ignore[arg-type]
        named = raw[4:16] == _W64_TAIL if w64 else all(32 <= byte < 127 for byte in name)
        if not named or length < 0:
            return
        yield _Chunk(name, at + head, length)
        at += head + length + (-length % 8 if w64 else length % 2)


def _layout(
    path: Path, stream: BinaryIO, size: int, data: _Chunk, heads: dict[bytes, bytes], order: str, w64: bool
) -> PlainSamples | DecodedSamples:
    fmt = heads.get(b"fmt ", b"")
    if len(fmt) < 16:
        raise UserError(f"{path}: damaged: a wav file without a fmt chunk before its samples; fetch it again")

    def number(at: int, width: int, content: bytes = fmt) -> int:
        return int.from_bytes(content[at : at + width], order)  # type: ignore[arg-type]

    kind, channels, rate, frame, bits = number(0, 2), number(2, 2), number(4, 4), number(12, 2), number(14, 2)
    if kind == _EXTENSIBLE and len(fmt) >= 40 and fmt[26:40] == _GUID_TAIL:
        kind = number(24, 2)
    promised = data.length
    if b"ds64" in heads and promised == 0xFFFFFFFF:
        promised = number(8, 8, heads[b"ds64"])
    if promised == 0 and _is_chain(stream, size, data.start, w64, order):
        raise UserError(f"{path}: the audio is empty (a header and no samples)")
    if kind in _BLOCKS:
        return _in_blocks(path, size, data.start, promised, frame, number(18, 2), heads, rate, channels, _BLOCKS[kind])
    if kind not in (_PCM, _FLOAT, _ALAW, _ULAW):
        raise UserError(
            f"{path}: a wav file of format {kind:#06x}, which is not read here. Next: convert it with sox or ffmpeg"
        )
    width, rest = divmod(frame, max(channels, 1))
    if channels < 1 or rest or not width or bits > 8 * width or (kind == _FLOAT and bits != 8 * width):
        raise UserError(
            f"{path}: damaged: its header says {channels} channels of {bits} bits in {frame} bytes a sample; fetch it again"
        )
    plain = "unsigned" if width == 1 else "signed"
    encoding = {_PCM: plain, _FLOAT: "float", _ALAW: "alaw", _ULAW: "ulaw"}[kind]
    length = bytes_of_samples(path, data.start, promised, size, frame)
    end = data.start + length
    ends = [position for position in (end + -end % 8, end, end + 1) if _is_chain(stream, size, position, w64, order)]
    if not streamed(promised) and not ends:
        check_rest(path, size - end)
    return PlainSamples(path, rate, channels, encoding, width, order == "big", data.start, length // frame)


def _is_chain(stream: BinaryIO, size: int, position: int, w64: bool, order: str) -> bool:
    """Whether chunks, or nothing, fill the file from ``position`` on."""
    end = position
    for chunk in _chunks(stream, size, w64, order, position):
        end = chunk.start + chunk.length
    return size - 8 < end <= size + 1


def _in_blocks(
    path: Path,
    size: int,
    start: int,
    promised: int,
    block: int,
    each: int,
    heads: dict[bytes, bytes],
    rate: int,
    channels: int,
    name: str,
) -> DecodedSamples:
    """Compressed samples: as many as whole blocks hold, less what the fact chunk says that the last one was filled with."""
    if not block or not each or promised > size - start or not promised:
        raise UserError(
            f"{path}: truncated: {size - start} bytes of {name}, the header promises {promised} in blocks of {block} bytes"
            f" ({each} samples); fetch it again, or convert it to PCM where it was made"
        )
    if promised % block > 1:  # libsndfile counts the byte that fills the chunk up
        raise UserError(f"{path}: truncated: it ends within a block of {name}; fetch it again")
    whole = promised // block * each
    said = int.from_bytes(heads.get(b"fact", b"")[:4], "little")
    count = said if whole - each < said <= whole else whole
    return DecodedSamples(
        path, rate, channels, [(path, count, f"blocks of {name}")], surplus=2 * each
    )  # what fills the last block, and one more that libsndfile makes of a filling byte

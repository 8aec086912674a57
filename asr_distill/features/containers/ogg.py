"""Ogg with Vorbis, Opus or FLAC in it, page by page: every page whole, none missing, every stream closed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from asr_distill.base import UserError
from asr_distill.features.containers.decoded import DecodedSamples, Part

OGG_MAGIC = b"OggS"
_FIRST, _LAST = 2, 4  # bits of a page's kind
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)  # at which libsndfile decodes Opus, where its header names one of them
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass(frozen=True)
class _Page:
    start: int
    end: int
    kind: int
    position: int  # of the last sample that ends on it
    serial: bytes
    number: int
    content: int  # where it begins


def ogg_samples(path: Path) -> DecodedSamples:
    """The samples of all streams of an Ogg file, one behind the other.

    Raises `UserError` where a page is damaged, cut short or missing, a stream is not closed or runs beside another, or holds
    something else than Vorbis, Opus or FLAC.
    """
    data = path.read_bytes()
    parts: list[Part] = []
    described: tuple[int, int] | None = None
    first: _Page | None = None
    previous: _Page | None = None
    for page in _pages(path, data):
        if first is None:
            if not page.kind & _FIRST:
                raise UserError(f"{path}: damaged: an Ogg stream without its first page; fetch it again")
            first = page
        elif page.kind & _FIRST or page.serial != first.serial:
            raise UserError(
                f"{path}: streams beside one another in one Ogg file, or one that was cut short and another behind it; expected"
                " one behind the other. Next: take the speech out with ffmpeg, or fetch it again"
            )
        elif previous is not None and page.number != previous.number + 1:
            raise UserError(f"{path}: damaged: pages {previous.number + 1} to {page.number - 1} of its stream are missing")
        previous = page
        if page.kind & _LAST:
            rate, channels, count = _stream(path, data[first.content : first.end], page.position)
            if described not in (None, (rate, channels)):
                raise UserError(
                    f"{path}: joined streams of {described} and {(rate, channels)} (rate, channels); take them apart"
                )
            described = rate, channels
            parts.append((data[first.start : page.end], count, "pages"))
            first = previous = None
    if first is not None or described is None:
        raise UserError(
            f"{path}: truncated: the Ogg stream has no closing page. Next: fetch it again; where its recorder never writes one,"
            f" ffmpeg -i {path.name} -c copy closed{path.suffix}"
        )
    return DecodedSamples(path, *described, parts, any_rate=b"OpusHead" in data[:64])


def _pages(path: Path, data: bytes) -> list[_Page]:
    pages, at = [], 0
    while at < len(data):
        segments = data[at + 26] if at + 27 <= len(data) else 0
        content = at + 27 + segments
        end = content + sum(data[at + 27 : content])
        if at + 27 > len(data) or end > len(data):
            raise UserError(f"{path}: truncated: its last Ogg page is cut short; fetch it again")
        if data[at : at + 4] != OGG_MAGIC or _checksum(data[at:end]) != int.from_bytes(data[at + 22 : at + 26], "little"):
            raise UserError(f"{path}: truncated or damaged: no whole Ogg page at byte {at} of {len(data)}; fetch it again")
        position = int.from_bytes(data[at + 6 : at + 14], "little", signed=True)
        number = int.from_bytes(data[at + 18 : at + 22], "little")
        pages.append(_Page(at, end, data[at + 5], position, data[at + 14 : at + 18], number, content))
        at = end
    return pages


def _checksum(page: bytes) -> int:
    """Ogg's CRC: zlib's polynomial with the bits of each byte, and of the result, the other way round, and begun at 0."""
    blank = page[:22] + bytes(4) + page[26:]
    return int(f"{zlib.crc32(blank.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)


def _stream(path: Path, head: bytes, position: int) -> tuple[int, int, int]:
    """Rate, channels and samples of a stream that begins with ``head`` and ends at ``position``."""
    if head[:7] == b"\x01vorbis" and len(head) >= 16:
        return int.from_bytes(head[12:16], "little"), head[11], position
    if head[:8] == b"OpusHead" and len(head) >= 16:
        said, skipped = int.from_bytes(head[12:16], "little"), int.from_bytes(head[10:12], "little")
        rate = said if said in _OPUS_RATES else 48000
        return rate, head[9], -(-(position - skipped) * rate // 48000)
    if head[:5] == b"\x7fFLAC" and len(head) >= 35:
        packed = int.from_bytes(head[27:35], "big")
        return packed >> 44, (packed >> 41 & 7) + 1, position
    raise UserError(f"{path}: Ogg with {head[:8]!r}, expected Vorbis, Opus or FLAC. Next: convert it with ffmpeg")

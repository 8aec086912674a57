"""Samples that stand in a file one after another: linear, floating-point, mu-law or A-law; read exactly, from any place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_distill.base import UserError

Encoding = str  # "signed", "unsigned" (8 bits only), "float", "ulaw", "alaw"
_WIDTHS = {"signed": (1, 2, 3, 4), "unsigned": (1,), "float": (4, 8), "ulaw": (1,), "alaw": (1,)}
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # hertz; what is outside is a damaged header
MOST_CHANNELS = 1024
# What programs write that cannot seek back to correct a size: nothing, or about the most that a (signed) 32-bit number holds.
_STREAMED_SLACK = 1 << 16
_LONGEST_REST = 4096  # bytes behind the samples that may be anything


@dataclass(frozen=True)
class PlainSamples:
    """Where the samples of a file are: ``num_samples`` of each of ``channels``, interleaved, from byte ``offset`` on."""

    path: Path
    sampling_rate: int
    channels: int
    encoding: Encoding
    width: int
    big_endian: bool
    offset: int
    num_samples: int

    def __post_init__(self) -> None:
        check_rate_and_channels(self.path, self.sampling_rate, self.channels)
        if self.width not in _WIDTHS.get(self.encoding, ()):
            raise UserError(
                f"{self.path}: {self.encoding} samples of {self.width} bytes are not read here; convert it with sox"
            )

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Samples ``(channels, count)`` float32 in +-1, from sample ``start`` on."""
        size = self.channels * self.width
        with open(self.path, "rb") as stream:
            stream.seek(self.offset + start * size)
            data = stream.read(count * size)
        if len(data) != count * size:
            raise UserError(f"{self.path}: truncated while it was read; fetch it again")
        values = _decoded(data, self.encoding, self.width, ">" if self.big_endian else "<")
        return np.ascontiguousarray(values.reshape(count, self.channels).T)


def check_rate_and_channels(path: Path, rate: int, channels: int) -> None:
    """Raises `UserError` for numbers that no recording has."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or not 1 <= channels <= MOST_CHANNELS:
        raise UserError(
            f"{path}: its header says {rate} Hz and {channels} channels, expected {LOWEST_RATE} to {HIGHEST_RATE} Hz and 1 to"
            f" {MOST_CHANNELS} channels; the header is damaged, fetch the file again"
        )


def bytes_of_samples(path: Path, offset: int, promised: int, size: int, frame: int) -> int:
    """The bytes of samples of a file of ``size`` bytes whose header promises ``promised`` of them from ``offset`` on.

    frame: bytes of one sample of all channels. A size that a program leaves which could not seek back is read to the end of the
    file. Raises `UserError` where samples are missing.
    """
    there = size - offset
    if promised > there or promised == 0:
        if not streamed(promised):
            raise UserError(
                f"{path}: truncated: {max(there, 0)} bytes of samples, the header promises {promised}; fetch it again"
            )
        promised = max(there, 0)
    if promised % frame:
        raise UserError(f"{path}: truncated: it ends within a sample ({promised} bytes, {frame} a sample); fetch it again")
    return promised


def streamed(promised: int) -> bool:
    """Whether a size in a header stands for "until the end"."""
    return promised == 0 or any(abs(promised - most) <= _STREAMED_SLACK for most in (1 << 31, 1 << 32)) or promised >= 1 << 62


def check_rest(path: Path, rest: int) -> None:
    """Raises `UserError` where ``rest`` bytes behind the samples belong to nothing that the header names."""
    if rest > _LONGEST_REST:
        raise UserError(
            f"{path}: {rest} bytes follow the samples that the header counts; it is damaged, or was written for a shorter file."
            f" Next: where they are samples too, sox --ignore-length {path} whole.wav"
        )


def _decoded(data: bytes, encoding: Encoding, width: int, order: str) -> NDArray[np.float32]:
    if encoding == "float":
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, and refused later
            return np.frombuffer(data, f"{order}f{width}").astype(np.float32)
    if encoding in ("ulaw", "alaw"):
        return (_ULAW if encoding == "ulaw" else _ALAW)[np.frombuffer(data, np.uint8)]
    if encoding == "unsigned":
        return ((np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128).astype(np.float32)
    if width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)  # the lowest byte stays 0
        triples = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide[:, 1:] = triples if order == "<" else triples[:, ::-1]
        return (wide.view("<i4")[:, 0] / np.float64(1 << 31)).astype(np.float32)
    return (np.frombuffer(data, f"{order}i{width}") / np.float64(1 << (8 * width - 1))).astype(np.float32)


def _ulaw_table() -> NDArray[np.float32]:
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = ((((code & 15).astype(np.int32) << 3) + 132) << ((code >> 4) & 7)) - 132
    return (np.where(code & 128, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_table() -> NDArray[np.float32]:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    mantissa, exponent = (code & 15).astype(np.int32), ((code >> 4) & 7).astype(np.int32)
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0))
    return (np.where(code & 128, magnitude, -magnitude) / 32768).astype(np.float32)


_ULAW, _ALAW = _ulaw_table(), _alaw_table()

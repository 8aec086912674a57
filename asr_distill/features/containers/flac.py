"""FLAC: what the header says of the samples, their digest included, which is compared when all of them were decoded."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr_distill.base import UserError
from asr_distill.features.containers.decoded import DecodedSamples

FLAC_MAGIC = b"fLaC"
_ID3_END = 128  # bytes of a tag that some programs append


@dataclass(frozen=True)
class FlacSamples(DecodedSamples):
    """A FLAC file. ``bits`` of a sample; ``digest``: MD5 of the samples, all zeros where the encoder did not know it."""

    bits: int = 16
    digest: bytes = bytes(16)

    @property
    def num_samples(self) -> int | None:
        """What the header says; None where it does not (written through a pipe)."""
        return self.parts[0][1]

    def read_all(self) -> NDArray[np.float32]:
        samples = super().read_all()
        if any(self.digest) and self.bits in (8, 16, 24):
            whole = np.rint(samples.T * np.float32(1 << (self.bits - 1))).astype("<i4").tobytes()
            raw = np.frombuffer(whole, np.uint8).reshape(-1, 4)[:, : self.bits // 8].tobytes()
            if hashlib.md5(raw, usedforsecurity=False).digest() != self.digest:
                raise UserError(f"{self.path}: truncated or damaged: its samples have another digest than its header says")
        return samples

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Samples ``(channels, count)`` from ``start`` on: FLAC is sought exactly. For files that say how long they are."""
        try:
            source = self.parts[0][0]
            with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as stream:
                stream.seek(start)
                samples = stream.read(count, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise UserError(f"{self.path}: truncated or damaged: libsndfile cannot read it ({error}); fetch it again") from None
        if len(samples) != count:
            raise UserError(f"{self.path}: truncated: {len(samples)} of {count} samples from {start} on could be read")
        return np.ascontiguousarray(samples.T)


def flac_samples(path: Path, start: int = 0) -> FlacSamples:
    """The samples of a FLAC file that begins at byte ``start``. Raises `UserError` where its header is damaged."""
    with open(path, "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _ID3_END))
        end = size - _ID3_END if stream.read(3) == b"TAG" else size
        stream.seek(start)
        head = stream.read(42)
        stream.seek(start)
        source = path if (start, end) == (0, size) else stream.read(end - start)  # libsndfile stumbles over tags
    if len(head) < 42 or head[4] & 127 or head[5:8] != b"\0\0\x22":
        raise UserError(f"{path}: damaged: a FLAC file without a description of its stream; fetch it again")
    packed = int.from_bytes(head[18:26], "big")
    rate, channels, bits, total = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1, packed & (1 << 36) - 1
    return FlacSamples(path, rate, channels, [(source, total or None, "header")], bits=bits, digest=head[26:42])

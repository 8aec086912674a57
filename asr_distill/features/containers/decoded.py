"""Samples that libsndfile decodes, always to the end: its own count is not believed, but compared with the container's."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr_distill.base import UserError
from asr_distill.features.containers.plain import check_rate_and_channels

_BLOCK = 1 << 16
Part = tuple[Path | bytes, int | None, str]  # a stream, how many samples it should give (None: not known), who says so


class _Forward(soundfile.SoundFile):
    """Read from the front to the end, without asking libsndfile where it is: that fails for some piped files."""

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True)
class DecodedSamples:
    """Streams behind one another, each decoded whole.

    surplus: samples above the count that are filling, and left out. any_rate: whether the rate is the decoder's choice (Opus).
    slack: samples by which decoders may differ from the count, all of which are kept (MP3).
    """

    path: Path
    sampling_rate: int
    channels: int
    parts: Sequence[Part]
    surplus: int = 0
    any_rate: bool = False
    slack: int = 0

    def __post_init__(self) -> None:
        check_rate_and_channels(self.path, self.sampling_rate, self.channels)

    def read_all(self) -> NDArray[np.float32]:
        """Samples ``(channels, num_samples)`` float32. Raises `UserError` where they are not as many as there should be."""
        return np.concatenate([self._decoded(*part) for part in self.parts], axis=1)

    def _decoded(self, source: Path | bytes, expected: int | None, who: str) -> NDArray[np.float32]:
        blocks, most = [], None if expected is None else expected + self.surplus + self.slack
        count = 0
        try:
            with _Forward(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as stream:
                if (stream.samplerate, stream.channels) != (self.sampling_rate, self.channels):
                    raise UserError(
                        f"{self.path}: a part of {stream.samplerate} Hz and {stream.channels} channels in a file of"
                        f" {self.sampling_rate} Hz and {self.channels}; decode the parts apart"
                    )
                while len(block := stream.read(_BLOCK, dtype="float32", always_2d=True)):
                    blocks.append(block.T)
                    count += len(block)
                    if most is not None and count > most:
                        break
        except (soundfile.SoundFileError, RuntimeError, ValueError, MemoryError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{self.path}: truncated or damaged: libsndfile cannot read it ({reason}); fetch it again"
            ) from None
        if expected is not None and most is not None and not expected - self.slack <= count <= most:
            state = "truncated" if count < expected else "damaged"
            raise UserError(
                f"{self.path}: {state}: {count} samples could be read, its {who} promise {expected}; fetch it again"
            )
        samples = np.concatenate(blocks, axis=1) if blocks else np.zeros((self.channels, 0), np.float32)
        return samples[:, :expected] if self.surplus else samples

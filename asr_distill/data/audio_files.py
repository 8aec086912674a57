"""Audio files of a corpus: found by name, headerless ones read, others written anew as wav.

`asr_distill.features.audio_files` reads all that have a header.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asr_distill.base import UserError

ByteOrder = Literal["auto", "big", "little"]
SUFFIXES = (".wav", ".sph", ".raw", ".flac", ".ogg", ".opus", ".mp3")


def find_audio(stem: Path) -> Path | None:
    """The file ``stem`` with the first of `SUFFIXES` (either case) that exists."""
    for suffix in (*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES)):
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    return None


def write_wav(path: Path, samples: NDArray[np.float32], rate: int) -> None:
    """Writes ``(N,)`` samples in [-1, 1] as a 16-bit RIFF wav; what was 16 bit before keeps its bits."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    integers = np.clip(np.round(samples.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)
    soundfile.write(str(path), integers, rate, subtype="PCM_16", format="WAV")


def read_raw(path: Path, byte_order: ByteOrder = "auto") -> NDArray[np.float32]:
    """``(1, N)`` samples float32 in +-1 of a file of 16-bit samples without a header.

    Raises `UserError` where it is cut short.
    """
    data = path.read_bytes()
    if not data:
        raise UserError(f"{path}: the audio file is empty (0 bytes); replace it or leave it out")
    if len(data) % 2:
        raise UserError(f"{path}: truncated: {len(data)} bytes are not a whole number of 16-bit samples")
    order = guess_byte_order(data) if byte_order == "auto" else byte_order
    integers = np.frombuffer(data, dtype=">i2" if order == "big" else "<i2")
    return integers.astype(np.float32)[None] / np.float32(32768)


def guess_byte_order(data: bytes) -> Literal["big", "little"]:
    """The byte order under which 16-bit samples make the smoother signal: swapped speech is close to white noise."""

    def roughness(order: str) -> float:
        signal = np.frombuffer(data, dtype=order).astype(np.float64)
        return float(np.abs(np.diff(signal)).mean()) if len(signal) > 1 else 0.0

    return "big" if roughness(">i2") < roughness("<i2") else "little"

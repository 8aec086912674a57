"""Audio files made in memory: every container, and headers that lie."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

RATE = 16000


def speech_like(length: int = 20011, seed: int = 0, channels: int = 1) -> np.ndarray:
    """``(n, channels)`` float32 low-pass noise that fills a third of the scale."""
    noise = np.random.default_rng(seed).standard_normal((length + 15, channels))
    smooth = np.stack([np.convolve(column, np.ones(16) / 16, "valid") for column in noise.T], axis=1)
    return (0.3 * smooth / np.abs(smooth).max()).astype(np.float32)


def encoded(samples: np.ndarray, kind: str, subtype: str, rate: int = RATE) -> bytes:
    """What libsndfile writes."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def wav(samples: np.ndarray, *, data_size: int | None = None, riff_size: int | None = None, rate: int = RATE) -> bytes:
    """16-bit RIFF; ``data_size`` and ``riff_size`` are what the header says instead of the truth."""
    body = np.round(samples * 32767).astype("<i2").tobytes()
    said = len(body) if data_size is None else data_size
    whole = min(36 + said, 0xFFFFFFFF) if riff_size is None else riff_size
    fmt = struct.pack("<IHHIIHH", 16, 1, samples.shape[1], rate, rate * 2 * samples.shape[1], 2 * samples.shape[1], 16)
    return b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + fmt + b"data" + struct.pack("<I", said) + body


def chunk(name: bytes, content: bytes, *, padded: bool = True) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (padded and len(content) % 2)


def without_total(flac: bytes, *, digest: bool = False) -> bytes:
    """A FLAC stream as from a pipe: it does not say how many samples there are, nor (by default) their digest."""
    packed = int.from_bytes(flac[18:26], "big") >> 36 << 36
    return flac[:18] + packed.to_bytes(8, "big") + (flac[26:42] if digest else bytes(16)) + flac[42:]


# container, coding: everything that is read, and what of it is exact
KINDS = [
    *(("WAV", coding) for coding in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("WAV", coding) for coding in ("IMA_ADPCM", "MS_ADPCM", "GSM610")),
    *(("WAVEX", coding) for coding in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("RF64", coding) for coding in ("PCM_16", "PCM_24", "FLOAT")),
    *(("W64", coding) for coding in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT")),
    *(("AIFF", coding) for coding in ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("AU", coding) for coding in ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("NIST", coding) for coding in ("PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW")),
    *(("FLAC", coding) for coding in ("PCM_S8", "PCM_16", "PCM_24")),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]

"""Audio files of a corpus, read whole and refused by name where they are not what they say they are.

RIFF wav, NIST sphere and raw 16-bit PCM are measured against their own headers, because libsndfile reads what is left of a
truncated file without a word; everything else (flac, ogg, ...) is left to libsndfile and its frame count.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asr_distill.base import UserError

ByteOrder = Literal["auto", "big", "little"]
SUFFIXES = (".wav", ".sph", ".raw", ".flac", ".ogg")


def find_audio(stem: Path) -> Path | None:
    """The file ``stem`` with the first of `SUFFIXES` (either case) that exists."""
    for suffix in (*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES)):
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    return None


def read_audio(path: Path, *, raw_rate: int = 16000, raw_byte_order: ByteOrder = "auto") -> tuple[NDArray[np.float32], int]:
    """Samples ``(channels, N)`` float32 in [-1, 1] and the sampling rate in Hz.

    ``raw_rate`` and ``raw_byte_order`` describe headerless ``.raw`` files (16-bit, one channel). Raises `UserError` naming the
    file where it is missing, empty, truncated, unreadable, or holds NaN or infinite samples.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such audio file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes)")
    suffix = path.suffix.lower()
    if suffix == ".sph" or _is_sphere(path):
        samples, rate = _read_sphere(path)
    elif suffix == ".raw":
        samples, rate = _read_raw(path, raw_byte_order), raw_rate
    else:
        if suffix == ".wav":
            _check_riff(path)
        elif suffix == ".ogg":
            _check_ogg(path)
        samples, rate = _read_with_libsndfile(path)
    if samples.shape[1] == 0:
        raise UserError(f"{path}: the audio is empty (a header and no samples)")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).any(axis=0).argmax())
        raise UserError(f"{path}: sample {bad} is NaN or infinite; make the file again from its source")
    return samples, rate


def write_wav(path: Path, samples: NDArray[np.float32], rate: int) -> None:
    """Writes ``(N,)`` samples in [-1, 1] as a 16-bit RIFF wav; what was 16 bit before keeps its bits."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    integers = np.clip(np.round(samples.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)
    soundfile.write(str(path), integers, rate, subtype="PCM_16", format="WAV")


def _read_with_libsndfile(path: Path) -> tuple[NDArray[np.float32], int]:
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as stream:
            expected, rate = stream.frames, stream.samplerate
            samples = stream.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise UserError(f"{path}: libsndfile cannot read it ({error}); is it audio, and whole?") from None
    if len(samples) != expected:
        raise UserError(f"{path}: truncated: {len(samples)} samples could be read, the header promises {expected}")
    return np.ascontiguousarray(samples.T), rate


def _check_riff(path: Path) -> None:
    """Refuses a RIFF file whose data chunk ends after the file does."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        if stream.read(4) != b"RIFF":
            return  # another format under this name: libsndfile decides
        position = 12
        while position + 8 <= size:
            stream.seek(position)
            name, length = stream.read(4), int.from_bytes(stream.read(4), "little")
            if name == b"data":
                # 0 and 0xFFFFFFFF are what streaming writers leave: the length is then the rest of the file
                if 0 < length < 0xFFFFFFFF and position + 8 + length > size:
                    raise UserError(f"{path}: truncated: {size - position - 8} bytes of samples, the header promises {length}")
                return
            position += 8 + length + length % 2
    raise UserError(f"{path}: truncated: a wav header without a data chunk")


def _check_ogg(path: Path) -> None:
    """Refuses an Ogg stream whose last page is cut or is not marked as the last."""
    with open(path, "rb") as stream:
        stream.seek(max(0, path.stat().st_size - (1 << 17)))
        tail = stream.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return  # not Ogg at all: libsndfile says so
    header = tail[page : page + 27]
    whole = len(header) == 27 and page + 27 + header[26] + sum(tail[page + 27 : page + 27 + header[26]]) <= len(tail)
    if not whole or not header[5] & 4:
        raise UserError(f"{path}: truncated: the Ogg stream has no closing page")


def _is_sphere(path: Path) -> bool:
    """Sphere files come under other names: TIMIT's are .WAV, WSJ's .wv1 and .wv2."""
    with open(path, "rb") as stream:
        return stream.read(8) == b"NIST_1A\n"


def _read_sphere(path: Path) -> tuple[NDArray[np.float32], int]:
    data = path.read_bytes()
    lines = data[:1024].split(b"\n")
    if lines[0] != b"NIST_1A" or len(lines) < 2 or not lines[1].strip().isdigit():
        raise UserError(f"{path}: not a NIST sphere file (it does not begin with NIST_1A)")
    header_size = int(lines[1])
    fields: dict[str, str] = {}
    for line in data[:header_size].decode("latin-1").splitlines()[2:]:
        if line.strip() == "end_head":
            break
        parts = line.split(maxsplit=2)
        if len(parts) == 3:
            fields[parts[0]] = parts[2].strip()
    try:
        rate, channels, count = int(fields["sample_rate"]), int(fields.get("channel_count", "1")), int(fields["sample_count"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: the sphere header lacks a usable {error}") from None
    coding, width = fields.get("sample_coding", "pcm"), fields.get("sample_n_bytes", "2")
    if "shorten" in coding:
        raise UserError(
            f"{path}: sphere coding {coding!r}, and samples compressed by shorten are not read here."
            f" Next: sph2pipe -f wav -p {shlex.quote(str(path))} {shlex.quote(path.stem + '.pcm.wav')}, and name what it writes"
        )
    if width not in ("1", "2", "3", "4") or channels < 1 or rate < 1:
        raise UserError(
            f"{path}: sphere coding {coding!r} with {width} bytes a sample, {channels} channels and {rate} Hz; expected pcm,"
            " ulaw or alaw. Next: convert it with sph2pipe or sox"
        )
    body = data[header_size:]
    if len(body) < count * channels * int(width):
        raise UserError(f"{path}: truncated: {len(body) // (int(width) * channels)} samples, the header promises {count}")
    if (coding, width) != ("pcm", "2"):
        return _read_with_libsndfile(path)
    order = ">i2" if fields.get("sample_byte_format", "01") == "10" else "<i2"
    integers = np.frombuffer(body[: count * channels * 2], dtype=order).reshape(count, channels)
    return np.ascontiguousarray(integers.T.astype(np.float32) / 32768), rate


def _read_raw(path: Path, byte_order: ByteOrder) -> NDArray[np.float32]:
    data = path.read_bytes()
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

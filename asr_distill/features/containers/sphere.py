"""NIST sphere: linear, mu-law and A-law samples; those that shorten has compressed are refused."""

from __future__ import annotations

import shlex
from pathlib import Path

from asr_distill.base import UserError
from asr_distill.features.containers.plain import PlainSamples, check_rest

SPHERE_MAGIC = b"NIST_1A\n"
_LONGEST_HEADER = 1 << 20


def sphere_samples(path: Path) -> PlainSamples:
    """The samples of a sphere file. Raises `UserError` where it is damaged, cut short or compressed."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        second = stream.read(16).split(b"\n")[1:2]
        length = int(second[0]) if second and second[0].strip().isdigit() else 0
        if not 16 <= length <= min(size, _LONGEST_HEADER):
            raise UserError(f"{path}: truncated: a sphere header of {length} bytes in a file of {size}; fetch it again")
        stream.seek(0)
        header = stream.read(length)
    fields: dict[str, str] = {}
    for line in header.decode("latin-1").splitlines()[2:]:
        if line.strip() == "end_head":
            break
        parts = line.split(maxsplit=2)
        if len(parts) == 3:
            fields[parts[0]] = parts[2].strip()
    try:
        rate, channels, count = int(fields["sample_rate"]), int(fields.get("channel_count", "1")), int(fields["sample_count"])
        width = int(fields.get("sample_n_bytes", "2"))
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: the sphere header lacks a usable {error}") from None
    coding = fields.get("sample_coding", "pcm")
    if "shorten" in coding:
        raise UserError(
            f"{path}: sphere coding {coding!r}, and samples compressed by shorten are not read here."
            f" Next: sph2pipe -f wav -p {shlex.quote(str(path))} {shlex.quote(path.stem + '.pcm.wav')}, and name what it writes"
        )
    encoding = {"pcm": "signed", "ulaw": "ulaw", "mu-law": "ulaw", "alaw": "alaw"}.get(coding)
    if encoding is None or not 1 <= width <= 4 or channels < 1 or rate < 1 or count < 0:
        raise UserError(
            f"{path}: sphere coding {coding!r} with {width} bytes a sample, {channels} channels and {rate} Hz; expected pcm,"
            " ulaw or alaw. Next: convert it with sph2pipe or sox"
        )
    frame = channels * width
    if size - length < count * frame:
        raise UserError(f"{path}: truncated: {(size - length) // frame} samples, the header promises {count}")
    check_rest(path, size - length - count * frame)
    big_endian = fields.get("sample_byte_format", "01")[:1] not in ("0", "1") or fields.get("sample_byte_format") == "10"
    return PlainSamples(path, rate, channels, encoding, width, big_endian, length, count)

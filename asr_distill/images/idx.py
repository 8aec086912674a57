"""idx files, the format of MNIST: big-endian sizes, then bytes; read whole or refused by name."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from asr_distill.base import UserError, check_file

_UNSIGNED_BYTE = 0x08
_KINDS = {1: "labels", 3: "images"}


def read_images(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """The images of an idx file (gzip by name): ``(N, H, W)`` uint8.

    Raises `UserError` where the file is missing, damaged, longer or shorter than its header says, holds something other than
    images of bytes, no image at all, or images of another ``size`` (H, W).
    """
    images = _read(Path(path), dimensions=3)
    if size is not None and images.shape[1:] != size:
        height, width = images.shape[1:]
        raise UserError(
            f"{path} holds images of {height} x {width} pixels, expected {size[0]} x {size[1]};"
            " name the data set's own files, or resize yours before they are written"
        )
    return images


def read_labels(path: str | Path, num_classes: int) -> np.ndarray:
    """The labels of an idx file: ``(N,)`` int64, each 0 <= label < ``num_classes``. Raises like `read_images`."""
    labels = _read(Path(path), dimensions=1).astype(np.int64)
    if labels.max() >= num_classes:
        position = int(labels.argmax())
        raise UserError(
            f"{path}: label {position} is {labels[position]}, expected 0 to {num_classes - 1};"
            " is this the label file of another data set? Name the one that belongs to the images"
        )
    return labels


def _read(path: Path, dimensions: int) -> np.ndarray:
    """An idx array of unsigned bytes with so many dimensions and at least one element."""
    content, kind, header = _content(path), _KINDS[dimensions], 4 + 4 * dimensions
    if len(content) < 4 or content[:2] != b"\0\0":
        raise UserError(f"{path} is no idx file: it begins with {content[:4].hex(' ') or 'nothing'}, expected 00 00; {_NEXT}")
    if content[2] != _UNSIGNED_BYTE or content[3] != dimensions:
        found, known = content[:4].hex(" "), content[2] == _UNSIGNED_BYTE and content[3] in _KINDS
        what = f" (that is a file of {_KINDS[content[3]]})" if known else ""
        raise UserError(
            f"{path}: the magic number is {found}{what}, expected 00 00 08 {dimensions:02x}, {kind} of bytes; {_NEXT}"
        )
    if len(content) < header:
        raise UserError(f"{path} is cut short: {len(content)} bytes, the header alone has {header}; {_NEXT}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        fault = "is cut short" if len(content) < expected else "has more than its header says"
        raise UserError(
            f"{path} {fault}: {len(content)} bytes, expected {expected} for {' x '.join(map(str, shape))} {kind}; {_NEXT}"
        )
    if math.prod(shape) == 0:
        raise UserError(f"{path} holds no {kind} ({' x '.join(map(str, shape))}); {_NEXT}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


_NEXT = "copy or download the file again, or name another folder"


def _content(path: Path) -> bytes:
    check_file(path)
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as stream:
                return stream.read()
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; name the folder that holds the four idx files") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is cut short or no gzip file ({error}); {_NEXT}") from None

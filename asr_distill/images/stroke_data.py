"""Strokes of some 9,500 Chinese characters: the npm package hanzi-writer-data (Make Me a Hanzi; Arphic Public License)."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np

from asr_distill.base import UserError
from asr_distill.images.npm_package import fetch_npm_package

PACKAGE, VERSION = "hanzi-writer-data", "2.0.1"
SHA256 = "72baf3d82b114e60d6e40ea05f24d2262a05cd39d544e2f322ba2fceb7beff15"
_LARGEST_MEMBER = 1 << 20  # bytes; a character has some 5,000
_FIRST_IDEOGRAPH = 0x4E00  # before it: radicals and rare extensions, which come last here

Strokes = list[np.ndarray]  # of one character: the middle line of each stroke, (P, 2) float32, 0 to 1, x right and y down


def find_strokes(downloads: str | Path) -> Path:
    """The package's tar archive: ``HANZI_DATA`` names it, else npm fetches it to the folder ``downloads``; digest checked."""
    named = os.environ.get("HANZI_DATA")
    return fetch_npm_package(PACKAGE, VERSION, SHA256, downloads, Path(named) if named else None, variable="HANZI_DATA")


def read_strokes(archive: str | Path, classes: int | None = None) -> dict[str, Strokes]:
    """Characters to the middle lines of their strokes, in the order of code points from U+4E00, which groups them by radical;
    what lies before comes last. classes: only so many, the first.

    Nothing is unpacked. Raises `UserError` on an archive that is damaged, a member outside its folder, a character without a
    stroke, or more classes than there are characters.
    """
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise UserError(f"{archive}: member {member.name!r} would land outside the folder; the archive is refused")
                if not member.isreg() or name.suffix != ".json" or len(name.stem) != 1:
                    continue
                if member.size > _LARGEST_MEMBER:
                    raise UserError(f"{archive}: {member.name} has {member.size} bytes, a character some 5,000; it is refused")
                stream = tar.extractfile(member)
                contents[name.stem] = stream.read() if stream else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive} is cut short or no tar archive ({error}); remove it, and it is fetched again") from None
    ordered = sorted(contents, key=lambda character: (ord(character) < _FIRST_IDEOGRAPH, ord(character)))
    if classes is not None and not 2 <= classes <= len(ordered):
        raise UserError(f"{classes} classes: {archive} has {len(ordered)} characters; ask for 2 to so many")
    return {name: _strokes(contents[name], f"{archive}: {name}.json") for name in ordered[:classes]}


def _strokes(content: bytes, where: str) -> Strokes:
    """From the package's box, x 0 to 1024 and y 900 down to -124, to 0 to 1 each with y down."""
    try:
        lines = [np.asarray(line, dtype=np.float32).reshape(-1, 2) for line in json.loads(content)["medians"]]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where} is no character: expected JSON with 'medians', lines of [x, y]; fetch it again") from None
    if not lines or any(len(line) < 2 or not np.isfinite(line).all() for line in lines):
        raise UserError(f"{where}: a character has at least one stroke, a stroke at least two finite points; fetch it again")
    return [np.stack([line[:, 0] / 1024, (900 - line[:, 1]) / 1024], axis=1) for line in lines]

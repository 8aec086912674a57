"""Omniglot as distributed: 1,623 handwritten characters, each drawn once by 20 people (Lake, Salakhutdinov, Tenenbaum 2015)."""

from __future__ import annotations

import io
import os
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from asr_distill.base import (
    UserError,
    atomic_directory,
    hash_of_file,
    hash_of_object,
    missing_package,
    read_array,
    read_json,
    track,
    write_json,
)
from asr_distill.data.download import download
from asr_distill.images.image_set import ImageSet

DRAWERS = 20
PARTS = {"train": range(0, 14), "dev": range(14, 16), "test": range(16, 20)}  # drawers 1-14, 15-16, 17-20
ARCHIVES = {
    "images_background.zip": "d6f39eb4e8aa78c972fc07aa96ae933c907c4f074c183eafb5e7f27aa65afbad",
    "images_evaluation.zip": "e9ec5cff469d92c6acaafa850f1af66cbf20ea8b95b23a73e0a8cd6511703b5b",
}
_SITE = "https://github.com/brendenlake/omniglot/raw/master/python/"
_IMAGES, _CLASSES = "images.npy", "classes.json"
_DRAWING = re.compile(r"\d+_(\d\d)\.png")
_LARGEST_MEMBER = 1 << 20  # bytes; a drawing has some 200


def find_omniglot(downloads: str | Path) -> Path:
    """The folder of the two archives: ``OMNIGLOT_DIR``, else ``../shared/omniglot``, else downloaded to ``downloads``.

    Raises `UserError` where ``OMNIGLOT_DIR`` lacks them, or the network does.
    """
    named = os.environ.get("OMNIGLOT_DIR")
    for folder in (Path(named),) if named else (Path("../shared/omniglot"),):
        if all((folder / name).is_file() for name in ARCHIVES):
            return folder
        if named:
            raise UserError(f"OMNIGLOT_DIR is {named}, but {' and '.join(ARCHIVES)} are not both there; name their folder")
    for name, digest in ARCHIVES.items():
        download(_SITE + name, Path(downloads) / name, digest)
    return Path(downloads)


def prepare_omniglot(archives: str | Path, output: str | Path, size: int = 32) -> Path:
    """Writes ``images.npy``, (classes, 20, size, size) uint8 with 255 for ink, and ``classes.json`` to the folder ``output``.

    A class is ``Alphabet/characterNN``; classes are in the order of their names. A folder that was made from the same archives
    is left alone. The 105 x 105 drawings are averaged over areas. Raises `UserError` where an archive is missing or damaged,
    has a member that would land outside its folder, or a class has not exactly one drawing of each of the 20 drawers.
    """
    output = Path(output)
    paths = [Path(archives) / name for name in ARCHIVES]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path} does not exist; set OMNIGLOT_DIR to the folder that holds {' and '.join(ARCHIVES)}")
    source = {"archives": {path.name: hash_of_file(path) for path in paths}, "size": size}
    if (output / _CLASSES).is_file() and read_json(output / _CLASSES)["source"] == source:
        return output
    drawings: dict[str, dict[int, np.ndarray]] = {}
    for path in paths:
        _read_archive(path, drawings)
    names = sorted(drawings)
    for name in names:
        absent = [drawer + 1 for drawer in range(DRAWERS) if drawer not in drawings[name]]
        if absent:
            raise UserError(f"class {name} has no drawing by drawer {absent[0]}; expected {DRAWERS}: copy the archives again")
    ink = torch.from_numpy(np.stack([np.stack([drawings[name][drawer] for drawer in range(DRAWERS)]) for name in names]))
    images = torch.stack([functional.adaptive_avg_pool2d(of_class.float(), size) for of_class in ink])
    with atomic_directory(output, kind=_CLASSES) as temporary:
        np.save(temporary / _IMAGES, (images * 255).round().to(torch.uint8).numpy())
        write_json(temporary / _CLASSES, {"source": source, "classes": names})
    return output


def read_omniglot(prepared: str | Path, part: str, classes: int | None = None) -> ImageSet:
    """Of a folder by `prepare_omniglot` the part ``train`` (drawers 1-14), ``dev`` (15-16) or ``test`` (17-20): every class.

    classes: only so many, the first. Image ``i`` is of class ``i // drawers``. Raises `UserError` on more than there are.
    """
    path = Path(prepared) / _IMAGES
    if not path.is_file():
        raise UserError(f"{path} does not exist; prepare Omniglot first: asr-distill classes data")
    images = read_array(path, mapped=True)
    if classes is not None and not 2 <= classes <= len(images):
        raise UserError(f"{classes} classes: Omniglot has {len(images)}; ask for 2 to so many")
    drawers = PARTS[part]
    chosen = torch.from_numpy(np.ascontiguousarray(images[:classes, drawers.start : drawers.stop]))
    count = len(chosen)
    labels = torch.arange(count).repeat_interleave(len(drawers))
    return ImageSet(chosen.flatten(0, 1), labels, count, f"{path} ({part})")


def omniglot_class_names(prepared: str | Path) -> list[str]:
    """``Alphabet/characterNN`` of every class."""
    names: list[str] = read_json(Path(prepared) / _CLASSES)["classes"]
    return names


def omniglot_hash(prepared: str | Path) -> str:
    """SHA-256 over the digests of the archives and the size of the images."""
    return hash_of_object(read_json(Path(prepared) / _CLASSES)["source"])


def _read_archive(path: Path, drawings: dict[str, dict[int, np.ndarray]]) -> None:
    """Adds the drawings of an archive, each (105, 105) bool with True for ink, by class and drawer (from 0)."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in track(archive.infolist(), f"reading {path.name}"):
                parts = _checked_parts(path, member)
                if not parts or member.is_dir():
                    continue
                match = _DRAWING.fullmatch(parts[-1])
                if len(parts) != 4 or match is None:
                    raise UserError(
                        f"{path}: member {member.filename!r} is no drawing; expected SET/ALPHABET/characterNN/IMAGE_DRAWER.png"
                    )
                name, drawer = "/".join(parts[1:3]), int(match[1]) - 1
                of_class = drawings.setdefault(name, {})
                if not 0 <= drawer < DRAWERS or drawer in of_class:
                    raise UserError(
                        f"{path}: {member.filename}: drawer {drawer + 1} of {name}; expected each of 1 to {DRAWERS} once"
                    )
                of_class[drawer] = _decode(archive.read(member), f"{path}: {member.filename}")
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is cut short or no zip file ({error}); copy or download it again") from None


def _checked_parts(path: Path, member: zipfile.ZipInfo) -> tuple[str, ...]:
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename:
        raise UserError(f"{path}: member {member.filename!r} would land outside the folder; the archive is refused")
    if member.file_size > _LARGEST_MEMBER:
        raise UserError(f"{path}: member {member.filename!r} has {member.file_size} bytes, a drawing some 200; it is refused")
    return () if "__MACOSX" in name.parts else name.parts


def _decode(content: bytes, where: str) -> np.ndarray:
    image: Any
    try:
        from PIL import Image
    except ImportError:
        raise missing_package("pillow", "reading Omniglot's drawings") from None
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            drawing = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{where} is no PNG image ({error}); copy or download the archive again") from None
    if drawing.shape != (105, 105):
        raise UserError(
            f"{where} has {drawing.shape[0]} x {drawing.shape[1]} pixels, expected 105 x 105; take Omniglot's archives"
        )
    return drawing < 128

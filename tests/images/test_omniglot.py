"""Omniglot: the archives as distributed, and archives that are wrong."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_distill.base import UserError
from asr_distill.images.omniglot import omniglot_class_names, prepare_omniglot, read_omniglot

image_module = pytest.importorskip("PIL.Image")


def drawing(row: int = 0) -> bytes:
    """A PNG with one row of ink."""
    pixels = np.full((105, 105), 255, dtype=np.uint8)
    pixels[5 * row : 5 * row + 5] = 0
    stream = io.BytesIO()
    image_module.fromarray(pixels).convert("1").save(stream, "PNG")
    return stream.getvalue()


def write_archives(folder: Path, classes: dict[str, int], extra: dict[str, bytes] | None = None) -> Path:
    """Two archives in Omniglot's layout; a drawer's number is the row with ink."""
    for number, name in enumerate(("images_background", "images_evaluation")):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for label, drawers in list(classes.items())[number::2]:
                for drawer in range(drawers):
                    archive.writestr(f"{name}/{label}/0001_{drawer + 1:02d}.png", drawing(drawer))
            for member, content in (extra or {}).items():
                archive.writestr(member, content)
    return folder


def test_classes_and_drawers_go_where_they_belong(tmp_path: Path) -> None:
    archives = write_archives(tmp_path, {"Tibetan/character02": 20, "Latin/character01": 20, "Greek/character01": 20})
    prepared = prepare_omniglot(archives, tmp_path / "out", size=21)
    assert omniglot_class_names(prepared) == ["Greek/character01", "Latin/character01", "Tibetan/character02"]
    test = read_omniglot(prepared, "test")
    assert test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert test.images[0].nonzero()[:, 0].unique().tolist() == [16]  # drawer 17: rows 80 to 84 of 105, row 16 of 21
    assert test.images[0, 16].tolist() == [255] * 21
    parts = [read_omniglot(prepared, part) for part in ("train", "dev", "test")]
    assert [len(part) for part in parts] == [42, 6, 12]
    rows = [set(part.images.flatten(1).nonzero()[:, 1].div(21, rounding_mode="floor").tolist()) for part in parts]
    assert rows == [set(range(14)), {14, 15}, {16, 17, 18, 19}]  # no drawer in two parts


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../outside.png", "outside the folder"),
        ("/etc/passwd", "outside the folder"),
        ("images_background/Latin/character01/note.txt", "is no drawing"),
        ("images_background/Latin/character01/0001_21.png", "drawer 21 of Latin/character01"),
        ("images_evaluation/Latin/character01/0009_01.png", "drawer 1 of Latin/character01; expected each"),
    ],
)
def test_foreign_members_are_refused(tmp_path: Path, member: str, message: str) -> None:
    archives = write_archives(tmp_path, {"Latin/character01": 20}, {member: drawing()})
    with pytest.raises(UserError, match=message):
        prepare_omniglot(archives, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_drawing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images_background.zip does not exist; set OMNIGLOT_DIR"):
        prepare_omniglot(tmp_path, tmp_path / "out")
    archives = write_archives(tmp_path, {"Latin/character01": 20, "Latin/character02": 19})
    with pytest.raises(UserError, match="Latin/character02 has no drawing by drawer 20"):
        prepare_omniglot(archives, tmp_path / "out")
    write_archives(tmp_path, {"Latin/character01": 19}, {"images_background/Latin/character01/0001_20.png": b"\x89PNG"})
    with pytest.raises(UserError, match=r"0001_20.png is no PNG image"):
        prepare_omniglot(archives, tmp_path / "out")
    whole = (tmp_path / "images_background.zip").read_bytes()
    (tmp_path / "images_background.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut short or no zip file"):
        prepare_omniglot(archives, tmp_path / "out")


def test_the_real_archives(omniglot_dir: Path, tmp_path: Path) -> None:
    if not (omniglot_dir / "images_evaluation.zip").is_file():
        pytest.skip("the archives are not here")
    with zipfile.ZipFile(omniglot_dir / "images_evaluation.zip") as whole:  # one alphabet of each is enough to know the layout
        members = [name for name in whole.namelist() if "/Tengwar/" in name]
        for name in ("images_background.zip", "images_evaluation.zip"):
            with zipfile.ZipFile(tmp_path / name, "w") as part:
                for member in members if name == "images_evaluation.zip" else []:
                    part.writestr(member, whole.read(member))
    prepared = prepare_omniglot(tmp_path, tmp_path / "out")
    train = read_omniglot(prepared, "train", classes=10)
    assert train.images.shape == (140, 32, 32)
    assert 0.02 < float(train.images.float().mean()) / 255 < 0.2  # ink, not paper
    assert torch.equal(read_omniglot(prepared, "train").images[:140], train.images)
    with pytest.raises(UserError, match="1624 classes"):
        read_omniglot(prepared, "train", classes=1624)

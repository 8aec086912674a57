"""Rendered characters: distances by hand, what jitter and distortion may change, examples without end."""

from __future__ import annotations

import io
import json
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.images.augmentation import Distortion
from asr_distill.images.glyphs import GlyphConfig, GlyphExamples, glyph_class_names, plain_glyphs, prepare_glyphs, read_glyphs
from asr_distill.images.npm_package import fetch_npm_package
from asr_distill.images.rendering import STEPS_PER_PIXEL, Rendering, StrokeJitter, distance_fields
from asr_distill.images.stroke_data import read_strokes
from asr_distill.training import TrainingConfig, train_model


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write_package(path: Path, characters: dict[str, list], extra: dict[str, bytes] | None = None) -> Path:
    """An archive in the layout of the npm package."""
    members = {f"package/{name}.json": json.dumps({"medians": lines}).encode() for name, lines in characters.items()}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in {"package/package.json": b"{}", **members, **(extra or {})}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


LINE, CROSS = [[[100, 388], [900, 388]]], [[[100, 388], [900, 388]], [[512, 800], [512, 0]]]
CORNER, HOOK = [[[200, 700], [200, 100], [800, 100]]], [[[200, 700], [800, 700], [800, 100]]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_package(tmp_path / "strokes.tgz", {"\u4e00": LINE, "\u5341": CROSS, "\u2e8c": HOOK, "\u4e86": CORNER})


def test_distances_of_a_line_by_hand() -> None:
    line = [np.array([[0.25, 0.5], [0.75, 0.5]], dtype=np.float32)]
    field = distance_fields([[*line]], 8, None, generator(), margin=0.0)[0]
    distances = (255 - field.double()) / STEPS_PER_PIXEL
    assert distances[3, 3] == pytest.approx(0.5, abs=0.02)  # pixel centre (3.5, 3.5), the line at y = 4 from x = 2 to 6
    assert distances[0, 4] == pytest.approx(3.5, abs=0.02)
    assert distances[4, 0] == pytest.approx(math.hypot(1.5, 0.5), abs=0.02)  # beyond its end
    plain = Rendering(pen=(1.0, 1.0)).plain(field[None].float() / 255)[0]
    assert (plain[:, 3] > 0.9).tolist() == [False, False, False, True, True, False, False, False]


@given(st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=25)
def test_distances_are_those_of_the_nearest_point(strokes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    character = [random.random((random.integers(2, 5), 2)).astype(np.float32) for _ in range(strokes)]
    other = [random.random((2, 2)).astype(np.float32)]
    field = distance_fields([character, other], 12, None, generator(), margin=1.0)[0]
    shares = np.linspace(0, 1, 400)[:, None, None]
    points = np.concatenate([(line[:-1] + shares * (line[1:] - line[:-1])).reshape(-1, 2) for line in character]) * 10 + 1
    y, x = np.mgrid[:12, :12] + 0.5
    expected = np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1]).min(axis=2)
    near = np.clip(255 - expected * STEPS_PER_PIXEL, 0, None)
    assert np.abs(field.numpy() - near).max() <= 2


def test_jitter_differs_by_seed_and_none_is_the_data_itself() -> None:
    strokes = [[np.array([[0.1, 0.1], [0.9, 0.9]], dtype=np.float32)] * 2] * 3
    a, again, b = (distance_fields(strokes, 16, StrokeJitter(), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, again)
    assert not torch.equal(a, b)
    assert not torch.equal(a[0], a[1])  # each character by itself
    still = StrokeJitter(0, 0, 0, 0, 1)
    assert torch.equal(distance_fields(strokes, 16, still, generator()), distance_fields(strokes, 16, None, generator()))


def test_thickness_grows_with_the_pen_and_noise_stays_within_the_range() -> None:
    field = distance_fields([[np.array([[0.1, 0.5], [0.9, 0.5]], dtype=np.float32)]], 16, None, generator()).float() / 255
    amounts = [float(Rendering(pen=(radius, radius)).plain(field).sum()) for radius in (0.5, 1.0, 2.0)]
    assert amounts == sorted(amounts)
    assert amounts[2] > 3 * amounts[0]
    wide = Rendering().widened(2.0)
    drawn = wide(field.expand(64, 16, 16), generator())
    assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
    assert Rendering().widened(1.0).pen == pytest.approx(Rendering().pen)
    assert Rendering().widened(1.0).distortion == Rendering().distortion
    still = Rendering(Distortion(0, 0, 0, 0, 0), (1.0, 1.0), 1.0, 0.0)
    assert torch.allclose(still(field, generator()), still.plain(field), atol=1e-5)


def test_strokes_are_read_in_order_and_upright(archive: Path) -> None:
    characters = read_strokes(archive)
    assert list(characters) == ["\u4e00", "\u4e86", "\u5341", "\u2e8c"]  # ideographs first, what lies before them last
    assert characters["\u4e86"][0][0][1] < characters["\u4e86"][0][1][1]  # the first stroke goes down, and y does too
    assert list(read_strokes(archive, 2)) == ["\u4e00", "\u4e86"]
    with pytest.raises(UserError, match=r"5 classes: .* has 4 characters"):
        read_strokes(archive, 5)


def test_bad_archives_are_named(tmp_path: Path) -> None:
    for extra, message in (
        ({"../\u4e01.json": b"{}"}, "outside the folder"),
        ({"package/\u4e01.json": b"{}"}, "is no character"),
        ({"package/\u4e01.json": b'{"medians": [[[0, 0]]]}'}, "at least two finite points"),
        ({"package/\u4e01.json": b'{"medians": []}'}, "at least one stroke"),
    ):
        with pytest.raises(UserError, match=message):
            read_strokes(write_package(tmp_path / "bad.tgz", {"\u4e00": LINE}, extra))
    (tmp_path / "bad.tgz").write_bytes((tmp_path / "bad.tgz").read_bytes()[:60])
    with pytest.raises(UserError, match="cut short or no tar archive"):
        read_strokes(tmp_path / "bad.tgz")


def test_package_of_another_digest_or_without_npm_is_refused(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"SHA-256 .* expected 00"):
        fetch_npm_package("strokes", "1", "00", archive.parent, archive, variable="HANZI_DATA")
    with pytest.raises(UserError, match=r"HANZI_DATA is .*absent.tgz, which does not exist"):
        fetch_npm_package("strokes", "1", "00", archive.parent, archive.parent / "absent.tgz", variable="HANZI_DATA")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="npm is not installed"):
        fetch_npm_package("strokes", "1", "00", archive.parent, variable="HANZI_DATA")


CONFIG = GlyphConfig(size=16, templates=2, dev=1, test=2, wide=1)


def test_prepared_parts_and_endless_examples(archive: Path, tmp_path: Path) -> None:
    prepared = prepare_glyphs(archive, tmp_path / "glyphs", CONFIG)
    made = (prepared / "test.npy").stat().st_mtime_ns
    assert prepare_glyphs(archive, prepared, CONFIG).joinpath("test.npy").stat().st_mtime_ns == made
    assert glyph_class_names(prepared)[2] == "\u5341"
    assert plain_glyphs(prepared).shape == (4, 16, 16)
    test = read_glyphs(prepared, "test")
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(test.images.flatten(1).unique(dim=0)) == 8
    examples = GlyphExamples(prepared, images_per_epoch=10)
    batch = examples.batch(torch.arange(10), generator(3))
    assert batch["labels"].tolist() == examples.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert torch.equal(batch["inputs"], examples.batch(torch.arange(10), generator(3))["inputs"])
    assert not torch.equal(batch["inputs"][0], examples.batch(torch.arange(10), generator(4))["inputs"][0])
    assert torch.equal(examples.batch(torch.tensor([1]))["inputs"], examples.batch(torch.tensor([9]))["inputs"])
    with pytest.raises(UserError, match="3 images in an epoch of 4 classes"):
        GlyphExamples(prepared, images_per_epoch=3)
    with pytest.raises(UserError, match="render the characters first"):
        read_glyphs(tmp_path, "test")


def test_the_loop_learns_from_them(archive: Path, tmp_path: Path) -> None:
    prepared = prepare_glyphs(archive, tmp_path / "glyphs", CONFIG)
    config = TrainingConfig(
        network={"name": "mlp", "layers": 1, "width": 32}, epochs=5, batch_size=32, learning_rate=0.01, keep="last", threads=1
    )
    summary = train_model(config, GlyphExamples(prepared, 800), None, tmp_path / "model")
    assert summary["train_accuracy"] > 85

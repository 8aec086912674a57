"""Omniglot and the glyphs behind one face: what the runs of either recipe are trained and tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from asr_distill.base import UserError
from asr_distill.images.examples import ImageExamples
from asr_distill.images.glyphs import GlyphConfig, GlyphExamples, glyph_class_names, plain_glyphs, prepare_glyphs, read_glyphs
from asr_distill.images.image_set import ImageSet
from asr_distill.images.large_labels.configuration import LargeLabelConfig, OmniglotConfig
from asr_distill.images.omniglot import PARTS, find_omniglot, omniglot_class_names, prepare_omniglot, read_omniglot
from asr_distill.images.stroke_data import find_strokes
from asr_distill.training import Examples


class LargeLabelData(Protocol):
    """Images of many classes in parts: ``train``, ``dev``, ``test``, and where there is one ``wide``."""

    source: str  # of results.json: real or rendered
    test_parts: tuple[str, ...]
    class_names: list[str]

    def train(self, device: str | torch.device = "cpu") -> tuple[Examples, torch.Tensor]:
        """Training examples, and ``(num_examples,)`` int64, the class of each."""
        ...

    def part(self, name: str) -> ImageSet:
        """The images of dev or of a test part; those of a class in a row."""
        ...

    def pictures(self) -> torch.Tensor:
        """``(C, H, W)`` uint8: what each class looks like."""
        ...

    def drawers(self, part: str) -> list[str] | None:
        """Who drew each image, where somebody did."""
        ...


def prepare_data(config: LargeLabelConfig, root: Path, downloads: Path) -> Path:
    """Finds or fetches what the images are made of and leaves them in ``root / "data"``."""
    if config.omniglot is not None:
        return prepare_omniglot(find_omniglot(downloads), root / "data", config.omniglot.size)
    return prepare_glyphs(find_strokes(downloads), root / "data", config.glyphs or GlyphConfig())


def open_data(config: LargeLabelConfig, root: Path) -> LargeLabelData:
    """What `prepare_data` left. Raises `UserError` where it has not run."""
    if not (root / "data" / "classes.json").is_file():
        raise UserError(f"{root / 'data'} has no images; prepare them first: asr-distill classes data")
    if config.omniglot is not None:
        return _Omniglot(config.omniglot, root / "data")
    return _Glyphs(config.images_per_epoch, root / "data")


class _Omniglot:
    source: str = "real"
    test_parts: tuple[str, ...] = ("test",)

    def __init__(self, config: OmniglotConfig, prepared: Path) -> None:
        self.config, self.prepared = config, prepared
        self.class_names = omniglot_class_names(prepared)[: config.classes]

    def train(self, device: str | torch.device = "cpu") -> tuple[Examples, torch.Tensor]:
        images = self.part("train")
        images.require_every_class()
        return ImageExamples(images, device, augmentation=self.config.distortion), images.labels

    def part(self, name: str) -> ImageSet:
        return read_omniglot(self.prepared, name, self.config.classes)

    def pictures(self) -> torch.Tensor:
        train = self.part("train").images
        return train.view(len(self.class_names), -1, *train.shape[1:])[:, 0]

    def drawers(self, part: str) -> list[str] | None:
        return [f"drawer{number + 1:02d}" for number in PARTS[part]] * len(self.class_names)


class _Glyphs:
    source: str = "rendered"
    test_parts: tuple[str, ...] = ("test", "wide")

    def __init__(self, images_per_epoch: int, prepared: Path) -> None:
        self.images_per_epoch, self.prepared = images_per_epoch, prepared
        self.class_names = glyph_class_names(prepared)

    def train(self, device: str | torch.device = "cpu") -> tuple[Examples, torch.Tensor]:
        examples = GlyphExamples(self.prepared, self.images_per_epoch, device)
        return examples, examples.labels

    def part(self, name: str) -> ImageSet:
        return read_glyphs(self.prepared, name)

    def pictures(self) -> torch.Tensor:
        return plain_glyphs(self.prepared)

    def drawers(self, part: str) -> list[str] | None:
        return None

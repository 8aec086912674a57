"""Rendered characters without end: some 9,500 classes, every training image drawn anew from templates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_distill.base import (
    UserError,
    atomic_directory,
    from_mapping,
    hash_of_file,
    hash_of_object,
    read_array,
    read_json,
    to_mapping,
    track,
    write_json,
)
from asr_distill.data import FrameSampler
from asr_distill.images.image_set import ImageSet
from asr_distill.images.rendering import Rendering, StrokeJitter, distance_fields
from asr_distill.images.stroke_data import read_strokes

_CLASSES, _TEMPLATES, _PLAIN = "classes.json", "templates.npy", "plain.npy"
_SEEDS = {"train": 0, "dev": 1, "test": 2, "wide": 3}  # of templates and distortions, added to a thousand times the config's
_BATCH = 512


@dataclass(frozen=True)
class GlyphConfig:
    """What is rendered.

    classes: the first so many characters, all where it is none. size: pixels of a side. templates: of each class for training.
    dev, test: images of each class, each from a template of its own that training has not seen. wide: likewise, with jitter and
    distortion ``wider`` times as strong as in training.
    """

    classes: int | None = None
    size: int = 32
    templates: int = 8
    dev: int = 1
    test: int = 3
    wide: int = 2
    wider: float = 1.5
    jitter: StrokeJitter = field(default_factory=StrokeJitter)
    rendering: Rendering = field(default_factory=Rendering)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "templates", "dev", "test", "wide", "wider"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number above 0")


def prepare_glyphs(archive: str | Path, output: str | Path, config: GlyphConfig) -> Path:
    """Renders templates and the images of dev, test and wide to the folder ``output``; one made from the same is left alone.

    ``templates.npy`` (templates, classes, size, size) uint8 distance fields, ``plain.npy`` (classes, size, size) the characters
    as they are, ``dev.npy``, ``test.npy``, ``wide.npy`` (classes, images, size, size) uint8 pictures, ``classes.json``.
    Raises `UserError` as `read_strokes` does.
    """
    output = Path(output)
    source = {"archive": hash_of_file(archive), "config": to_mapping(config)}
    if (output / _CLASSES).is_file() and read_json(output / _CLASSES)["source"] == source:
        return output
    characters = read_strokes(archive, config.classes)
    strokes = list(characters.values())
    with atomic_directory(output, kind=_CLASSES) as temporary:
        generator = _generator(config, "train")
        plain = distance_fields(strokes, config.size, None, generator)
        np.save(temporary / _PLAIN, _as_bytes(config.rendering.plain(plain.float() / 255)).numpy())
        templates = [distance_fields(strokes, config.size, config.jitter, generator) for _ in range(config.templates)]
        np.save(temporary / _TEMPLATES, torch.stack(templates).numpy())
        for part in ("dev", "test", "wide"):
            factor = config.wider if part == "wide" else 1.0
            jitter, rendering = config.jitter.scaled(factor), config.rendering.widened(factor)
            generator = _generator(config, part)
            images = []
            for _ in range(getattr(config, part)):
                fields = distance_fields(strokes, config.size, jitter, generator)
                drawn = [_as_bytes(rendering(batch.float() / 255, generator)) for batch in track(fields.split(_BATCH), part)]
                images.append(torch.cat(drawn))
            np.save(temporary / f"{part}.npy", torch.stack(images, dim=1).numpy())
        write_json(temporary / _CLASSES, {"source": source, "classes": list(characters)})
    return output


def read_glyphs(prepared: str | Path, part: str) -> ImageSet:
    """The pictures of ``dev``, ``test`` or ``wide``, those of a class in a row."""
    images = torch.from_numpy(read_array(_existing(Path(prepared) / f"{part}.npy")))
    count, each = images.shape[:2]
    return ImageSet(images.flatten(0, 1), torch.arange(count).repeat_interleave(each), count, f"{prepared} ({part})")


def plain_glyphs(prepared: str | Path) -> torch.Tensor:
    """``(C, size, size)`` uint8: each character as it is, for pages of pictures."""
    return torch.from_numpy(read_array(_existing(Path(prepared) / _PLAIN)))


def glyph_class_names(prepared: str | Path) -> list[str]:
    """The character of every class."""
    names: list[str] = read_json(_existing(Path(prepared) / _CLASSES))["classes"]
    return names


class GlyphExamples:
    """`asr_distill.training.Examples`: pictures drawn when they are asked for, every class alike often, no two the same.

    prepared: a folder of `prepare_glyphs`. images_per_epoch: what one epoch of the loop counts; any number, and there is always
    more. Example ``i`` is of class ``i % classes``. With a generator its template, distortion and pen are drawn from that (the
    loop's own, whose state its checkpoints hold, so that a run that was interrupted sees the same pictures); without one it
    is template ``i // classes``, modulo their number, drawn plainly. Raises `UserError` where an epoch has fewer images than
    classes.
    """

    def __init__(self, prepared: str | Path, images_per_epoch: int, device: str | torch.device = "cpu") -> None:
        prepared = Path(prepared)
        info = read_json(_existing(prepared / _CLASSES))
        templates = torch.from_numpy(read_array(_existing(prepared / _TEMPLATES)))
        self.device = torch.device(device)
        self.rendering = _rendering(info)
        self.num_examples, self.num_classes = images_per_epoch, templates.shape[1]
        self.input_dim = templates[0, 0].numel()
        if images_per_epoch < self.num_classes:
            raise UserError(
                f"{images_per_epoch} images in an epoch of {self.num_classes} classes: a class would have no example;"
                " ask for at least one of each, images_per_epoch, or for fewer classes"
            )
        self._templates = templates.to(self.device)
        self._source = hash_of_object(info["source"])

    @property
    def labels(self) -> torch.Tensor:
        """``(num_examples,)`` int64: the class of each example."""
        return torch.arange(self.num_examples) % self.num_classes

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """Shuffled over the epoch's images; see `FrameSampler`."""
        return iter(FrameSampler(self.num_examples, batch_size, seed, epoch, start_step=start_step))

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """``inputs`` (N, size * size) float32, ``labels`` and ``frame_indices`` (N,) int64, on the device."""
        indices = indices.to(self.device)
        labels = indices % self.num_classes
        variants = len(self._templates)
        if generator is None:
            chosen = indices // self.num_classes % variants
        else:
            chosen = torch.randint(variants, (len(indices),), generator=generator, device=generator.device).to(self.device)
        fields = self._templates[chosen, labels].float().div_(255)
        pictures = self.rendering.plain(fields) if generator is None else self.rendering(fields, generator)
        return {"inputs": pictures.flatten(1), "labels": labels, "frame_indices": indices}

    def describe(self) -> dict[str, Any]:
        """The number of an epoch's images, and a hash over the strokes and all that is done to them."""
        return {"frames": self.num_examples, "glyphs_hash": self._source}


def _rendering(info: dict[str, Any]) -> Rendering:
    rendering: Rendering = from_mapping(GlyphConfig, info["source"]["config"], "classes.json").rendering
    return rendering


def _generator(config: GlyphConfig, part: str) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * config.seed + _SEEDS[part])


def _as_bytes(pictures: torch.Tensor) -> torch.Tensor:
    return (pictures * 255).round_().to(torch.uint8)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path} does not exist; render the characters first: asr-distill classes data")
    return path

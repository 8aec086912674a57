"""Characters drawn from their strokes: distance fields once, ink on the fly.

A template is no picture but a field: how far each pixel is from the nearest stroke's middle line. It is what is distorted, and
the thickness of the pen is chosen afterwards, so that one template gives lines of any thickness, whose edges stay sharp, and
a million pictures cost a million interpolations. Several templates of a character differ in what an interpolation cannot do:
each stroke is displaced, turned, lengthened and bent by itself, and the pen's nib is broader in one direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from asr_distill.base import track
from asr_distill.images.augmentation import Distortion

STEPS_PER_PIXEL = 40.0  # of a stored field: 255 on the line, 0 from 6.4 pixels on
_BATCH = 64


@dataclass(frozen=True)
class StrokeJitter:
    """How the strokes of one template differ from the data's, each stroke by itself.

    shift: standard deviation of its displacement, in shares of the image's side. turn: of its rotation, degrees. length: of the
    logarithm of its length. bend: of the displacement of its points, in shares of the side. nib: the pen's broader diameter
    over the narrower is drawn from 1 to this, at any angle.
    """

    shift: float = 0.012
    turn: float = 4.0
    length: float = 0.05
    bend: float = 0.006
    nib: float = 2.0

    def scaled(self, factor: float) -> StrokeJitter:
        """All of it ``factor`` times as strong, the nib too."""
        return StrokeJitter(
            self.shift * factor, self.turn * factor, self.length * factor, self.bend * factor, 1 + (self.nib - 1) * factor
        )


def distance_fields(
    characters: Sequence[Sequence[np.ndarray]],
    size: int,
    jitter: StrokeJitter | None,
    generator: torch.Generator,
    margin: float = 2.0,
) -> torch.Tensor:
    """One template of each character, ``(C, size, size)`` uint8: 255 on the middle line of a stroke, 0 far from it.

    characters: lists of strokes ``(P, 2)`` float32, x and y from 0 to 1. margin: pixels on each side. jitter: none draws the
    strokes as they are, with a round pen. All randomness is the generator's, in the order of the characters.
    """
    packed = [_segments(strokes, size, jitter, generator, margin) for strokes in characters]
    pens = _nibs(len(packed), jitter, generator)
    fields = torch.empty(len(packed), size, size, dtype=torch.uint8)
    middle = torch.arange(size, dtype=torch.float32) + 0.5
    pixels = torch.stack([middle.repeat(size), middle.repeat_interleave(size)], dim=1)
    order = sorted(range(len(packed)), key=lambda number: len(packed[number]))  # characters of like size share a batch
    for start in track(range(0, len(order), _BATCH), f"{len(packed)} templates"):
        numbers = torch.tensor(order[start : start + _BATCH])
        longest = len(packed[order[min(start + _BATCH, len(order)) - 1]])
        # A shorter character repeats its last segment, which changes no distance.
        rows = [np.minimum(np.arange(longest), len(packed[number]) - 1) for number in numbers.tolist()]
        lines = torch.from_numpy(np.stack([packed[number][row] for number, row in zip(numbers.tolist(), rows, strict=True)]))
        pen = pens[numbers]
        distances = _distances(pixels @ pen, lines @ pen.unsqueeze(1))
        near = 255 - (distances * STEPS_PER_PIXEL).clamp_(max=255)
        fields[numbers] = near.round_().to(torch.uint8).view(-1, size, size)
    return fields


def _segments(
    strokes: Sequence[np.ndarray], size: int, jitter: StrokeJitter | None, generator: torch.Generator, margin: float
) -> np.ndarray:
    """``(S, 2, 2)`` float32: begin and end of each straight piece, in pixels."""
    moved = list(strokes)
    if jitter is not None:
        drawn = torch.randn(len(strokes), 4, generator=generator).numpy()
        bends = torch.randn(sum(map(len, strokes)), 2, generator=generator).numpy() * jitter.bend
        ends = np.cumsum([len(stroke) for stroke in strokes])
        moved = []
        for stroke, bend, (x, y, turn, length) in zip(strokes, np.split(bends, ends[:-1]), drawn, strict=True):
            centre = stroke.mean(axis=0)
            angle = math.radians(jitter.turn) * turn
            cosine, sine = math.cos(angle), math.sin(angle)
            turned = (stroke - centre) @ np.array([[cosine, sine], [-sine, cosine]], dtype=np.float32)
            shift = np.array([x, y], dtype=np.float32) * jitter.shift
            moved.append(turned * math.exp(jitter.length * length) + centre + shift + bend)
    pieces = np.concatenate([np.stack([stroke[:-1], stroke[1:]], axis=1) for stroke in moved])
    return (pieces * (size - 2 * margin) + margin).astype(np.float32)


def _nibs(count: int, jitter: StrokeJitter | None, generator: torch.Generator) -> torch.Tensor:
    """``(C, 2, 2)`` maps after which the pen is round; one that keeps areas, so that a nib is neither thicker nor thinner."""
    if jitter is None or jitter.nib <= 1:
        return torch.eye(2).expand(count, 2, 2)
    angle = torch.rand(count, generator=generator) * math.pi
    ratio = torch.exp(torch.rand(count, generator=generator) * math.log(jitter.nib) / 2)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    return turn @ torch.diag_embed(torch.stack([ratio, 1 / ratio], dim=1)) @ turn.transpose(1, 2)


def _distances(pixels: torch.Tensor, lines: torch.Tensor) -> torch.Tensor:
    """From points ``(B, P, 2)`` to the nearest of pieces ``(B, S, 2, 2)``: ``(B, P)``, in pixels."""
    begin, along = lines[:, :, 0], lines[:, :, 1] - lines[:, :, 0]
    length = along.square().sum(dim=2).clamp_(min=1e-12).unsqueeze(1)
    dot = torch.baddbmm(-(begin * along).sum(dim=2).unsqueeze(1), pixels, along.transpose(1, 2))  # (p - a).(b - a)
    share = (dot / length).clamp_(0, 1)
    far = torch.baddbmm((begin * begin).sum(dim=2).unsqueeze(1), pixels, begin.transpose(1, 2), alpha=-2)
    squares = far + share * (share * length - 2 * dot)
    return (squares.amin(dim=2) + pixels.square().sum(dim=2)).clamp_(min=0).sqrt_()


@dataclass(frozen=True)
class Rendering:
    """Distance fields to pictures, an `Augmentation`: distortion, pen, ink, noise.

    distortion: of the field. pen: the radius of the pen is drawn from ``pen[0]`` to ``pen[1]`` pixels. ink: its darkness from
    ``ink`` to 1. noise: the standard deviation of each pixel is drawn from 0 to this.
    """

    distortion: Distortion = field(
        default_factory=lambda: Distortion(rotation=10.0, scale=0.12, stretch=0.12, shear=0.15, translation=2.0, elastic=0.8)
    )
    pen: tuple[float, float] = (0.4, 1.2)
    ink: float = 0.6
    noise: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.pen[0] <= self.pen[1]:
            raise ValueError(f"pen is {list(self.pen)}, expected two radii in pixels, the smaller first")
        if not 0 < self.ink <= 1:
            raise ValueError(f"ink is {self.ink}, expected 0 < ink <= 1")
        if self.noise < 0:
            raise ValueError(f"noise is {self.noise}, expected 0 or more")

    def __call__(self, fields: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """``(N, H, W)`` float32 fields, 0 far from a line to 1 on it, to pictures of that shape, 0 paper to 1 ink."""
        drawn = torch.rand(3, len(fields), 1, 1, generator=generator, device=generator.device).to(fields.device)
        radius = self.pen[0] + (self.pen[1] - self.pen[0]) * drawn[0]
        darkness = self.ink + (1 - self.ink) * drawn[1]
        pictures = _inked(self.distortion(fields, generator), radius).mul_(darkness)
        if self.noise > 0:
            noise = torch.randn(fields.shape, generator=generator, device=generator.device).to(fields.device)
            pictures += noise.mul_(drawn[2] * self.noise)
        return pictures.clamp_(0, 1)

    def plain(self, fields: torch.Tensor) -> torch.Tensor:
        """The same without chance: no distortion, the middle thickness, full ink, no noise."""
        return _inked(fields, torch.tensor(sum(self.pen) / 2, device=fields.device))

    def widened(self, factor: float) -> Rendering:
        """Distortion and noise ``factor`` times as strong, the pen's range and the ink's as many times as wide."""
        stronger = {name: value * factor for name, value in asdict(self.distortion).items() if name != "points"}
        middle, half = sum(self.pen) / 2, (self.pen[1] - self.pen[0]) / 2 * factor
        return Rendering(
            Distortion(**stronger, points=self.distortion.points),
            (max(0.0, middle - half), middle + half),
            max(0.05, 1 - (1 - self.ink) * factor),
            self.noise * factor,
        )

    def describe(self) -> dict[str, Any]:
        """Its name and parameters."""
        return {"name": "rendering", **asdict(self)}


def _inked(fields: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Ink where the line is nearer than the pen's radius, with an edge one pixel wide."""
    return ((fields - 1) * (255 / STEPS_PER_PIXEL) + radius + 0.5).clamp_(0, 1)

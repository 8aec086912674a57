"""Perturbed copies of images, a batch at a time: shifts by whole pixels, affine and elastic deformation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional


class Augmentation(Protocol):
    """Called once a batch while training."""

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """``(N, H, W)`` float32 images, 0 background to 1 ink, to the same shape; all randomness is the generator's."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that tell this augmentation from others."""
        ...


@dataclass(frozen=True)
class Jitter:
    """Shifts each image by -``pixels`` to ``pixels`` in both directions, all shifts alike; what leaves the image is lost and
    background (0) comes in (Hinton et al. 2015, section 3: two pixels on MNIST)."""

    pixels: int = 2

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise ValueError(f"pixels is {self.pixels}, expected 0 or more")

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """``(N, H, W)`` of any dtype to the same."""
        count, height, width = images.shape
        down, right = _draw_integers(2 * self.pixels + 1, (2, count), generator, images.device)
        padded = functional.pad(images, (self.pixels,) * 4)
        shifts = padded.unfold(1, height, 1).unfold(2, width, 1)  # (N, 2p + 1, 2p + 1, H, W), a view
        return shifts[torch.arange(count, device=images.device), down, right]

    def describe(self) -> dict[str, Any]:
        """Its name and parameters."""
        return {"name": "jitter", **asdict(self)}


@dataclass(frozen=True)
class Distortion:
    """One random affine map and one smooth random displacement an image, in a single bilinear interpolation.

    rotation: degrees either way. scale: the factor lies within exp(-scale) to exp(scale), in both directions alike; stretch:
    the same for the ratio of height to width. shear: tangent either way. translation: pixels either way. All uniform.
    elastic: standard deviation, in pixels, of displacements drawn at ``points`` x ``points`` places over the image and
    interpolated between them (Simard, Steinkraus, Platt 2003, with a grid for their Gaussian filter); 0 leaves it out.
    What comes in from outside the image is background, 0.
    """

    rotation: float = 10.0
    scale: float = 0.1
    stretch: float = 0.0
    shear: float = 0.1
    translation: float = 2.0
    elastic: float = 0.0
    points: int = 4

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 0:
                raise ValueError(f"{name} is {value}, expected 0 or more")
        if self.points < 2:
            raise ValueError(f"points is {self.points}, expected at least 2")

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """``(N, H, W)`` float to the same."""
        count, height, width = images.shape
        grid = functional.affine_grid(self._maps(images, generator), [count, 1, height, width], align_corners=False)
        if self.elastic > 0:
            grid = grid + self._displacements(images, generator)
        return functional.grid_sample(images[:, None], grid.to(images.dtype), align_corners=False)[:, 0]

    def describe(self) -> dict[str, Any]:
        """Its name and parameters."""
        return {"name": "distortion", **asdict(self)}

    def _maps(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """``(N, 2, 3)`` maps from places in the result to places in the image, both with -1 to 1 from edge to edge."""
        count, height, width = images.shape
        drawn = 2 * _draw((7, count), generator, images.device) - 1
        angle, scale = drawn[0] * math.radians(self.rotation), torch.exp(drawn[1] * self.scale)
        stretch, shear = torch.exp(drawn[2] * self.stretch / 2), drawn[3] * self.shear
        cosine, sine, side = torch.cos(angle), torch.sin(angle), torch.where(drawn[6] < 0, 0.0, 1.0)
        # Rotation times shear (along x or along y) times scales; in pixels first, so that a rotation is one in any image.
        along_x, along_y = shear * side, shear * (1 - side)
        xx, xy = (cosine - sine * along_y) * scale * stretch, (cosine * along_x - sine) * scale / stretch
        yx, yy = (sine + cosine * along_y) * scale * stretch, (sine * along_x + cosine) * scale / stretch
        shift_x, shift_y = drawn[4] * self.translation * 2 / width, drawn[5] * self.translation * 2 / height
        first = torch.stack([xx, xy * height / width, shift_x], dim=1)
        second = torch.stack([yx * width / height, yy, shift_y], dim=1)
        return torch.stack([first, second], dim=1)

    def _displacements(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """``(N, H, W, 2)`` displacements, x before y, with -1 to 1 from edge to edge."""
        count, height, width = images.shape
        points = _draw((count, 2, self.points, self.points), generator, images.device, normal=True) * self.elastic
        field = functional.interpolate(points, (height, width), mode="bicubic", align_corners=True)
        return field.permute(0, 2, 3, 1) * torch.tensor([2 / width, 2 / height], device=images.device)


def _draw(shape: tuple[int, ...], generator: torch.Generator, device: torch.device, normal: bool = False) -> torch.Tensor:
    draw = torch.randn if normal else torch.rand
    return draw(shape, generator=generator, device=generator.device).to(device)


def _draw_integers(end: int, shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> torch.Tensor:
    return torch.randint(end, shape, generator=generator, device=generator.device).to(device)

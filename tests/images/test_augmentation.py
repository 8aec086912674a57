"""Perturbations: worked by hand where that is possible, and the same bits from the same generator."""

from __future__ import annotations

import pytest
import torch

from asr_distill.images import Distortion, Jitter

NOTHING = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "translation": 0.0}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_jitter_moves_one_pixel_to_each_of_25_places_alike() -> None:
    images = torch.zeros(5000, 7, 9)
    images[:, 3, 4] = 1.0
    moved = Jitter(2)(images, generator())
    assert (moved.sum(dim=(1, 2)) == 1).all()
    counts = moved.sum(dim=0)
    assert counts[1:6, 2:7].min() > 130  # of 200 expected at each place
    assert counts.sum() == counts[1:6, 2:7].sum()


def test_what_leaves_the_image_is_lost_and_background_comes_in() -> None:
    images = torch.ones(2000, 4, 4)
    moved = Jitter(1)(images, generator())
    assert sorted(set(moved.sum(dim=(1, 2)).tolist())) == [9, 12, 16]
    assert torch.equal(Jitter(0)(images, generator()), images)


def test_without_any_strength_nothing_changes() -> None:
    images = torch.rand(3, 12, 9, generator=generator(1))
    assert torch.allclose(Distortion(**NOTHING)(images, generator()), images, atol=1e-5)


def test_rotations_lie_between_the_limits() -> None:
    images = torch.zeros(400, 41, 41)
    images[:, 20, 32] = images[:, 20, 33] = 1.0  # to the right of the centre
    turned = Distortion(**{**NOTHING, "rotation": 30.0})(images, generator())
    weights = turned / turned.sum(dim=(1, 2), keepdim=True)
    axis = torch.arange(41.0) - 20
    x, y = (weights.sum(dim=1) * axis).sum(dim=1), (weights.sum(dim=2) * axis).sum(dim=1)
    angles, radii = torch.rad2deg(torch.atan2(y, x)), torch.hypot(x, y)
    assert angles.abs().max() < 31
    assert angles.max() > 25
    assert angles.min() < -25
    assert (radii - 12.5).abs().max() < 0.2


def test_translations_are_in_pixels() -> None:
    images = torch.zeros(300, 21, 31)
    images[:, 10, 15] = 1.0
    moved = Distortion(**{**NOTHING, "translation": 3.0})(images, generator())
    x, y = (moved.sum(dim=1) * torch.arange(31.0)).sum(dim=1) - 15, (moved.sum(dim=2) * torch.arange(21.0)).sum(dim=1) - 10
    for shift in (x, y):
        assert 2.7 < shift.max() <= 3.001
        assert -3.001 <= shift.min() < -2.7


def test_elastic_displacements_have_the_strength_asked_for() -> None:
    images = torch.zeros(800, 33, 33)
    images[:, 16, 16] = 1.0
    moved = Distortion(**NOTHING, elastic=2.0, points=3)(images, generator())  # the middle point of 3 is the centre pixel
    mass = moved.sum(dim=(1, 2))
    kept = mass > 0.2
    x = (moved.sum(dim=1) * (torch.arange(33.0) - 16)).sum(dim=1)[kept] / mass[kept]
    assert 1.4 < float(x.std()) < 2.6


def test_the_same_generator_gives_the_same_bits() -> None:
    images = torch.rand(4, 28, 28, generator=generator(2))
    for augmentation in (Jitter(2), Distortion(elastic=1.0, stretch=0.1)):
        first = augmentation(images, generator(3))
        assert torch.equal(first, augmentation(images, generator(3)))
        assert not torch.equal(first, augmentation(images, generator(4)))
        assert first.shape == images.shape


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="pixels is -1"):
        Jitter(-1)
    with pytest.raises(ValueError, match=r"shear is -0\.1"):
        Distortion(shear=-0.1)

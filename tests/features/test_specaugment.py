import pytest
import torch

from asr_distill.base import UserError
from asr_distill.features import SpecAugment, SpecAugmentConfig


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def runs(mask):
    """The lengths of the runs of True in a vector."""
    padded = torch.cat([torch.zeros(1), mask.float(), torch.zeros(1)])
    steps = torch.diff(padded)
    return (torch.nonzero(steps < 0) - torch.nonzero(steps > 0)).flatten().tolist()


def test_the_same_seed_gives_the_same_masks_and_examples_differ():
    augment, inputs = SpecAugment(), torch.randn(64, 1040)
    first = augment(inputs, seeded())
    assert torch.equal(first, augment(inputs, seeded()))
    assert not torch.equal(first, augment(inputs, seeded(1)))
    masks = (first == 0).reshape(64, 26, 40)
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 32


def test_masked_cells_hold_the_fill_and_others_are_untouched():
    inputs = torch.randn(32, 1040)
    before = inputs.clone()
    out = SpecAugment(SpecAugmentConfig(fill=7.0))(inputs, seeded())
    assert torch.equal(inputs, before)
    masked = out == 7.0
    assert masked.any()
    assert torch.equal(out[~masked], inputs[~masked])


def test_one_band_is_a_band_over_all_frames():
    config = SpecAugmentConfig(frequency_masks=1, max_frequency_width=8, time_masks=0)
    mask = SpecAugment(config).mask(500, 26, seeded())
    assert torch.equal(mask, mask[:, :1].expand_as(mask))
    widths = mask[:, 0].sum(dim=1)
    assert set(widths.tolist()) == set(range(9))
    assert all(len(runs(row)) <= 1 for row in mask[:, 0])
    assert mask[:, 0].any(dim=0).all()  # every bin is reached, the edges too


def test_time_masks_stay_inside_padded_utterances():
    config = SpecAugmentConfig(frequency_masks=0, time_masks=2, max_time_width=50, max_time_share=0.3)
    lengths = torch.tensor([10, 100, 40]).repeat(100)
    mask = SpecAugment(config).mask(300, 100, seeded(), lengths)[:, :, 0]
    for row, length in zip(mask, lengths.tolist(), strict=True):
        assert not row[length:].any()
        assert row.sum() <= 2 * int(0.3 * length)
    out = SpecAugment(config)(torch.ones(300, 100, 40), seeded(), lengths)
    assert torch.equal(out == 0, mask[:, :, None].expand(300, 100, 40))


def test_probability_is_the_share_of_masked_examples():
    config = SpecAugmentConfig(frequency_masks=3, probability=0.25)
    touched = SpecAugment(config).mask(4000, 26, seeded()).flatten(1).any(dim=1).float().mean()
    assert 0.2 < touched < 0.27
    assert not SpecAugment(SpecAugmentConfig(probability=0.0)).mask(100, 26, seeded()).any()


def test_bad_shapes_and_configurations_are_refused():
    with pytest.raises(UserError, match="found"):
        SpecAugment()(torch.zeros(3, 1041), seeded())
    with pytest.raises(UserError, match="found"):
        SpecAugment()(torch.zeros(3, 5, 80), seeded())
    with pytest.raises(ValueError, match="negative"):
        SpecAugmentConfig(time_masks=-1)
    assert SpecAugment()(torch.zeros(0, 1040), seeded()).shape == (0, 1040)

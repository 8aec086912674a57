"""Examples over a frame store: the windows of the utterances, their labels, masks that follow the generator."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from asr_distill.base import UserError
from asr_distill.features import ContextWindow, SpecAugmentConfig
from asr_distill.training import FrameExamples


def store(path: Path, labels: list[list[int]]) -> Any:
    """What an open store offers, made of random features; two cuts."""
    offsets = np.cumsum([0, *[len(row) for row in labels]])
    features = np.random.default_rng(0).normal(size=(offsets[-1], 40)).astype(np.float32)
    return SimpleNamespace(
        **{"path": path, "features": features, "labels": np.concatenate(labels).astype(np.int32), "offsets": offsets},
        **{"dim": 40, "num_frames": int(offsets[-1]), "num_cuts": len(labels), "hash": "h", "senones_hash": "s"},
        check_finite=lambda: None,
    )


def test_batches_are_the_windows_of_each_utterance(tmp_path: Path) -> None:
    opened = store(tmp_path, [[0, 1, 2, -1, 0], [3, 3, 1]])
    examples = FrameExamples(opened, 4, ContextWindow(3, 2))
    assert (examples.num_examples, examples.num_classes, examples.input_dim) == (8, 4, 240)
    windows = np.concatenate([ContextWindow(3, 2)(opened.features[:5]), ContextWindow(3, 2)(opened.features[5:])])
    batch = examples.batch(torch.tensor([4, 0, 5, 3]))
    np.testing.assert_array_equal(batch["inputs"], windows[[4, 0, 5, 3]])
    assert batch["labels"].tolist() == [0, 0, 3, -100]
    assert batch["frame_indices"].tolist() == [4, 0, 5, 3]
    chosen = FrameExamples(opened, 4, ContextWindow(3, 2), frames=np.array([7, 2]))
    assert chosen.num_examples == 2
    assert chosen.batch(torch.tensor([0]))["frame_indices"].tolist() == [7]
    assert chosen.describe() != examples.describe()


def test_an_epoch_visits_every_frame_once_and_can_start_anywhere(tmp_path: Path) -> None:
    examples = FrameExamples(store(tmp_path, [[0] * 50, [1] * 31]), 2)
    batches = list(examples.order(16, seed=3, epoch=1, start_step=0))
    assert sorted(torch.cat(batches).tolist()) == list(range(81))
    rest = list(examples.order(16, seed=3, epoch=1, start_step=4))
    assert [batch.tolist() for batch in rest] == [batch.tolist() for batch in batches[4:]]


def test_masks_come_from_the_generator_and_only_from_it(tmp_path: Path) -> None:
    opened = store(tmp_path, [[0] * 30])
    examples = FrameExamples(opened, 1, spec_augment=SpecAugmentConfig(max_frequency_width=20))
    plain = FrameExamples(opened, 1)
    indices = torch.arange(30)
    assert torch.equal(examples.batch(indices)["inputs"], plain.batch(indices)["inputs"])
    first, same, other = (examples.batch(indices, torch.Generator().manual_seed(seed))["inputs"] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert (first == 0).any()


def test_labels_outside_the_inventory_and_empty_choices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="label 3, but the senone inventory ends at 2"):
        FrameExamples(store(tmp_path, [[0, 3]]), 3)
    with pytest.raises(UserError, match="no frame to train on"):
        FrameExamples(store(tmp_path, [[-1, -1]]), 3, frames=np.array([], dtype=np.int64))

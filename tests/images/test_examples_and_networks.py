"""Images in the loop: batches, rows of the whole set, and a network that learns them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asr_distill.base import UserError
from asr_distill.images import ImageExamples, ImageSet, Jitter
from asr_distill.models import build_network, count_parameters, load_network
from asr_distill.training import TrainingConfig, train_model


def stripes(count: int = 240, classes: int = 4, size: int = 8, seed: int = 0) -> ImageSet:
    """Class c has ink in row 2c; noise everywhere."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.randint(60, (count, size, size), generator=generator)
    images[torch.arange(count), 2 * labels] += 150
    return ImageSet(images.to(torch.uint8), labels, classes, "stripes")


def test_a_batch_by_hand() -> None:
    images = torch.tensor([[[0, 255], [51, 0]], [[255, 255], [0, 0]], [[1, 2], [3, 4]]], dtype=torch.uint8)
    image_set = ImageSet(images, torch.tensor([1, 0, 1]), 2)
    examples = ImageExamples(image_set, rows=torch.tensor([2, 0]))
    batch = examples.batch(torch.tensor([1, 0]))
    assert torch.allclose(batch["inputs"][0], torch.tensor([0.0, 1.0, 0.2, 0.0]))
    assert batch["labels"].tolist() == [1, 1]
    assert batch["frame_indices"].tolist() == [0, 2]  # rows of the whole set
    assert (examples.num_examples, examples.num_classes, examples.input_dim) == (2, 2, 4)
    with pytest.raises(UserError, match="no image is chosen"):
        ImageExamples(image_set, rows=torch.tensor([], dtype=torch.int64))


def test_an_epoch_has_every_image_once_and_goes_on_from_any_step() -> None:
    examples = ImageExamples(stripes(50))
    batches = list(examples.order(16, seed=1, epoch=2, start_step=0))
    assert torch.cat(batches).sort().values.tolist() == list(range(50))
    assert [b.tolist() for b in examples.order(16, 1, 2, 2)] == [b.tolist() for b in batches[2:]]


def test_images_are_perturbed_only_with_a_generator() -> None:
    plain, jittered = ImageExamples(stripes()), ImageExamples(stripes(), augmentation=Jitter(2))
    indices = torch.arange(40)
    assert torch.equal(jittered.batch(indices)["inputs"], plain.batch(indices)["inputs"])
    moved = jittered.batch(indices, torch.Generator().manual_seed(0))["inputs"]
    assert not torch.equal(moved, plain.batch(indices)["inputs"])
    assert plain.describe() != jittered.describe()
    assert ImageExamples(stripes(seed=1)).describe() != plain.describe()


@pytest.mark.parametrize(
    "network",
    [
        {"name": "mlp", "width": 32, "dropout": 0.1},
        {"name": "image_cnn", "channels": [4, 8], "hidden": 16},
        {"name": "image_cnn", "channels": [4, 8], "hidden": 16, "batch_norm": True, "dropout": 0.1},
    ],
)
def test_the_loop_trains_it(tmp_path: Path, network: dict) -> None:
    config = TrainingConfig(network=network, epochs=8, batch_size=24, learning_rate=5e-3, tensorboard=False, autocast="off")
    summary = train_model(config, ImageExamples(stripes()), ImageExamples(stripes(seed=1)), tmp_path / "model")
    assert summary["dev_accuracy"] > 90
    loaded, _ = load_network(tmp_path / "model")
    assert loaded(torch.zeros(2, 64)).shape == (2, 4)


def test_sizes_and_weights_of_the_networks() -> None:
    # 784 x 1200 + 1200 x 1200 + 1200 x 10 weights and 1200 + 1200 + 10 biases
    mlp = build_network({"name": "mlp", "num_senones": 10, "input_dim": 784}, torch.Generator().manual_seed(0))
    assert count_parameters(mlp) == 2_395_210
    cnn = build_network({"name": "image_cnn", "num_senones": 1623, "input_dim": 1024}, torch.Generator().manual_seed(0))
    assert count_parameters(cnn) == 320 + 18_496 + 73_856 + 2048 * 256 + 256 + 256 * 1623 + 1623
    again = build_network({"name": "image_cnn", "num_senones": 1623, "input_dim": 1024}, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(cnn.parameters(), again.parameters(), strict=True))
    assert abs(float(cnn.hidden.weight.detach().std()) - (2 / 2048) ** 0.5) < 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": []}, "channels is 0"),
        ({"channels": [4, 4, 4, 4]}, "cannot be halved so often"),
        ({"input_dim": 60}, "expected a square"),
        ({"kernel": 5}, "unknown key 'kernel'"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_network({"name": "image_cnn", "num_senones": 3, "input_dim": 64, **options})

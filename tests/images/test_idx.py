"""idx files: what is read is what was written by hand; every kind of wrong file is refused by name."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_distill.base import UserError
from asr_distill.images import ImageSet, read_images, read_labels
from asr_distill.images.mnist import read_mnist

IMAGES = b"\0\0\x08\x03" + struct.pack(">III", 2, 2, 3) + bytes(range(12))
LABELS = b"\0\0\x08\x01" + struct.pack(">I", 3) + bytes([2, 0, 1])


def test_files_by_hand(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(IMAGES)
    (tmp_path / "labels.gz").write_bytes(gzip.compress(LABELS))
    assert read_images(tmp_path / "images", (2, 3)).tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    labels = read_labels(tmp_path / "labels.gz", 3)
    assert labels.tolist() == [2, 0, 1]
    assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG....", "is no idx file: it begins with 89 50 4e 47"),
        (LABELS, r"00 00 08 01 \(that is a file of labels\), expected 00 00 08 03"),
        (b"\0\0\x0d\x03" + IMAGES[4:], "00 00 0d 03, expected 00 00 08 03"),
        (IMAGES[:9], "cut short: 9 bytes, the header alone has 16"),
        (IMAGES[:-1], "cut short: 27 bytes, expected 28 for 2 x 2 x 3 images"),
        (IMAGES + b"\0", "more than its header says: 29 bytes, expected 28"),
        (IMAGES[:4] + struct.pack(">III", 0, 2, 3), "holds no images"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_images(path)
    assert str(path) in str(error.value)


def test_a_damaged_gzip_file_and_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(IMAGES)[:-6])
    (tmp_path / "plain.gz").write_bytes(IMAGES)
    for name in ("cut.gz", "plain.gz"):
        with pytest.raises(UserError, match=f"{name} is cut short or no gzip file"):
            read_images(tmp_path / name)
    with pytest.raises(UserError, match="absent does not exist"):
        read_images(tmp_path / "absent")


def test_other_sizes_and_labels_out_of_range(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(IMAGES)
    (tmp_path / "labels").write_bytes(LABELS)
    with pytest.raises(UserError, match="images of 2 x 3 pixels, expected 28 x 28"):
        read_images(tmp_path / "images", (28, 28))
    with pytest.raises(UserError, match="label 0 is 2, expected 0 to 1"):
        read_labels(tmp_path / "labels", 2)


def test_a_set_that_does_not_fit_together() -> None:
    images = torch.zeros(3, 2, 2, dtype=torch.uint8)
    with pytest.raises(UserError, match="3 images, but the labels are"):
        ImageSet(images, torch.tensor([0, 1]), 2)
    with pytest.raises(UserError, match="label 1 is -1"):
        ImageSet(images, torch.tensor([0, -1, 1]), 2)
    with pytest.raises(UserError, match=r"expected \(N, H, W\) of torch\.uint8"):
        ImageSet(images.float(), torch.tensor([0, 1, 1]), 2)
    with pytest.raises(UserError, match=r"mine: 2 of 4 classes have no image \(1, 3\)"):
        ImageSet(images, torch.tensor([0, 2, 2]), 4, "mine").require_every_class()


def test_mnist_itself(mnist_dir: Path) -> None:
    train, test = read_mnist(mnist_dir)
    assert (len(train), len(test)) == (60000, 10000)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]  # known to everybody who has looked at it
    assert int(test.counts()[3]) == 1010  # the paper's "1010 threes"
    assert train.counts().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    with pytest.raises(UserError, match="train_images is 60001"):
        read_mnist(mnist_dir, train_images=60001)
    with pytest.raises(UserError, match="5 of 10 classes have no image"):
        read_mnist(mnist_dir, train_images=5)

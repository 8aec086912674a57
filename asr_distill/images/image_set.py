"""Images with their classes: what every image data set is read into."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch

from asr_distill.base import UserError


@dataclass(frozen=True)
class ImageSet:
    """A set of grey images, each of one class.

    images: ``(N, H, W)`` uint8, 0 background to 255 ink. labels: ``(N,)`` int64, 0 <= label < num_classes.
    name: for messages, such as a file's. Raises `UserError` where these do not fit together.
    """

    images: torch.Tensor
    labels: torch.Tensor
    num_classes: int
    name: str = "images"

    def __post_init__(self) -> None:
        if self.images.ndim != 3 or self.images.dtype != torch.uint8:
            found = f"{tuple(self.images.shape)} {self.images.dtype}"
            raise UserError(f"{self.name}: the images are {found}, expected (N, H, W) of torch.uint8")
        if self.labels.shape != (len(self.images),) or self.labels.dtype != torch.int64:
            raise UserError(
                f"{self.name}: {len(self.images)} images, but the labels are {tuple(self.labels.shape)} {self.labels.dtype};"
                " expected one int64 label an image: do the two files belong together?"
            )
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.num_classes:
            wrong = int(((self.labels < 0) | (self.labels >= self.num_classes)).nonzero()[0])
            raise UserError(
                f"{self.name}: label {wrong} is {int(self.labels[wrong])}, expected 0 to {self.num_classes - 1};"
                " mend the labels, or state the right number of classes"
            )

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over images and labels."""
        digest = hashlib.sha256(str((tuple(self.images.shape), self.num_classes)).encode())
        digest.update(self.images.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def counts(self) -> torch.Tensor:
        """``(num_classes,)`` int64: images of each class."""
        return torch.bincount(self.labels, minlength=self.num_classes)

    def require_every_class(self) -> None:
        """Raises `UserError` naming the first classes that have no image, for a set that is trained on."""
        absent = (self.counts() == 0).nonzero().flatten().tolist()
        if absent:
            listed = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
            raise UserError(
                f"{self.name}: {len(absent)} of {self.num_classes} classes have no image ({listed});"
                " use a part that has examples of each, or state the classes that there are"
            )

    def subset(self, rows: torch.Tensor, name: str | None = None) -> ImageSet:
        """The images at ``rows``, ``(M,)`` int64 or ``(N,)`` bool."""
        return dataclasses.replace(self, images=self.images[rows], labels=self.labels[rows], name=name or self.name)

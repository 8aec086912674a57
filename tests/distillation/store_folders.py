"""Folders of soft-target stores: filled cut by cut, and compared byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from asr_distill.distillation.soft_target_writer import SoftTargetWriter


def add_missing(writer: SoftTargetWriter, cut_ids: Iterable[str], posteriors: Callable[[str], torch.Tensor]) -> None:
    """Finishes the store with the cuts that it does not hold yet."""
    with writer:
        for cut_id in cut_ids:
            if not writer.done(cut_id):
                writer.add(cut_id, posteriors(cut_id))


def contents(path: Path) -> dict[str, bytes]:
    """Every file of the folder by its name."""
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}

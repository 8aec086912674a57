"""How long the runs that are not done will take here, from a few steps of each kind of network by the loop itself."""

from __future__ import annotations

import csv
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import hash_of_object, to_mapping
from asr_distill.images.augmentation import Jitter
from asr_distill.images.examples import ImageExamples
from asr_distill.images.image_set import ImageSet
from asr_distill.images.mnist.configuration import MnistConfig
from asr_distill.images.mnist.experiments import Run
from asr_distill.images.mnist.running import is_done
from asr_distill.training import train_model

_STEPS = 12  # timed, after as many that are not
_SECONDS_BESIDE_TRAINING = 1.0  # of a run: test and held-out logits, files


def estimate(config: MnistConfig, train: ImageSet, root: Path, runs: Sequence[Run], jobs: int = 1) -> dict[str, Any]:
    """``seconds`` (of the clock, with so many ``jobs`` at a time) and a row for each experiment that has runs left.

    Times a few steps, which takes some seconds itself, on the machine as busy as it is now.
    """
    speeds: dict[str, float] = {}
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        if is_done(run, root):
            continue
        kind = hash_of_object([to_mapping(run.training)["network"], run.training.batch_size, run.jitter])
        if kind not in speeds:
            speeds[kind] = _images_per_second(run, train)
        images = len(run.rows(train, config)) * run.training.epochs
        name = run.experiment.partition("/")[0]
        row = rows.setdefault(name, {"experiment": name, "runs": 0, "images": 0, "seconds": 0.0})
        row["runs"] += 1
        row["images"] += images
        row["seconds"] += images / speeds[kind] + _SECONDS_BESIDE_TRAINING
    total = sum(row["seconds"] for row in rows.values())
    return {"seconds": total / jobs, "jobs": jobs, "experiments": list(rows.values())}


def _images_per_second(run: Run, train: ImageSet) -> float:
    """Of the second of two short epochs of the run's own network."""
    batch_size = min(run.training.batch_size, max(1, len(train) // _STEPS))
    rows = torch.arange(min(len(train), _STEPS * batch_size))
    examples = ImageExamples(train, augmentation=Jitter(run.jitter) if run.jitter else None, rows=rows)
    training = dataclasses.replace(run.training, epochs=2, batch_size=batch_size, warmup_epochs=0.0)
    with tempfile.TemporaryDirectory() as folder:
        train_model(training, examples, None, Path(folder) / "speed")
        with open(Path(folder) / "speed" / "log.csv", newline="", encoding="utf-8") as stream:
            return float(list(csv.DictReader(stream))[-1]["frames_per_second"])

"""All runs of the plan that are not done yet, those that learn from labels first, several at a time."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from asr_distill.images.image_set import ImageSet
from asr_distill.images.mnist.configuration import MnistConfig
from asr_distill.images.mnist.data import read_mnist
from asr_distill.images.mnist.experiments import LOGITS_FILE, SOFT_TARGETS_FOLDER, Run, execute
from asr_distill.specialists import in_parallel
from asr_distill.training.state import COMPLETED_FILE

_log = logging.getLogger("asr_distill")


def is_done(run: Run, root: Path) -> bool:
    """Whether a run is trained and all that it writes is there."""
    folder = root / run.name
    wanted = [folder / COMPLETED_FILE, folder / LOGITS_FILE]
    if run.experiment == "teacher":
        wanted.append(folder / SOFT_TARGETS_FOLDER / "meta.json")
    return all(path.is_file() for path in wanted)


def run_all(config: MnistConfig, data: Path, root: Path, runs: Sequence[Run], jobs: int = 1) -> float:
    """Trains what is not trained, ``jobs`` at a time, each in a process of its own; returns the seconds it took.

    data: the folder of the idx files. Raises `UserError` of the first run that fails; those that are done stay done.
    """
    start = time.monotonic()
    work, done = functools.partial(_execute, config, data, root), 0
    for on_labels in (True, False):  # the teachers are among the former
        for run, seconds in in_parallel(work, [run for run in runs if (run.teacher is None) == on_labels], jobs):
            done += 1
            _log.info("run %d of %d: %s, trained in %.0f s", done, len(runs), run.name, seconds)
    return time.monotonic() - start


@functools.lru_cache(maxsize=1)
def _sets(data: Path, train_images: int | None) -> tuple[ImageSet, ImageSet]:
    return read_mnist(data, train_images=train_images)


def _execute(config: MnistConfig, data: Path, root: Path, run: Run) -> float:
    """One run, quietly: thousands of epochs would hide the lines that say how far the whole is."""
    level, threads = _log.level, torch.get_num_threads()
    _log.setLevel(logging.WARNING)
    torch.set_num_threads(run.training.threads or threads)
    try:
        return execute(run, config, *_sets(data, config.train_images), root)
    finally:
        _log.setLevel(level)
        torch.set_num_threads(threads)

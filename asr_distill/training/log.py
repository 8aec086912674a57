"""What a run tells people: a bar while it runs, a line an epoch, ``log.csv`` and TensorBoard for later."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import atomic_path, progress_bar
from asr_distill.training.state import EVENTS_FOLDER

COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "dev_loss",
    "dev_accuracy",
    "frames_per_second",
    "seconds",
)
_log = logging.getLogger("asr_distill")


class TrainingLog:
    """Writes ``log.csv`` (losses in nats per frame, accuracies in per cent, what was not measured empty) and, where it is
    installed, ``tensorboard/``."""

    def __init__(self, out_dir: Path, name: str, tensorboard: bool, history: list[dict[str, Any]]) -> None:
        self.out_dir, self.name = out_dir, name
        self._writer: Any = None
        if tensorboard:
            try:
                from tensorboard.summary import Writer
            except ImportError as error:
                _log.info("%s: no TensorBoard files (%s); pip install tensorboard for them", name, error)
                return
            # A resumed run writes its events anew: those of work that was lost would stand beside their repetition.
            shutil.rmtree(out_dir / EVENTS_FOLDER, ignore_errors=True)
            self._writer = Writer(str(out_dir / EVENTS_FOLDER))
            for row in history:
                self._events(row)

    def bar(self, batches: Iterator[torch.Tensor], epoch: int, epochs: int, done: int, total: int) -> Iterator[torch.Tensor]:
        """Yields the batches behind a bar in frames, with frames/s and the time left; quiet where there is no terminal."""
        with progress_bar(
            desc=f"{self.name} epoch {epoch + 1}/{epochs}",
            total=total,
            initial=done,
            unit=" frames",
            unit_scale=True,
        ) as bar:
            for indices in batches:
                yield indices
                bar.update(len(indices))

    def epoch(self, history: list[dict[str, Any]]) -> None:
        """Logs the last row; ``log.csv`` is written whole, so that a resume leaves no rows of work that was lost."""
        row = history[-1]
        train = "-" if row["train_accuracy"] is None else f"{row['train_accuracy']:.2f} %"
        dev = "" if row["dev_accuracy"] is None else f", dev loss {row['dev_loss']:.4f} accuracy {row['dev_accuracy']:.2f} %"
        _log.info(
            "%s epoch %d: train loss %.4f accuracy %s%s, %.0f frames/s, %.1f s",
            *(self.name, row["epoch"], row["train_loss"], train, dev),
            *(row["frames_per_second"], row["seconds"]),
        )
        path = self.out_dir / "log.csv"
        with atomic_path(path, listed=True) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, COLUMNS)
            table.writeheader()
            table.writerows(history)
        if self._writer is not None:
            self._events(row)
            self._writer.flush()

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def _events(self, row: dict[str, Any]) -> None:
        for column in COLUMNS[2:]:
            if row[column] is not None:
                self._writer.add_scalar(column, row[column], row["epoch"])

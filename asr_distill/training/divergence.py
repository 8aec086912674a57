"""A run whose loss explodes is stopped, with what it takes to go back: the last good weights, and the batch it began with.

A run has diverged where

- a loss, a weight or a number of the optimiser's state is NaN or infinite (gradients that overflow end there too), or
- `PATIENCE` losses in a row, or the last `AT_THE_END` of the training, are above `FACTOR` times that of a uniform guess: ln C
  for C classes, or the run's first loss where that is larger, as it is for soft targets at a high temperature.

No run that learns does the second: a spike after a bad batch is over before, and a network that has died and guesses has the
loss of a guess, not ten times as much.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from asr_distill.base import UserError, atomic_directory, foreign_files, write_json
from asr_distill.models import load_tensors, save_tensors
from asr_distill.models.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from asr_distill.training.precision import precision

if TYPE_CHECKING:
    from asr_distill.training.examples import Examples
    from asr_distill.training.state import Progress, TrainingState

FACTOR, PATIENCE, AT_THE_END = 10.0, 50, 5
INSPECTED_STEPS = 20  # losses are looked at so often: on a GPU each look waits for it
FOLDER, REPORT_FILE = "diverged", "diverged.json"


@dataclass(frozen=True)
class Step:
    """One step: its place (both from 1), the learning rate, the loss as a scalar tensor, and the examples of its batch."""

    epoch: int
    step: int
    learning_rate: float
    loss: torch.Tensor
    indices: torch.Tensor


@dataclass(frozen=True)
class Finding:
    """What went wrong at a step: ``what`` for people, the rest for the file. loss: None where it is not finite."""

    what: str
    epoch: int
    step: int
    learning_rate: float
    loss: float | None
    limit: float


class Diverged(Exception):
    """The run cannot go on. Holds the `Finding` and the examples ``(N,)`` of the batch it began with."""

    def __init__(self, finding: Finding, indices: torch.Tensor) -> None:
        super().__init__(finding.what)
        self.finding, self.indices = finding, indices


class Watch:
    """Looks at the losses of a run, some at a time, and at its weights; keeps the run's first loss in ``progress``."""

    def __init__(self, num_classes: int, progress: Progress) -> None:
        self.progress = progress
        self.last: Step | None = None
        self._uniform = math.log(max(2, num_classes))
        self._waiting: list[Step] = []
        self._above: list[Step] = []  # the latest losses, as far as they are above the limit without a break

    @property
    def limit(self) -> float:
        """The loss that no run which learns is above for long."""
        return FACTOR * max(self._uniform, self.progress.first_loss or 0.0)

    def add(self, step: Step, *, look: bool) -> None:
        """Notes a step; reads the losses noted where there are enough of them, or where told to ``look``. Raises `Diverged`."""
        self._waiting.append(step)
        self.last = step
        if not look and len(self._waiting) < INSPECTED_STEPS:
            return
        losses = torch.stack([step.loss for step in self._waiting]).tolist()
        waiting, self._waiting = self._waiting, []
        for step, loss in zip(waiting, losses, strict=True):
            if not math.isfinite(loss):
                raise self._found(step, f"the loss is {loss}")
            if self.progress.first_loss is None:
                self.progress.first_loss = loss
            self._above = [*self._above, step] if loss > self.limit else []
            self._judge(PATIENCE)

    def end_epoch(self, state: TrainingState) -> None:
        """Raises `Diverged` where a weight, or a number of the optimiser, is not finite after the last step."""
        name = state.not_finite()
        if name is not None and self.last is not None:
            raise self._found(self.last, f"{name} is not finite any more")

    def end(self, steps_per_epoch: int) -> None:
        """Raises `Diverged` where the training ends with losses above the limit."""
        self._judge(min(AT_THE_END, steps_per_epoch))

    def _judge(self, patience: int) -> None:
        if len(self._above) >= patience:
            rose = f"the loss rose to {float(self._above[0].loss):.4g} and was above {self.limit:.4g}, {FACTOR:g} times that of"
            raise self._found(self._above[0], f"{rose} a uniform guess, for {len(self._above)} steps")

    def is_good(self, state: TrainingState, batch: Mapping[str, torch.Tensor] | None, bf16: bool) -> bool:
        """Whether ``state`` is worth keeping: no loss above the limit just now, nor, after the step, that of ``batch``.

        Draws no random number, so that a run with other checkpoints has the same result.
        """
        if self._above or state.not_finite() is not None:
            return False
        if batch is None:  # the run was resumed behind the last step of an epoch, from what was good then
            return True
        network, training = state.network, state.network.training
        with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []), torch.no_grad():
            network.eval()
            with precision(bf16, state.device):
                logits = network(batch["inputs"])
            network.train(training)
        labels = batch["labels"]
        if not bool((labels >= 0).any()):
            return bool(logits.isfinite().all())
        loss = functional.cross_entropy(logits.float(), torch.where(labels >= 0, labels, -100), ignore_index=-100)
        return float(loss) <= self.limit

    def _found(self, step: Step, what: str) -> Diverged:
        loss = float(step.loss)
        known = loss if math.isfinite(loss) else None
        return Diverged(Finding(what, step.epoch, step.step, step.learning_rate, known, self.limit), step.indices)


def report_divergence(
    found: Diverged,
    state: TrainingState,
    train: Examples,
    learning_rate: float,
    network_config: Mapping[str, Any],
    description: Mapping[str, Any],
) -> UserError:
    """Writes ``diverged/`` beside the run and returns the error that says so.

    There ``diverged.json`` has the finding and the ids of the batch's cuts (``examples``: their numbers, where the examples
    have no cuts); ``config.json`` and ``model.safetensors`` are the network of the last good checkpoint, if there was one.
    """
    out_dir = state.folder.parent
    folder, finding = out_dir / FOLDER, found.finding
    names = getattr(train, "cuts_of", None)
    batch = {"cuts": names(found.indices)} if names is not None else {"examples": found.indices.tolist()}
    good = state.last_checkpoint()
    with atomic_directory(folder) as temporary:
        place = None
        if good is not None:
            place = {"epochs": good.progress.epoch, "steps": good.progress.step}
            tensors = load_tensors(good.path)
            weights = {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
            save_tensors(temporary / WEIGHTS_FILE, weights)
            write_json(temporary / CONFIG_FILE, {"network": dict(network_config), **description})
        write_json(temporary / REPORT_FILE, {**asdict(finding), "last_good_checkpoint": place, **batch})
    slower = f"--set learning_rate={learning_rate / 10:.3g}"
    if place is None:
        way = f"train into another --output with {slower}, --set clip_norm=1 or --set warmup_epochs=1"
    else:
        way = (
            f"--initial-model {folder} {slower} and another --output: that goes on from the last good checkpoint, after"
            f" {place['epochs']} epochs and {place['steps']} steps, which is left as it was. Also --set clip_norm=1"
        )
    return UserError(
        f"training in {out_dir} diverged: {finding.what} at step {finding.step} of epoch {finding.epoch} (learning rate"
        f" {finding.learning_rate:.3g}); the cuts of that batch are in {folder / REPORT_FILE}. If their features are as they"
        f" should be, halve learning_rate or more. Next: {way}"
    )


def remove_report(out_dir: Path) -> None:
    """Deletes what an earlier run in ``out_dir`` left that diverged, unless the user has put something there."""
    folder = out_dir / FOLDER
    if (folder / REPORT_FILE).is_file() and not foreign_files(folder):
        shutil.rmtree(folder)

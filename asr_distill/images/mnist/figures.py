"""The figures of the recipe, from the logits that the runs left: errors of each experiment, biases, the grid, the sweeps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import UserError, read_json
from asr_distill.images.image_set import ImageSet
from asr_distill.images.mnist import bias
from asr_distill.images.mnist.configuration import MnistConfig
from asr_distill.images.mnist.experiments import Run, held_out_rows, plan, read_logits
from asr_distill.images.mnist.running import is_done
from asr_distill.training.state import COMPLETED_FILE

FREQUENCY, LABELS, PAPER = "frequency", "held_out_labels", "paper_protocol"


@dataclass
class System:
    """One row of the results: a kind of network, with its seeds' predictions on the test set, ``(10,000,)`` int64 each.

    group, rule: the classes whose bias was shifted, and by which rule; shifts: by how much, for each seed.
    paper: what the paper reports, in errors.
    """

    name: str
    label: str
    runs: list[Run]
    predictions: dict[int, torch.Tensor]
    parameters: int
    paper: float | None = None
    group: tuple[int, ...] = ()
    rule: str | None = None
    shifts: dict[int, float] = field(default_factory=dict)

    def errors(self, labels: torch.Tensor, digit: int | None = None) -> list[int]:
        """Test errors of each seed, on the images of ``digit`` alone where it is given."""
        chosen = slice(None) if digit is None else labels == digit
        return [int((found[chosen] != labels[chosen]).sum()) for found in self.predictions.values()]

    def mean_errors(self, labels: torch.Tensor, digit: int | None = None) -> float:
        """Over the seeds."""
        return statistics.fmean(self.errors(labels, digit))


@dataclass
class Figures:
    """Everything that is reported.

    systems: the rows that have predictions; grid: a row for each width and temperature (None: labels alone); sweep_digits,
    sweep_pairs: a row for each digit left out, each pair kept. labels: of the test set.
    """

    labels: torch.Tensor
    systems: dict[str, System]
    grid: list[dict[str, Any]]
    sweep_digits: list[dict[str, Any]]
    sweep_pairs: list[dict[str, Any]]


def collect(
    config: MnistConfig,
    train: ImageSet,
    test: ImageSet,
    root: Path,
    *,
    paper_protocol: bool = False,
    allow_missing: bool = False,
) -> Figures:
    """The figures of all runs under ``root``.

    Biases are fitted on the held-out training images, so that the missing digits come out as often as among the training
    labels; ``paper_protocol`` adds those with the fewest test errors. Raises `UserError` where a run is not trained, unless
    ``allow_missing``, which leaves it out.
    """
    runs: dict[str, list[Run]] = {}
    for run in plan(config):
        if is_done(run, root):
            runs.setdefault(run.experiment, []).append(run)
        elif not allow_missing:
            raise UserError(f"{root / run.name} is not trained; end `asr-distill mnist train` first, or add --allow-missing")
    fits = _Fits(train, test, held_out_rows(train, config), root)
    systems = {}
    for name, label, paper in (
        ("teacher", "teacher, 2 x 1200, dropout, max-norm, jitter", 67),
        ("small_hard", "2 x 800 on labels, unregularised", 146),
        ("small_distilled", "2 x 800 on soft targets", 74),
        ("omit3", "no 3s in the transfer set", 206),
        ("only78", "only 7s and 8s in the transfer set", 4730),
    ):
        if name in runs:
            systems[name] = fits.system(name, label, runs[name], paper)
    for name, group, corrected_by_paper in (("omit3", (3,), 109), ("only78", (7, 8), 1320)):
        if name not in runs:
            continue
        plain = systems[name]
        systems[f"{name}_bias"] = fits.corrected(f"{name}_bias", plain, group, FREQUENCY)
        if paper_protocol:
            label = f"{name}_bias_{PAPER}"
            systems[label] = fits.corrected(label, plain, group, PAPER, corrected_by_paper)
        label = f"{name}_bias_{LABELS}"
        systems[label] = fits.corrected(label, plain, group, LABELS)
    return Figures(test.labels, systems, _grid(config, runs, fits), *_sweeps(runs, fits))


class _Fits:
    """Reads logits, fits biases."""

    def __init__(self, train: ImageSet, test: ImageSet, held_out: torch.Tensor, root: Path) -> None:
        self.train, self.test, self.held_out, self.root = train, test, held_out, root

    def system(self, name: str, label: str, runs: list[Run], paper: float | None = None) -> System:
        predictions = {run.training.seed: bias.predict(read_logits(run, self.root)["test"]) for run in runs}
        summary = read_json(self.root / runs[0].name / COMPLETED_FILE)["summary"]
        return System(name, label, runs, predictions, summary["parameters"], paper)

    def corrected(self, name: str, plain: System, group: tuple[int, ...], rule: str, paper: float | None = None) -> System:
        shifts = {run.training.seed: self.shift(run, group, rule) for run in plain.runs}
        predictions = {
            run.training.seed: bias.predict(read_logits(run, self.root)["test"], group, shifts[run.training.seed])
            for run in plain.runs
        }
        how = {
            FREQUENCY: "class frequency, held-out",
            LABELS: "fewest held-out errors",
            PAPER: "fewest test errors, as in the paper",
        }[rule]
        label = f"{plain.label}; bias by {how}"
        return System(name, label, plain.runs, predictions, plain.parameters, paper, group, rule, shifts)

    def shift(self, run: Run, group: Sequence[int], rule: str) -> float:
        logits = read_logits(run, self.root)
        if rule == PAPER:
            return bias.fit_to_labels(logits["test"], self.test.labels, group)
        if rule == LABELS:
            return bias.fit_to_labels(logits["held_out"], self.train.labels[self.held_out], group)
        counts = self.train.counts()
        return bias.fit_to_frequency(logits["held_out"], group, float(counts[list(group)].sum() / counts.sum()))


def _grid(config: MnistConfig, runs: dict[str, list[Run]], fits: _Fits) -> list[dict[str, Any]]:
    """Mean test errors by width and temperature."""
    rows = []
    for width in config.widths.widths if config.widths else ():
        for temperature in (None, *(config.widths.temperatures if config.widths else ())):
            name = f"width{width}/{'hard' if temperature is None else f'T{temperature:g}'}"
            if name in runs:
                errors = fits.system(name, name, runs[name]).errors(fits.test.labels)
                row = {"width": width, "temperature": temperature, "errors": statistics.fmean(errors), "per_seed": errors}
                rows.append(row)
    return rows


def _sweeps(runs: dict[str, list[Run]], fits: _Fits) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the digits left out and of the pairs kept: errors as trained, and after the bias fitted by frequency."""
    labels, digits, pairs = fits.test.labels, [], []
    for experiment in runs:
        kind, _, which = experiment.partition("/")
        if kind not in ("omit_each", "keep_pairs"):
            continue
        group = tuple(int(digit) for digit in which)
        plain = fits.system(experiment, experiment, runs[experiment])
        corrected = fits.corrected(experiment, plain, group, FREQUENCY)
        row: dict[str, Any] = {"digits": list(group), "errors": plain.mean_errors(labels)}
        row |= {"bias": statistics.fmean(corrected.shifts.values()), "bias_errors": corrected.mean_errors(labels)}
        if kind == "keep_pairs":
            pairs.append(row)
        else:
            row["errors_on_digit"] = plain.mean_errors(labels, group[0])
            row["bias_errors_on_digit"] = corrected.mean_errors(labels, group[0])
            row["images_of_digit"] = int((labels == group[0]).sum())
            digits.append(row)
    return digits, pairs

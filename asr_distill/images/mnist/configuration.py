"""What the MNIST recipe trains, as strict YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asr_distill.base import from_mapping
from asr_distill.distillation.checks import check_options
from asr_distill.distillation.combine import check_temperature
from asr_distill.training import TrainingConfig

Settings = dict[str, Any]


@dataclass(frozen=True)
class HardRuns:
    """Networks trained on labels: one for each of ``seeds``; training: keys of `TrainingConfig`."""

    seeds: int = 5
    training: Settings = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_runs(self.seeds)


@dataclass(frozen=True)
class SoftRuns:
    """Students on the teacher's soft targets at ``temperature``; the loss is that of `distillation_loss`.

    seeds: so many; the student of seed s learns from the teacher of seed s modulo the teachers.
    training: keys of `TrainingConfig` over those of ``student``.
    """

    seeds: int = 5
    training: Settings = field(default_factory=dict)
    temperature: float = 20.0
    soft_weight: float = 1.0
    hard_weight: float = 0.5

    def __post_init__(self) -> None:
        _check_runs(self.seeds, (self.temperature,))
        check_options(self.soft_weight, self.hard_weight, "paper", "mean")


@dataclass(frozen=True)
class WidthRuns:
    """Students of each width at each temperature, and on labels alone at each width."""

    seeds: int = 3
    training: Settings = field(default_factory=dict)
    widths: tuple[int, ...] = (30, 100, 300, 800)
    temperatures: tuple[float, ...] = (1.0, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)
    soft_weight: float = 1.0
    hard_weight: float = 0.5

    def __post_init__(self) -> None:
        _check_runs(self.seeds, self.temperatures)
        check_options(self.soft_weight, self.hard_weight, "paper", "mean")
        for name, values in (("widths", self.widths), ("temperatures", self.temperatures)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} {list(values)}: a value occurs twice")
        if min(self.widths, default=1) < 1:
            raise ValueError(f"widths {list(self.widths)}: expected 1 or more")


def _check_runs(seeds: int, temperatures: tuple[float, ...] = ()) -> None:
    if seeds < 0:
        raise ValueError(f"seeds is {seeds}, expected 0 or more")
    for value in temperatures:
        check_temperature(value)


@dataclass(frozen=True)
class MnistConfig:
    """Every experiment of the paper's section 3.

    train_images: the first so many of the training set, or none for all. held_out: training images, drawn with ``split_seed``,
    that the students with missing digits are not trained on; their biases are fitted there. jitter: pixels by which the
    teacher's training images are shifted. student: keys of `TrainingConfig` for every student, on labels or soft targets.
    small_hard, small_distilled: the student without regularisation, on labels and on soft targets.
    omit3, only78: transfer sets without threes, and with sevens and eights alone. omit_each, keep_pairs: the same for every
    digit left out and every pair kept, or none.
    """

    train_images: int | None = None
    held_out: int = 5000
    split_seed: int = 0
    jitter: int = 2
    teacher: HardRuns = field(default_factory=HardRuns)
    student: Settings = field(default_factory=dict)
    small_hard: HardRuns = field(default_factory=HardRuns)
    small_distilled: SoftRuns = field(default_factory=SoftRuns)
    widths: WidthRuns | None = field(default_factory=WidthRuns)
    omit3: SoftRuns = field(default_factory=SoftRuns)
    only78: SoftRuns = field(default_factory=SoftRuns)
    omit_each: SoftRuns | None = None
    keep_pairs: SoftRuns | None = None

    def __post_init__(self) -> None:
        if self.teacher.seeds < 1:
            raise ValueError(f"teacher: seeds is {self.teacher.seeds}, expected at least 1: the students learn from it")
        if self.train_images is not None and self.train_images < 1:
            raise ValueError(f"train_images is {self.train_images}, expected at least 1, or none for all")
        if self.held_out < 1 or self.jitter < 0:
            raise ValueError(f"held_out is {self.held_out}, jitter {self.jitter}; expected at least 1 and 0")


def training_config(settings: Settings, over: Settings, seed: int, threads: int | None, where: str) -> TrainingConfig:
    """``over`` on top of ``settings``, the network's options merged; what the recipe decides itself cannot be set.

    Raises `UserError` on unknown keys.
    """
    network = {**settings.get("network", {}), **over.get("network", {})}
    fixed = {"network": network, "seed": seed, "threads": threads, "device": "cpu", "keep": "last", "tensorboard": False}
    return from_mapping(TrainingConfig, {**settings, **over, **fixed}, where)

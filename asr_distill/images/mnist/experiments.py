"""The runs of the recipe: which network learns what from whom. Each has a folder of its own and waits for its teacher only."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import torch

from asr_distill.images.augmentation import Jitter
from asr_distill.images.examples import ImageExamples
from asr_distill.images.image_set import ImageSet
from asr_distill.images.mnist.configuration import MnistConfig, SoftRuns, training_config
from asr_distill.images.mnist.data import NUM_CLASSES
from asr_distill.images.soft_targets import ImageTeacher, image_logits, write_soft_targets
from asr_distill.models import load_network, load_tensors, save_tensors
from asr_distill.training import HardLabels, Objective, TrainingConfig, train_model
from asr_distill.training.distillation import Distillation

LOGITS_FILE, SOFT_TARGETS_FOLDER = "logits.safetensors", "soft_targets"


@dataclass(frozen=True)
class Run:
    """One training run.

    name: its folder. training: the loop's configuration. digits: classes whose images are trained on. held_out: whether the
    held-out images are kept out of training. jitter: pixels. teacher: the run whose soft targets are learnt, None for labels.
    """

    name: str
    training: TrainingConfig
    digits: tuple[int, ...] = tuple(range(NUM_CLASSES))
    held_out: bool = False
    jitter: int = 0
    teacher: str | None = None
    temperature: float | None = None
    soft_weight: float = 0.0
    hard_weight: float = 1.0

    @property
    def experiment(self) -> str:
        """What the run's seeds have in common: the folder above."""
        return self.name.rpartition("/")[0]

    def rows(self, train: ImageSet, config: MnistConfig) -> torch.Tensor:
        """``(M,)`` int64: the training images that this run sees."""
        seen = torch.isin(train.labels, torch.tensor(self.digits))
        if self.held_out:
            seen[held_out_rows(train, config)] = False
        return seen.nonzero().flatten()


def plan(config: MnistConfig, threads: int | None = 1) -> list[Run]:
    """Every run, teachers first. Raises `UserError` on unknown keys of a training configuration."""

    def students(name: str, runs: SoftRuns, digits: tuple[int, ...] = tuple(range(NUM_CLASSES)), **more: int) -> list[Run]:
        held_out = len(digits) < NUM_CLASSES
        over = {**runs.training, "network": {**runs.training.get("network", {}), **more}}
        return [
            Run(
                f"{name}/seed{seed}",
                training_config(config.student, over, seed, threads, name),
                digits,
                held_out,
                teacher=f"teacher/seed{seed % config.teacher.seeds}",
                temperature=runs.temperature,
                soft_weight=runs.soft_weight,
                hard_weight=runs.hard_weight,
            )
            for seed in range(runs.seeds)
        ]

    teacher = config.teacher
    runs = [
        Run(f"teacher/seed{seed}", training_config({}, teacher.training, seed, threads, "teacher"), jitter=config.jitter)
        for seed in range(teacher.seeds)
    ]
    runs += [
        Run(f"small_hard/seed{seed}", training_config(config.student, config.small_hard.training, seed, threads, "small_hard"))
        for seed in range(config.small_hard.seeds)
    ]
    runs += students("small_distilled", config.small_distilled)
    runs += students("omit3", config.omit3, without(3)) + students("only78", config.only78, (7, 8))
    if config.widths is not None:
        grid = config.widths
        for width, seed in itertools.product(grid.widths, range(grid.seeds)):
            over = {**grid.training, "network": {**grid.training.get("network", {}), "width": width}}
            runs.append(Run(f"width{width}/hard/seed{seed}", training_config(config.student, over, seed, threads, "widths")))
        for width, temperature in itertools.product(grid.widths, grid.temperatures):
            of_width = SoftRuns(grid.seeds, grid.training, temperature, grid.soft_weight, grid.hard_weight)
            runs += students(f"width{width}/T{temperature:g}", of_width, width=width)
    if config.omit_each is not None:
        for digit in range(NUM_CLASSES):
            runs += students(f"omit_each/{digit}", config.omit_each, without(digit))
    if config.keep_pairs is not None:
        for first, second in itertools.combinations(range(NUM_CLASSES), 2):
            runs += students(f"keep_pairs/{first}{second}", config.keep_pairs, (first, second))
    return runs


def without(digit: int) -> tuple[int, ...]:
    """All digits but one."""
    return tuple(other for other in range(NUM_CLASSES) if other != digit)


def held_out_rows(train: ImageSet, config: MnistConfig) -> torch.Tensor:
    """``(held_out,)`` int64: a random choice that depends on ``split_seed`` alone, at most a quarter of the set."""
    generator = torch.Generator().manual_seed(config.split_seed)
    return torch.randperm(len(train), generator=generator)[: min(config.held_out, len(train) // 4)]


def execute(run: Run, config: MnistConfig, train: ImageSet, test: ImageSet, root: Path) -> float:
    """Trains a run unless it is trained, and writes its logits on test and held-out images, a teacher's soft targets too.

    Returns the seconds that its training took, now or before. Raises `UserError` where the folder holds another run.
    """
    folder = root / run.name
    jitter = Jitter(run.jitter) if run.jitter else None
    examples = ImageExamples(train, augmentation=jitter, rows=run.rows(train, config))
    summary = train_model(run.training, examples, None, folder, _objective(run, train, root))
    if not (folder / LOGITS_FILE).is_file():
        network, _ = load_network(folder)
        held_out = train.subset(held_out_rows(train, config))
        save_tensors(folder / LOGITS_FILE, {"test": image_logits(network, test), "held_out": image_logits(network, held_out)})
    if run.experiment == "teacher":
        write_soft_targets(folder, train, folder / SOFT_TARGETS_FOLDER)
    return float(summary["seconds"])


def read_logits(run: Run, root: Path) -> dict[str, torch.Tensor]:
    """``test`` (10,000, C) and ``held_out`` (M, C) float32. Raises `UserError` where the run is not trained."""
    return load_tensors(root / run.name / LOGITS_FILE)


def _objective(run: Run, train: ImageSet, root: Path) -> Objective:
    if run.teacher is None or run.temperature is None:
        return HardLabels()
    teacher = ImageTeacher(root / run.teacher / SOFT_TARGETS_FOLDER, train, run.temperature)
    return Distillation(teacher, soft_weight=run.soft_weight, hard_weight=run.hard_weight)

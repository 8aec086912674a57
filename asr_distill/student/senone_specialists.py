"""Specialists for senones, trained: one cluster, one network that begins with the generalist's weights, one folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from asr_distill.base import UserError, check_own
from asr_distill.specialists import SpecialistDistillation, SpecialistExamples, train_specialist
from asr_distill.student.bundle import PRIORS_FILE, SENONES_FILE
from asr_distill.student.ensemble_folder import ENSEMBLE_FILE
from asr_distill.student.senone_clusters import SenoneClusters
from asr_distill.student.senone_task import open_senone_task
from asr_distill.student.student import Student
from asr_distill.training import FrameExamples, TrainingConfig, load_training_config

CLUSTERS_FILE = "clusters.json"
Targets = Literal["hard", "soft"]
Outputs = Literal["dustbin", "all"]


@dataclass(frozen=True)
class SpecialistRun:
    """All that one specialist depends on, as plain values that can be sent to a process.

    output: the folder of all specialists, which holds ``clusters.json`` (see `begin_folder`); this one goes to ``output/NNN``.
    config, settings: of the training; window and network are the generalist's, of which ``network`` may change what leaves
      the shapes of the weights alone, such as dropout.
    targets: ``hard`` labels; or ``soft``, the generalist's on all frames but those of the specialist's senones (section 6.1).
    outputs: the senones and a ``dustbin``, or ``all`` senones.
    epoch_frames: frames of an epoch, half of them of the senones; by default such that each of these comes once.
    temperature, soft_weight, own_soft_weight: as in `asr_distill.specialists.SpecialistDistillation`.
    """

    number: int
    output: Path
    generalist: Path
    train: Path
    dev: Path | None = None
    config: Path | None = None
    settings: tuple[str, ...] = ()
    targets: Targets = "hard"
    outputs: Outputs = "dustbin"
    epoch_frames: int | None = None
    temperature: float = 2.0
    soft_weight: float = 1.0
    own_soft_weight: float = 0.0
    allow_shared_speakers: bool = False

    @property
    def folder(self) -> Path:
        """Where this specialist goes."""
        return specialist_folder(self.output, self.number)


def specialist_folder(output: Path, number: int) -> Path:
    """Where specialist ``number`` lies in the folder of all."""
    return output / f"{number:03d}"


def begin_folder(output: Path, clusters: SenoneClusters) -> None:
    """Puts the clusters into the folder of their specialists. Raises `UserError` where it holds those of other clusters."""
    path = output / CLUSTERS_FILE
    begun = [number for number in range(len(clusters.classes)) if specialist_folder(output, number).exists()]
    if not (begun and path.exists()):
        check_own(path)
        clusters.save(path)
    elif SenoneClusters.load(path).hash != clusters.hash:
        raise UserError(f"{output} holds specialists of other clusters; name another --output, or remove it to train again")


def load_generalist(path: Path, clusters: SenoneClusters, *, device: str = "cpu", autocast: str = "off") -> Student:
    """The bundle that specialists begin with. Raises `UserError` for an ensemble, and for other senones than the clusters'."""
    if (path / ENSEMBLE_FILE).is_file():
        raise UserError(f"{path} is an ensemble, but a specialist begins with the weights of one network; name a bundle")
    generalist = Student.load(path, device=device, autocast=autocast)
    clusters.check_senones(generalist.inventory.hash, f"the generalist {path}")
    return generalist


def train_senone_specialist(run: SpecialistRun) -> dict[str, Any]:
    """Trains one specialist, or goes on where it was interrupted; one that is complete is not trained again.

    Returns `train_model`'s summary with ``cluster``, its number. Raises `UserError` where the generalist is no single
    network, stores or clusters have other senones, or a senone of the cluster has no training frame.
    """
    config = load_training_config(run.config, run.settings)
    clusters = SenoneClusters.load(run.output / CLUSTERS_FILE)
    generalist = load_generalist(run.generalist, clusters, device=config.device, autocast=config.autocast)
    config = _generalists_network(config, generalist, run.config)
    task = open_senone_task(
        *(config, run.train, run.dev, run.generalist / SENONES_FILE, run.generalist / PRIORS_FILE),
        allow_shared_speakers=run.allow_shared_speakers,
    )
    class_ids, full = clusters.classes[run.number], run.outputs == "all"
    train = SpecialistExamples(
        task.train,
        task.store.labels[task.store.labelled_frames()].astype(np.int64),
        class_ids,
        num_examples=run.epoch_frames,
        full_softmax=full,
    )
    objective = None
    if run.targets == "soft":
        objective = SpecialistDistillation(
            _StudentTargets(generalist),
            class_ids,
            full_softmax=full,
            temperature=run.temperature,
            soft_weight=run.soft_weight,
            own_soft_weight=run.own_soft_weight,
        )
    summary = train_specialist(
        config,
        run.generalist,
        train,
        HeldOutFrames(task.dev, class_ids, full) if task.dev is not None else None,
        run.folder,
        objective,
        description={
            "senones_hash": generalist.inventory.hash,
            "generalist": generalist.hash,
            "clusters": clusters.hash,
            "cluster": run.number,
            "targets": run.targets,
        },
    )
    return {"cluster": run.number, **summary}


def _generalists_network(config: TrainingConfig, generalist: Student, where: Path | None) -> TrainingConfig:
    """The configuration with the generalist's window and network, in which options that were given stand."""
    default = TrainingConfig()
    if config.window not in (default.window, generalist.window):
        raise UserError(
            f"{where or 'the configuration'}: window is {config.window}, the generalist's {generalist.window}; leave it out"
        )
    own = {} if config.network == default.network else config.network
    inherited = {key: value for key, value in generalist.config.network.items() if key not in ("num_senones", "input_dim")}
    return replace(config, window=generalist.window, network={**inherited, **own})


class _StudentTargets:
    """`asr_distill.specialists.objectives.GeneralistTargets` in the student's own precision."""

    def __init__(self, student: Student) -> None:
        self.student = student

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log-posteriors ``(N, C)`` of the very inputs of the batch, on their device."""
        return self.student.log_posteriors(batch["inputs"]).to(batch["inputs"].device)

    def describe(self) -> dict[str, Any]:
        """The student's hash."""
        return {"network": self.student.hash}


class HeldOutFrames:
    """`asr_distill.training.Examples` to judge a specialist by: every dev frame of its senones, and as many others.

    Unlike `SpecialistExamples` it takes what there is: a rare senone has no dev frame. The others are evenly spread.
    Labels are those of `SpecialistExamples`. Raises `UserError` where dev has no frame of any of the senones.
    """

    def __init__(self, dev: FrameExamples, class_ids: torch.Tensor, full_softmax: bool) -> None:
        labels = np.asarray(dev.store.labels)
        special = np.isin(labels, class_ids.numpy())
        chosen, others = np.flatnonzero(special), np.flatnonzero(~special & (labels >= 0))
        if not len(chosen):
            raise UserError(f"{dev.store.path} has no frame of any of the {len(class_ids)} senones; train without --dev")
        spread = np.linspace(0, len(others) - 1, min(len(others), len(chosen))).astype(np.int64)
        self._frames = dev.with_frames(np.sort(np.concatenate([chosen, others[spread]])))
        self.num_examples, self.input_dim = self._frames.num_examples, dev.input_dim
        self.num_classes = dev.num_classes if full_softmax else len(class_ids) + 1
        self._places = torch.full((dev.num_classes,), len(class_ids), dtype=torch.int64)
        self._places[class_ids] = torch.arange(len(class_ids))
        if full_softmax:
            self._places = torch.arange(dev.num_classes)

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """Shuffled, see `FrameExamples`."""
        return self._frames.order(batch_size, seed, epoch, start_step)

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """That of the frames, with the specialist's labels."""
        batch = self._frames.batch(indices, generator)
        return {**batch, "labels": self._places.to(batch["labels"].device)[batch["labels"]]}

    def describe(self) -> dict[str, Any]:
        """That of the frames."""
        return {**self._frames.describe(), "outputs": self.num_classes}

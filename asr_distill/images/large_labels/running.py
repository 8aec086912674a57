"""Trains the runs of the plan that are not trained yet, specialists several at a time."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import UserError
from asr_distill.images.examples import ImageExamples
from asr_distill.images.large_labels.clusters import find_clusters, load_clusters
from asr_distill.images.large_labels.configuration import LargeLabelConfig
from asr_distill.images.large_labels.data import LargeLabelData, open_data
from asr_distill.images.large_labels.group import CombinedTeacher, SpecialistGroup
from asr_distill.images.large_labels.plan import (
    CONTINUED,
    DISTILLED_BACK,
    GENERALIST,
    SOFT_SPECIALISTS,
    SPECIALISTS,
    SYSTEMS,
    Run,
    Sizes,
    plan,
)
from asr_distill.images.large_labels.specialist_runs import train_image_specialist
from asr_distill.specialists import in_parallel
from asr_distill.training import train_model
from asr_distill.training.distillation import Distillation
from asr_distill.training.precision import choose_device
from asr_distill.training.state import COMPLETED_FILE

_log = logging.getLogger("asr_distill")


def plan_of(config: LargeLabelConfig, root: Path, threads: int | None = None, device: str = "auto") -> list[Run]:
    """The plan for the data that is in ``root``."""
    examples, _ = open_data(config, root).train()
    return plan(config, Sizes(examples.num_examples, examples.num_classes, examples.input_dim), threads, device)


def train_all(
    config: LargeLabelConfig, root: Path, systems: Sequence[str] | None = None, *, threads: int | None, jobs: int, device: str
) -> list[dict[str, Any]]:
    """Trains what is not trained of ``systems`` (all where none), in the order of the plan; specialists, and then the controls,
    ``jobs`` at a time. The clusters are found between the generalist and the specialists.

    Returns a row for each run: name, seconds, cost. Raises `UserError` of the first run that fails; what is done stays done.
    """
    if unknown := set(systems or ()) - set(SYSTEMS):
        raise UserError(f"there is no system {', '.join(sorted(unknown))}; expected of {', '.join(SYSTEMS)}")
    runs = [run for run in plan_of(config, root, threads, device) if systems is None or run.system in systems]
    first = [run for run in runs if run.system == GENERALIST]
    specialists = [run for run in runs if run.system in (SPECIALISTS, SOFT_SPECIALISTS)]
    rest = [run for run in runs if run not in first and run not in specialists]
    work = functools.partial(execute, config, root)
    rows = []
    for group, workers in ((first, 1), (specialists, jobs), (rest, jobs)):
        if group is specialists and group:
            find_clusters(config, open_data(config, root), root / "models" / GENERALIST, root)
        for position, (run, seconds) in enumerate(in_parallel(work, group, workers), 1):
            _log.info("%d of %d: %s, trained in %.0f s", position, len(group), run.name, seconds)
            rows.append({"name": run.name, "system": run.system, "seconds": seconds, "cost": run.cost, "images": run.images})
    return rows


def execute(config: LargeLabelConfig, root: Path, run: Run) -> float:
    """One run, unless it is trained; returns the seconds that it took in all. Quiet: hundreds of epochs would hide the rest."""
    level, threads = _log.level, torch.get_num_threads()
    if run.cluster is not None:
        _log.setLevel(logging.WARNING)
    torch.set_num_threads(run.training.threads or threads)
    try:
        return float(_train(config, root, run)["seconds"])
    finally:
        _log.setLevel(level)
        torch.set_num_threads(threads)


def _train(config: LargeLabelConfig, root: Path, run: Run) -> dict[str, Any]:
    output = root / "models" / run.name
    generalist = root / "models" / GENERALIST
    device = choose_device(run.training.device)
    data = open_data(config, root)
    if run.cluster is not None:
        clusters, _ = load_clusters(root)
        return train_image_specialist(config, data, run, clusters[run.cluster], generalist, output, device)
    train, _ = data.train(device)
    objective, initial = None, None
    if run.system == DISTILLED_BACK:
        objective = _distilled_back(config, root, device)
    if run.system in (DISTILLED_BACK, CONTINUED) and config.distilled_back.start_from_generalist:
        initial = generalist
    return train_model(run.training, train, _dev(data, device), output, objective, initial_model=initial)


def _dev(data: LargeLabelData, device: torch.device) -> ImageExamples:
    return ImageExamples(data.part("dev"), device)


def _distilled_back(config: LargeLabelConfig, root: Path, device: torch.device) -> Distillation:
    """What generalist and specialists say together about the very images that the student sees."""
    options = config.distilled_back
    folders = [root / "models" / GENERALIST]
    folders += [root / "models" / SPECIALISTS / f"{number:03d}" for number in range(config.clusters.number)]
    for folder in folders:
        if not (folder / COMPLETED_FILE).is_file():
            raise UserError(f"{folder} is not trained: the specialists are distilled back when all are there")
    group = SpecialistGroup.load(folders[0], folders[1:], config.top_n, device)
    teacher = CombinedTeacher(group, options.temperature, folders)
    return Distillation(teacher, soft_weight=options.soft_weight, hard_weight=options.hard_weight)

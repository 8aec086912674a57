"""The runs of a recipe with many classes, and what they cost: whatever is compared has the same cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from asr_distill.base import UserError, hash_of_object
from asr_distill.images.cost import TRAINING_PASSES, multiply_accumulates
from asr_distill.images.large_labels.configuration import ClusterConfig, LargeLabelConfig, Settings
from asr_distill.models import build_network, complete_network_config
from asr_distill.training import TrainingConfig

GENERALIST, SPECIALISTS, SOFT_SPECIALISTS, DISTILLED_BACK = "generalist", "specialists", "soft_specialists", "distilled_back"
CONTINUED, LONGER, WIDER, ENSEMBLE, MIXTURE = "continued", "longer", "wider", "ensemble", "mixture"
SYSTEMS = (GENERALIST, SPECIALISTS, SOFT_SPECIALISTS, DISTILLED_BACK, CONTINUED, LONGER, WIDER, ENSEMBLE, MIXTURE)


@dataclass(frozen=True)
class Run:
    """One network: ``name`` is its folder under ``models/``, ``system`` what it belongs to, ``images`` and ``cost`` (in
    multiply-accumulates) all that it learns from, a teacher's answers included. cluster: the number of a specialist's."""

    name: str
    system: str
    training: TrainingConfig
    images: int
    cost: int
    cluster: int | None = None


@dataclass(frozen=True)
class Sizes:
    """Of the data: images of an epoch, classes, pixels of an image."""

    images: int
    classes: int
    pixels: int


def plan(config: LargeLabelConfig, sizes: Sizes, threads: int | None = None, device: str = "auto") -> list[Run]:
    """Every run, in an order in which each can be trained.

    The controls get the budget of the generalist and all its specialists together (`budget`): in epochs, or in members of the
    ensemble, of which the generalist is one. Raises `UserError` on networks that the data does not fit, and on clusters that so
    many classes do not make: before the generalist is trained, not after.
    """
    _check_clusters(config.clusters, sizes.classes, config.top_n)
    return _Planner(config, sizes, {"threads": threads, "device": device}).runs()


def budget(runs: list[Run]) -> int:
    """What generalist and specialists cost together, multiply-accumulates."""
    return sum(run.cost for run in runs if run.system in (GENERALIST, SPECIALISTS))


def _check_clusters(clusters: ClusterConfig, classes: int, top_n: int) -> None:
    if top_n > classes:
        raise UserError(f"top_n is {top_n}, expected at most {classes}, the number of classes")
    if not 1 <= clusters.number <= classes:
        raise UserError(f"clusters.number is {clusters.number}, expected 1 to {classes}, the number of classes")
    if clusters.size < 2:
        raise UserError(f"clusters.size is {clusters.size}: there is no specialist of one class; expected 2 or more")
    if clusters.size >= classes:
        raise UserError(
            f"clusters.size is {clusters.size} of {classes} classes: nothing is left for the dustbin; expected fewer"
        )


class _Planner:
    def __init__(self, config: LargeLabelConfig, sizes: Sizes, machine: Mapping[str, Any]) -> None:
        self.config, self.sizes, self.machine = config, sizes, machine
        self._counted: dict[str, int] = {}

    def runs(self) -> list[Run]:
        config, controls = self.config, self.config.controls
        generalist = self._hard(GENERALIST, GENERALIST, {})
        found = [generalist]
        for system in (SPECIALISTS, SOFT_SPECIALISTS):
            found += [self._specialist(system, number) for number in range(config.clusters.number)]
        total = budget(found)
        found.append(self._distilled_back())
        if config.distilled_back.start_from_generalist:
            found.append(self._hard(CONTINUED, CONTINUED, config.distilled_back.training))
        if controls.longer:
            found.append(self._of_cost(LONGER, {}, total))
        for name, network in ((WIDER, controls.wider), (MIXTURE, controls.mixture)):
            if network is not None:
                found.append(self._of_cost(name, {"network": network}, total))
        if controls.ensemble:
            for number in range(1, max(2, round(total / generalist.cost))):
                seed = generalist.training.seed + number
                found.append(self._hard(f"{ENSEMBLE}/seed{seed}", ENSEMBLE, {"seed": seed}))
        return found

    def _hard(self, name: str, system: str, settings: Settings) -> Run:
        training = self.config.training_config(settings, **self.machine)
        images = self.sizes.images * training.epochs
        return Run(name, system, training, images, images * self._work(training, self.sizes.classes))

    def _of_cost(self, name: str, settings: Settings, cost: int) -> Run:
        """As many epochs as the cost allows, at least one."""
        one = self._hard(name, name, {**settings, "epochs": 1})
        return self._hard(name, name, {**settings, "epochs": max(1, round(cost / one.cost))})

    def _distilled_back(self) -> Run:
        run = self._hard(DISTILLED_BACK, DISTILLED_BACK, self.config.distilled_back.training)
        calls = self.config.clusters.number * self.config.clusters.size / self.sizes.classes  # specialists an image, on average
        specialist = self._work(self.config.training_config({}), self.config.clusters.size + 1)
        answers = (self._work(self.config.training_config({}), self.sizes.classes) + calls * specialist) / TRAINING_PASSES
        return replace(run, cost=run.cost + round(run.images * answers))

    def _specialist(self, system: str, number: int) -> Run:
        options, classes = self.config.specialist, self.sizes.classes
        training = self.config.training_config(options.training, **self.machine)
        images = max(2, options.images // training.epochs) * training.epochs
        soft = system == SOFT_SPECIALISTS
        work = self._work(training, classes if soft and options.full_softmax else self.config.clusters.size + 1)
        if soft:
            work += self._work(training, classes) // TRAINING_PASSES
        return Run(f"{system}/{number:03d}", system, training, images, images * work, number)

    def _work(self, training: TrainingConfig, outputs: int) -> int:
        """Multiply-accumulates to learn from one image."""
        shape = complete_network_config(training.network, outputs, self.sizes.pixels)
        key = hash_of_object(shape)
        if key not in self._counted:
            self._counted[key] = TRAINING_PASSES * multiply_accumulates(build_network(shape), self.sizes.pixels)
        return self._counted[key]

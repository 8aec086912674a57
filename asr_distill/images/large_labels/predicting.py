"""Predictions of every system: single networks, the ensemble, the generalist with specialists in several ways."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import UserError, has_file, hash_of_file, hash_of_object, read_json, track, write_json
from asr_distill.distillation import combine_posteriors
from asr_distill.images.cost import multiply_accumulates
from asr_distill.images.image_set import ImageSet
from asr_distill.images.large_labels.counting import Predictions, count
from asr_distill.images.large_labels.group import SpecialistGroup
from asr_distill.images.large_labels.plan import (
    CONTINUED,
    DISTILLED_BACK,
    ENSEMBLE,
    GENERALIST,
    LONGER,
    MIXTURE,
    SOFT_SPECIALISTS,
    SPECIALISTS,
    WIDER,
)
from asr_distill.models import count_parameters, load_network
from asr_distill.specialists import ClassClusters, CombineInfo, combine, combine_by_addition
from asr_distill.training.state import COMPLETED_FILE

DETAILS = "details.json"
_BATCH = 500


@dataclass(frozen=True)
class System:
    """Inputs ``(N, D)`` to log-probabilities ``(N, C)`` by the name of a system; ``facts`` of each are noted while it runs."""

    log_probs: Callable[[torch.Tensor], Mapping[str, torch.Tensor]]
    parameters: int
    models: int
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


def predict_all(
    models: Path,
    output: Path,
    clusters: ClassClusters,
    parts: Mapping[str, ImageSet],
    top_n: int = 1,
    device: str | torch.device = "cpu",
) -> list[str]:
    """Predictions of every system that is trained, of every part, to ``output / SYSTEM / PART.safetensors``.

    Those that are there from the same networks are left alone; specialists count when all are trained. Returns the systems'
    names. Raises `UserError` where there is no generalist.
    """
    generalist = models / GENERALIST
    if not (generalist / COMPLETED_FILE).is_file():
        raise UserError(f"{models} has no trained generalist: `asr-distill classes train` comes first")
    work = _Work(output, clusters, parts, {"top_n": top_n}, torch.device(device))
    done: list[str] = []
    for name in (GENERALIST, CONTINUED, LONGER, WIDER, MIXTURE, DISTILLED_BACK):
        if has_file(models / name / COMPLETED_FILE):
            done += work.predict([name], [models / name], functools.partial(_single, name, device=device))
    members = _trained(models / ENSEMBLE)
    if members:
        done += work.predict([ENSEMBLE], [generalist, *members], functools.partial(_ensemble, device=device))
    for name in (SPECIALISTS, SOFT_SPECIALISTS):
        folders = _trained(models / name)
        if len(folders) == len(clusters):
            names = [name, f"{name}_reverse", f"{name}_addition"]
            done += work.predict(
                names, [generalist, *folders], functools.partial(_specialists, name, top_n=top_n, device=device)
            )
    return done


def _trained(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/") if has_file(path / COMPLETED_FILE))


@dataclass(frozen=True)
class _Work:
    output: Path
    clusters: ClassClusters
    parts: Mapping[str, ImageSet]
    options: Mapping[str, Any]
    device: torch.device

    def predict(self, names: Sequence[str], folders: Sequence[Path], build: Callable[[Sequence[Path]], System]) -> list[str]:
        identity = hash_of_object(
            {
                "networks": [hash_of_file(folder / "model.safetensors") for folder in folders],
                "clusters": [ids.tolist() for ids in self.clusters],
                "parts": {name: part.hash for name, part in self.parts.items()},
                **self.options,
            }
        )
        files = [self.output / name / DETAILS for name in names]
        if all(path.is_file() and read_json(path)["identity"] == identity for path in files):
            return list(names)
        system = build(folders)
        facts: dict[str, dict[str, dict[str, Any]]] = {}
        for part, images in self.parts.items():
            found: dict[str, list[Predictions]] = {name: [] for name in names}
            system.facts.clear()
            for rows in track(torch.arange(len(images)).split(_BATCH), f"{names[0]}, {part}", unit="batches"):
                inputs = images.images[rows].flatten(1).float().div_(255).to(self.device)
                with torch.no_grad():
                    answers = system.log_probs(inputs)
                for name, log_probs in answers.items():
                    found[name].append(count(log_probs, images.labels[rows], self.clusters.clusters))
            for name, batches in found.items():
                Predictions.joined(batches).save(self.output / name / f"{part}.safetensors")
            facts[part] = {name: dict(known) for name, known in system.facts.items()}
        shape = {"parameters": system.parameters, "models": system.models}
        for name, path in zip(names, files, strict=True):
            write_json(path, {"identity": identity, **shape, **facts["test"].get(name, {})}, listed=True)
        return list(names)


def _load(folders: Sequence[Path], device: str | torch.device) -> list[torch.nn.Module]:
    return [load_network(folder)[0].to(device) for folder in folders]


def _single(name: str, folders: Sequence[Path], device: str | torch.device) -> System:
    (network,) = _load(folders, device)
    facts: dict[str, dict[str, Any]] = {}

    def log_probs(inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        if name not in facts:
            facts[name] = {"multiply_accumulates": multiply_accumulates(network, inputs.shape[1])}
        return {name: network(inputs).float().log_softmax(dim=1).cpu()}

    return System(log_probs, count_parameters(network), 1, facts)


def _ensemble(folders: Sequence[Path], device: str | torch.device) -> System:
    networks = _load(folders, device)
    facts: dict[str, dict[str, Any]] = {}

    def log_probs(inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        if ENSEMBLE not in facts:
            work = sum(multiply_accumulates(network, inputs.shape[1]) for network in networks)
            facts[ENSEMBLE] = {"multiply_accumulates": work}
        members = torch.stack([network(inputs).float().log_softmax(dim=1) for network in networks])
        return {ENSEMBLE: combine_posteriors(members, "arithmetic").cpu()}

    return System(log_probs, sum(map(count_parameters, networks)), len(networks), facts)


def _specialists(name: str, folders: Sequence[Path], top_n: int, device: str | torch.device) -> System:
    """Eq. 5 in both directions, and the sum, from one pass through the networks."""
    group = SpecialistGroup.load(folders[0], folders[1:], top_n, device)
    facts: dict[str, dict[str, Any]] = {}

    def note(system: str, inputs: torch.Tensor, active: torch.Tensor, info: CombineInfo | None) -> None:
        known = facts.setdefault(system, {"images": 0, "calls": 0, "images_without_specialist": 0})
        known["images"] += len(inputs)
        known["calls"] += int(active.sum())
        known["images_without_specialist"] += int((active == 0).sum())
        known["multiply_accumulates"] = group.multiply_accumulates(inputs.shape[1], known["calls"] / known["images"])
        if info is None:
            return
        if not bool(info.converged.all()):
            count = int((~info.converged).sum())
            raise UserError(f"{system}: {count} images have not converged; residual {float(info.residual.max())}")
        known["most_iterations"] = max(known.get("most_iterations", 0), int(info.iterations.max()))
        known["largest_excess_nats"] = max(known.get("largest_excess_nats", 0.0), float(info.excess.max()))

    def log_probs(inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        generalist, specialists = group.log_probs(inputs)
        forward, info = combine(generalist, specialists, top_n, return_info=True)
        reverse, reverse_info = combine(generalist, specialists, top_n, divergence="reverse", return_info=True)
        for system, known in ((name, info), (f"{name}_reverse", reverse_info), (f"{name}_addition", None)):
            note(system, inputs, info.active, known)
        addition = combine_by_addition(generalist, specialists, top_n)
        return {name: forward, f"{name}_reverse": reverse, f"{name}_addition": addition}

    return System(log_probs, group.parameters, 1 + len(group.members), facts)

"""A generalist of senones and its specialists on a labelled frame store: Eq. 5 and the sum, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from asr_distill.base import UserError, read_json
from asr_distill.data import FrameStore
from asr_distill.models import count_parameters
from asr_distill.models.checkpoint import CONFIG_FILE
from asr_distill.specialists import Member, combine, combine_by_addition, conditional_counts, gain_by_coverage, member_log_probs
from asr_distill.student.accuracy import CutAccuracies, labelled_batches
from asr_distill.student.senone_clusters import SenoneClusters
from asr_distill.student.senone_specialists import CLUSTERS_FILE, specialist_folder
from asr_distill.student.student import Student
from asr_distill.training.state import COMPLETED_FILE

GENERALIST = "generalist"


@dataclass(frozen=True)
class SenoneSpecialists:
    """All specialists of one folder; ``name`` is that of the system that they make with the generalist."""

    name: str
    clusters: SenoneClusters
    members: Sequence[Member]
    targets: str
    seconds: float

    @classmethod
    def load(cls, folder: str | Path, generalist: Student) -> SenoneSpecialists:
        """Opens what `asr-distill specialists train` wrote.

        Raises `UserError` where some are not trained yet, or one began with another generalist or has other senones.
        """
        folder = Path(folder)
        if not (folder / CLUSTERS_FILE).is_file():
            raise UserError(f"{folder} holds no specialists (it has no {CLUSTERS_FILE}); name what `specialists train` wrote")
        clusters = SenoneClusters.load(folder / CLUSTERS_FILE)
        clusters.check_senones(generalist.inventory.hash, "the generalist")
        folders = [specialist_folder(folder, number) for number in range(len(clusters.classes))]
        missing = [path.name for path in folders if not (path / COMPLETED_FILE).is_file()]
        if missing:
            raise UserError(
                f"{folder}: {len(missing)} of {len(folders)} specialists are not trained ({', '.join(missing[:5])}); give the"
                " command that began it again, it goes on"
            )
        members, seconds, targets = [], 0.0, set()
        for number, path in enumerate(folders):
            member, config = Member.load(path).to(generalist.device), read_json(path / CONFIG_FILE)
            if config.get("generalist") != generalist.hash:
                raise UserError(
                    f"{path} began with the generalist {config.get('generalist')}, this one is {generalist.hash};"
                    " name the generalist that it was trained from"
                )
            if not torch.equal(member.class_ids, clusters.classes[number]):
                raise UserError(f"{path} has other senones than cluster {number} of {folder / CLUSTERS_FILE}; train it again")
            members.append(member)
            targets.add(str(config.get("targets")))
            seconds += float(read_json(path / COMPLETED_FILE)["summary"]["seconds"])
        return cls(folder.name, clusters, members, ", ".join(sorted(targets)), seconds)

    def describe(self) -> dict[str, Any]:
        """Plain values for reports."""
        return {
            "targets": self.targets,
            "outputs": "all" if any(member.full_softmax for member in self.members) else "dustbin",
            "specialists": len(self.members),
            "parameters": sum(count_parameters(member.network) for member in self.members),
            "training_seconds": self.seconds,
        }


@dataclass(frozen=True)
class Rule:
    """How predictions are combined: see `asr_distill.specialists.combine`."""

    top_n: int = 1
    solver: Literal["fixed_point", "gradient"] = "fixed_point"
    divergence: Literal["forward", "reverse"] = "forward"


@dataclass
class SolverFacts:
    """Sums over all frames: specialists asked, frames without any, frames not converged; maxima: iterations, nats above the
    minimum at most."""

    calls: int = 0
    without_specialist: int = 0
    not_converged: int = 0
    most_iterations: int = 0
    largest_excess: float = 0.0


@dataclass(frozen=True)
class FrameOutcomes:
    """One system on M labelled frames, each (M,). correct: bool. cross_entropy: nats, float32. conditional: int64, in how many
    clusters that have the label it is the most probable of the cluster's senones."""

    correct: torch.Tensor
    cross_entropy: torch.Tensor
    conditional: torch.Tensor


@dataclass(frozen=True)
class SpecialistOutcomes:
    """All systems on the labelled frames of a store, in order; what a bootstrap over speakers needs.

    cuts: (M,) int64, each frame's cut. labels: (M,). speech: (M,) bool. conditional_total: (M,), clusters that have the label.
    systems: ``generalist``, and for specialists X ``X`` (Eq. 5) and ``X_addition``. solver: by X.
    """

    store: FrameStore
    cuts: np.ndarray
    labels: torch.Tensor
    speech: torch.Tensor
    conditional_total: torch.Tensor
    coverage: torch.Tensor
    systems: Mapping[str, FrameOutcomes]
    solver: Mapping[str, SolverFacts]

    def cut_accuracies(self, system: str) -> CutAccuracies:
        """Counts of a system on each cut."""
        found = self.systems[system]
        columns = (torch.ones_like(found.correct), self.speech, found.correct, found.correct & self.speech)
        frames, speech, correct, correct_speech = (self._by_cut(column).astype(np.int64) for column in columns)
        return CutAccuracies(self.store, frames, speech, correct, correct_speech, self._by_cut(found.cross_entropy))

    def conditional_counts(self, system: str) -> tuple[np.ndarray, np.ndarray]:
        """``(N,)`` int64 each, cut by cut: correct within a cluster, and out of how many, pooled over the clusters."""
        counts = (self.systems[system].conditional, self.conditional_total)
        correct, total = (self._by_cut(count).astype(np.int64) for count in counts)
        return correct, total

    def gain(self, system: str) -> list[dict[str, Any]]:
        """Against the generalist, by the number of specialists that cover the true senone: `gain_by_coverage`."""
        before, after = self.systems[GENERALIST].correct, self.systems[system].correct
        return gain_by_coverage(before, after, self.labels, self.coverage)

    def _by_cut(self, column: torch.Tensor) -> np.ndarray:
        return np.bincount(self.cuts, weights=column.double().numpy(), minlength=self.store.num_cuts)


def check_together(groups: Sequence[SenoneSpecialists]) -> None:
    """Raises `UserError` unless the groups have different names and the same clusters, which conditional accuracy is over."""
    names = [group.name for group in groups]
    taken = [GENERALIST, "addition", *(f"{name}_addition" for name in names)]
    if len(set(names)) != len(names) or set(names) & set(taken):
        raise UserError(f"the folders of specialists name the systems, found {', '.join(names)}; give them different names")
    if len({group.clusters.hash for group in groups}) != 1:
        raise UserError(f"{', '.join(names)} have different clusters; measure them one after the other")


@torch.no_grad()
def specialist_outcomes(
    generalist: Student,
    groups: Sequence[SenoneSpecialists],
    store: FrameStore,
    rule: Rule | None = None,
    batch_size: int = 2048,
) -> SpecialistOutcomes:
    """Every system on all labelled frames of ``store``. Raises what `check_together` and `check_store` raise."""
    check_together(groups)
    rule, classes = rule or Rule(), groups[0].clusters.classes
    gathered = _Gathered()
    facts = {group.name: SolverFacts() for group in groups}
    for batch in labelled_batches(generalist, store, batch_size, f"specialists, {store.path.name}"):
        labels = batch["labels"].cpu()
        log_probs = {GENERALIST: generalist.log_posteriors(batch["inputs"])}
        for group in groups:
            asked = member_log_probs(group.members, batch["inputs"], log_probs[GENERALIST], rule.top_n)
            combined, info = combine(
                *(log_probs[GENERALIST], asked, rule.top_n),
                divergence=rule.divergence,
                solver=rule.solver,
                return_info=True,
            )
            log_probs[group.name] = combined
            log_probs[f"{group.name}_addition"] = combine_by_addition(log_probs[GENERALIST], asked, rule.top_n)
            _note(facts[group.name], info)
        gathered.add(batch, labels, log_probs, classes.clusters)
    return gathered.outcomes(store, classes.coverage(), facts)


def _note(facts: SolverFacts, info: Any) -> None:
    facts.calls += int(info.active.sum())
    facts.without_specialist += int((info.active == 0).sum())
    facts.not_converged += int((~info.converged).sum())
    facts.most_iterations = max(facts.most_iterations, int(info.iterations.max()))
    facts.largest_excess = max(facts.largest_excess, float(info.excess.max()))


@dataclass
class _Gathered:
    """What is kept of each batch."""

    shared: list[tuple[torch.Tensor, ...]] = field(default_factory=list)
    systems: dict[str, list[FrameOutcomes]] = field(default_factory=dict)

    def add(
        self,
        batch: Mapping[str, torch.Tensor],
        labels: torch.Tensor,
        log_probs: Mapping[str, torch.Tensor],
        clusters: Sequence[torch.Tensor],
    ) -> None:
        for name, rows in log_probs.items():
            conditional, total = conditional_counts(rows, labels, clusters)
            correct, entropy = rows.max(dim=1).indices == labels, -rows.gather(1, labels[:, None])[:, 0]
            self.systems.setdefault(name, []).append(FrameOutcomes(correct, entropy, conditional))
        self.shared.append((batch["frame_indices"].cpu(), labels, batch["speech"].cpu(), total))

    def outcomes(self, store: FrameStore, coverage: torch.Tensor, solver: Mapping[str, SolverFacts]) -> SpecialistOutcomes:
        if not self.shared:
            raise UserError(f"{store.path} has no labelled frame; measure on a store that has")
        frames, labels, speech, total = (torch.cat(column) for column in zip(*self.shared, strict=True))
        cuts = np.searchsorted(store.offsets, frames.numpy(), side="right") - 1
        systems = {
            name: FrameOutcomes(*(torch.cat([vars(one)[key] for one in batches]) for key in vars(batches[0])))
            for name, batches in self.systems.items()
        }
        return SpecialistOutcomes(store, cuts, labels, speech, total, coverage, systems, solver)

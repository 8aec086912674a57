"""Clusters of classes that the generalist confuses, from its predictions alone: no true labels (section 5.3 of the paper)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from asr_distill.base import UserError, read_json, write_json
from asr_distill.specialists.covariance import PredictionCovariance
from asr_distill.specialists.kmeans import online_kmeans

Columns = Literal["unit", "covariance", "correlation"]
_PAPER_COVERAGE = 61 * 300 / 15_000  # specialists per class in the paper


@dataclass(frozen=True)
class ClassClusters:
    """Subsets of ``num_classes`` classes, one for each specialist.

    clusters: of each, the class ids (m,) int64, ascending. inertia: of the k-means behind them. A sequence of its clusters.
    """

    num_classes: int
    clusters: tuple[torch.Tensor, ...]
    inertia: float | None = None

    def __len__(self) -> int:
        return len(self.clusters)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.clusters[number]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.clusters)

    def coverage(self) -> torch.Tensor:
        """``(num_classes,)`` int64: in how many clusters each class is."""
        return torch.bincount(torch.cat(self.clusters), minlength=self.num_classes)

    def save(self, path: str | Path) -> None:
        """Writes the clusters as JSON."""
        clusters = [ids.tolist() for ids in self.clusters]
        write_json(path, {"num_classes": self.num_classes, "inertia": self.inertia, "clusters": clusters}, listed=True)

    @classmethod
    def load(cls, path: str | Path) -> ClassClusters:
        """Reads what `save` wrote. Raises `UserError` where the file is missing or is something else."""
        stored = read_json(path)
        try:
            clusters = tuple(torch.tensor(ids, dtype=torch.int64) for ids in stored["clusters"])
            loaded = cls(int(stored["num_classes"]), clusters, stored["inertia"])
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{path} holds no clusters of classes; write it again from the generalist's predictions") from None
        for number, ids in enumerate(loaded.clusters):
            check_class_ids(ids, loaded.num_classes, f"{path}: cluster {number}")
        return loaded


def cluster_classes(
    predictions: PredictionCovariance | torch.Tensor | Iterable[torch.Tensor],
    num_clusters: int,
    *,
    size: int | None = None,
    partition: bool = False,
    columns: Columns = "unit",
    seed: int = 0,
    generator: torch.Generator | None = None,
    restarts: int = 3,
    passes: int = 10,
    batch_size: int = 256,
) -> ClassClusters:
    """Clusters the classes by online k-means over the columns of the covariance matrix of the predictions.

    predictions: batches (N, C) of a generalist's probabilities, which are read once and not kept; all of them as one tensor; or
      a `PredictionCovariance` that has seen them (it is left as it is).
    size: m, the classes of each cluster: those whose columns are nearest to its centre. So clusters overlap, a class between
      centres is in many of them, and one that is confused with nothing may be in none, as in the paper's Table 4. By default
      a class is in 1.22 clusters on average, as there (61 of 300 over 15,000).
    partition: instead, each class is in the one cluster whose centre is nearest, and ``size`` must not be given. A cluster left
      with fewer than two classes takes the nearest that larger ones can spare, for there is no specialist of one class.
    columns: ``unit`` divides each column by its length, so that classes are compared by what they are confused with, not by
      how frequent or how uncertain they are; ``covariance`` takes the columns as they are; ``correlation`` divides rows and
      columns by the standard deviations first and is ``unit`` then, so that a frequent class does not outweigh in each column
      the rare ones beside it (among classes of very different frequency ``unit`` puts the same few into most clusters).
    seed, or generator: of all random choices; the same gives the same clusters. restarts: runs of k-means, of which the one
      with the smallest inertia counts. passes: over the columns, in each run; batch_size: columns at a time.

    Memory: the covariance, and 4096 columns of it, or ten for each cluster where that is more.
    Raises `UserError` on more clusters than classes (twice as many classes as clusters are needed for a partition), clusters of
    fewer than 2 or more than C classes, and predictions that are none.
    """
    covariance = _covariance(predictions)
    num_classes = len(covariance)
    size = _check_sizes(num_classes, num_clusters, size, partition)
    for name, value in (("restarts", restarts), ("passes", passes), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{name} is {value}, expected 1 or more")
    if columns not in get_args(Columns):
        raise UserError(f"columns is {columns!r}, expected {', '.join(get_args(Columns))}")
    if columns == "correlation":
        variances = covariance.diagonal().clone()
        inverse = torch.where(variances > 0, variances.clamp(min=torch.finfo(torch.float32).tiny).rsqrt(), torch.zeros(()))
        covariance.mul_(inverse.unsqueeze(1)).mul_(inverse)
    lengths = torch.ones(num_classes) if columns == "covariance" else covariance.norm(dim=1)
    scale = torch.where(lengths > 0, 1 / lengths.clamp(min=torch.finfo(torch.float32).tiny), torch.zeros(()))

    def rows(numbers: torch.Tensor) -> torch.Tensor:  # the matrix is symmetric: its rows are its columns
        return covariance[numbers] * scale[numbers].unsqueeze(1)

    found = online_kmeans(
        rows,
        num_classes,
        num_clusters,
        generator=generator if generator is not None else torch.Generator().manual_seed(seed),
        restarts=restarts,
        passes=passes,
        batch_size=batch_size,
    )
    if partition:
        owner = _without_small_clusters(found.distances)
        clusters = tuple((owner == number).nonzero().flatten() for number in range(num_clusters))
    else:
        order = torch.sort(found.distances, dim=0, stable=True).indices
        clusters = tuple(order[:size, number].sort().values for number in range(num_clusters))
    return ClassClusters(num_classes, clusters, found.inertia)


def check_class_ids(class_ids: Any, num_classes: int, where: str, least: int = 2) -> torch.Tensor:
    """The ids as ``(m,)`` int64. Raises `UserError`, beginning with ``where``, on fewer than ``least``, twice the same, or
    one outside 0..num_classes-1."""
    given = torch.as_tensor(class_ids)
    if given.numel() and (given.is_floating_point() or given.dtype == torch.bool):
        raise UserError(f"{where} has class ids of {given.dtype}, expected whole numbers")
    ids = given.to(torch.int64)
    if ids.ndim != 1 or len(ids) < least:
        raise UserError(f"{where} has {ids.numel()} class(es), expected at least {least}; take a larger cluster")
    if int(ids.min()) < 0 or int(ids.max()) >= num_classes:
        wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        raise UserError(f"{where} has the class {wrong}, expected 0 to {num_classes - 1}")
    values, counts = ids.unique(return_counts=True)
    if len(values) != len(ids):
        raise UserError(f"{where} has the class {int(values[counts > 1][0])} more than once")
    return ids


def _covariance(predictions: PredictionCovariance | torch.Tensor | Iterable[torch.Tensor]) -> torch.Tensor:
    if isinstance(predictions, PredictionCovariance):
        return predictions.result().cpu()
    batches = [predictions] if isinstance(predictions, torch.Tensor) else predictions
    accumulated: PredictionCovariance | None = None
    for batch in batches:
        if accumulated is None:
            if batch.ndim != 2:
                raise UserError(f"predictions have shape {tuple(batch.shape)}, expected (N, C)")
            accumulated = PredictionCovariance(batch.shape[1])
        accumulated.update(batch)
    if accumulated is None:
        raise UserError("no prediction was given: classes are clustered by the covariance of at least 2")
    return accumulated.result(consume=True)


def _check_sizes(num_classes: int, num_clusters: int, size: int | None, partition: bool) -> int:
    """The size of overlapping clusters."""
    if num_clusters < 1:
        raise UserError(f"{num_clusters} clusters: expected 1 or more")
    if num_clusters > num_classes:
        raise UserError(f"{num_clusters} clusters of {num_classes} classes: ask for at most {num_classes}")
    if partition:
        if size is not None:
            raise UserError(f"a partition has clusters of whatever size they get: leave out size {size}, or partition")
        if 2 * num_clusters > num_classes:
            raise UserError(
                f"a partition of {num_classes} classes into {num_clusters} clusters leaves one with a single class,"
                f" and there is no specialist of one class: ask for at most {num_classes // 2} clusters"
            )
        return 0
    if size is None:
        size = min(num_classes, max(2, round(_PAPER_COVERAGE * num_classes / num_clusters)))
    if size < 2:
        raise UserError(f"clusters of {size} class: there is no specialist of one class; expected a size of 2 or more")
    if size > num_classes:
        raise UserError(f"clusters of {size} classes out of {num_classes}: expected a size of at most {num_classes}")
    return size


def _without_small_clusters(distances: torch.Tensor) -> torch.Tensor:
    """Of distances ``(C, K)`` the nearest centre ``(C,)``, changed where a cluster has fewer than two classes."""
    owner = distances.min(dim=1).indices
    counts = torch.bincount(owner, minlength=distances.shape[1])
    for small in (counts < 2).nonzero().flatten().tolist():
        while counts[small] < 2:
            spare = (counts[owner] > 2) & (owner != small)
            moved = int(torch.where(spare, distances[:, small], torch.full((), torch.inf)).argmin())
            counts[owner[moved]] -= 1
            counts[small] += 1
            owner[moved] = small
    return owner

"""Clusters of senones that a generalist confuses, from its posteriors of a frame store, and the file that keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError, hash_of_object, read_json, track, write_json
from asr_distill.data import FrameStore, WindowGatherer
from asr_distill.senones import SenoneInventory, check_same
from asr_distill.specialists import ClassClusters, PredictionCovariance, cluster_classes
from asr_distill.specialists.clustering import Columns
from asr_distill.student.accuracy import check_store
from asr_distill.student.student import Student

KIND, FORMAT = "senone clusters", 1
_BATCH = 4096


@dataclass(frozen=True)
class SenoneClusters:
    """Clusters, and what they were found from.

    names: of each cluster's senones, phone and state, such as ``AA[0]``. mean: (C,) float32, the generalist's mean posterior.
    source: plain values: the generalist's hash, the store's, how many frames, the options of the clustering.
    """

    classes: ClassClusters
    senones_hash: str
    names: tuple[tuple[str, ...], ...]
    mean: torch.Tensor
    source: dict[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 over the inventory's hash and the clusters' senones: two files of the same clusters have the same."""
        return hash_of_object({"senones": self.senones_hash, "clusters": [ids.tolist() for ids in self.classes]})

    def check_senones(self, senones_hash: str | None, what: str) -> None:
        """Raises `UserError` with both hashes unless ``what`` has the senones of these clusters."""
        check_same(senones_hash, self.senones_hash, what, "the clusters")

    def save(self, path: str | Path) -> None:
        """Writes the clusters as JSON."""
        write_json(
            path,
            {
                "kind": KIND,
                "format": FORMAT,
                "senones_hash": self.senones_hash,
                "source": self.source,
                "num_classes": self.classes.num_classes,
                "inertia": self.classes.inertia,
                "clusters": [ids.tolist() for ids in self.classes],
                "names": [list(names) for names in self.names],
                "mean": self.mean.tolist(),
            },
            listed=True,
        )

    @classmethod
    def load(cls, path: str | Path) -> SenoneClusters:
        """Reads what `save` wrote. Raises `UserError` where the file is missing, cut short, or is something else."""
        stored = read_json(path)
        if not isinstance(stored, dict) or stored.get("kind") != KIND or stored.get("format") != FORMAT:
            raise UserError(f"{path} holds no {KIND} of format {FORMAT}; write it with `asr-distill specialists cluster`")
        classes = ClassClusters.load(path)
        try:
            names = tuple(tuple(map(str, row)) for row in stored["names"])
            mean = torch.tensor(stored["mean"], dtype=torch.float32)
            loaded = cls(classes, str(stored["senones_hash"]), names, mean, dict(stored["source"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error!r}); write it again with `asr-distill specialists cluster`") from None
        if mean.shape != (classes.num_classes,) or [len(row) for row in names] != [len(ids) for ids in classes]:
            raise UserError(f"{path}: its parts do not belong together; write it again with `asr-distill specialists cluster`")
        return loaded


def find_senone_clusters(
    student: Student,
    store: FrameStore,
    num_clusters: int,
    *,
    size: int | None = None,
    partition: bool = False,
    columns: Columns = "correlation",
    num_frames: int | None = None,
    seed: int = 0,
    restarts: int = 3,
    passes: int = 10,
) -> SenoneClusters:
    """Clusters the senones by the covariance of the model's posteriors over the frames of ``store``; no label is looked at.

    num_frames: so many frames, evenly spread over the store, instead of all. The other options are those of `cluster_classes`;
      columns are correlations here, for senones differ in frequency by a factor of a thousand.
    Memory: the covariance, C x C float32, and a batch of posteriors.
    Raises `UserError` on more clusters than senones, sizes that leave nothing for a dustbin, a store of other senones or of
    another normalisation, and fewer than 2 frames.
    """
    _check_sizes(student.num_senones, num_clusters, size, num_frames)
    check_store(student, store, labelled=False)
    frames = torch.arange(store.num_frames)
    if num_frames is not None and num_frames < len(frames):
        frames = torch.from_numpy(np.linspace(0, store.num_frames - 1, num_frames).astype(np.int64))
    covariance = PredictionCovariance(student.num_senones, student.device)
    for posteriors in _posteriors(student, store, frames):
        covariance.update(posteriors)
    options = {"num_clusters": num_clusters, "size": size, "partition": partition, "columns": columns, "seed": seed}
    options |= {"restarts": restarts, "passes": passes}
    mean = covariance.mean().float().cpu()
    classes = cluster_classes(
        covariance,
        num_clusters,
        size=size,
        partition=partition,
        columns=columns,
        seed=seed,
        restarts=restarts,
        passes=passes,
    )
    names = senone_names(student.inventory)
    source = {"generalist": student.hash, "store": store.hash, "frames": len(frames), **options}
    shown = tuple(tuple(names[senone] for senone in ids.tolist()) for ids in classes)
    return SenoneClusters(classes, student.inventory.hash, shown, mean, source)


def senone_names(inventory: SenoneInventory) -> list[str]:
    """Phone and state of each senone, ``AA[0]``; senones that differ in their context only have the same name."""
    return ["{}[{}]".format(*inventory.tree.senone_info(senone)) for senone in range(inventory.num_senones)]


def cluster_text(names: tuple[str, ...]) -> str:
    """A cluster's senones, the phone with the most first: ``N[0] N[2]x3 M[1]``, where x3 are contexts of one state."""
    states = Counter(names)
    phones = Counter(name.partition("[")[0] for name in names)
    order = sorted(states, key=lambda name: (-phones[name.partition("[")[0]], name))
    return " ".join(name if states[name] == 1 else f"{name}x{states[name]}" for name in order)


def _posteriors(student: Student, store: FrameStore, frames: torch.Tensor) -> Iterator[torch.Tensor]:
    gatherer = WindowGatherer(store, student.window.left, student.window.right, student.device)
    for chunk in track(frames.split(_BATCH), "posteriors", -(-len(frames) // _BATCH), "batches"):
        yield student.log_posteriors(gatherer.gather(chunk)).exp()


def _check_sizes(num_senones: int, num_clusters: int, size: int | None, num_frames: int | None) -> None:
    """What `cluster_classes` would say after the posteriors, said before them."""
    if not 1 <= num_clusters <= num_senones:
        raise UserError(f"{num_clusters} clusters of {num_senones} senones: ask for 1 to {num_senones}")
    if size is not None and not 2 <= size < num_senones:
        raise UserError(
            f"clusters of {size} out of {num_senones} senones: expected 2 (there is no specialist of one senone) to"
            f" {num_senones - 1} (something must be left for the dustbin)"
        )
    if size is None and num_clusters == 1:
        raise UserError("one cluster of all senones leaves nothing for a dustbin; give --size, or more clusters")
    if num_frames is not None and num_frames < 2:
        raise UserError(f"{num_frames} frames: the covariance of posteriors needs at least 2")

"""Clusters of the classes that the generalist confuses, and which of each cluster's classes show it best."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import UserError, check_own, hash_of_file, hash_of_object, read_json, to_mapping, write_json
from asr_distill.images.examples import ImageExamples
from asr_distill.images.large_labels.configuration import LargeLabelConfig
from asr_distill.images.large_labels.data import LargeLabelData
from asr_distill.models import load_network
from asr_distill.specialists import ClassClusters, PredictionCovariance, cluster_classes
from asr_distill.training import Examples

CLUSTERS, DETAILS = "clusters.json", "clusters_details.json"
_BATCH = 500
_SHOWN = 20
_log = logging.getLogger("asr_distill")


@torch.no_grad()
def find_clusters(config: LargeLabelConfig, data: LargeLabelData, generalist: Path, root: Path) -> ClassClusters:
    """Writes ``clusters.json`` and ``clusters_details.json`` to ``root``, unless they are there from this generalist.

    The predictions are of training images, perturbed anew, or of dev images perturbed (``part``); no label is looked at.
    Raises `UserError` where there are specialists of other clusters already.
    """
    options = {"clusters": to_mapping(config.clusters), "generalist": hash_of_file(generalist / "model.safetensors")}
    identity = hash_of_object(options)
    if (root / DETAILS).is_file() and read_json(root / DETAILS)["identity"] == identity:
        return ClassClusters.load(root / CLUSTERS)
    if trained := sorted(path.name for path in (root / "models").glob("*specialists") if any(path.iterdir())):
        raise UserError(
            f"{root}: models/{trained[0]} holds specialists of other clusters, from another generalist or other options;"
            f" name another folder, or remove models/{' and models/'.join(trained)}"
        )
    check_own(root / CLUSTERS, root / DETAILS)
    start = time.monotonic()
    examples, perturbed = _examples(config, data), torch.Generator().manual_seed(config.clusters.seed)
    network, _ = load_network(generalist)
    covariance = PredictionCovariance(examples.num_classes)
    epoch = 0
    while covariance.num_predictions < config.clusters.images:
        for indices in examples.order(_BATCH, config.clusters.seed, epoch, 0):
            probs = network(examples.batch(indices, perturbed)["inputs"]).softmax(dim=1)
            covariance.update(probs[: config.clusters.images - covariance.num_predictions])
            if covariance.num_predictions >= config.clusters.images:
                break
        epoch += 1
    streamed = time.monotonic() - start
    clusters = cluster_classes(
        covariance,
        config.clusters.number,
        size=config.clusters.size,
        restarts=config.clusters.restarts,
        seed=config.clusters.seed,
    )
    clustered = time.monotonic() - start
    shown = _most_confused(covariance, clusters)
    details = {
        "identity": identity,
        "predictions": covariance.num_predictions,
        "seconds_predictions": streamed,
        "seconds_clustering": clustered - streamed,
        "coverage": torch.bincount(clusters.coverage()).tolist(),
        "shown": shown,
    }
    clusters.save(root / CLUSTERS)
    write_json(root / DETAILS, details, listed=True)
    _log.info("%d clusters of %d classes in %.0f s", len(clusters), config.clusters.size, time.monotonic() - start)
    return clusters


def load_clusters(root: Path) -> tuple[ClassClusters, dict[str, Any]]:
    """What `find_clusters` wrote. Raises `UserError` where it has not run."""
    if not (root / DETAILS).is_file():
        raise UserError(f"{root} has no {DETAILS}: find the clusters first, `asr-distill classes train`")
    return ClassClusters.load(root / CLUSTERS), read_json(root / DETAILS)


def _examples(config: LargeLabelConfig, data: LargeLabelData) -> Examples:
    if config.clusters.part == "train":
        return data.train()[0]
    augmentation = config.omniglot.distortion if config.omniglot is not None else None
    return ImageExamples(data.part("dev"), augmentation=augmentation)


def _most_confused(covariance: PredictionCovariance, clusters: ClassClusters) -> list[list[int]]:
    """Of each cluster the class with the strongest correlations inside it, and those it is most correlated with."""
    matrix = covariance.result(consume=True)
    scale = matrix.diagonal().clamp(min=1e-12).rsqrt()
    shown = []
    for ids in clusters:
        correlation = (matrix[ids][:, ids] * scale[ids].unsqueeze(1) * scale[ids]).abs().fill_diagonal_(0)
        strongest = int(correlation.topk(min(5, len(ids)), dim=1).values.sum(dim=1).argmax())
        correlation[strongest, strongest] = 2
        shown.append(ids[correlation[strongest].topk(min(_SHOWN, len(ids))).indices].tolist())
    return shown

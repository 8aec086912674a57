"""Specialists for a classifier over many classes: clusters of confusable classes, their training data, and Eq. 5.

Comes in: a generalist's predictions, class ids, tensors of log-probabilities; nothing here knows of speech or of images.
Goes out: clusters, examples and objectives for the training loop, combined log-probabilities, the paper's tables.
Open ``clustering.py`` first, then ``combining.py``.
"""

from asr_distill.specialists.clustering import ClassClusters, cluster_classes
from asr_distill.specialists.combining import (
    CombineInfo,
    active_specialists,
    combine,
    combine_by_addition,
    combined_objective,
)
from asr_distill.specialists.covariance import PredictionCovariance

__all__ = [
    "ClassClusters",
    "CombineInfo",
    "PredictionCovariance",
    "active_specialists",
    "cluster_classes",
    "combine",
    "combine_by_addition",
    "combined_objective",
]

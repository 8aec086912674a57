"""Specialists on images of many classes: what is trained, at what cost, and what each system predicts.

Comes in: a `LargeLabelConfig` and a folder with Omniglot or rendered characters; goes out: a folder of models, clusters and
predictions, from which the tables are made. Open ``plan.py`` first, then ``running.py``.
"""

from asr_distill.images.large_labels.clusters import find_clusters, load_clusters
from asr_distill.images.large_labels.configuration import LargeLabelConfig
from asr_distill.images.large_labels.data import LargeLabelData, open_data, prepare_data
from asr_distill.images.large_labels.plan import Run, budget, plan
from asr_distill.images.large_labels.predicting import predict_all
from asr_distill.images.large_labels.running import plan_of, train_all

__all__ = [
    "LargeLabelConfig",
    "LargeLabelData",
    "Run",
    "budget",
    "find_clusters",
    "load_clusters",
    "open_data",
    "plan",
    "plan_of",
    "predict_all",
    "prepare_data",
    "train_all",
]

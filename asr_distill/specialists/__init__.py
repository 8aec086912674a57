"""Specialists for a classifier over many classes: clusters of confusable classes, their training data, and Eq. 5.

Comes in: a generalist's predictions, class ids, tensors of log-probabilities; nothing here knows of speech or of images.
Goes out: clusters, examples and objectives for the training loop, combined log-probabilities, the paper's tables.
Open ``clustering.py`` first, then ``sampling.py`` and ``combining.py``.
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
from asr_distill.specialists.evaluation import conditional_accuracy, conditional_counts, gain_by_coverage, top_one
from asr_distill.specialists.initial import specialist_from_generalist, train_specialist
from asr_distill.specialists.members import Member, member_log_probs
from asr_distill.specialists.objectives import (
    NetworkTargets,
    SpecialistDistillation,
    corrected_log_probs,
    sum_into_dustbin,
)
from asr_distill.specialists.processes import in_parallel
from asr_distill.specialists.sampling import SpecialistExamples, dustbin_correction

__all__ = [
    "ClassClusters",
    "CombineInfo",
    "Member",
    "NetworkTargets",
    "PredictionCovariance",
    "SpecialistDistillation",
    "SpecialistExamples",
    "active_specialists",
    "cluster_classes",
    "combine",
    "combine_by_addition",
    "combined_objective",
    "conditional_accuracy",
    "conditional_counts",
    "corrected_log_probs",
    "dustbin_correction",
    "gain_by_coverage",
    "in_parallel",
    "member_log_probs",
    "specialist_from_generalist",
    "sum_into_dustbin",
    "top_one",
    "train_specialist",
]

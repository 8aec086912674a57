"""Distillation: an ensemble's posteriors become soft targets, and soft targets become a loss.

Comes in: logits and log-posteriors as tensors, from whatever computed them; goes out: combined and softened log-posteriors,
and the loss of a student with its gradient. Open ``loss.py`` first: `distillation_loss` is the reference page.
"""

from asr_distill.distillation.combine import combine_posteriors, soften
from asr_distill.distillation.loss import distillation_loss, soft_target_loss
from asr_distill.distillation.soft_target_store import SoftTargetStore
from asr_distill.distillation.sparse import SparseTargets, sparse_distillation_loss
from asr_distill.distillation.variants import VARIANTS

__all__ = [
    "VARIANTS",
    "SoftTargetStore",
    "SparseTargets",
    "combine_posteriors",
    "distillation_loss",
    "soft_target_loss",
    "soften",
    "sparse_distillation_loss",
]

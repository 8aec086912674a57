"""One specialist of images: from the generalist's weights, half special and half other images, on hard or on soft targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from asr_distill.base import hash_of_file
from asr_distill.images.large_labels.configuration import LargeLabelConfig
from asr_distill.images.large_labels.data import LargeLabelData
from asr_distill.images.large_labels.plan import SOFT_SPECIALISTS, Run
from asr_distill.models import load_network
from asr_distill.models.checkpoint import WEIGHTS_FILE
from asr_distill.specialists import NetworkTargets, SpecialistDistillation, SpecialistExamples, train_specialist


def train_image_specialist(
    config: LargeLabelConfig,
    data: LargeLabelData,
    run: Run,
    class_ids: torch.Tensor,
    generalist: Path,
    output: Path,
    device: torch.device,
) -> dict[str, Any]:
    """Trains the specialist of ``class_ids`` to ``output``, unless it is there, and returns the summary.

    Specialists with soft targets ask the generalist about the images as they are perturbed (section 6.1). Raises `UserError` as
    `train_specialist` does.
    """
    soft, options = run.system == SOFT_SPECIALISTS, config.specialist
    full = soft and options.full_softmax
    base, labels = data.train(device)
    images = run.images // run.training.epochs
    examples = SpecialistExamples(base, labels, class_ids, num_examples=images, full_softmax=full)
    objective = None
    if soft:
        network = load_network(generalist)[0].to(device)
        objective = SpecialistDistillation(
            NetworkTargets(network, hash_of_file(generalist / WEIGHTS_FILE)),
            class_ids,
            full_softmax=full,
            temperature=options.temperature,
            soft_weight=options.soft_weight,
            own_soft_weight=options.own_soft_weight,
        )
    return train_specialist(run.training, generalist, examples, None, output, objective)

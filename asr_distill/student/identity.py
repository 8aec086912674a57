"""The hash by which a model is known to ensembles and to stores of soft targets."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from asr_distill.base import hash_of_object, to_mapping
from asr_distill.student.bundle import BundleConfig


def model_hash(config: BundleConfig, network: nn.Module) -> str:
    """SHA-256 over the network (description and weights), features, window, normalisation, senones and priors."""
    return hash_of_object(
        {
            "network": config.network,
            "features": to_mapping(config.features),
            "window": to_mapping(config.window),
            "normalisation": config.normalisation.get("hash"),
            "senones": config.senones_hash,
            "priors": config.priors_hash,
            "weights": weights_hash(network),
        }
    )


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of all weights and buffers, whatever device they lie on."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # as bytes: numpy knows no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

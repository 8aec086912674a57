"""A model directory: ``config.json`` says what the network is, ``model.safetensors`` holds its weights; no pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from asr_distill.base import UserError, atomic_path, check_file, read_json, write_json
from asr_distill.models.registry import build_network, num_weights

_SMALL = 1_000_000  # weights that may be allocated to see which of them does not fit
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


def save_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes named tensors as safetensors, atomically, and lists their digest; any device, dtypes and shapes kept."""
    with atomic_path(path, listed=True) as temporary:
        save_file({name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}, str(temporary))


def load_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Reads what `save_tensors` wrote, to the CPU. Raises `UserError` where the file is missing, damaged or foreign."""
    check_file(path)
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist; train the model first, or name the directory that holds it")
    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); copy or train the model again") from None


def save_network(
    directory: str | Path, network: nn.Module, network_config: Mapping[str, Any], description: Mapping[str, Any] | None = None
) -> None:
    """Writes ``model.safetensors``, then ``config.json``: ``{"network": network_config, **description}``."""
    directory = Path(directory)
    save_tensors(directory / WEIGHTS_FILE, network.state_dict())
    write_json(directory / CONFIG_FILE, {"network": dict(network_config), **(description or {})}, listed=True)


def load_network(directory: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a model directory in evaluation mode on the CPU, and the whole of its ``config.json``.

    Raises `UserError` where a file is missing or altered, the configuration has unknown keys in ``network``, or the
    weights are not those of that network (names and shapes are compared).
    """
    directory = Path(directory)
    if not (directory / CONFIG_FILE).is_file():
        unfinished = " (its training is not finished: run it again to continue)" if (directory / "training").is_dir() else ""
        raise UserError(f"{directory} is not a model directory: it has no {CONFIG_FILE}{unfinished}")
    config = read_json(directory / CONFIG_FILE)
    if not isinstance(config, dict) or not isinstance(config.get("network"), dict):
        raise UserError(f"{directory / CONFIG_FILE}: expected an object with the key 'network'")
    where = f"{directory / CONFIG_FILE}: network"
    tensors = load_tensors(directory / WEIGHTS_FILE)
    found, expected = sum(tensor.numel() for tensor in tensors.values()), num_weights(config["network"], where) or 0
    if expected > 2 * found + _SMALL:  # smaller differences are named by their weight
        raise UserError(f"{where}: a network of these sizes has {expected} weights, the bundle holds {found}; copy it again")
    network = build_network(config["network"], where=where)
    load_weights(network, tensors, str(directory / WEIGHTS_FILE))
    return network.eval(), config


def load_weights(network: nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Copies ``tensors`` into ``network``.

    Raises `UserError` naming the first weight that is missing, foreign or misshapen, or holds NaN or infinity.
    """
    expected = network.state_dict()
    for name in [*expected, *tensors]:
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        wanted = tuple(expected[name].shape) if name in expected else "nothing"
        if found != wanted:
            raise UserError(f"{where}: weight {name!r} has shape {found}, the configured network expects {wanted}")
    check_finite(tensors, where)
    network.load_state_dict(dict(tensors))


def check_finite(tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Raises `UserError` naming the first tensor, and its first place, that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            place = (~tensor.isfinite()).nonzero()[0].tolist()
            raise UserError(
                f"{where}: weight {name!r} is {float(tensor[tuple(place)])} at {place}, expected finite numbers: its training"
                " diverged, or the file was changed; copy or train the model again"
            )


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether there is no NaN and no infinity; a sum says so in one pass, but where it overflows."""
    return not tensor.is_floating_point() or math.isfinite(float(tensor.sum())) or bool(tensor.isfinite().all())

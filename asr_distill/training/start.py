"""Where a network's first weights come from: fresh ones, another model's, or a network that was made for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from asr_distill.base import UserError, from_mapping, hash_of_file, read_json
from asr_distill.features import ContextWindow, Fbank40Config, config_difference
from asr_distill.models import load_network
from asr_distill.models.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_weights
from asr_distill.senones import check_same

InitialModel = str | Path | Callable[[], nn.Module]


def identity_of_start(initial_model: InitialModel | None, made_of: Mapping[str, Any] | None) -> str | dict[str, Any] | None:
    """What decides the first weights beside the seed: the hash of a model's file, or what a network is made of."""
    if callable(initial_model) != (made_of is not None):
        raise ValueError("initial_identity belongs to an initial_model that is made, and such a one needs it")
    if made_of is not None:
        return dict(made_of)
    return None if initial_model is None else _hash_of_weights(Path(str(initial_model)))


def load_start(network: nn.Module, initial_model: InitialModel) -> None:
    """Copies the first weights into ``network``. Raises `UserError` where they are of another network."""
    start = initial_model() if callable(initial_model) else load_network(initial_model)[0]
    load_weights(network, start.state_dict(), "the initial network" if callable(initial_model) else str(initial_model))


def check_start(initial_model: InitialModel | None, data: Mapping[str, Any]) -> None:
    """Raises `UserError` unless a bundle to start from has the senones, features, window and normalisation of the data.

    data: what ``config.json`` will say of these, as in a bundle; what one of the two does not know is not compared.
    """
    if initial_model is None or callable(initial_model) or not (Path(initial_model) / CONFIG_FILE).is_file():
        return
    path = Path(initial_model) / CONFIG_FILE
    model = read_json(path)
    known = {name for name in data if data[name] is not None and isinstance(model, dict) and model.get(name) is not None}
    what = f"the initial model {initial_model}"
    if "senones_hash" in known:
        check_same(model["senones_hash"], data["senones_hash"], what, "the training data")
    if "features" in known:
        made_for = from_mapping(Fbank40Config, model["features"], f"{path}: features")
        if difference := config_difference(made_for, from_mapping(Fbank40Config, data["features"], "features")):
            raise UserError(
                f"{what} takes other features than the training data holds ({difference}); compute them with its configuration,"
                " or train without --initial-model"
            )
    if "window" in known:
        ours = from_mapping(ContextWindow, model["window"], f"{path}: window")
        theirs = from_mapping(ContextWindow, data["window"], "window")
        if ours != theirs:
            raise UserError(
                f"{what} sees {ours.left} frames before and {ours.right} after each, the configuration says {theirs.left} and"
                f" {theirs.right}. Next: --set window.left={ours.left} --set window.right={ours.right}"
            )
    if "normalisation" in known:
        _check_normalisation(model["normalisation"], data["normalisation"], what)


def _check_normalisation(ours: Mapping[str, Any], theirs: Mapping[str, Any], what: str) -> None:
    """Statistics are compared where there is one set of them for all: a bundle keeps no others."""
    names = ("kind", "variance", "hash") if ours.get("kind") == "corpus" else ("kind", "variance")
    differing = [f"{name}: {ours.get(name)} and {theirs.get(name)}" for name in names if ours.get(name) != theirs.get(name)]
    if differing:
        raise UserError(
            f"{what} and the training data are normalised differently ({'; '.join(differing)}); write the stores with"
            " `asr-distill frames --normalisation-from` those that it was trained on, or train without --initial-model"
        )


def _hash_of_weights(directory: Path) -> str:
    if not (directory / WEIGHTS_FILE).is_file():
        raise UserError(f"the initial model {directory} has no {WEIGHTS_FILE}; name the folder of a model that is trained")
    return hash_of_file(directory / WEIGHTS_FILE)

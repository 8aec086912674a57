"""The weights that a specialist begins with: the generalist's."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_distill.base import UserError
from asr_distill.models import load_network, save_network
from asr_distill.specialists.clustering import check_class_ids
from asr_distill.specialists.sampling import SpecialistExamples
from asr_distill.training import Examples, Objective, TrainingConfig, train_model


def output_layer(network: nn.Module) -> tuple[str, nn.Linear]:
    """The name and the layer that makes the logits: the module ``output`` where that is an ``nn.Linear``, else the last one
    registered. Raises `UserError` where the network has no ``nn.Linear``."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    if not layers:
        raise UserError(f"{type(network).__name__} has no nn.Linear: its layer of classes cannot be told")
    name = "output" if "output" in layers else list(layers)[-1]
    return name, layers[name]


@torch.no_grad()
def specialist_from_generalist(network: nn.Module, class_ids: torch.Tensor, shares: torch.Tensor | None = None) -> nn.Module:
    """A copy of ``network`` whose layer of classes (`output_layer`) has the m rows of ``class_ids`` and a dustbin row, last.

    The dustbin's logit should be log sum exp over the other classes' logits z. That is convex, and its tangent where their
    softmax is s is linear, as a row must be: sum s z + H(s), with H the entropy in nats, at most the true value. So the row is
    sum s_c w_c and its bias sum s_c b_c + H(s). shares: (C,), the generalist's mean predictions or the classes'
    frequencies, whose part on the other classes, made to sum to 1, is s; softmax of the biases where it is None.
    Raises `UserError` on class ids or shares that are none, and where no class is left for the dustbin.
    """
    name, layer = output_layer(network)
    ids = check_class_ids(class_ids, layer.out_features, "the specialist")
    others = torch.ones(layer.out_features, dtype=torch.bool)
    others[ids] = False
    if not bool(others.any()):
        raise UserError(f"the specialist has all {layer.out_features} classes: nothing is left for the dustbin")
    weight, bias = layer.weight.detach().double(), layer.bias
    biases = torch.zeros(layer.out_features, dtype=torch.float64) if bias is None else bias.detach().double()
    if shares is None:
        s = biases[others].softmax(dim=0)
    else:
        if tuple(shares.shape) != (layer.out_features,) or not bool((shares >= 0).all()) or not float(shares[others].sum()) > 0:
            raise UserError(f"shares: expected ({layer.out_features},) probabilities with some on the other classes")
        s = shares[others].double() / shares[others].double().sum()
    entropy = -torch.special.xlogy(s, s).sum()
    specialist = copy.deepcopy(network)
    replaced = nn.Linear(layer.in_features, len(ids) + 1).to(layer.weight)
    replaced.weight.copy_(torch.cat([weight[ids], (s @ weight[others]).unsqueeze(0)]))
    replaced.bias.copy_(torch.cat([biases[ids], (s @ biases[others] + entropy).unsqueeze(0)]))
    parent, _, leaf = name.rpartition(".")
    setattr(specialist.get_submodule(parent), leaf, replaced)
    return specialist


def train_specialist(
    config: TrainingConfig,
    generalist: str | Path,
    train: SpecialistExamples,
    dev: Examples | None,
    out_dir: str | Path,
    objective: Objective | None = None,
    *,
    shares: torch.Tensor | None = None,
    prior_of_training: bool = False,
    description: Mapping[str, Any] | None = None,
    companions: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """Trains one specialist from the weights in the model directory ``generalist``; returns `train_model`'s summary.

    One that is there is not trained again, and one that was interrupted goes on: `train_model` sees to both. ``config.json``
    gets ``specialist``: its ``class_ids`` and the ``dustbin_correction`` that belongs on its dustbin's logit (with
    ``full_softmax`` on the logits of all other classes), beside ``description``. companions: as in `train_model`.
    prior_of_training: the first weights have the correction taken off the biases of what is not special, so that with the
    correction put on they say what the generalist says; without that, training has to learn first how often special
    examples come in it.
    The network of ``config`` must be the generalist's. Raises `UserError` as `train_model` and `specialist_from_generalist` do.
    """
    network, stored = load_network(generalist)
    specialist = {
        "class_ids": train.class_ids.tolist(),
        "dustbin_correction": train.dustbin_correction,
        "full_softmax": train.full_softmax,
    }
    with tempfile.TemporaryDirectory(prefix="specialist-") as folder:
        start = Path(generalist)
        if not train.full_softmax:
            network = specialist_from_generalist(network, train.class_ids, shares)
        if prior_of_training:
            special = train.class_ids if train.full_softmax else torch.arange(train.num_classes - 1)
            _lower_other_biases(network, special, train.dustbin_correction)
        if prior_of_training or not train.full_softmax:
            start = Path(folder) / "start"
            save_network(start, network, {**stored["network"], "num_senones": train.num_classes})
        return train_model(
            config,
            train,
            dev,
            out_dir,
            objective,
            description={"specialist": specialist, **(description or {})},
            companions=companions,
            initial_model=start,
        )


@torch.no_grad()
def _lower_other_biases(network: nn.Module, special: torch.Tensor, amount: float) -> None:
    """Takes ``amount`` (nats) off the bias of every output that is not ``special``, in place."""
    name, layer = output_layer(network)
    if layer.bias is None:
        raise UserError(f"the layer {name} has no bias: the share of special examples cannot be taken into its first weights")
    others = torch.ones(layer.out_features, dtype=torch.bool)
    others[special] = False
    layer.bias[others] -= amount

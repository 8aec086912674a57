"""The weights that a specialist begins with: the generalist's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_distill.base import UserError, hash_of_file
from asr_distill.models import load_network
from asr_distill.models.checkpoint import WEIGHTS_FILE
from asr_distill.specialists.clustering import check_class_ids
from asr_distill.specialists.sampling import SpecialistExamples
from asr_distill.training import Examples, Objective, TrainingConfig, train_model

_SAMPLE, _BLOCK, _RIDGE = 4096, 512, 1e-3  # examples for a dustbin's first row, at a time, and its regularisation


def output_layer(network: nn.Module) -> tuple[str, nn.Linear]:
    """The name and the layer that makes the logits: the module ``output`` where that is an ``nn.Linear``, else the last one
    registered. Raises `UserError` where the network has no ``nn.Linear``."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    if not layers:
        raise UserError(f"{type(network).__name__} has no nn.Linear: its layer of classes cannot be told")
    name = "output" if "output" in layers else list(layers)[-1]
    return name, layers[name]


@torch.no_grad()
def specialist_from_generalist(network: nn.Module, class_ids: torch.Tensor, inputs: torch.Tensor) -> nn.Module:
    """A copy of ``network`` whose layer of classes (`output_layer`) has the m rows of ``class_ids`` and a dustbin row, last.

    The dustbin's logit should be l = log sum exp over the other classes' logits; a row is linear in what the layer is given,
    h. So it is the ridge regression of l on h over ``inputs`` (N, ...), examples as they come: with bars for means over them
    and D for the size of h,

        w = (cov(h, h) + r tr(cov(h, h)) / D I)^-1 cov(h, l),    b = mean(l) - w mean(h),    r = 1e-3.

    Raises `UserError` on class ids that are none, where no class is left for the dustbin, and where there is no input.
    """
    name, layer = output_layer(network)
    ids = check_class_ids(class_ids, layer.out_features, "the specialist")
    others = torch.ones(layer.out_features, dtype=torch.bool)
    others[ids] = False
    if not bool(others.any()):
        raise UserError(f"the specialist has all {layer.out_features} classes: nothing is left for the dustbin")
    if not len(inputs):
        raise UserError("the dustbin's first row is fitted to examples, and there are none")
    weight, bias = _dustbin_row(network, layer, others, inputs.to(layer.weight.device))
    specialist = copy.deepcopy(network)
    replaced = nn.Linear(layer.in_features, len(ids) + 1).to(layer.weight)
    own = torch.zeros(len(ids)) if layer.bias is None else layer.bias[ids]
    replaced.weight.copy_(torch.cat([layer.weight[ids], weight.unsqueeze(0).to(layer.weight)]))
    replaced.bias.copy_(torch.cat([own.to(layer.weight), bias.unsqueeze(0).to(layer.weight)]))
    parent, _, leaf = name.rpartition(".")
    setattr(specialist.get_submodule(parent), leaf, replaced)
    return specialist


def _dustbin_row(
    network: nn.Module, layer: nn.Linear, others: torch.Tensor, inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (D,) and bias, float64."""
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].double()))
    training = network.training
    try:
        network.eval()
        target = torch.cat([network(part).double()[:, others].logsumexp(dim=1) for part in inputs.split(_BLOCK)])
    finally:
        hook.remove()
        network.train(training)
    hidden = torch.cat(seen)
    centred = hidden - hidden.mean(dim=0)
    covariance = centred.T @ centred
    ridge = max(_RIDGE * float(covariance.diagonal().mean()), torch.finfo(torch.float64).tiny)
    covariance.diagonal().add_(ridge)
    weight = torch.linalg.solve(covariance, centred.T @ (target - target.mean()))
    return weight, target.mean() - hidden.mean(dim=0) @ weight


def train_specialist(
    config: TrainingConfig,
    generalist: str | Path,
    train: SpecialistExamples,
    dev: Examples | None,
    out_dir: str | Path,
    objective: Objective | None = None,
    *,
    description: Mapping[str, Any] | None = None,
    companions: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """Trains one specialist from the weights in the model directory ``generalist``; returns `train_model`'s summary.

    One that is there is not trained again, and one that was interrupted goes on: `train_model` sees to both. ``config.json``
    gets ``specialist``: its ``class_ids`` and the ``dustbin_correction`` that belongs on its dustbin's logit (with
    ``full_softmax`` on the logits of all other classes), beside ``description``. companions: as in `train_model`.
    The first weights have the correction taken off the biases of what is not special, so that with the correction put on they
    say what the generalist says: how often special examples come in training need not be learnt.
    The network of ``config`` must be the generalist's, whose layer of classes has a bias. Raises `UserError` where it
    is another, and as `train_model` and `specialist_from_generalist` do.
    """
    network, stored = load_network(generalist)
    name, layer = output_layer(network)
    if layer.out_features != stored["network"]["num_senones"] or layer.bias is None:
        raise UserError(
            f"{generalist}: the layer of classes of {type(network).__name__} was taken to be {name}, which has"
            f" {layer.out_features} outputs{' and no bias' if layer.bias is None else ''}; expected"
            f" {stored['network']['num_senones']} and a bias: train a generalist whose last layer is an nn.Linear named output"
        )
    full, correction = train.full_softmax, train.dustbin_correction
    specialist = {"class_ids": train.class_ids.tolist(), "dustbin_correction": correction, "full_softmax": full}

    def start() -> nn.Module:
        special = train.class_ids if full else torch.arange(train.num_classes - 1)
        first = network if full else specialist_from_generalist(network, train.class_ids, _sample(train.examples, config.seed))
        _lower_other_biases(first, special, correction)
        return first

    return train_model(
        config,
        train,
        dev,
        out_dir,
        objective,
        description={"specialist": specialist, **(description or {})},
        companions=companions,
        initial_model=start,
        initial_identity={
            "generalist": hash_of_file(Path(generalist) / WEIGHTS_FILE),
            "dustbin": None if full else "ridge",
        },
    )


def _sample(examples: Examples, seed: int) -> torch.Tensor:
    """Inputs of examples as they come, perturbed as in training."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(examples.num_examples, (_SAMPLE,), generator=generator)
    return examples.batch(chosen, generator)["inputs"]


@torch.no_grad()
def _lower_other_biases(network: nn.Module, special: torch.Tensor, amount: float) -> None:
    """Takes ``amount`` (nats) off the bias of every output that is not ``special``, in place."""
    layer = output_layer(network)[1]
    others = torch.ones(layer.out_features, dtype=torch.bool)
    others[special] = False
    layer.bias[others] -= amount  # `train_specialist` saw that it has one

"""Networks by name, so that a configuration file or a ``config.json`` can build one and a new kind needs one decorator.

@register_network("my_net", MyConfig)   # a dataclass with num_senones and input_dim among its fields
def build(config, generator): return MyNet(...)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from asr_distill.base import UserError, from_mapping, to_mapping

Builder = Callable[[Any, "torch.Generator | None"], nn.Module]
Counter = Callable[[Any], int]
_networks: dict[str, tuple[type, Builder]] = {}
_counters: dict[str, Counter] = {}


def register_network(name: str, config_class: type, num_weights: Counter | None = None) -> Callable[[Builder], Builder]:
    """Decorates a function ``(config, generator) -> nn.Module``; ``config_class`` is a dataclass that holds its options.

    ``num_weights`` counts the weights and buffers of a configuration, so that a bundle whose configuration does not fit its
    weights is refused before memory is taken for it.
    The module maps ``(N, input_dim)`` inputs to ``(N, num_senones)`` logits. Raises ValueError where the name is taken or
    the dataclass lacks ``num_senones`` or ``input_dim``.
    """
    if name in _networks:
        raise ValueError(f"a network named {name!r} is registered already")
    fields = {field.name for field in dataclasses.fields(config_class)}
    if not {"num_senones", "input_dim"} <= fields:
        raise ValueError(f"{config_class.__name__} needs the fields num_senones and input_dim")

    def register(builder: Builder) -> Builder:
        _networks[name] = (config_class, builder)
        if num_weights is not None:
            _counters[name] = num_weights
        return builder

    return register


def _parse(config: Mapping[str, Any], where: str) -> tuple[str, Any, Builder]:
    options = dict(config)
    name = options.pop("name", "senone_dnn")
    if name not in _networks:
        raise UserError(
            f"{where}: no network is named {name!r}; known: {', '.join(sorted(_networks))}."
            " A network of your own is made known by register_network before it is asked for, on the command line by"
            " --import FILE.py"
        )
    config_class, builder = _networks[name]
    return name, from_mapping(config_class, options, where), builder


def complete_network_config(
    config: Mapping[str, Any], num_senones: int, input_dim: int, where: str = "network"
) -> dict[str, Any]:
    """``config`` with the sizes that the data decides and every default written out: what goes into ``config.json``.

    Raises `UserError` on unknown names and keys, and where ``config`` states a size that is not the data's.
    """
    for key, found in (("num_senones", num_senones), ("input_dim", input_dim)):
        if config.get(key, found) != found:
            raise UserError(f"{where}: {key} is {config[key]}, but the data has {found}; remove the key or change the data")
    name, parsed, _ = _parse({**config, "num_senones": num_senones, "input_dim": input_dim}, where)
    return {"name": name, **to_mapping(parsed)}


def num_weights(config: Mapping[str, Any], where: str = "network") -> int | None:
    """How many weights and buffers the network of ``config`` has, nothing being built; None where it does not say."""
    name, parsed, _ = _parse(config, where)
    return _counters[name](parsed) if name in _counters else None


def build_network(config: Mapping[str, Any], generator: torch.Generator | None = None, where: str = "network") -> nn.Module:
    """The network of ``config`` (``name`` and its options), on the CPU, float32, weights drawn from ``generator``.

    Raises `UserError` on an unknown name, unknown keys and values of another type.
    """
    _, parsed, builder = _parse(config, where)
    return builder(parsed, generator)


def count_parameters(network: nn.Module) -> int:
    """The number of trainable weights."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)

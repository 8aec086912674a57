"""What a training run depends on, as strict YAML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from asr_distill.base import UserError, from_mapping, load_config, to_mapping
from asr_distill.features import ContextWindow, SpecAugmentConfig

MOST_RATE = 1e9
NO_INFLUENCE = ("checkpoint_minutes", "threads", "device", "tensorboard")  # keys without one on what is learnt


@dataclass(frozen=True)
class TrainingConfig:
    """One run of `train_model`; read with ``load_config(TrainingConfig, path)``, an unknown key is an error.

    network: ``name`` and options of a registered network, for example ``{name: senone_dnn, layers: 4, width: 512,
      dropout: 0.2}``; the number of senones and of inputs come from the data.
    window: frames to the ``left`` and ``right`` of the one that is classified.
    optimizer: ``sgd`` (with momentum, nesterov), ``adam`` or ``adamw``. beta1, beta2: theirs.
    learning_rate: at its highest. weight_decay: below 1, on weights with two or more dimensions, not on biases.
    schedule: ``constant``; ``cosine`` from the learning rate to ``final_rate_ratio`` of it at the last step; ``newbob`` halves
      after each epoch whose dev frame accuracy rose by less than ``newbob_threshold`` (percentage points) over the best.
    warmup_epochs: the rate rises linearly over so many epochs (a fraction is allowed).
    epochs, batch_size: passes over the data, frames in a step.
    label_smoothing: for hard labels. max_norm: limit of each unit's incoming weights, or none. clip_norm: limit of the whole
      gradient's norm, or none.
    autocast: ``bf16``, ``off``, or ``auto``: bf16 where the processor computes in it.
    patience: stop after so many epochs without a better dev frame accuracy; none trains all epochs.
    keep: the weights of the ``best`` epoch on dev, or of the ``last``.
    spec_augment: masks on the training windows, or none.
    seed: initialisation, order, dropout and masks all follow from it.
    checkpoint_minutes: the time between checkpoints; 0 writes one after each step.
    threads: of the CPU; none leaves torch's choice. device: ``auto`` takes a GPU where there is one.
    """

    network: dict[str, Any] = field(default_factory=lambda: {"name": "senone_dnn"})
    window: ContextWindow = field(default_factory=ContextWindow)
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "newbob"] = "cosine"
    final_rate_ratio: float = 0.0
    newbob_threshold: float = 0.1
    warmup_epochs: float = 0.0
    epochs: int = 12
    batch_size: int = 512
    label_smoothing: float = 0.0
    max_norm: float | None = None
    clip_norm: float | None = None
    autocast: Literal["auto", "bf16", "off"] = "auto"
    patience: int | None = None
    keep: Literal["best", "last"] = "best"
    spec_augment: SpecAugmentConfig | None = None
    seed: int = 0
    checkpoint_minutes: float = 10.0
    threads: int | None = None
    device: str = "auto"
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name, number in vars(self).items():
            if isinstance(number, (int, float)) and not math.isfinite(number):
                raise ValueError(f"{name} is {number}, expected a finite number")
        if self.learning_rate > MOST_RATE:
            raise ValueError(
                f"learning_rate is {self.learning_rate}, expected at most {MOST_RATE:g}: no float32 weight survives it"
            )
        above: dict[str, float | None] = {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
        }
        above |= {"max_norm": self.max_norm, "clip_norm": self.clip_norm, "patience": self.patience, "threads": self.threads}
        for name, limit in above.items():
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} is {limit}, expected a number above 0")
        at_least = {"warmup_epochs": self.warmup_epochs, "seed": self.seed}
        at_least |= {"checkpoint_minutes": self.checkpoint_minutes, "newbob_threshold": self.newbob_threshold}
        for name, value in at_least.items():
            if not value >= 0:
                raise ValueError(f"{name} is {value}, expected 0 or more")
        shares = {
            "weight_decay": self.weight_decay,
            "momentum": self.momentum,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "label_smoothing": self.label_smoothing,
        }
        for name, value in shares.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}, expected 0 <= {name} < 1")
        if not 0 <= self.final_rate_ratio <= 1:
            raise ValueError(f"final_rate_ratio is {self.final_rate_ratio}, expected a share of the learning rate, 0 to 1")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum > 0):
            raise ValueError("nesterov needs the optimizer sgd with a momentum above 0")


def load_training_config(path: str | Path | None, settings: Sequence[str] = ()) -> TrainingConfig:
    """The configuration of a YAML file (all defaults where there is none) with settings like ``network.width=512`` on top.

    A setting's value is read as YAML. Raises `UserError` on unknown keys, with the valid ones, and on settings without ``=``.
    """
    config = load_config(TrainingConfig, path) if path is not None else TrainingConfig()
    pairs = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UserError(f"setting {setting!r}: expected KEY=VALUE, such as learning_rate=0.01 or network.width=512")
        try:
            pairs.append((key, yaml.safe_load(text)))
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date of month 13
            raise UserError(f"setting {setting!r}: the value is not YAML: {error}") from None
    where = f"{path or 'configuration'} with {' '.join(settings)}" if settings else str(path)
    return with_settings(config, pairs, where)


def with_settings(config: TrainingConfig, settings: Iterable[tuple[str, Any]], where: str) -> TrainingConfig:
    """Return the configuration with values over it; a key such as ``network.width`` is one of an inner mapping.

    Raises:
        UserError: an unknown key or a value of another type; ``where`` is what the message calls the configuration.
    """
    values = to_mapping(config)
    for keys, value in settings:
        inner, *outer = reversed(keys.split("."))
        target = values
        for key in reversed(outer):
            if target.get(key) is None:
                target[key] = {}
            target = target[key]
            if not isinstance(target, dict):
                raise UserError(f"setting {keys!r}: {key} has no keys of its own")
        target[inner] = value
    return from_mapping(TrainingConfig, values, where)

"""What a specialist learns from: half examples of its classes, half random others, which are all one class, the dustbin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError, hash_of_object
from asr_distill.data.frame_sampler import PseudoRandomPermutation
from asr_distill.specialists.clustering import check_class_ids
from asr_distill.training import Examples

_SPECIAL, _OTHER, _MIXED = 1, 2, 3  # streams of random numbers of one seed


def dustbin_correction(special_share: float, natural_share: float) -> float:
    """What is added to the dustbin's logit, nats, after training with ``special_share`` of special examples.

    Let a be the share of special examples in training and pi their natural share. Whatever the input x, training sees special
    examples a / pi times as often as they come, and others (1 - a) / (1 - pi) times. So the network learns

        p(c | x) in proportion to a / pi * P(c | x) for a special class,  (1 - a) / (1 - pi) * P(rest | x) for the dustbin,

    and to have P back, the dustbin's odds are multiplied by (a / pi) / ((1 - a) / (1 - pi)):

        correction = log((1 - pi) / pi) - log((1 - a) / a).

    With half special, half others the second term is 0. Softmax outputs with the correction have the natural prior again, where
    the targets are labels. Section 6.1's soft targets of the other examples are the generalist's whole answer, which names
    special classes too: there the dustbin comes out too low where the generalist is in doubt, and p(rest) = 1/2 reads 1/3.
    Raises `UserError` where a share is not between 0 and 1.
    """
    for name, share in (("special_share", special_share), ("natural_share", natural_share)):
        if not 0 < share < 1:
            raise UserError(f"{name} is {share}, expected a share above 0 and below 1")
    return math.log((1 - natural_share) / natural_share) - math.log((1 - special_share) / special_share)


class SpecialistExamples:
    """`asr_distill.training.Examples` of one specialist, over examples whose labels are known.

    examples: all of them. labels: theirs, (examples.num_examples,) int64. class_ids: the specialist's (m,). An epoch has
    ``num_examples`` (by default such that every special example comes once), of which ``special_share`` are special; both
    kinds go round in their own random order, so that all others come by in the course of the epochs.
    ``labels`` of a batch are the places of the class ids, 0 to m - 1, and m for the dustbin; with ``full_softmax`` they stay
    the classes of ``examples``, for a network that keeps all outputs (section 6.1).

    As a set to evaluate on, 0 to num_examples - 1 are a fixed choice with the same shares.
    ``natural_share``, ``special_share`` (as rounded) and ``dustbin_correction`` are attributes.
    Raises `UserError` on fewer than 2 classes, a class without an example, and where nothing is left for the dustbin.
    """

    def __init__(
        self,
        examples: Examples,
        labels: torch.Tensor | np.ndarray,
        class_ids: torch.Tensor,
        *,
        special_share: float = 0.5,
        num_examples: int | None = None,
        full_softmax: bool = False,
    ) -> None:
        known = np.asarray(labels)
        if known.shape != (examples.num_examples,):
            raise UserError(f"labels have shape {known.shape}, expected {(examples.num_examples,)}: one for each example")
        if len(known) and int(known.max()) >= examples.num_classes:
            raise UserError(f"labels go up to {int(known.max())}, expected fewer than the {examples.num_classes} classes")
        self.examples = examples
        self.class_ids = check_class_ids(class_ids, examples.num_classes, "the specialist")
        self.full_softmax = full_softmax
        self.input_dim = examples.input_dim
        self.num_classes = examples.num_classes if full_softmax else len(self.class_ids) + 1
        counts = np.bincount(known[known >= 0], minlength=examples.num_classes)
        missing = [int(number) for number in self.class_ids if counts[number] == 0]
        if missing:
            raise UserError(
                f"{len(missing)} of the specialist's classes have no training example, the first is class {missing[0]};"
                " cluster only classes that have some, or add examples"
            )
        chosen = np.isin(known, self.class_ids.numpy())
        self._special, self._others = np.flatnonzero(chosen), np.flatnonzero(~chosen & (known >= 0))
        if not len(self._others):
            raise UserError("every example is of one of the specialist's classes: nothing is left for the dustbin")
        self.natural_share = len(self._special) / (len(self._special) + len(self._others))
        if not 0 < special_share < 1:
            raise UserError(f"special_share is {special_share}, expected a share above 0 and below 1")
        self.num_examples = round(len(self._special) / special_share) if num_examples is None else num_examples
        self._num_special = round(self.num_examples * special_share)
        if not 0 < self._num_special < self.num_examples:
            raise UserError(f"{self.num_examples} examples an epoch cannot be shared {special_share} to {1 - special_share}")
        self.special_share = self._num_special / self.num_examples
        self.dustbin_correction = dustbin_correction(self.special_share, self.natural_share)
        self._fixed = np.concatenate(self._choose(seed=0, epoch=0))
        self._places = torch.full((examples.num_classes,), len(self.class_ids), dtype=torch.int64)
        self._places[self.class_ids] = torch.arange(len(self.class_ids))

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """The batches of one epoch, special examples and others mixed: the same for the same seed."""
        chosen = np.concatenate(self._choose(seed, epoch))
        mixed = chosen[PseudoRandomPermutation(len(chosen), _stream(seed, _MIXED), epoch)(np.arange(len(chosen)))]
        return iter(torch.from_numpy(mixed + self.num_examples).split(batch_size)[start_step:])

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """That of ``examples``, with the specialist's labels."""
        numbers = indices.numpy()
        fixed = self._fixed[np.minimum(numbers, self.num_examples - 1)]
        inner = np.where(numbers < self.num_examples, fixed, numbers - self.num_examples)
        batch = dict(self.examples.batch(torch.from_numpy(inner), generator))
        if not self.full_softmax:
            labels = batch["labels"]
            places = self._places.to(labels.device)[labels.clamp(min=0)]
            batch["labels"] = torch.where(labels >= 0, places, labels)
        return batch

    def describe(self) -> dict[str, Any]:
        """The inner examples', the classes and the shares."""
        return {
            "examples": self.examples.describe(),
            "class_ids_hash": hash_of_object(self.class_ids.tolist()),
            "classes": len(self.class_ids),
            "frames": self.num_examples,
            "special_share": self.special_share,
            "natural_share": self.natural_share,
            "full_softmax": self.full_softmax,
        }

    def _choose(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The special and the other examples of an epoch."""
        special = _round_and_round(self._special, self._num_special, _stream(seed, _SPECIAL), epoch)
        others = _round_and_round(self._others, self.num_examples - self._num_special, _stream(seed, _OTHER), epoch)
        return special, others


def _stream(seed: int, number: int) -> int:
    return 4 * seed + number


def _round_and_round(pool: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """``count`` of the pool for this epoch: it goes on where the epoch before stopped, each round in a new random order."""
    positions = np.arange(epoch * count, (epoch + 1) * count)
    rounds = positions // len(pool)
    parts = []
    for number in np.unique(rounds):
        inside = positions[rounds == number] - number * len(pool)
        parts.append(pool[PseudoRandomPermutation(len(pool), seed, int(number))(inside)])
    return np.concatenate(parts)

"""How the classes outside a frame's top k share the mass that is left: one mean shape per store and temperature.

With p(n, c) the softened posterior of frame n, m(n) its mass outside the top k, and the sums over frames whose top k does not
hold c,

    s(c) ~ sum_n p(n, c) / sum_n m(n)

is the share of the tail that class c gets on average where it is in the tail. A plain mean would underrate a class that is
mostly in the top k. At reading it is renormalised over the classes outside the frame's own ids. An arithmetic mean, for it is
what minimises the Kullback-Leibler divergence of the stored from the true distributions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from asr_distill.base import read_array, write_array

_FLOOR = 1e-6  # of the uniform share: no class is impossible because it was never seen in a tail


class TailSums:
    """The sums, ``(2, temperatures, C)`` float64: p(n, c), and m(n) where c is in the top k, negative (so that both add up)."""

    def __init__(self, num_temperatures: int, num_classes: int) -> None:
        self.values = np.zeros((2, num_temperatures, num_classes))
        self.totals = np.zeros(num_temperatures)

    def add(self, index: int, outside: torch.Tensor, masses: torch.Tensor, ids: torch.Tensor) -> None:
        """Frames at one temperature: ``outside`` (N, C) probabilities, 0 in the top k; masses (N,); ids (N, k)."""
        self.values[0, index] += outside.sum(0, dtype=torch.float64).numpy()
        weights = masses.double()[:, None].expand_as(ids).reshape(-1).numpy()
        self.values[1, index] += np.bincount(ids.reshape(-1).numpy(), weights, self.values.shape[2])
        self.totals[index] += float(masses.double().sum())

    def merge(self, other: TailSums) -> None:
        """Adds the sums of other frames."""
        self.values += other.values
        self.totals += other.totals

    def log_shape(self) -> np.ndarray:
        """``(temperatures, C)`` float32 log-probabilities, each row normalised; uniform where there never was a tail."""
        num_classes = self.values.shape[2]
        exposed = np.maximum(self.totals[:, None] - self.values[1], 0.0)
        # The difference of two sums that are equal but for rounding is no exposure.
        seen = exposed > 1e-9 * self.totals[:, None]
        shares = np.divide(self.values[0], exposed, out=np.zeros_like(exposed), where=seen)
        sums = shares.sum(1, keepdims=True)
        uniform = np.full_like(shares, 1.0 / num_classes)
        shares = np.divide(shares, sums, out=uniform.copy(), where=sums > 0)
        shares = np.maximum(shares, _FLOOR * uniform)
        return np.log(shares / shares.sum(1, keepdims=True)).astype(np.float32)

    def save(self, path: Path) -> None:
        """Writes the sums of a shard, for whoever finishes the store."""
        write_array(path, np.concatenate([self.values.reshape(-1), self.totals]))

    @classmethod
    def load(cls, path: Path, num_temperatures: int, num_classes: int) -> TailSums:
        """Reads what `save` wrote. Raises `UserError` naming the file where it is missing or of another shape."""
        sums = cls(num_temperatures, num_classes)
        again = "remove its shard and run `asr-distill soft-targets` again"
        values = read_array(path, (sums.values.size + sums.totals.size,), "float64", again=again)
        sums.values, sums.totals = values[: sums.values.size].reshape(sums.values.shape), values[sums.values.size :]
        return sums

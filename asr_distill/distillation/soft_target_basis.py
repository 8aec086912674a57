"""The tail of each frame in a few numbers: how the classes outside its top k share their mass, frame by frame.

With x(n, c) the log-posteriors of frame n at T = 1, the tail's shape at T is the softmax, over the classes outside its top k,
of

    (m(c) + sum_r a(n, r) D(r, c)) / T + d(T, c)

m and the R directions D belong to the store, found once from a sample of frames: the mean and the principal components of the
log-posteriors, centred in each frame. The coefficients a(n, r) are one signed byte each: D is scaled so that all but one in a
thousand of the sample's fit. Frame by frame they solve the least squares of x - m over the tail's classes only, each weighted
by the tail softened to T = 4: without weights they would describe the classes that have next to no mass, and weighted by the
posterior itself a handful of them. d makes the mean mass of each class that of the sample at every temperature, for what the
directions leave over does not vanish in the mean once it is exponentiated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import UserError, hash_of_file, read_array
from asr_distill.distillation.combine import soften
from asr_distill.distillation.soft_target_shards import AGAIN, TAIL_BASIS, TAIL_SHAPE, save_array

SAMPLE_VALUES, SAMPLE_FRAMES = 1 << 26, 1 << 16  # whichever is reached first: 256 MB in float32, 4,793 frames of 14,000 classes
_FLOOR = -50.0  # nats; higher, and at T = 10 the tail of a teacher that is certain would be lost
_WEIGHTING = 4.0  # the temperature of the weights
_RIDGE = 1e-2  # nats squared that a coefficient of 127 costs: what no class of the tail decides stays near 0
_STEPS = 127
_WITHIN = 0.999  # of the sample's coefficients that fit into the bytes; the others are cut
_OVERSAMPLING, _ITERATIONS = 10, 8  # of the subspace iteration
_UNSEEN = 1e-3  # of the uniform share, added to both sides of a class's mass
_CHUNK_VALUES = 1 << 24


@dataclass(frozen=True, eq=False)
class TailBasis:
    """What the tails of a store have in common, all in nats.

    mean: ``(C,)`` float32, m. directions: ``(R, C)`` float32, D, each times its step. shapes: ``(temperatures, C)`` float32,
    m / T + d(T), normalised over the classes.
    """

    mean: torch.Tensor
    directions: torch.Tensor
    shapes: torch.Tensor

    @classmethod
    def fit(
        cls,
        log_probs: torch.Tensor,
        top_k: int,
        temperatures: Sequence[float],
        rank: int,
        components: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> TailBasis:
        """From a sample ``(M, C)`` float32 of normalised log-probabilities, whose `principal_components` may be given.

        The shapes are those at ``temperatures``; k is below C.
        """
        mean, directions = components or principal_components(log_probs, rank)
        directions = directions[:rank]
        unscaled = cls(mean, directions / _STEPS, mean[None])
        solved = torch.cat([unscaled._solve(part, part.topk(top_k, dim=1).indices) for part in _chunks(log_probs, rank)])
        bounds = solved.abs().quantile(_WITHIN, dim=0)
        scaled = cls(mean, directions * (bounds / _STEPS**2)[:, None], mean[None])
        shapes = torch.stack([mean / temperature for temperature in temperatures])
        true, stored = torch.zeros_like(shapes, dtype=torch.float64), torch.zeros_like(shapes, dtype=torch.float64)
        for chunk in _chunks(log_probs, rank):
            ids = chunk.topk(top_k, dim=1).indices
            coefficients = scaled.coefficients(chunk, ids).float()
            for index, temperature in enumerate(temperatures):
                outside = soften(chunk, temperature).scatter_(1, ids, -math.inf).exp_()
                logits = torch.addmm(shapes[index], coefficients / temperature, scaled.directions).scatter_(1, ids, -math.inf)
                shares = torch.softmax(logits, dim=1)
                true[index] += outside.sum(0, dtype=torch.float64)
                stored[index] += (outside.sum(1, keepdim=True) * shares).sum(0, dtype=torch.float64)
        unseen = (_UNSEEN * true.mean(1, keepdim=True)).clamp(min=1e-300)
        shapes = shapes + ((true + unseen) / (stored + unseen)).log().float()
        return cls(mean, scaled.directions, torch.log_softmax(shapes, dim=1))

    def coefficients(self, log_probs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """``(N, R)`` int8 of frames ``(N, C)`` float32 at T = 1, whose tails are the classes outside ``ids`` (N, k)."""
        return self._solve(log_probs, ids).round().clamp_(-_STEPS, _STEPS).to(torch.int8)

    def _solve(self, log_probs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        rank = len(self.directions)
        rows, columns = torch.triu_indices(rank, rank)
        scores = (log_probs.clamp(min=_FLOOR) / _WEIGHTING).scatter_(1, ids, -math.inf)
        weights = torch.softmax(scores, dim=1)
        wanted = (log_probs.clamp(min=_FLOOR) - self.mean).mul_(weights)
        centre, level = (weights @ self.directions.T).double(), wanted.sum(1, keepdim=True).double()
        moments = (weights @ self._products).double() - centre[:, rows] * centre[:, columns]
        right = (wanted @ self.directions.T).double() - level * centre
        left = right.new_zeros(len(log_probs), rank, rank)
        left[:, rows, columns] = moments
        left[:, columns, rows] = moments
        left.diagonal(dim1=1, dim2=2).add_(_RIDGE / _STEPS**2)
        return torch.linalg.solve(left, right.unsqueeze(2)).squeeze(2).float()

    @cached_property
    def _products(self) -> torch.Tensor:
        """``(C, R (R + 1) / 2)``: of each two directions, so that a frame's normal equations are one product of matrices."""
        rows, columns = torch.triu_indices(len(self.directions), len(self.directions))
        return (self.directions[rows] * self.directions[columns]).T.contiguous()

    def save(self, folder: Path) -> dict[str, str]:
        """Writes the files of a store; returns their SHA-256 by the names that ``meta.json`` has for them."""
        return {
            "tail_shape_sha256": save_array(folder / TAIL_SHAPE, self.shapes.numpy()),
            "tail_basis_sha256": save_array(folder / TAIL_BASIS, torch.cat([self.mean[None], self.directions]).numpy()),
        }

    @classmethod
    def load(cls, folder: Path, num_temperatures: int, num_classes: int, rank: int, meta: Mapping[str, Any]) -> TailBasis:
        """Reads what `save` wrote. Raises `UserError` naming the file that is absent or is not the one that ``meta`` names."""
        arrays = []
        for file, name, rows in (
            (TAIL_SHAPE, "tail_shape_sha256", num_temperatures),
            (TAIL_BASIS, "tail_basis_sha256", 1 + rank),
        ):
            array = read_array(folder / file, (rows, num_classes), "float32", again=AGAIN)
            if hash_of_file(folder / file) != meta[name]:
                raise UserError(f"{folder / file} changed since it was written; remove {folder} and {AGAIN}")
            arrays.append(torch.from_numpy(array))
        return cls(arrays[1][0], arrays[1][1:], arrays[0])


def principal_components(log_probs: torch.Tensor, rank: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean ``(C,)`` and directions ``(rank, C)`` float32, largest first, of ``(M, C)`` float32 log-probabilities.

    The rows are centred. Each direction is as long as the largest projection on it, 0 where the sample has less than ``rank``
    directions. By subspace iteration: no (C, C) or (M, M) matrix is made.
    """
    values = log_probs.clamp(min=_FLOOR)
    values.sub_(values.mean(1, keepdim=True))
    mean = values.mean(0)
    values.sub_(mean)
    size = min(rank + _OVERSAMPLING, *values.shape)
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(values.shape[1], size, generator=generator)
    for _ in range(_ITERATIONS):
        found = torch.linalg.qr(values.T @ (values @ torch.linalg.qr(found).Q)).Q
    projected = values @ found
    turned = torch.linalg.eigh((projected.T @ projected).double()).eigenvectors.flip(1)[:, :rank].float()
    directions = values.new_zeros(rank, values.shape[1])
    directions[: turned.shape[1]] = (found @ turned).T * (projected @ turned).abs().amax(0)[:, None]
    return mean, directions


def _chunks(log_probs: torch.Tensor, rank: int) -> tuple[torch.Tensor, ...]:
    """Frames whose posteriors, and whose normal equations where few classes have a high rank, fit into `_CHUNK_VALUES`."""
    return log_probs.split(max(1, _CHUNK_VALUES // max(log_probs.shape[1], rank**2)))

"""Online k-means over the rows of a large matrix, a mini-batch at a time, restarted and the best kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

_BLOCK_ROWS = 2048
_INITIAL_SAMPLE = 4096  # points that k-means++ chooses from; it reads all of them once for each centre

Rows = Callable[[torch.Tensor], torch.Tensor]  # (B,) int64 -> (B, D) float32


@dataclass(frozen=True)
class KMeans:
    """centres: (K, D) float32. distances: (P, K) float32, squared, of each point to each centre. inertia: the sum over points
    of the squared distance to the nearest centre."""

    centres: torch.Tensor
    distances: torch.Tensor
    inertia: float


def online_kmeans(
    rows: Rows, num_points: int, num_centres: int, *, generator: torch.Generator, restarts: int, passes: int, batch_size: int
) -> KMeans:
    """The best of ``restarts`` runs by inertia.

    rows: fetches points by their numbers. Each run begins with k-means++ (Arthur and Vassilvitskii 2007), then goes ``passes``
    times through the points in random order, ``batch_size`` at a time; a centre is the running mean of the points that came to
    it in this pass (Sculley 2010), a centre that nobody came to moves to the point farthest from its own.
    All random choices come from ``generator``. The caller has made sure that 1 <= num_centres <= num_points.
    """
    best = None
    for _ in range(restarts):
        centres = _plus_plus(rows, num_points, num_centres, generator)
        for _ in range(passes):
            centres = _one_pass(rows, num_points, centres, generator, batch_size)
        run = _measure(rows, num_points, centres)
        if best is None or run.inertia < best.inertia:
            best = run
    assert best is not None  # restarts >= 1
    return best


def squared_distances(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """``(B, D)`` and ``(K, D)`` to ``(B, K)``, not below 0."""
    lengths = points.square().sum(dim=1, keepdim=True) + centres.square().sum(dim=1)
    return lengths.addmm_(points, centres.T, alpha=-2).clamp_(min=0)


def _plus_plus(rows: Rows, num_points: int, num_centres: int, generator: torch.Generator) -> torch.Tensor:
    """First centres: each is drawn with probability in proportion to its squared distance from those drawn before."""
    chosen = torch.randperm(num_points, generator=generator)[: max(_INITIAL_SAMPLE, 10 * num_centres)]
    points = rows(chosen)
    first = int(torch.randint(len(points), (1,), generator=generator))
    taken = [first]
    nearest = squared_distances(points, points[first : first + 1])[:, 0]
    while len(taken) < num_centres:
        nearest[taken] = 0  # rounding leaves a point at a small distance from itself
        if float(nearest.sum()) > 0:
            drawn = int(torch.multinomial(nearest.double(), 1, generator=generator))
        else:  # the points left are copies of centres: any of them does
            left = torch.ones(len(points), dtype=torch.bool)
            left[taken] = False
            drawn = int(left.nonzero()[0])
        taken.append(drawn)
        nearest = torch.minimum(nearest, squared_distances(points, points[drawn : drawn + 1])[:, 0])
    return points[taken].clone()


def _one_pass(rows: Rows, num_points: int, centres: torch.Tensor, generator: torch.Generator, batch_size: int) -> torch.Tensor:
    """The centres after all points have come by once."""
    centres = centres.clone()
    counts = torch.zeros(len(centres))
    farthest_distance, farthest = -1.0, centres[0]
    for numbers in torch.randperm(num_points, generator=generator).split(batch_size):
        points = rows(numbers)
        nearest = squared_distances(points, centres).min(dim=1)
        came = torch.bincount(nearest.indices, minlength=len(centres)).to(counts.dtype)
        totals = torch.zeros_like(centres).index_add_(0, nearest.indices, points)
        counts += came
        centres += (totals - came.unsqueeze(1) * centres) / counts.clamp(min=1).unsqueeze(1)
        place = int(nearest.values.argmax())
        if float(nearest.values[place]) > farthest_distance:
            farthest_distance, farthest = float(nearest.values[place]), points[place].clone()
    deserted = (counts == 0).nonzero().flatten()
    if len(deserted):  # one a pass: a second in the same place would be deserted again
        centres[deserted[0]] = farthest
    return centres


def _measure(rows: Rows, num_points: int, centres: torch.Tensor) -> KMeans:
    blocks: Iterator[torch.Tensor] = iter(torch.arange(num_points).split(_BLOCK_ROWS))
    distances = torch.cat([squared_distances(rows(numbers), centres) for numbers in blocks])
    return KMeans(centres, distances, float(distances.min(dim=1).values.double().sum()))

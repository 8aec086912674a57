"""Bottom-up clustering of Gaussians: of phones into questions, of leaves into senones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr_distill.senones.gaussian import log_likelihood


@dataclass(frozen=True)
class Hierarchy:
    """What was merged.

    Attributes:
        nodes: members of every cluster that ever was, singles first, then in order of merging.
        clusters: members of the clusters that are left, ordered by first member.
    """

    nodes: tuple[tuple[int, ...], ...]
    clusters: tuple[tuple[int, ...], ...]


def agglomerate(packed: np.ndarray, variance_floor: np.ndarray, *, max_cost: float = np.inf) -> Hierarchy:
    """Merges the pair whose pooling costs the least likelihood, again and again, while that costs at most ``max_cost`` nats.

    Args:
        packed: ``(B, K, 2D + 1)`` statistics; the cost of a merger is summed over K, whose entries are pooled separately.
        variance_floor: ``(D,)``.
    """
    if not len(packed):
        return Hierarchy((), ())
    members: dict[int, tuple[int, ...]] = {index: (index,) for index in range(len(packed))}
    nodes = list(members.values())
    stats = packed.copy()
    own = log_likelihood(stats, variance_floor).sum(axis=1)
    cost = np.full((len(stats), len(stats)), np.inf)
    for row in range(len(stats)):
        pooled = log_likelihood(stats[row] + stats[row + 1 :], variance_floor).sum(axis=1)
        cost[row, row + 1 :] = own[row] + own[row + 1 :] - pooled
    while len(members) > 1:
        first, second = (int(index) for index in np.unravel_index(int(np.argmin(cost)), cost.shape))
        if cost[first, second] > max_cost:
            break
        members[first] = tuple(sorted(members[first] + members.pop(second)))
        nodes.append(members[first])
        stats[first] += stats[second]
        own[first] = log_likelihood(stats[first], variance_floor).sum()
        cost[second, :] = cost[:, second] = np.inf
        others = np.array([index for index in members if index != first], dtype=np.int64)
        pooled = log_likelihood(stats[first] + stats[others], variance_floor).sum(axis=1)
        cost[np.minimum(first, others), np.maximum(first, others)] = own[first] + own[others] - pooled
    return Hierarchy(tuple(nodes), tuple(sorted(members.values())))

"""The readings of a transcript as phone sequences: each of them is to be in a numerator once, as it is in the denominator."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from asr_distill.alignment.phone_lattice import PhoneLattice


def read_once(lattice: PhoneLattice) -> PhoneLattice:
    """The same phone sequences, each by one path; the lattice itself where that is so already. Weights are not kept.

    Where phones do not say their place in the word, variants of two words may add up to one sequence in two ways: A and A B
    before B C and C. A sum over paths would count it twice, and the loss of such an utterance could fall below 0.
    """
    followers = _followers(lattice)
    starts = _by_phone(lattice, np.flatnonzero(np.isfinite(lattice.entry)).tolist())
    # Instances follow from lower ones only, so the lowest of a set is below that of any set that follows.
    next_of: dict[frozenset[int], list[frozenset[int]]] = {}
    waiting = list(starts)
    while waiting:
        instances = waiting.pop()
        if instances not in next_of:
            next_of[instances] = _by_phone(lattice, {other for one in instances for other in followers[one]})
            waiting += next_of[instances]
    order = sorted(next_of, key=lambda instances: (min(instances), sorted(instances)))
    number = {instances: place for place, instances in enumerate(order)}
    links = [(number[one], number[other]) for one in order for other in next_of[one]]
    source, destination = np.array(links, np.int64).reshape(-1, 2).T
    first = np.array([min(instances) for instances in order], np.int64)
    ends = np.isfinite(lattice.final)
    once = PhoneLattice(
        lattice.phones[first],
        lattice.word[first],
        np.where([instances in set(starts) for instances in order], 0.0, -np.inf),
        np.where([bool(ends[list(instances)].any()) for instances in order], 0.0, -np.inf),
        source,
        destination,
        np.zeros(len(links)),
        lattice.words,
    )
    return lattice if count_readings(once) == count_readings(lattice) else once


def count_readings(lattice: PhoneLattice) -> int:
    """The paths from an entry to an end."""
    followers, ends = _followers(lattice), np.isfinite(lattice.final).tolist()
    paths = [0] * len(ends)
    for instance in range(len(ends) - 1, -1, -1):
        paths[instance] = ends[instance] + sum(paths[following] for following in followers[instance])
    return sum(paths[instance] for instance in np.flatnonzero(np.isfinite(lattice.entry)).tolist())


def _followers(lattice: PhoneLattice) -> dict[int, list[int]]:
    followers: dict[int, list[int]] = defaultdict(list)
    for source, destination in zip(lattice.source.tolist(), lattice.destination.tolist(), strict=True):
        followers[source].append(destination)
    return followers


def _by_phone(lattice: PhoneLattice, instances: list[int] | set[int]) -> list[frozenset[int]]:
    groups: dict[int, set[int]] = defaultdict(set)
    for instance in instances:
        groups[int(lattice.phones[instance])].add(instance)
    return [frozenset(group) for _, group in sorted(groups.items())]

"""Random topologies and trees for the tests of this room."""

from __future__ import annotations

import numpy as np

from asr_distill.senones import Leaf, PhoneticTree, Split, Topology, default_topology
from asr_distill.senones.tree import root_keys


def small_topology(position_dependent: bool = False) -> Topology:
    speech = ["A", "B", "C", "D"]
    if position_dependent:
        speech = [f"{phone}_{suffix}" for phone in speech for suffix in "BIES"]
    return default_topology(["SIL", *speech], ["SIL"])


def random_tree(topology: Topology, seed: int, num_splits: int = 20) -> PhoneticTree:
    """Splits random leaves by random questions, without any statistics."""
    generator = np.random.default_rng(seed)
    num_phones = len(topology.phones)
    questions = tuple(
        frozenset(int(p) for p in np.flatnonzero(generator.random(num_phones + 1) < 0.5))
        | {int(generator.integers(num_phones + 1))}
        for _ in range(6)
    )
    keys = root_keys(topology)
    nodes: list[Split | Leaf] = [Leaf(-1) for _ in keys]
    for _ in range(num_splits):
        leaves = [index for index, node in enumerate(nodes) if isinstance(node, Leaf)]
        chosen = int(generator.choice(leaves))
        nodes[chosen] = Split(int(generator.integers(3)), int(generator.integers(len(questions))), len(nodes), len(nodes) + 1)
        nodes += [Leaf(-1), Leaf(-1)]
    leaves = [index for index, node in enumerate(nodes) if isinstance(node, Leaf)]
    for senone, index in enumerate(generator.permutation(leaves)):
        nodes[int(index)] = Leaf(senone)
    return PhoneticTree(topology.phones, 3, questions, {key: index for index, key in enumerate(keys)}, tuple(nodes))


def all_contexts(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """Every (left, centre, right) with every pdf class of its centre: ``(N, 3)``, ``(N,)``."""
    rows = [
        (left, centre, right, pdf_class)
        for left in range(len(topology.phones) + 1)
        for centre in range(1, len(topology.phones) + 1)
        for right in range(len(topology.phones) + 1)
        for pdf_class in range(topology.num_pdf_classes(centre))
    ]
    table = np.array(rows)
    return table[:, :3], table[:, 3]

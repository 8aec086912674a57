"""Small random graphs with input epsilons, and an exact Viterbi search over them to compare the engines with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from asr_distill.graph import Graph
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.hclg import write_graph
from asr_distill.senones.inventory import SenoneInventory
from asr_distill.senones.topology import default_topology
from asr_distill.senones.tree import monophone_tree

WORDS = {"<eps>": 0, "one": 1, "two": 2, "three": 3}


@dataclasses.dataclass(frozen=True)
class Case:
    """A graph in its folder and the arrays that it was made of."""

    graph: Graph
    arrays: FstArrays


def inventory() -> SenoneInventory:
    """Two phones and silence: 3 + 3 + 1 senones."""
    topology = default_topology(("SIL", "A", "B"), ("SIL",), silence_pdf_classes=1)
    return SenoneInventory(topology, monophone_tree(topology))


def random_fst(seed: int) -> FstArrays:
    """States in a row with skips, loops, backward arcs and forward epsilons, some of which write words; the last state is
    final."""
    generator = np.random.default_rng(seed)
    states = int(generator.integers(3, 8))
    rows = [(s, s + 1, int(generator.integers(1, 8)), int(generator.integers(0, 4))) for s in range(states - 1)]
    for _ in range(int(generator.integers(2, 14))):
        source, destination = (int(value) for value in generator.integers(0, states, 2))
        rows.append((source, destination, int(generator.integers(1, 8)), int(generator.integers(0, 4))))
    for _ in range(int(generator.integers(0, 5))):
        source, destination = sorted(generator.choice(states, 2, replace=False).tolist())
        rows.append((source, destination, 0, int(generator.integers(0, 4))))
    table = np.array(rows, np.int32)
    final = np.where(generator.random(states) < 0.3, generator.random(states), np.inf)
    final[-1], final[0] = generator.random(), np.inf
    weights = generator.normal(1.0, 1.0, len(rows)).astype(np.float32)
    fst = FstArrays(0, table[:, 0], table[:, 1], table[:, 2], table[:, 3], weights, final.astype(np.float32))
    # Words without a single frame are refused, so epsilons either leave the start or enter final states, not both.
    epsilon = fst.ilabel == 0
    keep = ~epsilon | ((fst.source != 0) if seed % 2 else ~np.isfinite(fst.final[fst.destination]))
    kept = (values[keep] for values in (fst.source, fst.destination, fst.ilabel, fst.olabel, fst.weight))
    fst = FstArrays(0, *kept, fst.final)
    return fst.sorted_by(fst.ilabel)


def write_case(fst: FstArrays, folder: Path) -> Case:
    """The arrays as a graph folder."""
    return Case(write_graph(fst, inventory(), WORDS, folder, {"units": "words"}), fst)


def viterbi(fst: FstArrays, scores: np.ndarray, labels: np.ndarray | None = None, ending: bool = True) -> float:
    """Best total score over all paths of exactly ``len(scores)`` frames; with ``labels``, of those that read just these
    labels."""

    def epsilons(best: np.ndarray) -> np.ndarray:
        for _ in range(fst.num_states):
            for arc in np.flatnonzero(fst.ilabel == 0):
                best[fst.destination[arc]] = max(best[fst.destination[arc]], best[fst.source[arc]] - fst.weight[arc])
        return best

    best = np.full(fst.num_states, -np.inf)
    best[fst.start] = 0.0
    best = epsilons(best)
    for frame, row in enumerate(scores.astype(np.float64)):
        following = np.full(fst.num_states, -np.inf)
        for arc in np.flatnonzero(fst.ilabel > 0):
            if labels is None or labels[frame] == fst.ilabel[arc]:
                score = best[fst.source[arc]] - fst.weight[arc] + row[fst.ilabel[arc] - 1]
                following[fst.destination[arc]] = max(following[fst.destination[arc]], score)
        best = epsilons(following)
    return float((best - fst.final).max() if ending else best.max())


def best_word_sequences(fst: FstArrays, scores: np.ndarray) -> dict[tuple[int, ...], float]:
    """Every word sequence with the score of its best path, by carrying all of them along."""
    table: dict[tuple[int, tuple[int, ...]], float] = {(fst.start, ()): 0.0}

    def spread(table: dict, reading: bool, row: np.ndarray | None) -> dict:
        result = {} if reading else dict(table)
        for (state, words), score in table.items():
            for arc in np.flatnonzero((fst.source == state) & ((fst.ilabel > 0) == reading)):
                word = int(fst.olabel[arc])
                key = (int(fst.destination[arc]), (*words, word) if word else words)
                gained = score - float(fst.weight[arc]) + (float(row[fst.ilabel[arc] - 1]) if row is not None else 0.0)
                result[key] = max(result.get(key, -np.inf), gained)
        return result

    def closed(table: dict) -> dict:
        for _ in range(fst.num_states):
            table = spread(table, False, None)
        return table

    table = closed(table)
    for row in scores:
        table = closed(spread(table, True, row))
    best: dict[tuple[int, ...], float] = {}
    for (state, words), score in table.items():
        if np.isfinite(fst.final[state]):
            best[words] = max(best.get(words, -np.inf), score - float(fst.final[state]))
    return best


@dataclasses.dataclass(frozen=True)
class Reference:
    """The helpers above, handed to the tests as a fixture."""

    random_fst = staticmethod(random_fst)
    write_case = staticmethod(write_case)
    viterbi = staticmethod(viterbi)
    best_word_sequences = staticmethod(best_word_sequences)


@pytest.fixture(scope="session")
def reference() -> Reference:
    """Random graphs and exact search."""
    return Reference()

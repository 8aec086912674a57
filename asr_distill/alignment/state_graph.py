"""From a phone lattice to the HMM states of one utterance: context expansion, senones, transition log-probabilities."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from asr_distill.alignment.phone_lattice import PhoneLattice
from asr_distill.senones import SenoneInventory


@dataclass(frozen=True, eq=False)
class StateGraph:
    """S emitting states; a path begins at a state with a finite ``initial``, ends at one with a finite ``final``.

    Attributes:
        senones: ``(S,)`` int64.
        nodes: ``(S,)`` int32, the phone-in-context that a state belongs to; where a path enters another one, a phone begins.
        instances: ``(S,)`` int32, the lattice's phone instance.
        hmm_states: ``(S,)`` int16.
        initial, final: ``(S,)`` float64 log-probabilities; ``final`` includes leaving the last HMM state.
        source, destination, weight: ``(A,)`` arcs, self-loops included.
        min_frames: the fewest frames that a path takes.
    """

    senones: np.ndarray
    nodes: np.ndarray
    instances: np.ndarray
    hmm_states: np.ndarray
    initial: np.ndarray
    final: np.ndarray
    source: np.ndarray
    destination: np.ndarray
    weight: np.ndarray
    min_frames: int


class StateGraphBuilder:
    """Expands lattices by one inventory.

    As in Kaldi's graphs, an HMM state's own loop counts with ``self_loop_scale * log p`` (and leaving it with
    ``self_loop_scale * log(1 - p)``), the choice among its other transitions with ``transition_scale``.
    """

    def __init__(self, inventory: SenoneInventory, *, transition_scale: float = 1.0, self_loop_scale: float = 0.1) -> None:
        self.inventory = inventory
        self._hmms: dict[str, tuple[np.ndarray, list[tuple[int, int, float]], list[tuple[int, float]]]] = {}
        topology = inventory.topology
        for name in topology.phones:
            states = topology.hmms[name]
            inner, leaving = [], []
            for index, state in enumerate(states):
                loop = sum(probability for to, probability in state.transitions if to == index)
                for to, probability in state.transitions:
                    if to == index:
                        weight = self_loop_scale * np.log(loop)
                    else:
                        weight = transition_scale * np.log(probability / (1 - loop)) + self_loop_scale * np.log1p(-loop)
                    if to == len(states):
                        leaving.append((index, float(weight)))
                    else:
                        inner.append((index, to, float(weight)))
            self._hmms[name] = (np.array([state.pdf_class for state in states], dtype=np.int32), inner, leaving)

    def build(self, lattice: PhoneLattice) -> StateGraph:
        """The state graph of one utterance. A lattice without instances gives a graph without states."""
        nodes, node_arcs, entry, final = self._in_context(lattice)
        names = [self.inventory.topology.phones[phone - 1] for _, phone, _, _ in nodes]
        sizes = np.array([len(self._hmms[name][0]) for name in names], dtype=np.int64)
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        node_of = np.repeat(np.arange(len(nodes), dtype=np.int32), sizes)
        contexts = np.array([node[:3] for node in nodes], dtype=np.int32).reshape(-1, 3)
        pdf_classes = np.concatenate([self._hmms[name][0] for name in names] or [np.zeros(0, dtype=np.int32)])
        arcs: list[tuple[int, int, float]] = []
        for index, name in enumerate(names):
            start = int(first[index])
            arcs += [(start + a, start + b, weight) for a, b, weight in self._hmms[name][1]]
        for a, b, weight in node_arcs:
            start = int(first[a])
            arcs += [(start + state, int(first[b]), leave + weight) for state, leave in self._hmms[names[a]][2]]
        table = np.array(arcs, dtype=np.float64).reshape(-1, 3)
        initial, last = np.full(int(first[-1]), -np.inf), np.full(int(first[-1]), -np.inf)
        for node, weight in entry.items():
            initial[first[node]] = weight
        for node, weight in final.items():
            for state, leave in self._hmms[names[node]][2]:
                last[first[node] + state] = weight + leave
        source, destination = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        return StateGraph(
            self.inventory.tree.senones_of(contexts[node_of], pdf_classes).astype(np.int64),
            node_of,
            np.array([node[3] for node in nodes], dtype=np.int32)[node_of],
            (np.arange(len(node_of)) - first[node_of]).astype(np.int16),
            initial,
            last,
            source,
            destination,
            table[:, 2].copy(),
            self._min_frames(lattice),
        )

    def _in_context(
        self, lattice: PhoneLattice
    ) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int, float]], dict[int, float], dict[int, float]]:
        """Nodes ``(left, phone, right, instance)``, arcs between them, entry and final weights by node."""
        phones = lattice.phones.tolist()
        triphones = self.inventory.tree.context_width == 3
        followers: dict[int, list[tuple[int, float]]] = defaultdict(list)
        lefts: list[set[int]] = [{0} if np.isfinite(weight) else set() for weight in lattice.entry]
        rights: list[set[int]] = [{0} if np.isfinite(weight) else set() for weight in lattice.final]
        for a, b, weight in zip(lattice.source.tolist(), lattice.destination.tolist(), lattice.weight.tolist(), strict=True):
            followers[a].append((b, weight))
            lefts[b].add(phones[a])
            rights[a].add(phones[b])
        if not triphones:
            lefts, rights = [{0} for _ in phones], [{0} for _ in phones]
        nodes = [
            (left, phone, right, instance)
            for instance, phone in enumerate(phones)
            for left in sorted(lefts[instance])
            for right in sorted(rights[instance])
        ]
        index = {node: i for i, node in enumerate(nodes)}
        arcs, entry, final = [], {}, {}
        for i, (left, phone, right, instance) in enumerate(nodes):
            if np.isfinite(lattice.entry[instance]) and left == 0:
                entry[i] = float(lattice.entry[instance])
            if np.isfinite(lattice.final[instance]) and right == 0:
                final[i] = float(lattice.final[instance])
            for following, weight in followers[instance]:
                next_phone = phones[following]
                if triphones and next_phone != right:
                    continue
                for next_right in sorted(rights[following]):
                    arcs.append((i, index[phone if triphones else 0, next_phone, next_right, following], weight))
        return nodes, arcs, entry, final

    def _min_frames(self, lattice: PhoneLattice) -> int:
        """Dynamic programming over instances, which are in topological order."""
        topology = self.inventory.topology
        lengths = np.array([topology.min_frames(phone) for phone in lattice.phones.tolist()], dtype=np.float64)
        best = np.where(np.isfinite(lattice.entry), lengths, np.inf)
        order = np.argsort(lattice.source, kind="stable")
        for a, b in zip(lattice.source[order].tolist(), lattice.destination[order].tolist(), strict=True):
            best[b] = min(best[b], best[a] + lengths[b])
        ends = best[np.isfinite(lattice.final)]
        return int(ends.min()) if len(ends) and np.isfinite(ends.min()) else 0

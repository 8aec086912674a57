"""Input epsilons out, words kept: what k2 needs, for label 0 consumes a frame there.

OpenFst's rmepsilon keeps arcs that read nothing and write a word. Here every emitting arc is extended by what can follow it
without reading: an arc s -> d and a path of epsilons d ... t that writes words become an arc s -> t that writes them all. A
backoff state has few arcs into it and thousands out of it, so extending forward would copy thousands of arcs and extending the
entering arcs copies a few.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from asr_distill.base import UserError
from asr_distill.graph.arrays import FstArrays


class WordSequences:
    """Numbers for word sequences: 0 is none, 1..num_words one word, above that sequences of two words or more."""

    def __init__(self, num_words: int) -> None:
        self.num_words = num_words
        self.sequences: list[tuple[int, ...]] = []
        self._number: dict[tuple[int, ...], int] = {}

    def words(self, number: int) -> tuple[int, ...]:
        """The word ids that a number stands for."""
        if number <= 0:
            return ()
        return (number,) if number <= self.num_words else self.sequences[number - self.num_words - 1]

    def concatenate(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Numbers of the sequences ``left[i]`` followed by ``right[i]``, int64 ``(N,)``."""
        result = np.where(left == 0, right, left).astype(np.int64)
        both = np.flatnonzero((left > 0) & (right > 0))
        if len(both):
            pairs, inverse = np.unique(np.stack([left[both], right[both]], 1), axis=0, return_inverse=True)
            numbers = np.array([self.number(self.words(int(a)) + self.words(int(b))) for a, b in pairs], np.int64)
            result[both] = numbers[inverse.reshape(-1)]
        return result

    def number(self, words: tuple[int, ...]) -> int:
        """The number of a sequence of word ids, a new one where it has none."""
        if len(words) < 2:
            return words[0] if words else 0
        if words not in self._number:
            self.sequences.append(words)
            self._number[words] = self.num_words + len(self.sequences)
        return self._number[words]


@dataclasses.dataclass(frozen=True)
class _Closure:
    """Rows (origin state, state reached by epsilons alone, words written, cost), grouped by origin."""

    origin: np.ndarray
    reached: np.ndarray
    words: np.ndarray
    cost: np.ndarray


def remove_input_epsilons(fst: FstArrays, num_words: int) -> tuple[FstArrays, WordSequences]:
    """An equivalent FST (best cost per label string and words) without input epsilons; ``olabel`` numbers word sequences.

    The result is trimmed; its start state 0 has no arcs into it. Of parallel arcs the cheapest stays. Raises `UserError` where
    epsilons form a cycle or words can be written without any frame.
    """
    sequences = WordSequences(num_words)
    is_epsilon = fst.ilabel == 0
    _refuse_epsilon_cycles(fst, is_epsilon)
    origins = np.unique(np.concatenate((fst.destination[~is_epsilon], [fst.start])))
    useful = np.isfinite(fst.final)
    useful[fst.source[~is_epsilon]] = True
    closure = _epsilon_closure(fst, is_epsilon, origins, useful, sequences)

    emitting = np.flatnonzero(~is_epsilon)
    arc, row = _join(fst.destination[emitting], closure.origin, fst.num_states)
    arc = emitting[arc]
    source = fst.source[arc].astype(np.int64)
    destination = closure.reached[row]
    ilabel = fst.ilabel[arc]
    words = sequences.concatenate(fst.olabel[arc].astype(np.int64), closure.words[row])
    cost = fst.weight[arc].astype(np.float64) + closure.cost[row]

    # A start state of its own carries what can be read after the epsilons that leave the old one.
    start = fst.num_states
    rows = np.flatnonzero(closure.origin == fst.start)
    order = np.argsort(source, kind="stable")
    first, copied = _join(closure.reached[rows], source[order], fst.num_states)
    first, copied = rows[first], order[copied]
    final = np.append(fst.final.astype(np.float64), np.inf)
    for i in rows[np.isfinite(final[closure.reached[rows]])]:
        if closure.words[i]:
            raise UserError(
                f"graph: the words {sequences.words(int(closure.words[i]))} are accepted without a single frame;"
                " look for an empty pronunciation in the lexicon"
            )
        final[start] = min(final[start], closure.cost[i] + final[closure.reached[i]])
    result = FstArrays(
        start=start,
        source=np.concatenate((source, np.full(len(copied), start))),
        destination=np.concatenate((destination, destination[copied])),
        ilabel=np.concatenate((ilabel, ilabel[copied])),
        olabel=np.concatenate((words, sequences.concatenate(closure.words[first], words[copied]))),
        weight=np.concatenate((cost, closure.cost[first] + cost[copied])),
        final=final,
    )
    return trim(_cheapest_of_parallel(result)), sequences


def trim(fst: FstArrays) -> FstArrays:
    """Keeps states on a path from the start to a final state; the start becomes 0. Raises `UserError` where nothing is left."""
    keep = _reachable(fst.source, fst.destination, np.array([fst.start]), fst.num_states)
    keep &= _reachable(fst.destination, fst.source, np.flatnonzero(np.isfinite(fst.final)), fst.num_states)
    if not keep[fst.start]:
        raise UserError("the graph is empty: no path leads from its start to a final state; check the lexicon and G")
    arcs = keep[fst.source] & keep[fst.destination]
    order = np.flatnonzero(keep)
    order = np.concatenate(([fst.start], order[order != fst.start]))
    number = np.full(fst.num_states, -1, np.int64)
    number[order] = np.arange(len(order))
    return FstArrays(
        start=0,
        source=number[fst.source[arcs]].astype(np.int32),
        destination=number[fst.destination[arcs]].astype(np.int32),
        ilabel=fst.ilabel[arcs].astype(np.int32),
        olabel=fst.olabel[arcs].astype(np.int32),
        weight=fst.weight[arcs].astype(np.float32),
        final=fst.final[order].astype(np.float32),
    )


def _refuse_epsilon_cycles(fst: FstArrays, is_epsilon: np.ndarray) -> None:
    """Peels off states that no epsilon enters until none is left; what stays is a cycle."""
    remaining = np.flatnonzero(is_epsilon)
    while len(remaining):
        entered = np.zeros(fst.num_states, bool)
        entered[fst.destination[remaining]] = True
        kept = remaining[entered[fst.source[remaining]]]
        if len(kept) == len(remaining):
            arc = kept[0]
            raise UserError(
                f"graph: the arc {fst.source[arc]} -> {fst.destination[arc]} (word id {fst.olabel[arc]}) lies on or behind a"
                " cycle of arcs that read nothing; look for an empty pronunciation in the lexicon or a cycle of backoffs in G"
            )
        remaining = kept


def _epsilon_closure(
    fst: FstArrays, is_epsilon: np.ndarray, origins: np.ndarray, useful: np.ndarray, sequences: WordSequences
) -> _Closure:
    epsilon = np.flatnonzero(is_epsilon)
    epsilon = epsilon[np.argsort(fst.source[epsilon], kind="stable")]
    origin, reached = origins.astype(np.int64), origins.astype(np.int64)
    words, cost = np.zeros(len(origins), np.int64), np.zeros(len(origins))
    parts = []
    while len(origin):
        parts.append((origin, reached, words, cost))
        row, arc = _join(reached, fst.source[epsilon], fst.num_states)
        arc = epsilon[arc]
        origin, reached = origin[row], fst.destination[arc].astype(np.int64)
        words = sequences.concatenate(words[row], fst.olabel[arc].astype(np.int64))
        cost = cost[row] + fst.weight[arc]
    origin, reached, words, cost = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    keep = useful[reached]
    origin, reached, words, cost = origin[keep], reached[keep], words[keep], cost[keep]
    order = np.lexsort((cost, words, reached, origin))
    origin, reached, words, cost = origin[order], reached[order], words[order], cost[order]
    new = np.ones(len(origin), bool)
    new[1:] = (np.diff(origin) != 0) | (np.diff(reached) != 0) | (np.diff(words) != 0)
    return _Closure(origin[new], reached[new], words[new], cost[new])


def _join(left: np.ndarray, right_sorted: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Index pairs (i, j) with ``left[i] == right_sorted[j]``, in the order of i; values are below ``size``."""
    counts = np.bincount(right_sorted, minlength=size)
    begin = np.concatenate(([0], np.cumsum(counts)))[:-1]
    repeats = counts[left]
    i = np.repeat(np.arange(len(left)), repeats)
    offset = np.arange(len(i)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return i, np.repeat(begin[left], repeats) + offset


def _cheapest_of_parallel(fst: FstArrays) -> FstArrays:
    order = np.lexsort((fst.weight, fst.olabel, fst.destination, fst.ilabel, fst.source))
    columns = [values[order] for values in (fst.source, fst.ilabel, fst.destination, fst.olabel)]
    new = np.ones(len(order), bool)
    new[1:] = np.any([np.diff(values) != 0 for values in columns], axis=0)
    kept = order[new]
    return FstArrays(
        start=fst.start,
        source=fst.source[kept],
        destination=fst.destination[kept],
        ilabel=fst.ilabel[kept],
        olabel=fst.olabel[kept],
        weight=fst.weight[kept],
        final=fst.final,
    )


def _reachable(source: np.ndarray, destination: np.ndarray, seeds: np.ndarray, size: int) -> np.ndarray:
    order = np.argsort(source, kind="stable")
    sorted_source, sorted_destination = source[order], destination[order]
    seen = np.zeros(size, bool)
    seen[seeds] = True
    frontier = seeds
    while len(frontier):
        _, arcs = _join(frontier, sorted_source, size)
        candidates = np.unique(sorted_destination[arcs])
        frontier = candidates[~seen[candidates]]
        seen[frontier] = True
    return seen

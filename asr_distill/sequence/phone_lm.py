"""A phone n-gram without smoothing: small, deterministic, without epsilons, and it accepts every sequence it was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from asr_distill.base import UserError, hash_of_object
from asr_distill.graph.arrays import FstArrays

END = 0  # the phone id that stands for the end of an utterance


@dataclass(frozen=True, eq=False)
class PhoneLm:
    """A deterministic acceptor of phone sequences; state 0 is the start.

    Arcs ``(A,)`` sorted by source and phone: int64 ``source``, ``phone`` (1..P), ``destination``; float64 ``log_prob`` (nats).
    ``final`` ``(S,)`` float64: log-probability of ending, -inf where no sequence ended. The arcs of a state and its ``final``
    are a distribution: they sum to 1.
    """

    source: np.ndarray
    phone: np.ndarray
    destination: np.ndarray
    log_prob: np.ndarray
    final: np.ndarray

    @property
    def num_states(self) -> int:
        """S."""
        return len(self.final)

    @property
    def hash(self) -> str:
        """SHA-256 over arcs and final weights."""
        columns = (self.source, self.phone, self.destination, self.log_prob.round(9))
        ends = [value if np.isfinite(value) else None for value in self.final.round(9).tolist()]
        return hash_of_object([*(column.tolist() for column in columns), ends])

    def arcs_of(self) -> list[dict[int, tuple[int, float]]]:
        """For each state, phone to ``(destination, log-probability)``."""
        table: list[dict[int, tuple[int, float]]] = [{} for _ in range(self.num_states)]
        columns = (self.source, self.phone, self.destination, self.log_prob)
        for source, phone, destination, weight in zip(*(column.tolist() for column in columns), strict=True):
            table[source][phone] = (destination, weight)
        return table

    def log_probability(self, phones: Sequence[int]) -> float:
        """Of a whole sequence and its end, nats; -inf where it holds an n-gram that was never seen."""
        table, state, total = self.arcs_of(), 0, 0.0
        for phone in phones:
            if phone not in table[state]:
                return -np.inf
            state, weight = table[state][phone]
            total += weight
        return total + float(self.final[state])

    def to_fst(self, scale: float = 1.0) -> FstArrays:
        """Phones read, nothing written; costs are ``-scale`` times the log-probabilities."""
        return FstArrays(
            start=0,
            source=self.source.astype(np.int32),
            destination=self.destination.astype(np.int32),
            ilabel=self.phone.astype(np.int32),
            olabel=np.zeros(len(self.phone), np.int32),
            weight=(-scale * self.log_prob).astype(np.float32),
            final=(-scale * self.final).astype(np.float32) if scale > 0 else np.where(np.isfinite(self.final), 0, np.inf),
        )


def estimate_phone_lm(sequences: Iterable[Sequence[int]], *, order: int = 3, max_states: int = 1000) -> PhoneLm:
    """Maximum likelihood over phone ids (1..P, silence included), as the denominator of lattice-free MMI wants it.

    A state is the longest history that is kept: every single phone, then those of 2 .. ``order`` - 1 phones that occur most
    often, shorter ones first, as long as there are no more than ``max_states`` states. P(q | h) = c(h q) / c(h) over all
    occurrences of h, also those where a longer history is known; so every sequence of the data has a path, an n-gram that does
    not occur has none, and there is nothing to back off to (Povey et al. 2016, section 2.3, for a start: theirs is a pruned
    4-gram). Raises `UserError` where there is no sequence, a sequence is empty, or a phone id is below 1.
    """
    if order < 2:
        raise UserError(f"a phone language model of order {order}: expected 2 or more")
    data = [tuple(int(phone) for phone in sequence) for sequence in sequences]
    if not data or any(not sequence or min(sequence) < 1 for sequence in data):
        raise UserError("the phone language model needs sequences of phone ids from 1 on, none of them empty")
    kept = _kept_histories(data, order, max_states)
    counts: dict[tuple[int, ...], Counter[int]] = {history: Counter() for history in kept}
    for sequence in data:
        padded = (0, *sequence)
        for position in range(1, len(padded) + 1):
            following = padded[position] if position < len(padded) else END
            for length in range(1, min(order, position + 1)):
                history = padded[position - length : position]
                if history in counts:
                    counts[history][following] += 1
    states = {history: number for number, history in enumerate(kept)}
    rows: list[tuple[int, int, int, float]] = []
    final = np.full(len(kept), -np.inf)
    for history, state in states.items():
        total = sum(counts[history].values())
        for following, count in sorted(counts[history].items()):
            weight = float(np.log(count / total))
            if following == END:
                final[state] = weight
            else:
                rows.append((state, following, states[_longest_kept((*history, following), states)], weight))
    table = np.array(rows, np.float64).reshape(-1, 4)
    source, phone, destination = (table[:, column].astype(np.int64) for column in range(3))
    return _reachable(PhoneLm(source, phone, destination, table[:, 3].copy(), final))


def _kept_histories(data: list[tuple[int, ...]], order: int, max_states: int) -> list[tuple[int, ...]]:
    """Histories by length, then by count; 0 stands before the first phone, and alone for the start."""
    singles = sorted({phone for sequence in data for phone in sequence})
    kept: list[tuple[int, ...]] = [(0,), *((phone,) for phone in singles)]
    if len(kept) > max_states:
        raise UserError(f"{len(singles)} phones need {len(kept)} states of the phone language model, allowed are {max_states}")
    for length in range(2, order):
        counts: Counter[tuple[int, ...]] = Counter()
        for sequence in data:
            padded = (0, *sequence)
            counts.update(padded[i : i + length] for i in range(len(padded) - length + 1))
        # A history is reached only through the one without its last phone.
        known = set(kept)
        frequent = sorted(counts, key=lambda history: (-counts[history], history))
        kept += [history for history in frequent if history[:-1] in known][: max_states - len(kept)]
    return kept


def _longest_kept(history: tuple[int, ...], states: dict[tuple[int, ...], int]) -> tuple[int, ...]:
    while history not in states:
        history = history[1:]
    return history


def _reachable(lm: PhoneLm) -> PhoneLm:
    """Without the states that no path from the start enters: histories that a longer one always replaces."""
    table = lm.arcs_of()
    order, seen = [0], {0}
    for state in order:
        for destination, _ in table[state].values():
            if destination not in seen:
                seen.add(destination)
                order.append(destination)
    number = np.full(lm.num_states, -1, np.int64)
    number[order] = np.arange(len(order))
    arcs = number[lm.source] >= 0
    source, phone, destination = number[lm.source[arcs]], lm.phone[arcs], number[lm.destination[arcs]]
    sort = np.lexsort((phone, source))
    return PhoneLm(source[sort], phone[sort], destination[sort], lm.log_prob[arcs][sort], lm.final[order])

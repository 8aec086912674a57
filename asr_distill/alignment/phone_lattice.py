"""From a transcript to the phone sequences it may be spoken as, read off the lang directory's own lexicon transducer.

The transducer ``L.fst`` holds pronunciations, their probabilities, word positions and optional silence, so an alignment
allows exactly what the decoding graph allows. Its arcs that bear a phone become *instances*; which instance may follow
which, after epsilon arcs are closed over, is the lattice. It has no cycles: silence never repeats without a word between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from asr_distill.base import UserError
from asr_distill.graph.labels import read_lexicon_fst
from asr_distill.lang.directory import Lang


class UnknownWords(Exception):  # caught and counted per utterance, no error of the program
    """A transcript has words that the lexicon lacks; ``words`` lists them."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(f"not in the lexicon: {' '.join(words)}")
        self.words = tuple(words)


@dataclass(frozen=True, eq=False)
class PhoneLattice:
    """I phone instances of one transcript, in topological order.

    Attributes:
        phones: ``(I,)`` int32 phone ids.
        word: ``(I,)`` int32, the index of the transcript's word that begins with this instance, or -1.
        entry, final: ``(I,)`` float64 log-probabilities of beginning and ending here, -inf where impossible.
        source, destination, weight: ``(A,)`` arcs between instances with their log-probabilities.
        words: the transcript.
    """

    phones: np.ndarray
    word: np.ndarray
    entry: np.ndarray
    final: np.ndarray
    source: np.ndarray
    destination: np.ndarray
    weight: np.ndarray
    words: tuple[str, ...]

    def word_spans(self, path: Sequence[int], silence: int) -> tuple[tuple[str, int, int], ...]:
        """``(word, first, last + 1)`` as indices into a path of instances; optional silence belongs to no word."""
        starts = [index for index, instance in enumerate(path) if self.word[instance] >= 0]
        spans = []
        for start, end in zip(starts, [*starts, len(path)][1:], strict=True):
            while end > start + 1 and self.phones[path[end - 1]] == silence:
                end -= 1
            spans.append((self.words[self.word[path[start]]], start, end))
        return tuple(spans)

    def find_path(self, phones: Sequence[int]) -> list[int]:
        """The most probable path of instances that reads ``phones``. Raises `ValueError` where there is none."""
        predecessors: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for source, destination, weight in zip(self.source, self.destination, self.weight, strict=True):
            predecessors[int(destination)].append((int(source), float(weight)))
        scores = {int(i): (float(self.entry[i]), -1) for i in np.flatnonzero(np.isfinite(self.entry))}
        scores = {i: value for i, value in scores.items() if len(phones) and self.phones[i] == phones[0]}
        history = [scores]
        for phone in phones[1:]:
            following = {}
            for i in np.flatnonzero(self.phones == phone):
                options = [(scores[p][0] + w, p) for p, w in predecessors[int(i)] if p in scores]
                if options:
                    following[int(i)] = max(options)
            scores = following
            history.append(scores)
        ends = [(score + float(self.final[i]), i) for i, (score, _) in scores.items() if np.isfinite(self.final[i])]
        if not ends:
            raise ValueError(f"the phones {list(phones)} are no reading of {' '.join(self.words)!r}")
        path = [max(ends)[1]]
        for scores in reversed(history[1:]):
            path.append(scores[path[-1]][1])
        return path[::-1]


class TranscriptReader:
    """Turns transcripts into phone lattices, over the arrays of a lexicon transducer.

    Args:
        lexicon: the transducer with ``source``, ``destination``, ``ilabel`` (phone), ``olabel`` (word), ``weight`` (cost)
            ``(A,)`` arrays, ``final`` ``(S,)`` costs and ``start``; no disambiguation symbols.
        word_ids: word to id.
        phones: phone names in id order, id 1 first.
        silence_phone: name of the optional silence.
        encode: a word to the units of ``word_ids`` (subwords), none where it can't be written; None where words are the units.
        unknown_word: stands for words that ``word_ids`` lacks; None reports them.
    """

    def __init__(
        self,
        lexicon: Any,
        word_ids: Mapping[str, int],
        phones: Sequence[str],
        silence_phone: str,
        *,
        encode: Callable[[str], Sequence[str]] | None = None,
        unknown_word: str | None = None,
    ) -> None:
        self.phones, self.word_ids = tuple(phones), word_ids
        self.silence = self.phones.index(silence_phone) + 1
        self.encode, self.unknown_word = encode, unknown_word
        self.start, self._final = int(lexicon.start), np.asarray(lexicon.final, dtype=np.float64)
        # By source state and output label: (destination, phone, cost).
        self._arcs: dict[tuple[int, int], list[tuple[int, int, float]]] = defaultdict(list)
        columns = (lexicon.source, lexicon.olabel, lexicon.destination, lexicon.ilabel, lexicon.weight)
        for source, word, destination, phone, cost in zip(*(column.tolist() for column in columns), strict=True):
            if not 0 <= phone <= len(self.phones):
                raise UserError(f"the lexicon transducer has input label {phone}, phones are 1..{len(self.phones)}; use L.fst")
            self._arcs[source, word].append((destination, phone, cost))
        self._pronounced = {word for _, word in self._arcs}

    def units(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """Ids of a transcript's units and, for each, the index of the word that it begins or -1. Raises `UnknownWords`."""
        substitute = self.word_ids.get(self.unknown_word) if self.unknown_word else None
        ids: list[int] = []
        begins: list[int] = []
        absent: dict[str, None] = {}
        for index, word in enumerate(words):
            for rank, unit in enumerate((self.encode(word) if self.encode else ()) or (word,)):
                unit_id = self.word_ids.get(unit, substitute)
                if unit_id is None or unit_id not in self._pronounced:
                    absent[word] = None
                    continue
                ids.append(unit_id)
                begins.append(-1 if rank else index)
        if absent:
            raise UnknownWords(list(absent))
        return ids, begins

    def lattice(self, words: Sequence[str]) -> PhoneLattice:
        """The phone lattice of a transcript. Raises `UnknownWords` where the lexicon lacks some of it."""
        ids, begins = self.units(words)
        arcs, closure, order = self._expand(ids)
        finals = {(state, len(ids)): cost for state, cost in enumerate(self._final.tolist()) if np.isfinite(cost)}
        position = {node: index for index, node in enumerate(order)}
        arcs.sort(key=lambda arc: (position[arc.source], position[arc.destination], arc.phone))
        leaving = defaultdict(list)
        for index, arc in enumerate(arcs):
            leaving[arc.source].append(index)
        final, live = np.full(len(arcs), -np.inf), np.zeros(len(arcs), dtype=bool)
        links: list[tuple[int, int, float]] = []
        for index in range(len(arcs) - 1, -1, -1):  # backwards, so that what leads nowhere is known
            best: dict[int, float] = {}
            for node, cost in closure[arcs[index].destination].items():
                if node in finals:
                    final[index] = max(final[index], -cost - finals[node])
                for following in leaving[node]:
                    if live[following]:
                        best[following] = -cost - arcs[following].cost
            links += [(index, following, weight) for following, weight in best.items()]
            live[index] = bool(best) or bool(np.isfinite(final[index]))
        entry = np.full(len(arcs), -np.inf)
        for node, cost in closure[self.start, 0].items():
            for index in leaving[node]:
                entry[index] = -cost - arcs[index].cost
        renumbered = np.cumsum(live) - 1
        table = np.array(links, dtype=np.float64).reshape(-1, 3)[::-1]
        return PhoneLattice(
            np.array([arc.phone for arc in arcs], dtype=np.int32)[live],
            np.array([begins[arc.unit] if arc.unit >= 0 else -1 for arc in arcs], dtype=np.int32)[live],
            entry[live],
            final[live],
            renumbered[table[:, 0].astype(np.int64)],
            renumbered[table[:, 1].astype(np.int64)],
            table[:, 2].copy(),
            tuple(words),
        )

    def _expand(
        self, ids: Sequence[int]
    ) -> tuple[list[_PhoneArc], dict[tuple[int, int], dict[tuple[int, int], float]], list[tuple[int, int]]]:
        """Product of transducer and transcript: phone arcs, epsilon closures (node to cost), nodes in topological order."""
        arcs: list[_PhoneArc] = []
        epsilons: dict[tuple[int, int], list[tuple[tuple[int, int], float]]] = defaultdict(list)
        finished: list[tuple[int, int]] = []
        seen: set[tuple[int, int]] = set()
        stack: list[tuple[tuple[int, int], bool]] = [((self.start, 0), False)]
        while stack:
            node, done = stack.pop()
            if done:
                finished.append(node)
                continue
            if node in seen:
                continue
            seen.add(node)
            stack.append((node, True))
            state, count = node
            options = [(arc, -1) for arc in self._arcs.get((state, 0), ())]
            if count < len(ids):
                options += [(arc, count) for arc in self._arcs.get((state, ids[count]), ())]
            for (destination, phone, cost), unit in options:
                following = (destination, count + (unit >= 0))
                if phone:
                    arcs.append(_PhoneArc(node, following, phone, cost, unit))
                else:
                    epsilons[node].append((following, cost))
                stack.append((following, False))
        closure: dict[tuple[int, int], dict[tuple[int, int], float]] = {}
        for node in finished:  # what it leads to was finished before it
            costs = {node: 0.0}
            for following, cost in epsilons[node]:
                for further, more in closure[following].items():
                    costs[further] = min(costs.get(further, np.inf), cost + more)
            closure[node] = costs
        return arcs, closure, finished[::-1]

    @classmethod
    def of_lang(cls, lang: Lang, *, unknown_word: str | None = None) -> TranscriptReader:
        """The reader of a lang directory, over its ``L.fst``."""
        if unknown_word is not None and unknown_word not in lang.words:
            raise UserError(f"{unknown_word!r} is not among the words of {lang.directory}; build the lang directory with it")
        return cls(
            read_lexicon_fst(lang.lexicon_fst_path, lang.phones.ids, lang.words.ids),
            {name: index for index, name in enumerate(lang.words) if index and not name.startswith("#")},
            lang.real_phones,
            lang.silence_phone,
            encode=_pieces(lang) if lang.kind == "subwords" else None,
            unknown_word=unknown_word,
        )


def _pieces(lang: Lang) -> Callable[[str], Sequence[str]]:
    def encode(word: str) -> Sequence[str]:
        return () if lang.subwords.unseen_characters([word]) else lang.units([word])

    return encode


class _PhoneArc(NamedTuple):
    """A phone-bearing arc of the product; ``unit`` is the index of the transcript's unit that it begins, or -1."""

    source: tuple[int, int]
    destination: tuple[int, int]
    phone: int
    cost: float
    unit: int

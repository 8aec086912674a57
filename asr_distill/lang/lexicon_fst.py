"""The lexicon as a transducer from phones to words, with optional silence and disambiguation symbols.

The topology is that of Kaldi's ``make_lexicon_fst.py``; disambiguation follows its ``add_lex_disambig.pl``. Subword units have
a topology of their own: silence may only come before a unit that begins a word, and at the end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from asr_distill.lang.lexicon import Pronunciation


@dataclass(frozen=True)
class Arc:
    """One arc; ``weight`` is a cost (negated natural logarithm)."""

    source: int
    destination: int
    input_label: int
    output_label: int
    weight: float


@dataclass(frozen=True)
class LexiconFst:
    """Arcs, and final states with their costs; state 0 is the start."""

    arcs: tuple[Arc, ...]
    finals: tuple[tuple[int, float], ...]

    def to_text(self) -> str:
        """OpenFst's text form with integer labels; also what ``k2.Fsa.from_openfst(text, acceptor=False)`` reads."""
        lines = [
            f"{a.source} {a.destination} {a.input_label} {a.output_label} {a.weight:.9g}\n"
            for a in sorted(self.arcs, key=lambda a: (a.source, a.output_label, a.input_label, a.destination))
        ]
        return "".join(lines) + "".join(f"{state} {weight:.9g}\n" for state, weight in self.finals)

    def to_kaldifst(self) -> Any:
        """``kaldifst.StdVectorFst``, arcs sorted by output label as composition with G needs them."""
        import kaldifst

        fst = kaldifst.compile(self.to_text(), acceptor=False, keep_state_numbering=True)
        kaldifst.arcsort(fst, sort_type="olabel")
        return fst


def _cost(probability: float) -> float:
    return 0.0 - math.log(probability)  # 0.0 for a probability of 1, where a bare minus writes -0


def disambiguate(entries: Sequence[Pronunciation]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """The phones of each entry, with ``#1``, ``#2``, ... behind those that others share or continue.

    Returns the sequences in the order of ``entries`` and the highest number used (0 where none was needed).
    """
    count = Counter(entry.phones for entry in entries)
    prefixes = {entry.phones[:length] for entry in entries for length in range(1, len(entry.phones))}
    last: dict[tuple[str, ...], int] = {}
    sequences = []
    for entry in entries:
        phones = entry.phones
        if count[phones] > 1 or phones in prefixes:
            last[phones] = last.get(phones, 0) + 1
            phones = (*phones, f"#{last[phones]}")
        sequences.append(phones)
    return tuple(sequences), max(last.values(), default=0)


def build_lexicon_fst(
    pronunciations: Sequence[tuple[int, float, Sequence[int]]],
    *,
    silence: int,
    silence_probability: float,
    silence_disambiguation: int | None = None,
    backoff_labels: tuple[int, int] | None = None,
    begins_word: Callable[[int], bool] | None = None,
) -> LexiconFst:
    """The transducer of ``(word id, probability, input labels)``.

    Args:
      pronunciations: input labels are phone ids, a disambiguation symbol last where there is one; at least one label each.
      silence: id of the optional silence phone.
      silence_probability: of silence at the start and after each word, in [0, 1); 0 means no optional silence at all.
      silence_disambiguation: label behind each optional silence (None in the FST without disambiguation).
      backoff_labels: input and output label of ``#0``, looped where words start so that the backoff arcs of G can pass.
      begins_word: given a word id, whether the unit begins a word (subwords); None where every unit is a word.
    """
    builder = _Builder()
    if begins_word is not None:
        return _subword_topology(
            builder, pronunciations, silence, silence_probability, silence_disambiguation, backoff_labels, begins_word
        )
    if silence_probability == 0.0:
        loop = builder.state()
        for word, probability, labels in pronunciations:
            builder.chain(loop, labels, word, _cost(probability), ((loop, 0.0),))
    else:
        silence_cost, no_silence_cost = _cost(silence_probability), _cost(1.0 - silence_probability)
        start, loop, before_silence = builder.state(), builder.state(), builder.state()
        builder.arc(start, loop, 0, 0, no_silence_cost)
        builder.arc(start, before_silence, 0, 0, silence_cost)
        builder.silence(before_silence, loop, silence, silence_disambiguation, 0.0)
        ends = ((loop, no_silence_cost), (before_silence, silence_cost))
        for word, probability, labels in pronunciations:
            builder.chain(loop, labels, word, _cost(probability), ends)
    if backoff_labels is not None:
        builder.arc(loop, loop, *backoff_labels, 0.0)
    return LexiconFst(tuple(builder.arcs), ((loop, 0.0),))


def _subword_topology(
    builder: _Builder,
    pronunciations: Sequence[tuple[int, float, Sequence[int]]],
    silence: int,
    silence_probability: float,
    silence_disambiguation: int | None,
    backoff_labels: tuple[int, int] | None,
    begins_word: Callable[[int], bool],
) -> LexiconFst:
    loop, boundary = builder.state(), builder.state()
    builder.arc(loop, boundary, 0, 0, _cost(1.0 - silence_probability))
    if silence_probability > 0.0:
        builder.silence(loop, boundary, silence, silence_disambiguation, _cost(silence_probability))
    for word, probability, labels in pronunciations:
        builder.chain(boundary if begins_word(word) else loop, labels, word, _cost(probability), ((loop, 0.0),))
    if backoff_labels is not None:
        # Only here: a second loop at the boundary would give each backoff two equal paths, which a log-semiring determinisation
        # adds.
        builder.arc(loop, loop, *backoff_labels, 0.0)
    return LexiconFst(tuple(builder.arcs), ((boundary, 0.0),))


class _Builder:
    def __init__(self) -> None:
        self.arcs: list[Arc] = []
        self.num_states = 0

    def state(self) -> int:
        self.num_states += 1
        return self.num_states - 1

    def arc(self, source: int, destination: int, input_label: int, output_label: int, weight: float) -> None:
        self.arcs.append(Arc(source, destination, input_label, output_label, weight))

    def silence(self, source: int, destination: int, phone: int, disambiguation: int | None, weight: float) -> None:
        if disambiguation is None:
            self.arc(source, destination, phone, 0, weight)
        else:
            between = self.state()
            self.arc(source, between, phone, 0, weight)
            self.arc(between, destination, disambiguation, 0, 0.0)

    def chain(self, source: int, labels: Sequence[int], word: int, cost: float, ends: Sequence[tuple[int, float]]) -> None:
        """One word's labels from ``source``: its id and cost on the first arc, a last arc to each of ``ends`` at its cost."""
        for label in labels[:-1]:
            following = self.state()
            self.arc(source, following, label, word, cost)
            source, word, cost = following, 0, 0.0
        for destination, extra in ends:
            self.arc(source, destination, labels[-1], word, cost + extra)

"""A language of a few words, as the lexicon transducer's arrays, and every reading of a transcript spelled out naively."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from asr_distill.alignment import TranscriptReader
from asr_distill.graph.arrays import from_fst
from asr_distill.lang.lexicon_fst import build_lexicon_fst

PHONES = ("SIL", "A", "B", "C")
SILENCE = 1
SILENCE_PROBABILITY = 0.3
WORDS = {"ab": 1, "a": 2, "c": 3}
# word -> (probability, phone ids)
PRONUNCIATIONS = {"ab": ((1.0, (2, 3)),), "a": ((0.6, (2,)), (0.4, (3, 2))), "c": ((1.0, (4,)),)}


def reader(silence_probability: float = SILENCE_PROBABILITY) -> TranscriptReader:
    entries = [(WORDS[word], p, list(phones)) for word, options in PRONUNCIATIONS.items() for p, phones in options]
    fst = build_lexicon_fst(entries, silence=SILENCE, silence_probability=silence_probability).to_kaldifst()
    return TranscriptReader(from_fst(fst), WORDS, PHONES, "SIL")


def readings(words: Sequence[str]) -> Iterator[tuple[tuple[int, ...], float, tuple[tuple[str, int, int], ...]]]:
    """Every phone sequence of a transcript: phones, log-probability, word spans; by plain recursion."""
    quiet, loud = math.log(SILENCE_PROBABILITY), math.log(1 - SILENCE_PROBABILITY)

    def rest(index: int) -> Iterator[tuple[tuple[int, ...], float, tuple[tuple[str, int, int], ...]]]:
        if index == len(words):
            yield (), 0.0, ()
            return
        for probability, phones in PRONUNCIATIONS[words[index]]:
            for silent, weight in ((False, loud), (True, quiet)):
                head = phones + ((SILENCE,) if silent else ())
                for tail, score, spans in rest(index + 1):
                    moved = tuple((word, a + len(head), b + len(head)) for word, a, b in spans)
                    yield head + tail, math.log(probability) + weight + score, ((words[index], 0, len(phones)), *moved)

    for phones, score, spans in rest(0):
        yield phones, loud + score, spans
        yield (SILENCE, *phones), quiet + score, tuple((word, a + 1, b + 1) for word, a, b in spans)

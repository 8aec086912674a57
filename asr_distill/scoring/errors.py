"""Minimum edit distance alignment of two word sequences, by kaldialign, and its counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import kaldialign

_GAP = -1

AlignedPair = tuple[str | None, str | None]


@dataclass(frozen=True)
class ErrorCounts:
    """Counts of one alignment or of a sum of alignments; ``words`` = correct + substitutions + deletions."""

    correct: int = 0
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    @property
    def words(self) -> int:
        """Words of the reference."""
        return self.correct + self.deletions + self.substitutions

    @property
    def errors(self) -> int:
        """Insertions + deletions + substitutions."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def rate(self) -> float | None:
        """Error rate in per cent (above 100 with many insertions); None where the reference holds no word at all."""
        return 100.0 * self.errors / self.words if self.words else None

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.correct + other.correct,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
        )


def align_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[AlignedPair]:
    """Pairs ``(reference word, hypothesis word)`` of a minimum edit distance alignment (all three errors cost 1).

    ``(None, word)`` is an insertion, ``(word, None)`` a deletion. Works for phones and characters as for words.
    """
    # Own integer ids, so that no word can be mistaken for the gap symbol.
    symbols = list(dict.fromkeys([*reference, *hypothesis]))
    ids = {symbol: number for number, symbol in enumerate(symbols)}
    pairs = kaldialign.align([ids[word] for word in reference], [ids[word] for word in hypothesis], _GAP)
    return [(None if r == _GAP else symbols[r], None if h == _GAP else symbols[h]) for r, h in pairs]


def counts_of_alignment(pairs: Sequence[AlignedPair]) -> ErrorCounts:
    """The counts of an alignment made by `align_words`."""
    insertions = sum(reference is None for reference, _ in pairs)
    deletions = sum(hypothesis is None for _, hypothesis in pairs)
    correct = sum(reference == hypothesis for reference, hypothesis in pairs)
    return ErrorCounts(correct, insertions, deletions, len(pairs) - insertions - deletions - correct)


def count_errors(reference: Sequence[str], hypothesis: Sequence[str] | None) -> ErrorCounts:
    """Counts for one utterance; a missing hypothesis (None) is every reference word deleted."""
    return counts_of_alignment(align_words(reference, hypothesis or ()))

"""Aligned per-utterance listing for people, after sclite's: REF, HYP and a line of I, D, S under the errors."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from asr_distill.scoring.errors import align_words, counts_of_alignment
from asr_distill.scoring.utterances import Utterance


def _columns(text: str) -> int:
    """Columns on a terminal: wide characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def aligned_utterance(utterance: Utterance) -> str:
    """The listing of one utterance; gaps are filled with asterisks, ``(no hypothesis)`` says that none was given."""
    pairs = align_words(utterance.reference, utterance.hypothesis or ())
    counts = counts_of_alignment(pairs)
    lines: list[list[str]] = [[], [], []]
    for reference, hypothesis in pairs:
        mark = "I" if reference is None else "D" if hypothesis is None else "" if reference == hypothesis else "S"
        width = max(_columns(reference or ""), _columns(hypothesis or ""), 1)
        cells = (reference if reference is not None else "*" * width, hypothesis if hypothesis is not None else "*" * width)
        for line, cell in zip(lines, (*cells, mark), strict=True):
            line.append(_pad(cell, width))
    speaker = f" speaker {utterance.speaker}" if utterance.speaker else ""
    remark = " (no hypothesis)" if utterance.hypothesis is None else ""
    remark += " (no final state reached)" if utterance.reached_final is False else ""
    scores = f"{counts.correct} {counts.substitutions} {counts.deletions} {counts.insertions}"
    head = f"id: {utterance.id}{speaker}  scores (#C #S #D #I): {scores}{remark}"
    body = [f"{name}: {' '.join(line)}".rstrip() for name, line in zip(("REF", "HYP", "EVA"), lines, strict=True)]
    return "\n".join([head, *body])


def aligned_listing(utterances: Iterable[Utterance]) -> str:
    """All utterances, one block each, in the order given."""
    return "\n\n".join(aligned_utterance(utterance) for utterance in utterances) + "\n"

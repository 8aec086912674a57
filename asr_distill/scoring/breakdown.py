"""Where the errors of a system are: speakers, confused words, words outside the vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from statistics import median
from typing import Any

from asr_distill.scoring.errors import ErrorCounts, align_words
from asr_distill.scoring.utterances import Utterance

MOST = 10  # confusions, deletions and insertions that are named


def error_breakdown(utterances: Sequence[Utterance], vocabulary: Collection[str] | None = None) -> dict[str, Any]:
    """Return where the errors of one decode are.

    Args:
        utterances: with references.
        vocabulary: the words that can be recognised, where that is known.

    Returns:
        ``speakers``: how many, the median of their word error rates (per cent), and name and rate of the best and the worst;
        None where no speaker is named. ``confusions``: ``[reference, hypothesis, times]``, ``deletions`` and ``insertions``:
        ``[word, times]``, the most frequent first. ``vocabulary``: errors (substitutions and deletions, per cent) of the
        reference words inside and outside of it; None where it is not known.
    """
    of: dict[str, ErrorCounts] = {}
    confused, deleted, inserted = Counter[tuple[str, str]](), Counter[str](), Counter[str]()
    wrong, words = Counter[bool](), Counter[bool]()
    for utterance in utterances:
        if utterance.speaker is not None:
            of[utterance.speaker] = of.get(utterance.speaker, ErrorCounts()) + utterance.errors
        for reference, hypothesis in align_words(_plain(utterance), utterance.hypothesis or ()):
            if reference is None:
                inserted[str(hypothesis)] += 1
                continue
            known = vocabulary is None or reference in vocabulary
            words[known] += 1
            wrong[known] += reference != hypothesis
            if hypothesis is None:
                deleted[reference] += 1
            elif reference != hypothesis:
                confused[reference, hypothesis] += 1
    rates = sorted((counts.rate, name) for name, counts in of.items() if counts.rate is not None)
    return {
        "speakers": {
            "number": len(rates),
            "median_wer": median(rate for rate, _ in rates),
            "best": [rates[0][1], rates[0][0]],
            "worst": [rates[-1][1], rates[-1][0]],
        }
        if rates
        else None,
        "confusions": [[*pair, times] for pair, times in confused.most_common(MOST)],
        "deletions": [list(item) for item in deleted.most_common(MOST)],
        "insertions": [list(item) for item in inserted.most_common(MOST)],
        "vocabulary": None
        if vocabulary is None
        else {
            name: {"words": words[known], "error_rate": 100 * wrong[known] / words[known] if words[known] else None}
            for name, known in (("inside", True), ("outside", False))
        },
    }


def _plain(utterance: Utterance) -> tuple[str, ...]:
    return tuple(str(word) for word in utterance.reference)

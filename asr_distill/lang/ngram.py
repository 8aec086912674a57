"""N-gram estimation: interpolated modified Kneser-Ney and Witten-Bell, in back-off form.

Kneser-Ney follows Chen and Goodman, *An Empirical Study of Smoothing Techniques for Language Modeling* (TR-10-98, 1998),
section 3: ``p(w | h) = (c(hw) - D(c(hw))) / c(h) + gamma(h) p(w | h')`` with ``D1 = 1 - 2Y n2/n1``, ``D2 = 2 - 3Y n3/n2``,
``D3+ = 3 - 4Y n4/n3``, ``Y = n1 / (n1 + 2 n2)``; below the highest order a count is the number of different words before the
n-gram. Witten-Bell is equation (15) there: ``p(w | h) = (c(hw) + N1+(h .) p(w | h')) / (c(h) + N1+(h .))``. Both end in the
uniform distribution over the vocabulary.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asr_distill.base import UserError
from asr_distill.lang.arpa import BEGIN, END, LOG10_ZERO, Arpa
from asr_distill.lang.lexicon import count_words

METHODS = ("kneser_ney", "witten_bell")
# Where counts of counts vanish or give a discount outside (0, k); the values that KenLM falls back to.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
_log = logging.getLogger("asr_distill")

NgramCounts = Mapping[tuple[str, ...], int]


def estimate_ngram(
    sentences: Iterable[Sequence[str]],
    order: int,
    method: str = "kneser_ney",
    *,
    vocabulary: Iterable[str] | None = None,
    unknown_word: str | None = None,
) -> Arpa:
    """Estimates a back-off model from sentences of words.

    Args:
      order: 1 to 3.
      method: ``kneser_ney`` or ``witten_bell``.
      vocabulary: all words the model can predict; those without training counts share the unigram mass left over. None: the
        training words.
      unknown_word: stands for training words outside ``vocabulary`` and is then part of it.

    Returns:
      `Arpa`; every history sums to 1 over the vocabulary and ``</s>``. ``notes`` has method, discounts, counts.

    Raises `UserError` for an order or method not listed, no sentences, and training words outside the vocabulary without
    ``unknown_word``.
    """
    if order not in (1, 2, 3):
        raise UserError(f"n-gram order: found {order}, expected 1, 2 or 3")
    if method not in METHODS:
        raise UserError(f"n-gram method: found {method!r}, expected one of {', '.join(METHODS)}")
    texts = [list(sentence) for sentence in sentences]
    if not texts:
        raise UserError("n-gram estimation: no sentences; expected at least one")
    texts, words = _map_to_vocabulary(texts, vocabulary, unknown_word)
    counts = _count(texts, order)
    tables, discounts = _kneser_ney_tables(counts) if method == "kneser_ney" else (_witten_bell_tables(counts), None)
    arpa = _interpolate(tables, [*words, END])
    arpa.notes.update(
        {
            "method": method,
            "order": order,
            "sentences": len(texts),
            "words": sum(map(len, texts)),
            "vocabulary": len(words),
            "discounts": discounts,
        }
    )
    return arpa


def modified_discounts(counts: NgramCounts) -> tuple[float, float, float]:
    """``D1, D2, D3+`` from counts of counts; where one is undefined or outside (0, k), that of `FALLBACK_DISCOUNTS`."""
    of = Counter(counts.values())
    n1, n2, n3, n4 = (of[k] for k in (1, 2, 3, 4))
    if n1 == 0 or n2 == 0:
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    estimates = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3 if n3 else math.nan)
    d1, d2, d3 = (d if 0 < d < k else FALLBACK_DISCOUNTS[k - 1] for k, d in enumerate(estimates, 1))
    return d1, d2, d3


# For each history of one order: the discounted share of each following word, and the weight of the order below.
_Table = dict[tuple[str, ...], tuple[dict[str, float], float]]


def _map_to_vocabulary(
    texts: list[list[str]], vocabulary: Iterable[str] | None, unknown_word: str | None
) -> tuple[list[list[str]], list[str]]:
    reserved = next((w for text in texts for w in text if w in (BEGIN, END)), None)
    if reserved:
        raise UserError(
            f"n-gram estimation: the text contains {reserved!r}; sentence marks are added by the estimation, remove them"
        )
    seen = count_words(word for text in texts for word in text)
    known = set(seen) if vocabulary is None else set(vocabulary) - {BEGIN, END}
    if unknown_word is not None:
        known.add(unknown_word)
        texts = [[word if word in known else unknown_word for word in text] for text in texts]
    else:
        outside = sorted(((w, c) for w, c in seen.items() if w not in known), key=lambda item: (-item[1], item[0]))
        if outside:
            listed = ", ".join(f"{word} ({count})" for word, count in outside[:50])
            raise UserError(
                f"n-gram estimation: {len(outside)} training words are outside the vocabulary: {listed}."
                " Next: add them to the lexicon, or give an unknown word (--unknown-word '<UNK>')"
            )
    return texts, sorted(known)


def _count(texts: Sequence[Sequence[str]], order: int) -> list[Counter[tuple[str, ...]]]:
    counts: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(order)]
    for text in texts:
        sequence = (BEGIN, *text, END)
        for end in range(2, len(sequence) + 1):
            for n in range(1, min(order, end) + 1):
                counts[n - 1][sequence[end - n : end]] += 1
    return counts


def _kneser_ney_tables(counts: Sequence[NgramCounts]) -> tuple[list[_Table], list[list[float]]]:
    tables, discounts = [], []
    for n, own in enumerate(counts, 1):
        if n < len(counts):
            # How many different words stand before the n-gram; nothing stands before <s>, so there the count stays.
            above: Counter[tuple[str, ...]] = Counter(ngram[1:] for ngram in counts[n])
            own = {ngram: own[ngram] if ngram[0] == BEGIN else above[ngram] for ngram in own}
        discount = modified_discounts(own)
        discounts.append(list(discount))
        table: _Table = {}
        for history, following in _by_history(own).items():
            total = sum(following.values())
            removed = {word: discount[min(count, 3) - 1] for word, count in following.items()}
            shares = {word: (count - removed[word]) / total for word, count in following.items()}
            table[history] = shares, sum(removed.values()) / total
        tables.append(table)
    return tables, discounts


def _witten_bell_tables(counts: Sequence[NgramCounts]) -> list[_Table]:
    tables = []
    for own in counts:
        table: _Table = {}
        for history, following in _by_history(own).items():
            total = sum(following.values()) + len(following)
            table[history] = {word: count / total for word, count in following.items()}, len(following) / total
        tables.append(table)
    return tables


def _by_history(counts: NgramCounts) -> dict[tuple[str, ...], dict[str, int]]:
    grouped: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for ngram, count in counts.items():
        grouped[ngram[:-1]][ngram[-1]] = count
    return grouped


def _interpolate(tables: Sequence[_Table], words: Sequence[str]) -> Arpa:
    """Adds the weighted lower order to each share, and writes the weights as back-off weights."""
    shares, weight = tables[0][()]
    uniform = weight / len(words)
    probabilities: dict[tuple[str, ...], float] = {(word,): shares.get(word, 0.0) + uniform for word in words}
    levels = [probabilities]
    for table in tables[1:]:
        below, level = levels[-1], {}
        for history, (following, weight) in table.items():
            for word, share in following.items():
                level[(*history, word)] = share + weight * below[(*history[1:], word)]
        levels.append(level)
    ngrams: list[dict[tuple[str, ...], tuple[float, float]]] = []
    for n, level in enumerate(levels, 1):
        weights: Mapping[tuple[str, ...], Any] = tables[n] if n < len(tables) else {}
        entries = {
            ngram: (math.log10(value), math.log10(weights[ngram][1]) if ngram in weights else 0.0)
            for ngram, value in level.items()
        }
        if n == 1:
            entries[(BEGIN,)] = LOG10_ZERO, math.log10(weights[(BEGIN,)][1]) if (BEGIN,) in weights else 0.0
        ngrams.append(entries)
    return Arpa(tuple(ngrams))

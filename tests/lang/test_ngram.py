from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.lang import Arpa, estimate_ngram, perplexity
from asr_distill.lang.ngram import FALLBACK_DISCOUNTS, modified_discounts

TEXT = [["a", "b"], ["a"]]


def p(arpa, word, *history):
    return 10.0 ** arpa.log10_probability(word, history)


def test_kneser_ney_by_hand():
    """Bigrams <s>a 2, ab 1, b</s> 1, a</s> 1: Y = 3/5, D1 = 1 - 2 Y/3 = 0.6; D2 = 2 leaves nothing, so 1.

    Continuations a 1, b 1, </s> 2: D1 = 1/2.
    """
    arpa = estimate_ngram(TEXT, 2)
    assert arpa.notes["discounts"] == [pytest.approx([0.5, 1.0, 1.5]), pytest.approx([0.6, 1.0, 1.5])]
    assert p(arpa, "a") == pytest.approx(0.5 / 4 + 0.5 / 3)
    assert p(arpa, "</s>") == pytest.approx(1 / 4 + 0.5 / 3)
    assert p(arpa, "a", "<s>") == pytest.approx(1 / 2 + 0.5 * p(arpa, "a"))
    assert p(arpa, "b", "a") == pytest.approx(0.4 / 2 + 0.6 * p(arpa, "b"))
    assert p(arpa, "a", "a") == pytest.approx(0.6 * p(arpa, "a"))
    assert 10 ** arpa.sentence_log10_probability(["a"]) == pytest.approx(0.6458333 * 0.45)


def test_witten_bell_by_hand():
    """Counts a 2, b 1, </s> 2, three types: p(a) = (2 + 3/3) / 8; after a: b 1, </s> 1, two types."""
    arpa = estimate_ngram(TEXT, 2, "witten_bell")
    assert [p(arpa, w) for w in ("a", "b", "</s>")] == pytest.approx([3 / 8, 2 / 8, 3 / 8])
    assert p(arpa, "b", "a") == pytest.approx((1 + 2 * 2 / 8) / 4)
    assert p(arpa, "a", "a") == pytest.approx(2 / 4 * 3 / 8)


def test_witten_bell_on_the_text_of_chen_and_goodman():
    """Their section 2 text: 18 tokens with sentence ends, 12 types, READ three times, JOHN always before READ."""
    text = [s.split() for s in ("JOHN READ MOBY DICK", "MARY READ A DIFFERENT BOOK", "SHE READ A BOOK BY CHER")]
    arpa = estimate_ngram(text, 2, "witten_bell")
    assert p(arpa, "READ") == pytest.approx((3 + 12 / 12) / 30)
    assert p(arpa, "READ", "JOHN") == pytest.approx((1 + 4 / 30) / 2)
    assert p(arpa, "A", "READ") == pytest.approx((2 + 2 * 3 / 30) / 5)


def test_discounts_from_counts_of_counts():
    """n1..n4 = 4, 2, 1, 1: Y = 1/2, D = 1/2, 5/4, 1."""
    counts = {(str(i),): c for i, c in enumerate([1, 1, 1, 1, 2, 2, 3, 4, 9])}
    assert modified_discounts(counts) == pytest.approx((0.5, 1.25, 1.0))
    assert modified_discounts({("a",): 1}) == FALLBACK_DISCOUNTS
    assert modified_discounts({("a",): 5}) == FALLBACK_DISCOUNTS


sentences = st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=12)
orders, methods = st.integers(1, 3), st.sampled_from(["kneser_ney", "witten_bell"])


@settings(max_examples=80, deadline=None)
@given(sentences, orders, methods)
def test_every_history_sums_to_one(text, order, method):
    vocabulary = [*"abcd", "never"]
    arpa = estimate_ngram(text, order, method, vocabulary=vocabulary)
    for length in range(order):
        for history in itertools.product(["<s>", *vocabulary], repeat=length):
            total = sum(p(arpa, word, *history) for word in (*vocabulary, "</s>"))
            assert total == pytest.approx(1.0, abs=1e-9), history
    assert set(arpa.words) == {*vocabulary, "</s>"}
    assert p(arpa, "never") > 0


def reference(text, order, method, vocabulary):
    """p(word | history) straight from the published recursions, over raw n-grams, without back-off form."""
    padded = [("<s>", *sentence, "</s>") for sentence in text]

    def raw(n):
        return Counter(s[i : i + n] for s in padded for i in range(len(s) - n + 1) if s[i + n - 1] != "<s>")

    def counts(n):
        if n == order or method == "witten_bell":
            return raw(n)
        left = {}
        for ngram in raw(n + 1):
            left.setdefault(ngram[1:], set()).add(ngram[0])
        return {g: (raw(n)[g] if g[0] == "<s>" else len(left.get(g, ()))) for g in raw(n)}

    def probability(word, history):
        if len(history) >= order:
            history = history[len(history) - order + 1 :]
        lower = 1 / len(vocabulary) if not history else None
        own = {g[-1]: c for g, c in counts(len(history) + 1).items() if g[:-1] == history}
        lower = probability(word, history[1:]) if lower is None else lower
        if not own:
            return lower
        total = sum(own.values())
        if method == "witten_bell":
            return (own.get(word, 0) + len(own) * lower) / (total + len(own))
        d = modified_discounts(counts(len(history) + 1))
        d = {1: d[0], 2: d[1], 3: d[2]}
        free = sum(d[min(c, 3)] for c in own.values()) / total
        c = own.get(word, 0)
        return (c - d[min(c, 3)] if c else 0) / total + free * lower

    return probability


@settings(max_examples=25, deadline=None)
@given(sentences, orders, methods)
def test_back_off_form_equals_the_recursion(text, order, method):
    vocabulary = [*"abcd", "</s>"]
    arpa, expected = estimate_ngram(text, order, method, vocabulary="abcd"), reference(text, order, method, vocabulary)
    for history in [(), ("<s>",), ("a",), ("<s>", "a"), ("a", "b"), ("c", "c"), ("d", "a")]:
        for word in vocabulary:
            assert p(arpa, word, *history) == pytest.approx(expected(word, history), rel=1e-9)


def test_unknown_word_takes_what_the_vocabulary_lacks():
    with pytest.raises(UserError, match=r"2 training words.*c \(2\), b \(1\)"):
        estimate_ngram([["a", "b", "c"], ["c"]], 2, vocabulary=["a"])
    arpa = estimate_ngram([["a", "b", "c"], ["c"]], 1, "witten_bell", vocabulary=["a"], unknown_word="<unk>")
    assert p(arpa, "<unk>") == pytest.approx((3 + 3 / 3) / (6 + 3))
    assert arpa.unknown_word == "<unk>"


def test_refusals():
    for arguments, says in (
        (([["a"]], 4), "order"),
        (([["a"]], 2, "good_turing"), "method"),
        (([], 2), "no sentences"),
        (([["a", "</s>"]], 2), "sentence marks"),
    ):
        with pytest.raises(UserError, match=says):
            estimate_ngram(*arguments)


def test_perplexity_by_hand():
    """A uniform unigram over a, b and the end: 3; the unknown word is counted, not predicted."""
    third = math.log10(1 / 3)
    arpa = Arpa(({("a",): (third, 0.0), ("b",): (third, 0.0), ("</s>",): (third, 0.0), ("<s>",): (-99.0, 0.0)},))
    result = perplexity(arpa, [["a", "b"], ["x", "a"]])
    assert result["perplexity"] == pytest.approx(3.0)
    assert (result["words"], result["tokens"], result["oov"], result["oov_share"]) == (4, 5, 1, 0.25)
    assert result["oov_words"] == {"x": 1}
    assert perplexity(arpa, [])["perplexity"] is None


def test_an_unknown_word_breaks_the_history():
    arpa = estimate_ngram([["a", "b"]] * 3 + [["b"]], 2)
    total = sum(arpa.log10_probability(w, h) for w, h in (("a", ["<s>"]), ("b", []), ("</s>", ["b"])))
    assert perplexity(arpa, [["a", "x", "b"]])["log10_probability"] == pytest.approx(total)


def test_an4_bigram_beats_its_unigram(an4_dir):
    lines = (an4_dir / "etc" / "an4_train.transcription").read_text().splitlines()
    text = [[w for w in line.split() if not w.startswith(("<", "("))] for line in lines]
    train, held_out = text[:800], text[800:]
    values = [
        perplexity(estimate_ngram(train, order, method, vocabulary={w for s in text for w in s}), held_out)["perplexity"]
        for method in ("kneser_ney", "witten_bell")
        for order in (1, 2, 3)
    ]
    assert values[0] > 1.5 * values[1] > values[2]
    assert values[3] > 1.5 * values[4] > values[5]

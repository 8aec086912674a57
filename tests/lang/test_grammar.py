from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.lang import Arpa, Lang, Lexicon, Pronunciation, SymbolTable, build_g, estimate_ngram, uncovered_words, write_g

LN10 = math.log(10.0)
WORDS = SymbolTable(("<eps>", "a", "b", "c", "#0", "<s>", "</s>"))
TEXT = [s.split() for s in ("a b c", "a b", "b a a", "c", "a b c c", "b b a")]


class ArcValues(NamedTuple):
    ilabel: int
    olabel: int
    weight: float
    nextstate: int


def arcs_of(fst, state):
    """Copies: an arc of kaldifst's iterator points into its FST and dies with it."""
    import kaldifst

    return [ArcValues(a.ilabel, a.olabel, a.weight.value, a.nextstate) for a in kaldifst.ArcIterator(fst, state)]


def arcs(fst):
    import kaldifst

    return [(state, arc) for state in kaldifst.StateIterator(fst) for arc in arcs_of(fst, state)]


def sentence_cost(fst, words, table=WORDS):
    """Cost of a sentence where back-off is taken only without an arc for the word, as the ARPA form means it."""

    def step(state, label):
        arc = next((arc for arc in arcs_of(fst, state) if arc.ilabel == label), None)
        return (math.inf, state) if arc is None else (arc.weight, arc.nextstate)

    state, cost = fst.start, 0.0
    for label in (*(table[word] for word in words), None):
        while True:
            weight, following = step(state, label) if label is not None else (fst.final(state).value, state)
            if weight < math.inf:
                break
            backoff, state = step(state, table["#0"])
            cost += backoff
            if backoff == math.inf:
                return math.inf
        cost, state = cost + weight, following
    return cost


def best_cost(fst, words, table=WORDS):
    """Cost of a sentence by its cheapest path through G, as a search sees it."""
    import kaldifst

    acceptor = kaldifst.make_linear_acceptor([table[word] for word in words])
    for state in kaldifst.StateIterator(acceptor):
        acceptor.add_arc(state, kaldifst.StdArc(table["#0"], table["#0"], 0.0, state))
    kaldifst.arcsort(acceptor, sort_type="olabel")
    composed = kaldifst.compose(acceptor, fst)
    if composed.start < 0:
        return math.inf
    _, _, output, weight = kaldifst.get_linear_symbol_sequence(kaldifst.shortest_path(composed))
    assert [table[label] for label in output] == list(words)
    return float(weight.value)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("method", ["kneser_ney", "witten_bell"])
def test_sentences_cost_what_the_arpa_says(order, method):
    arpa = estimate_ngram(TEXT, order, method, vocabulary="abc")
    fst = build_g(arpa, WORDS)
    for words in [[], ["a"], ["c", "c", "c"], *TEXT, ["a", "c", "b", "c", "a"]]:
        expected = -LN10 * arpa.sentence_log10_probability(words)
        assert sentence_cost(fst, words) == pytest.approx(expected, abs=1e-4)
        if order < 3:  # above, a back-off arc may save the weight of a longer history (see build_g)
            assert best_cost(fst, words) == pytest.approx(expected, abs=1e-4)
        assert best_cost(fst, words) < expected + 1e-4


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=5), min_size=1, max_size=8),
    st.integers(2, 3),
    st.lists(st.sampled_from("abc"), max_size=5),
    st.floats(0.5, 12.0),
    st.floats(-2.0, 2.0),
)
def test_scale_and_penalty(text, order, words, scale, penalty):
    """Scaled language-model cost plus an unscaled cost for each word."""
    arpa = estimate_ngram(text, order, vocabulary="abc")
    fst = build_g(arpa, WORDS, lm_scale=scale, word_penalty=penalty)
    expected = -scale * LN10 * arpa.sentence_log10_probability(words) + penalty * len(words)
    assert sentence_cost(fst, words) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_labels_are_words_or_the_backoff_symbol():
    fst = build_g(estimate_ngram(TEXT, 3), WORDS)
    labels = {(arc.ilabel, arc.olabel) for _, arc in arcs(fst)}
    assert labels == {(1, 1), (2, 2), (3, 3), (4, 0)}
    for state in {state for state, _ in arcs(fst)}:
        inputs = [arc.ilabel for source, arc in arcs(fst) if source == state]
        assert inputs == sorted(set(inputs)), "G is deterministic and sorted by input"


def test_words_outside_the_table_are_left_out_and_listed():
    arpa = estimate_ngram([["a", "b", "z"], ["z"]], 2)
    assert uncovered_words(arpa, WORDS) == {"not_in_model": ["c"], "not_in_table": ["z"]}
    fst = build_g(arpa, WORDS)
    assert {arc.ilabel for _, arc in arcs(fst)} == {1, 2, 4}
    assert sentence_cost(fst, ["a", "b"]) == pytest.approx(-LN10 * arpa.sentence_log10_probability(["a", "b"]), abs=1e-4)
    assert sentence_cost(fst, ["c"]) == math.inf
    with pytest.raises(UserError, match="upper and lower case"):
        build_g(estimate_ngram([["A"]], 1), WORDS)


def test_the_unknown_word_is_left_out_or_mapped():
    table = SymbolTable(("<eps>", "<UNK>", "a", "#0", "<s>", "</s>"))
    arpa = estimate_ngram([["a", "x"]], 1, "witten_bell", vocabulary="a", unknown_word="<unk>")
    assert {arc.ilabel for _, arc in arcs(build_g(arpa, table))} == {2}
    mapped = build_g(arpa, table, unknown_word="<UNK>")
    assert sentence_cost(mapped, ["<UNK>"], table) == pytest.approx(
        -LN10 * arpa.sentence_log10_probability(["<unk>"]), abs=1e-4
    )
    with pytest.raises(UserError, match="word table has no '<UNK>'"):
        build_g(arpa, WORDS, unknown_word="<UNK>")


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(UserError, match="scale"):
        build_g(estimate_ngram(TEXT, 1), WORDS, lm_scale=scale)


def test_files(tmp_path):
    import kaldifst

    arpa = estimate_ngram(TEXT, 2)
    arpa.write(tmp_path / "lm.arpa")
    WORDS.write(tmp_path / "words.txt")
    fst = build_g(tmp_path / "lm.arpa", tmp_path / "words.txt")
    write_g(fst, tmp_path / "G.fst")
    again = kaldifst.StdVectorFst.read(str(tmp_path / "G.fst"))
    assert sentence_cost(again, ["a", "b"]) == pytest.approx(-LN10 * arpa.sentence_log10_probability(["a", "b"]), abs=1e-4)
    with pytest.raises(UserError, match="no #0"):
        build_g(arpa, SymbolTable(("<eps>", "a")))


def test_uniform_model_of_the_corpus(an4_dir):
    arpa = Arpa.read(an4_dir / "etc" / "an4.ug.lm")
    words = sorted(set(Lexicon.read(an4_dir / "etc" / "an4.dic").words))
    table = SymbolTable(("<eps>", *words, "#0", "<s>", "</s>"))
    assert uncovered_words(arpa, table)["not_in_model"] == ["NOVEMBER", "THIRTEEN"]
    fst = build_g(arpa, table, max_order=1)
    assert sentence_cost(fst, ["YES", "GO"], table) == pytest.approx(3 * 2.0253 * LN10, abs=1e-3)
    full = build_g(arpa, table)
    assert sentence_cost(full, [], table) == pytest.approx(0.0, abs=1e-6)


def test_lexicon_and_g_determinise_and_read_words_from_phones(tmp_path):
    """Homophones, and a word that begins another, through L, G and determinisation: the language model chooses."""
    import kaldifst

    prons = {"TO": "T UW", "TWO": "T UW", "TOOL": "T UW L", "A": "AH", "L": "L"}
    lang = Lang.build(Lexicon(tuple(Pronunciation(w, tuple(s.split())) for w, s in prons.items())), tmp_path / "lang")
    text = [s.split() for s in ("TO A TOOL", "TWO L", "TO TOOL", "A TWO L", "TWO L")]
    lexicon = kaldifst.StdVectorFst.read(str(lang.lexicon_disambig_fst_path))
    combined = kaldifst.compose(lexicon, build_g(estimate_ngram(text, 2), lang.words))
    stopped_early = kaldifst.determinize_star(combined, use_log=True, max_states=10_000)
    assert not stopped_early
    for state in kaldifst.StateIterator(combined):  # the words are told apart by disambiguation symbols, which now go
        kept = arcs_of(combined, state)
        combined.delete_arcs(state, combined.num_arcs(state))
        for arc in kept:
            label = 0 if arc.ilabel in lang.disambig_ids else arc.ilabel
            combined.add_arc(state, kaldifst.StdArc(label, arc.olabel, arc.weight, arc.nextstate))
    kaldifst.arcsort(combined, sort_type="ilabel")
    for phones, words in (("T UW AH T UW L", ["TO", "A", "TOOL"]), ("AH SIL T UW SIL L", ["A", "TWO", "L"])):
        composed = kaldifst.compose(kaldifst.make_linear_acceptor([lang.phones[x] for x in phones.split()]), combined)
        _, _, output, _ = kaldifst.get_linear_symbol_sequence(kaldifst.shortest_path(composed))
        assert [lang.words[label] for label in output] == words

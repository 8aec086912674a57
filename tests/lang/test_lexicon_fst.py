from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.lang.lexicon import Pronunciation
from asr_distill.lang.lexicon_fst import build_lexicon_fst, disambiguate

SIL, SIL_MARK, BACKOFF, BACKOFF_WORD = 9, 19, 10, 99


def test_one_word_by_hand():
    """The five arcs that Kaldi's make_lexicon_fst.py prints for one word of two phones."""
    fst = build_lexicon_fst([(1, 0.5, [3, 4])], silence=SIL, silence_probability=0.25)
    silence, none = -math.log(0.25), -math.log(0.75)
    expected = {
        (0, 1, 0, 0): none,
        (0, 2, 0, 0): silence,
        (2, 1, SIL, 0): 0.0,
        (1, 3, 3, 1): math.log(2),
        (3, 1, 4, 0): none,
        (3, 2, 4, 0): silence,
    }
    found = {(a.source, a.destination, a.input_label, a.output_label): a.weight for a in fst.arcs}
    assert found == pytest.approx(expected)
    assert fst.finals == ((1, 0.0),)


def test_disambiguation_by_hand():
    """Shared sequences, and those that another continues, are marked; numbers restart for each sequence."""
    words = [("A", "x"), ("B", "x"), ("C", "x y"), ("D", "z"), ("E", "z y"), ("F", "w"), ("A", "x y")]
    sequences, highest = disambiguate([Pronunciation(word, tuple(phones.split())) for word, phones in words])
    assert [" ".join(s) for s in sequences] == ["x #1", "x #2", "x y #1", "z #1", "z y", "w", "x y #2"]
    assert highest == 2


entries = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.sampled_from("xyz"), min_size=1, max_size=3), st.sampled_from([1.0, 0.5, 0.1])),
    min_size=1,
    max_size=7,
    unique_by=lambda entry: (entry[0], tuple(entry[1])),
)


def as_lexicon(drawn):
    return [Pronunciation(f"w{word}", tuple(phones), probability) for word, phones, probability in drawn]


@given(entries)
def test_marked_sequences_are_a_prefix_code(drawn):
    """No marked sequence is another's prefix, so any string of them splits in one way: homophones are kept apart."""
    sequences, highest = disambiguate(as_lexicon(drawn))
    for i, one in enumerate(sequences):
        for j, other in enumerate(sequences):
            assert i == j or one != other[: len(one)]
    used = {symbol for sequence in sequences for symbol in sequence if symbol.startswith("#")}
    assert used == {f"#{number}" for number in range(1, highest + 1)}


def tables(lexicon):
    words = {word: 1 + index for index, word in enumerate(sorted({entry.word for entry in lexicon}))}
    phones = {"x": 1, "y": 2, "z": 3, **{f"#{n}": 10 + n for n in range(9)}}
    return words, phones


def best_path(fst, labels):
    """Cost, output labels and whether the labels are accepted, by kaldifst."""
    import kaldifst

    composed = kaldifst.compose(kaldifst.make_linear_acceptor(labels), fst)
    if composed.start < 0:
        return None
    _, _, output, weight = kaldifst.get_linear_symbol_sequence(kaldifst.shortest_path(composed))
    return float(weight.value), list(output)


@settings(max_examples=60, deadline=None)
@given(entries, st.data())
def test_every_sequence_of_words_costs_what_kaldi_s_formula_says(drawn, data):
    """Independent arithmetic: pronunciation, and silence or none at the start and after each word."""
    lexicon = as_lexicon(drawn)
    words, phones = tables(lexicon)
    sequences, _ = disambiguate(lexicon)
    probability = data.draw(st.sampled_from([0.5, 0.2]))
    fst = build_lexicon_fst(
        [(words[e.word], e.probability, [phones[s] for s in q]) for e, q in zip(lexicon, sequences, strict=True)],
        silence=SIL,
        silence_probability=probability,
        silence_disambiguation=SIL_MARK,
        backoff_labels=(BACKOFF, BACKOFF_WORD),
    ).to_kaldifst()
    chosen = data.draw(st.lists(st.integers(0, len(lexicon) - 1), min_size=0, max_size=4))
    silences = data.draw(st.lists(st.booleans(), min_size=len(chosen) + 1, max_size=len(chosen) + 1))
    labels, cost = [], 0.0
    for place, silent in enumerate(silences):
        if place:
            entry, sequence = lexicon[chosen[place - 1]], sequences[chosen[place - 1]]
            labels += [phones[symbol] for symbol in sequence]
            cost -= math.log(entry.probability)
        labels += [SIL, SIL_MARK] if silent else []
        cost -= math.log(probability if silent else 1 - probability)
    found = best_path(fst, labels)
    assert found is not None
    assert found[0] == pytest.approx(cost, abs=1e-4)
    assert found[1] == [words[lexicon[index].word] for index in chosen]


def test_the_backoff_symbol_passes_between_words_only():
    fst = build_lexicon_fst(
        [(1, 1.0, [1, 2])],
        silence=SIL,
        silence_probability=0.5,
        silence_disambiguation=SIL_MARK,
        backoff_labels=(BACKOFF, BACKOFF_WORD),
    ).to_kaldifst()
    assert best_path(fst, [BACKOFF, 1, 2, SIL, SIL_MARK, BACKOFF, 1, 2])[1] == [BACKOFF_WORD, 1, BACKOFF_WORD, 1]
    assert best_path(fst, [1, BACKOFF, 2]) is None
    assert best_path(fst, [1, 2, SIL]) is None


def test_without_silence_words_follow_each_other_for_free():
    fst = build_lexicon_fst([(1, 1.0, [1]), (2, 0.5, [2, 3])], silence=SIL, silence_probability=0.0).to_kaldifst()
    assert best_path(fst, [1, 2, 3, 1]) == (pytest.approx(math.log(2)), [1, 2, 1])
    assert best_path(fst, [SIL, 1]) is None


def subword_fst(probability=0.25, marks=True):
    # 1 and 2 begin a word ("▁A", "▁B"), 3 ("A") continues one; 1 and 3 sound alike.
    return build_lexicon_fst(
        [(1, 1.0, [1, 11]), (2, 1.0, [2]), (3, 1.0, [1, 12])],
        silence=SIL,
        silence_probability=probability,
        silence_disambiguation=SIL_MARK if marks else None,
        backoff_labels=(BACKOFF, BACKOFF_WORD) if marks else None,
        begins_word=lambda word: word in (1, 2),
    ).to_kaldifst()


def test_subwords_allow_silence_only_at_word_boundaries():
    fst, silence, none = subword_fst(), -math.log(0.25), -math.log(0.75)
    assert best_path(fst, [1, 11, 1, 12, 2]) == (pytest.approx(3 * none), [1, 3, 2])
    assert best_path(fst, [SIL, SIL_MARK, 1, 11, 1, 12, SIL, SIL_MARK, 2, SIL, SIL_MARK]) == (
        pytest.approx(3 * silence),
        [1, 3, 2],
    )
    assert best_path(fst, [1, 11, SIL, SIL_MARK, 1, 12]) is None
    assert best_path(subword_fst(0.0), [1, 11, 1, 12, 2]) == (0.0, [1, 3, 2])
    assert best_path(subword_fst(0.0), [1, 11, SIL, SIL_MARK, 2]) is None


def test_subword_backoff_has_one_path():
    """A log-semiring search would count two equal paths twice."""
    import kaldifst

    for labels in ([1, 11, BACKOFF, 2], [1, 11, BACKOFF, SIL, SIL_MARK, 2, BACKOFF], [1, 11, BACKOFF, 1, 12]):
        composed = kaldifst.compose(kaldifst.make_linear_acceptor(labels), subword_fst())
        paths = kaldifst.shortest_path(composed, n=5)
        assert paths.num_arcs(paths.start) == 1, labels


def test_k2_reads_the_text_form_and_agrees():
    k2 = pytest.importorskip("k2")
    lexicon = as_lexicon([(0, "x", 1.0), (1, "xy", 0.5), (1, "x", 0.1), (2, "zyx", 1.0)])
    words, phones = tables(lexicon)
    for marked in (False, True):
        sequences = disambiguate(lexicon)[0] if marked else [entry.phones for entry in lexicon]
        fst = build_lexicon_fst(
            [(words[e.word], e.probability, [phones[s] for s in q]) for e, q in zip(lexicon, sequences, strict=True)],
            silence=SIL,
            silence_probability=0.3,
            silence_disambiguation=SIL_MARK if marked else None,
            backoff_labels=(BACKOFF, BACKOFF_WORD) if marked else None,
        )
        theirs = k2.arc_sort(k2.Fsa.from_openfst(fst.to_text(), acceptor=False))
        for chosen in ([0], [3, 1], [1, 1, 3, 0]):
            labels = [SIL, SIL_MARK] if marked else [SIL]
            labels += [phones[symbol] for index in chosen for symbol in sequences[index]]
            cost, output = best_path(fst.to_kaldifst(), labels)
            lattice = k2.connect(k2.intersect(k2.linear_fsa(labels), theirs, treat_epsilons_specially=True))
            best = k2.shortest_path(k2.create_fsa_vec([lattice]), use_double_scores=True)
            assert -best.get_tot_scores(use_double_scores=True, log_semiring=False).item() == pytest.approx(cost, abs=1e-4)
            if marked:
                assert [label for label in best.aux_labels.tolist() if label > 0] == output
                assert output == [words[lexicon[index].word] for index in chosen]

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.lang import Subwords, join_pieces
from asr_distill.lang.subwords import BOUNDARY

TEXT = [s.split() for s in ("THE CAT SAT ON THE MAT", "THE DOG'S HAT", "A CAT AND A DOG", "ÜBER ALLES", "Привет мир")] * 3


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def subwords(request):
    return Subwords.train(TEXT, {"bpe": 60, "unigram": 28}[request.param], kind=request.param)


def test_every_training_word_comes_back(subwords):
    for sentence in TEXT:
        units = subwords.encode(sentence)
        assert set(units) <= set(subwords.units)
        assert join_pieces(units) == sentence


def test_no_unit_is_without_sound(subwords):
    lexicon = subwords.lexicon()
    assert BOUNDARY not in subwords.units
    assert lexicon.words == subwords.units
    for entry in lexicon.entries:
        assert entry.phones == tuple(entry.word.replace(BOUNDARY, ""))
        assert entry.phones
    assert set(lexicon.phones) == {character for sentence in TEXT for word in sentence for character in word}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(alphabet="THECASON'DGÜмирПв", min_size=1, max_size=8), max_size=5))
def test_any_word_over_the_alphabet_can_be_written(words):
    subwords = Subwords.train(TEXT, 60)
    units = subwords.encode(words)
    assert join_pieces(units) == words
    assert set(units) <= set(subwords.units)


def test_characters_are_normalised(subwords):
    decomposed = unicodedata.normalize("NFD", "ÜBER")
    assert decomposed != "ÜBER"
    assert subwords.encode([decomposed]) == subwords.encode(["ÜBER"])
    assert "Ü" in subwords.alphabet


def test_unseen_characters_are_counted(subwords):
    with pytest.raises(UserError, match=r"'7' \(2\), 'Q' \(1\), first in 'Q7'"):
        subwords.encode(["CAT", "Q7", "7"])
    assert subwords.encode(["Q7", "A"], unknown="<UNK>") == ["<UNK>", *subwords.encode(["A"])]
    assert join_pieces(["▁A", "<UNK>", "▁A"]) == ["A", "<UNK>", "A"]


def test_joining_by_hand():
    assert join_pieces([]) == []
    assert join_pieces(["▁HE", "LLO", "▁YOU"]) == ["HELLO", "YOU"]
    assert join_pieces(["LLO", "▁A"]) == ["LLO", "A"]


def test_save_and_load(subwords, tmp_path):
    subwords.save(tmp_path)
    assert Subwords.load(tmp_path) == subwords
    (tmp_path / "subwords.model").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"subwords\.model is not a sentencepiece model"):
        Subwords.load(tmp_path)
    (tmp_path / "units.txt").unlink()
    with pytest.raises(UserError, match="does not exist"):
        Subwords.load(tmp_path)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_more_pieces_than_there_are_is_all_of_them(kind, caplog):
    with caplog.at_level("WARNING", "asr_distill"):
        many = Subwords.train(TEXT, 5000, kind=kind)
    assert "the text has no 5000 pieces" in caplog.text
    most = int(caplog.text.partition("but ")[2].partition(":")[0])
    assert many.units == Subwords.train(TEXT, most, kind=kind).units


def test_refusals():
    with pytest.raises(UserError, match="empty"):
        Subwords.train([[]], 10)
    with pytest.raises(UserError, match="boundary mark"):
        Subwords.train([["▁A"]], 10)
    with pytest.raises(UserError, match=r"choose another --vocabulary-size"):
        Subwords.train(TEXT, 3)


def test_training_is_reproducible():
    assert Subwords.train(TEXT, 60) == Subwords.train(TEXT, 60)

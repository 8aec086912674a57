from __future__ import annotations

import codecs

import pytest

from asr_distill.base import UserError
from asr_distill.lang import Lexicon, Pronunciation


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_kaldi_lexicon_keeps_order_and_homographs(tmp_path):
    lexicon = Lexicon.read(write(tmp_path, "lexicon.txt", "B\tB IY\nA  AH\nA EY\n\n"))
    assert lexicon.entries == (
        Pronunciation("B", ("B", "IY")),
        Pronunciation("A", ("AH",)),
        Pronunciation("A", ("EY",)),
    )
    assert lexicon.words == ("B", "A")
    assert [p.phones for p in lexicon.pronunciations("A")] == [("AH",), ("EY",)]
    assert lexicon.phones == ("AH", "B", "EY", "IY")


def test_lexiconp_has_probabilities_and_comes_back_from_its_own_writing(tmp_path):
    lexicon = Lexicon.read(write(tmp_path, "lexiconp.txt", "A 0.25 AH\nA 1.0 EY\nB 1 B IY\n"))
    assert [entry.probability for entry in lexicon.entries] == [0.25, 1.0, 1.0]
    lexicon.write(tmp_path / "again.txt")
    assert Lexicon.read(tmp_path / "again.txt") == lexicon


def test_cmu_style_alternatives_are_the_same_word(tmp_path):
    lexicon = Lexicon.read(write(tmp_path, "an4.dic", ";;; comment\nA AH\nA(2) EY\nAND AE N D # note\n"))
    assert lexicon.words == ("A", "AND")
    assert len(lexicon.pronunciations("A")) == 2
    assert lexicon.pronunciations("AND")[0].phones == ("AE", "N", "D")


def test_a_word_that_only_looks_like_an_alternative_stays_itself_where_the_format_is_said(tmp_path):
    path = write(tmp_path, "lexicon.txt", "x(10) EH K S\n")
    assert Lexicon.read(path, format="plain").words == ("x(10)",)
    with pytest.raises(UserError, match=r"line 1: .*--lexicon-format plain"):
        Lexicon.read(path)


@pytest.mark.parametrize(
    ("name", "text", "line", "says"),
    [
        ("lexicon.txt", "A AH\nB\n", 2, "'B' has no phones"),
        ("lexicon.txt", "A AH\n<eps> B\n", 2, "reserved"),
        ("lexicon.txt", "A AH\n#0 B\n", 2, "reserved"),
        ("lexicon.txt", "A AH #1\n", 1, "'#1'"),
        ("lexiconp.txt", "A 0 AH\n", 1, "more than 0"),
        ("lexiconp.txt", "A 1.5 AH\n", 1, "at most 1"),
        ("lexiconp.txt", "A nan AH\n", 1, "expected a probability"),
        ("lexiconp.txt", "A 0.5 AH\nA 0.2 AH\n", 2, "twice"),
        ("a.dic", "B B IY\nA(2) EY\n", 2, "alternative of 'A'"),
        ("lexicon.txt", b"A AH\n\xff B\n", 2, "UTF-8"),
    ],
)
def test_a_broken_line_is_named(tmp_path, name, text, line, says):
    path = write(tmp_path, name, text)
    with pytest.raises(UserError, match=f"line {line}") as error:
        Lexicon.read(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_lexicon_is_refused(tmp_path, text):
    with pytest.raises(UserError, match="no pronunciation"):
        Lexicon.read(write(tmp_path, "lexicon.txt", text))
    with pytest.raises(UserError, match="does not exist"):
        Lexicon.read(tmp_path / "absent.txt")


def test_stripping_stress_folds_what_becomes_equal(tmp_path):
    path = write(tmp_path, "lexiconp.txt", "A 0.3 AH0\nA 0.8 AH1\nB 1 B IY1\n")
    assert Lexicon.read(path, keep_stress=False).entries == (
        Pronunciation("A", ("AH",), 0.8),
        Pronunciation("B", ("B", "IY")),
    )
    assert len(Lexicon.read(path)) == 3


def test_merging_prefers_the_first_source_for_a_whole_word():
    corpus = Lexicon((Pronunciation("A", ("AH",)),))
    other = Lexicon((Pronunciation("A", ("EY",)), Pronunciation("B", ("B",))))
    assert corpus.merge(other).entries == (Pronunciation("A", ("AH",)), Pronunciation("B", ("B",)))


def test_missing_words_are_counted_most_frequent_first():
    lexicon = Lexicon((Pronunciation("A", ("AH",)),))
    assert list(lexicon.missing("A X Y Y A".split()).items()) == [("Y", 2), ("X", 1)]
    with pytest.raises(UserError, match=r"train: 2 words \(3 tokens\).*Y \(2\), X \(1\)"):
        lexicon.require({"X": 1, "Y": 2, "A": 7}, "train")
    lexicon.require({"A": 7}, "train")
    with pytest.raises(UserError, match="'X' is not in the lexicon"):
        lexicon.pronunciations("X")


def test_unknown_word_has_a_phone_of_its_own():
    lexicon = Lexicon((Pronunciation("A", ("AH",)),)).with_unknown()
    assert lexicon.pronunciations("<UNK>") == (Pronunciation("<UNK>", ("SPN",)),)
    assert lexicon.with_unknown("<UNK>", "OTHER") is lexicon


def test_cmudict_keeps_the_spelling_it_is_asked_with():
    lexicon = Lexicon.from_cmudict(["Read", "READ", "xyzzyq"])
    assert {p.phones for p in lexicon.pronunciations("Read")} == {("R", "EH", "D"), ("R", "IY", "D")}
    assert lexicon.words == ("Read", "READ")
    assert ("R", "EH1", "D") in {p.phones for p in Lexicon.from_cmudict(["read"], keep_stress=True).pronunciations("read")}


def test_corpus_dictionaries(an4_dir, speechocean762_dir):
    an4 = Lexicon.read(an4_dir / "etc" / "an4.dic")
    phones = set((an4_dir / "etc" / "an4.phone").read_text().split())
    assert (len(an4), len(an4.words)) == (130, 101)
    assert set(an4.phones) == phones - {"SIL"}
    ocean = Lexicon.read(speechocean762_dir / "resource" / "lexicon.txt")
    assert len(ocean.words) == 2604
    assert len(ocean.without_stress().phones) == 39


def test_marks_and_accents_of_editors(tmp_path):
    text = "cafe\u0301 K A F E\ncaf\u00e9 K AH F E\n"
    lexicon = Lexicon.read(write(tmp_path, "lexicon.txt", codecs.BOM_UTF8 + text.encode()))
    assert lexicon.words == ("caf\u00e9",)
    assert [p.phones for p in lexicon.pronunciations("caf\u00e9")] == [("K", "A", "F", "E"), ("K", "AH", "F", "E")]

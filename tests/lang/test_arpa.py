from __future__ import annotations

import codecs
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.lang import Arpa, estimate_ngram

GOOD = """some words before, and even
  \\data\\ in a line, or
\\1-grams:

\\data\\
ngram 1=3
ngram 2=1

\\1-grams:
-0.5\ta\t-0.25
-99 <s> -0.3
-0.7 </s>

\\2-grams:
-0.1 <s> a

\\end\\
"""


def write(tmp_path, text):
    path = tmp_path / "lm.arpa"
    path.write_text(text, encoding="utf-8")
    return path


def test_reading_by_hand(tmp_path):
    arpa = Arpa.read(write(tmp_path, GOOD))
    assert arpa.order == 2
    assert set(arpa.words) == {"a", "</s>"}
    assert arpa.log10_probability("a", ["<s>"]) == -0.1
    assert arpa.log10_probability("</s>", ["a"]) == pytest.approx(-0.25 - 0.7)
    assert arpa.log10_probability("a", ["x", "a"]) == pytest.approx(-0.25 - 0.5)
    assert arpa.log10_probability("a", ["x"]) == -0.5
    assert arpa.sentence_log10_probability(["a"]) == pytest.approx(-0.1 - 0.95)
    with pytest.raises(KeyError):
        arpa.log10_probability("b")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\\data\\\nngram", "data\nngram", "no line"),
        ("ngram 1=3", "ngram 2=3", "line 6"),
        ("ngram 1=3\nngram 2=1\n", "", "ngram 1=COUNT"),
        ("ngram 2=1", "ngram 2=2", "found 1 2-grams, the header says 2"),
        ("-0.5\ta", "half\ta", "expected numbers"),
        ("-0.5\ta", "0.5\ta", "at most 0"),
        ("-0.5\ta", "nan\ta", "expected numbers"),
        ("-0.7 </s>", "-0.7 a", "comes twice"),
        ("-0.1 <s> a", "-0.1 <s> b", "'b' has no 1-gram"),
        ("-0.1 <s> a", "-0.1 a", "line 15"),
        ("\\2-grams:", "\\3-grams:", "2-grams"),
        ("\\end\\", "", "cut short"),
        ("\\end\\", "\\3-grams:", "expected '.{1,3}end"),
    ],
)
def test_what_is_broken_is_named(tmp_path, old, new, says):
    assert GOOD.count(old) == 1
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UserError, match=says) as error:
        Arpa.read(path)
    assert str(path) in str(error.value)
    with pytest.raises(UserError, match="does not exist"):
        Arpa.read(tmp_path / "absent.arpa")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "é", "c'd"]), max_size=5), min_size=1, max_size=8),
    st.integers(1, 3),
    st.sampled_from(["kneser_ney", "witten_bell"]),
)
def test_round_trip(tmp_path_factory, text, order, method):
    arpa = estimate_ngram(text, order, method)
    path = tmp_path_factory.mktemp("arpa") / "lm.arpa"
    arpa.write(path)
    again = Arpa.read(path)
    assert again.order == arpa.order
    for table, other in zip(arpa.ngrams, again.ngrams, strict=True):
        assert table.keys() == other.keys()
        for ngram, values in table.items():
            assert other[ngram] == pytest.approx(values, abs=1e-6)


def test_the_corpus_s_uniform_model(an4_dir):
    arpa = Arpa.read(an4_dir / "etc" / "an4.ug.lm")
    assert arpa.order == 2
    assert arpa.unknown_word == "<UNK>"
    assert len(arpa.words) == 106
    assert {arpa.log10_probability(word) for word in arpa.words} == {-2.0253}
    assert arpa.log10_probability("</s>", ["<s>"]) == 0.0
    assert arpa.truncated(1).log10_probability("</s>", ["<s>"]) == -2.0253


def test_leaving_out_and_renaming(tmp_path):
    arpa = Arpa.read(write(tmp_path, GOOD))
    assert arpa.without(["a"]).words == ("</s>",)
    assert arpa.without(["a"]).ngrams[1] == {}
    renamed = arpa.renamed("a", "z")
    assert renamed.log10_probability("z", ["<s>"]) == -0.1
    assert math.isclose(renamed.log10_probability("z"), -0.5)
    with pytest.raises(UserError, match="already"):
        arpa.renamed("a", "</s>")


def test_marks_and_accents_of_editors(tmp_path):
    path = tmp_path / "lm.arpa"
    text = GOOD[GOOD.index("\\data\\\nngram") :].replace("\ta\t", "\te\u0301\t").replace("<s> a", "<s> e\u0301")
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    assert Arpa.read(path).words == ("\u00e9", "</s>")

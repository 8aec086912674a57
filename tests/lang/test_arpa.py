from __future__ import annotations

import codecs
import gzip
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


def test_a_word_without_a_unigram_is_the_unknown_word_where_there_is_one(tmp_path):
    arpa = Arpa.read(write(tmp_path, GOOD))
    with pytest.raises(KeyError):
        arpa.sentence_log10_probability(["q"])
    with_unknown = Arpa(({**arpa.ngrams[0], ("<unk>",): (-2.0, 0.0)}, arpa.ngrams[1]))
    assert with_unknown.sentence_log10_probability(["q"]) == with_unknown.sentence_log10_probability(["<unk>"])


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


UNIGRAM = "\\data\\\nngram 1=3\n\n\\1-grams:\n{0}\ta\n-0.4\t</s>\n-99\t<s>\n\n\\end\\\n"


@pytest.mark.parametrize(
    ("value", "expected"), [("-inf", -99), ("-Infinity", -99), ("-1e999", -99), ("-1e30", -99), ("-99", -99), ("-5e-324", 0)]
)
def test_zero_as_tools_write_it(tmp_path, value, expected):
    assert Arpa.read(write(tmp_path, UNIGRAM.format(value))).log10_probability("a") == pytest.approx(expected)


@pytest.mark.parametrize("value", ["1e999", "inf", "nan", "1_0", "0x1", "\u0661", "--1", "-1e", ""])
def test_what_is_no_log_probability(tmp_path, value):
    with pytest.raises(UserError, match="line 5"):
        Arpa.read(write(tmp_path, UNIGRAM.format(value)))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("a\u00a0b", r"line 5.*U\+00A0"),
        ("\u3000", r"line 5.*U\+3000"),
        ("<eps>", "line 5.*reserved"),
        ("#0", "line 5.*reserved"),
    ],
)
def test_words_that_cannot_be(tmp_path, word, says):
    with pytest.raises(UserError, match=says):
        Arpa.read(write(tmp_path, UNIGRAM.format("-1").replace("\ta\n", f"\t{word}\n")))


def test_other_bytes_and_line_ends(tmp_path):
    text = UNIGRAM.format("-1").replace("\ta\n", "\tcaf\u00e9\n")
    path = tmp_path / "lm.arpa.gz"
    for data in (gzip.compress(text.encode()), text.encode(), codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode()):
        path.write_bytes(data)
        assert "caf\u00e9" in Arpa.read(path)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"line 5.*iconv -f latin1"):
        Arpa.read(path)
    path.write_bytes(gzip.compress(text.encode())[:-12])
    with pytest.raises(UserError, match="cannot be read"):
        Arpa.read(path)


def test_a_model_without_ends_or_words_is_refused(tmp_path):
    with pytest.raises(UserError, match="no 1-gram </s>"):
        Arpa.read(write(tmp_path, UNIGRAM.format("-1").replace("</s>", "b")))
    with pytest.raises(UserError, match=r"line 4: .*no word"):
        Arpa.read(write(tmp_path, "\\data\\\nngram 1=0\n\n\\1-grams:\n\n\\end\\\n"))


def test_histories_that_are_not_listed_are_added_with_what_backing_off_gives(tmp_path):
    text = (
        "\\data\\\nngram 1=4\nngram 2=2\nngram 3=1\n\n\\1-grams:\n-0.5\ta\t-0.25\n-0.4\tb\t-0.125\n-0.3\tc\n-0.9\t</s>\n\n"
        "\\2-grams:\n-0.1\tb a\t-0.5\n-0.2\tc <s>\n\n\\3-grams:\n-0.05\ta b c\n\n\\end\\\n"
    ).replace("ngram 1=4", "ngram 1=5").replace("-0.9\t</s>", "-0.9\t</s>\n-99\t<s>")  # fmt: skip
    arpa = Arpa.read(write(tmp_path, text))  # "c <s>" is in no sentence
    assert ("c", "<s>") not in arpa.ngrams[1]
    complete = arpa.completed()
    assert complete.ngrams[1]["a", "b"] == (pytest.approx(-0.25 - 0.4), 0.0)
    assert ("<s>",) in arpa.truncated(1).completed().ngrams[0]
    for sentence in (["a", "b", "c"], ["b", "a", "b", "c"], ["a", "b"], ["a", "b", "a"]):
        assert complete.sentence_log10_probability(sentence) == pytest.approx(arpa.sentence_log10_probability(sentence))

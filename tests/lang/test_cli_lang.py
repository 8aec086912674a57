"""The five actions of ``asr-distill lang``, from dictionaries and text to G."""

from __future__ import annotations

import json

import pytest

from asr_distill.cli.main import main
from asr_distill.lang import Arpa, Lang


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "lexicon.txt").write_text("A AH0\nA EY1\nBEE B IY1\nSEA S IY1\nSEE S IY1\n")
    (tmp_path / "train.txt").write_text("A BEE\nSEE A BEE\nA SEA\nSEE\n")
    (tmp_path / "dev.txt").write_text("A BEE\nSEE DOG\n")
    return tmp_path


def run(capsys, *arguments):
    status = main(["lang", *map(str, arguments), "--json", "--quiet"])
    captured = capsys.readouterr()
    return status, json.loads(captured.out) if status == 0 else captured.err


def build(capsys, corpus, *more):
    return run(capsys, "build", "--lexicon", corpus / "lexicon.txt", "--output", corpus / "lang", *more)


def test_from_lexicon_to_g(capsys, corpus):
    status, result = build(capsys, corpus, "--text", corpus / "train.txt")
    assert status == 0
    assert (result["words"], result["pronunciations"], result["phones"], result["missing"]) == (4, 5, 6, {})
    status, result = run(
        capsys, "ngram", "--lang", corpus / "lang", "--text", corpus / "train.txt", "--dev-text", corpus / "dev.txt",
        "--output", corpus / "lm.arpa",
    )  # fmt: skip
    assert status == 0
    assert (result["vocabulary"], result["sentences"], result["words"]) == (4, 4, 8)
    assert (result["dev"]["oov"], result["dev"]["oov_words"]) == (1, {"DOG": 1})
    assert result["dev"]["perplexity"] > 1
    status, again = run(capsys, "ppl", "--arpa", corpus / "lm.arpa", "--text", corpus / "dev.txt")
    assert again["perplexity"] == pytest.approx(result["dev"]["perplexity"], rel=1e-5)
    status, result = run(
        capsys, "g", "--lang", corpus / "lang", "--arpa", corpus / "lm.arpa", "--output", corpus / "lang" / "G_x.fst"
    )
    assert status == 0
    assert (corpus / "lang" / "G_x.fst").is_file()
    assert result["lang_hash"] == Lang.load(corpus / "lang").hash
    assert json.loads((corpus / "lang" / "G_x.json").read_text()) == result


def test_vocabulary_of_the_training_text(capsys, corpus):
    (corpus / "train.txt").write_text("A BEE\n")
    assert build(capsys, corpus, "--text", corpus / "train.txt", "--vocabulary", "train")[1]["words"] == 2
    assert build(capsys, corpus, "--text", corpus / "train.txt")[1]["words"] == 4
    for vocabulary, words in (("train", {"A", "BEE", "</s>"}), ("lexicon", {"A", "BEE", "SEA", "SEE", "</s>"})):
        run(
            capsys, "ngram", "--lang", corpus / "lang", "--text", corpus / "train.txt", "--vocabulary", vocabulary,
            "--order", 1, "--output", corpus / "lm.arpa",
        )  # fmt: skip
        assert set(Arpa.read(corpus / "lm.arpa").words) == words


def test_missing_words_are_an_error_or_unknown_or_looked_up(capsys, corpus):
    (corpus / "train.txt").write_text("A DOG ZZZYX DOG\n")
    status, message = build(capsys, corpus, "--text", corpus / "train.txt", "--missing-words", corpus / "missing")
    assert status == 1
    assert "DOG (2), ZZZYX (1)" in message
    assert (corpus / "missing").read_text() == "DOG 2\nZZZYX 1\n"
    assert not (corpus / "lang").exists()
    status, message = build(capsys, corpus, "--text", corpus / "train.txt", "--cmudict")
    assert "ZZZYX (1)" in message
    assert "DOG" not in message
    status, result = build(capsys, corpus, "--text", corpus / "train.txt", "--cmudict", "--unknown-word", "<UNK>")
    assert status == 0
    assert result["missing"] == {"ZZZYX": 1}
    lang = Lang.load(corpus / "lang")
    assert lang.lexicon.pronunciations("<UNK>")[0].phones == ("SPN",)
    assert lang.silence_phones == ("SIL", "SPN")
    ngram = ["ngram", "--lang", corpus / "lang", "--text", corpus / "train.txt", "--output", corpus / "lm.arpa"]
    assert "ZZZYX (1)" in run(capsys, *ngram)[1]
    assert run(capsys, *ngram, "--unknown-word", "<UNK>")[0] == 0
    assert "<UNK>" in Arpa.read(corpus / "lm.arpa")


def test_stress(capsys, corpus):
    assert build(capsys, corpus)[1]["phones"] == 6
    assert build(capsys, corpus, "--stress", "keep")[1]["phones"] == 6
    assert "AH0" in Lang.load(corpus / "lang").real_phones


def phones_and_log(corpus, caplog, *more):
    caplog.clear()
    assert main(["lang", "build", "--lexicon", str(corpus / "lexicon.txt"), "--output", str(corpus / "lang"), *more]) == 0
    return Lang.load(corpus / "lang").real_phones[1:], caplog.text


def test_stress_is_removed_and_tones_stay(corpus, caplog):
    (corpus / "lexicon.txt").write_text("A AH0 K\nE AH1\nI AH2\n")
    phones, log = phones_and_log(corpus, caplog)
    assert phones == ("AH", "K")
    assert "stress removed: 4 phones -> 2; --stress keep keeps it" in log
    (corpus / "lexicon.txt").write_text("MA M AA1\nMAA M AA2\nMAAA M AA5\n")
    phones, log = phones_and_log(corpus, caplog)
    assert phones == ("AA1", "AA2", "AA5", "M")
    assert "tones: AA5; --stress strip removes 0, 1 and 2" in log
    assert phones_and_log(corpus, caplog, "--stress", "strip")[0] == ("AA", "AA5", "M")
    (corpus / "train.txt").write_text("MAA DOG\n")  # what CMUdict adds has stress, whatever the lexicon's digits are
    more = ("--cmudict", "--text", str(corpus / "train.txt"))
    assert phones_and_log(corpus, caplog, *more)[0] == ("AA1", "AA2", "AA5", "AO", "D", "G", "M")
    (corpus / "lexicon.txt").write_text("A a1\nE a3 K\n")
    assert phones_and_log(corpus, caplog) == (("K", "a1", "a3"), "")


def test_subwords_to_g(capsys, corpus):
    status, result = run(capsys, "subwords", "--text", corpus / "train.txt", "--vocabulary-size", 9, "--output", corpus / "bpe")
    assert status == 0
    assert result["characters"] == 4
    arguments = [
        "ngram",
        "--lang",
        corpus / "bpe",
        "--text",
        corpus / "train.txt",
        "--order",
        3,
        "--output",
        corpus / "bpe.arpa",
    ]
    status, result = run(capsys, *arguments, "--dev-text", corpus / "dev.txt")
    assert status == 0
    assert result["dev"]["oov_words"] == {"<unk>": 1}
    assert result["dev"]["word_perplexity"] > 1
    assert run(capsys, "g", "--lang", corpus / "bpe", "--arpa", corpus / "bpe.arpa")[1]["not_in_model"] == []
    assert (corpus / "bpe" / "G.fst").is_file()


def test_mistakes_are_one_line(capsys, corpus):
    (corpus / "test.txt").touch()
    for arguments, says in (
        (["build", "--output", corpus / "x"], "no lexicon"),
        (["build", "--cmudict", "--output", corpus / "x"], "no lexicon"),
        (["build", "--lexicon", corpus / "lexicon.txt", "--vocabulary", "train", "--output", corpus / "x"], "--cuts or --text"),
        (["ngram", "--output", corpus / "x"], "no words"),
        (["ngram", "--text", corpus / "test.txt", "--output", corpus / "x"], "test data"),
        (["g", "--lang", corpus, "--arpa", corpus / "test.txt"], "not a lang directory"),
    ):
        status, message = run(capsys, *arguments)
        assert status == 1
        assert says in message
        assert message.count("\n") == 1
    assert not (corpus / "x").exists()


def test_characters_that_become_phones_unasked_are_said(capsys, corpus, caplog):
    (corpus / "train.txt").write_text("Go home, now\ngo 2 home\n")
    run(capsys, "subwords", "--text", corpus / "train.txt", "--vocabulary-size", "30", "--output", corpus / "bpe")
    assert "punctuation and digits become phones: , 2" in caplog.text
    assert "1 letters come in upper and lower case, each a phone of its own: Gg" in caplog.text

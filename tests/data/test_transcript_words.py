"""Pronunciations for the transcripts of a corpus: where they come from, what is recognised, what cannot be aligned."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from asr_distill.base import UserError
from asr_distill.data.corpora import Utterance
from asr_distill.data.transcript_words import WordOptions, pronounce_words, spell_words
from asr_distill.lang import estimate_ngram


def parts(train: str, dev: str = "", test: str = "") -> dict[str, list[Utterance]]:
    texts = {"train": train, "dev": dev or train, "test": test or train}
    return {part: [Utterance(part, Path("a.wav"), part, text)] for part, text in texts.items()}


def cut(text: str, seconds: float) -> Any:
    sources = [SimpleNamespace(source="a.wav")]
    return SimpleNamespace(
        duration=seconds, supervisions=[SimpleNamespace(text=text)], recording=SimpleNamespace(sources=sources)
    )


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    path = tmp_path / "lexicon.txt"
    path.write_text("ONE W AH1 N\nTWO T UW1\nTWO T AX Z\nSIX S IH1 K S\nTEN T EH1 N\n", encoding="utf-8")
    return path


def test_words_of_all_parts_are_said_and_those_of_train_recognised(lexicon: Path) -> None:
    made = pronounce_words(parts("TWO ONE TWO", test="SIX"), WordOptions(lexicon, vocabulary="train"))
    assert made.texts["lexicon.txt"] == "ONE 1 W AH1 N\nTWO 1 T UW1\nTWO 1 T AX Z\nSIX 1 S IH1 K S\n"
    assert made.texts["vocabulary.txt"] == "ONE\nTWO\n"
    whole = pronounce_words(parts("TWO"), WordOptions(lexicon))
    assert str(whole.texts["lexicon.txt"]).endswith("TEN 1 T EH1 N\n")
    assert whole.texts["vocabulary.txt"] == "ONE\nSIX\nTEN\nTWO\n"


def test_a_language_model_of_ones_own_says_what_is_recognised(lexicon: Path, tmp_path: Path) -> None:
    arpa = tmp_path / "own.arpa"
    estimate_ngram([["TEN", "ONE", "NINETY"]], 2).write(arpa)
    made = pronounce_words(parts("TWO", test="SIX"), WordOptions(lexicon, vocabulary="train", arpa=arpa))
    assert made.texts["vocabulary.txt"] == "ONE\nTEN\n"  # NINETY has no pronunciation, TWO and SIX are not in the model
    assert [line.split()[0] for line in str(made.texts["lexicon.txt"]).splitlines()] == ["ONE", "TWO", "TWO", "SIX", "TEN"]
    assert made.texts["lm.arpa"] == arpa


def test_cmudict_fills_in_where_the_phones_are_its_own(lexicon: Path) -> None:
    lexicon.write_text("ONE W AH1 N\nZYX Z IH1 K S\nSIL SIL\n")
    made = pronounce_words(parts("ONE seven ZYX"), WordOptions(lexicon, cmudict=True, vocabulary="train"))
    assert made.texts["lexicon.txt"] == "ONE 1 W AH1 N\nZYX 1 Z IH1 K S\nseven 1 S EH1 V AH0 N\n"
    lexicon.write_text("EINS aI n s\n")
    with pytest.raises(UserError, match=r"phones that are not CMUdict's \(aI n s\).*leave --cmudict out"):
        pronounce_words(parts("EINS seven"), WordOptions(lexicon, cmudict=True))


def test_words_without_a_pronunciation_are_listed_with_what_to_do(lexicon: Path) -> None:
    with pytest.raises(UserError) as refused:
        pronounce_words(parts("ONE uno uno", dev="TWO", test="dos ONE"), WordOptions(lexicon))
    message = str(refused.value)
    assert (
        f"2 words of the transcripts, 3 times in train and test, have no pronunciation in {lexicon}: uno (2), dos (1)"
        in message
    )
    assert "\n" not in message
    for following in ("add them to the lexicon", "--cmudict yes", "--unknown-word '<UNK>'", "--lang-kind subwords"):
        assert following in message
    with pytest.raises(
        UserError, match=r"in CMUdict: zzyx \(3\)\. Next: write them into a file .*--lexicon FILE --cmudict yes"
    ):
        pronounce_words(parts("zzyx"), WordOptions(cmudict=True))
    with pytest.raises(UserError, match="of them are there with --case upper of the preparation"):
        pronounce_words(parts("one"), WordOptions(lexicon))


def test_the_unknown_word_stands_for_them_and_is_not_recognised(lexicon: Path) -> None:
    made = pronounce_words(parts("ONE uno", test="dos ONE"), WordOptions(lexicon, vocabulary="train", unknown_word="<UNK>"))
    assert [made.parts[part][0].text for part in ("train", "test")] == ["ONE <UNK>", "<UNK> ONE"]
    assert made.parts["test"][0].custom == {"transcript": "dos ONE"}
    assert made.texts["lexicon.txt"] == "ONE 1 W AH1 N\n<UNK> 1 SPN\n"
    assert made.texts["vocabulary.txt"] == "ONE\n"
    whole = pronounce_words(parts("ONE uno"), WordOptions(lexicon, unknown_word="<UNK>"))
    assert whole.texts["vocabulary.txt"] == "ONE\nSIX\nTEN\nTWO\n"
    covered = pronounce_words(parts("ONE"), WordOptions(lexicon, vocabulary="train", unknown_word="<UNK>"))
    assert covered.texts["lexicon.txt"] == "ONE 1 W AH1 N\n"  # nothing stands for nothing
    assert covered.parts["train"][0].custom == {}


def test_too_short_for_the_shortest_pronunciation(lexicon: Path) -> None:
    check = pronounce_words(parts("SIX ONE TWO"), WordOptions(lexicon)).check
    check(cut("SIX TWO", 0.18))  # 4 + 2 phones of 3 frames
    with pytest.raises(UserError, match=r"a\.wav: 0\.170 s are too short for 'SIX TWO': its 6 phones take 18 frames of 10 ms"):
        check(cut("SIX TWO", 0.17))


def test_without_a_dictionary_characters_are_what_counts() -> None:
    made = spell_words(parts("ÄB A", test="BA C"))
    assert made.texts == {"vocabulary.txt": "A\nBA\nC\nÄB\n"}
    made.check(cut("A\u0308B", 0.06))  # a letter and its accent are one character
    with pytest.raises(UserError, match="its 2 characters take 6 frames"):
        made.check(cut("AB", 0.05))
    with pytest.raises(UserError, match="its transcript has 'C', which no transcript of the training part has"):
        made.check(cut("BA C", 1.0))


def test_punctuation_that_keeps_a_word_from_its_pronunciation_is_named(lexicon: Path) -> None:
    with pytest.raises(UserError, match="of them are there with --strip-punctuation of the preparation"):
        pronounce_words(parts("ONE, TWO"), WordOptions(lexicon))


def test_a_dict_folder_goes_along(tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_text("!SIL sil\n<UNK> spn\nONE W AH1 N\n")
    (tmp_path / "silence_phones.txt").write_text("sil\nspn\n")
    (tmp_path / "optional_silence.txt").write_text("sil\n")
    made = pronounce_words(parts("ONE OTHER"), WordOptions(tmp_path / "lexicon.txt", unknown_word="<oov>"))
    assert made.texts["lexicon.txt"] == "ONE 1 W AH1 N\n<oov> 1 spn\n"
    assert made.texts["vocabulary.txt"] == "ONE\n"
    assert made.texts["silence_phones.txt"] == "sil\nspn\n"
    assert made.texts["optional_silence.txt"] == "sil\n"
    assert "silence_phones.txt" not in pronounce_words(parts("ONE"), WordOptions(cmudict=True)).texts

from __future__ import annotations

import codecs

import pytest
from lhotse import CutSet, MonoCut, SupervisionSegment

from asr_distill.base import UserError
from asr_distill.lang.transcripts import read_sentences, refuse_shared_cuts, refuse_test_data


def write_cuts(path, texts):
    cuts = []
    for name, text in texts.items():
        supervisions = [] if text is ... else [SupervisionSegment(name, name, start=0, duration=1, text=text)]
        cuts.append(MonoCut(name, start=0, duration=1, channel=0, supervisions=supervisions))
    CutSet.from_cuts(cuts).to_file(path)
    return path


def test_text_and_cuts_in_order(tmp_path):
    text = tmp_path / "text"
    text.write_text("u1 <s> A  B </s>\n\nu2 C\n")
    cuts = write_cuts(tmp_path / "cuts.jsonl.gz", {"x": "D E", "y": ""})
    assert read_sentences([text], ids=True) == [["A", "B"], ["C"]]
    assert read_sentences([text])[1] == ["u2", "C"]
    assert read_sentences([text], [cuts], ids=True)[2:] == [["D", "E"], []]


def test_bad_input_is_named(tmp_path):
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "broken.jsonl").write_text("{")
    silent = write_cuts(tmp_path / "silent.jsonl.gz", {"x": "A", "mute": ...})
    for text, cuts, says in (
        ([tmp_path / "latin"], [], "not UTF-8"),
        ([tmp_path / "empty"], [], "no words"),
        ([tmp_path / "absent"], [], "does not exist"),
        ([], [tmp_path / "absent.jsonl"], "does not exist"),
        ([], [tmp_path / "broken.jsonl"], "line 1: not valid JSON"),
        ([], [silent], "'mute' has no transcript"),
    ):
        with pytest.raises(UserError, match=says):
            read_sentences(text, cuts)


@pytest.mark.parametrize(
    "name", ["cuts_test.jsonl.gz", "test.txt", "an4_test.transcription", "text.test", "test-clean.txt", "data/test/text"]
)
def test_test_data_may_not_enter_a_model(name, tmp_path):
    with pytest.raises(UserError, match="named as test data"):
        refuse_test_data([tmp_path / name])


def test_names_that_only_contain_the_letters_pass():
    refuse_test_data(["cuts_train.jsonl.gz", "latest.txt", "contest/text", "testimony.txt"])


def test_shared_cuts_are_refused(tmp_path):
    train = write_cuts(tmp_path / "a.jsonl.gz", {"x": "A", "y": "B"})
    dev = write_cuts(tmp_path / "b.jsonl.gz", {"y": "B", "z": "C"})
    with pytest.raises(UserError, match="1 cuts are also in the training text, the first 'y'"):
        refuse_shared_cuts([train], [dev])
    refuse_shared_cuts([train], [write_cuts(tmp_path / "c.jsonl.gz", {"z": "C"})])


def test_marks_and_accents_of_editors(tmp_path):
    (tmp_path / "text").write_bytes(codecs.BOM_UTF8 + "cafe\u0301 au lait\n".encode())
    cuts = write_cuts(tmp_path / "cuts.jsonl.gz", {"x": "cafe\u0301"})
    assert read_sentences([tmp_path / "text"], [cuts]) == [["caf\u00e9", "au", "lait"], ["caf\u00e9"]]

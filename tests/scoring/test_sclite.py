"""What sclite's users bring: alternatives, optional words, stm, ctm; and that we read whatever we write."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.base import UserError, escape_token, normalise_text, unescape_token
from asr_distill.cli.main import main
from asr_distill.decoding.outputs import write_decode_directory
from asr_distill.scoring import count_errors, read_references, read_transcripts
from asr_distill.scoring.markup import Choice, best_reading, parse_markup
from asr_distill.scoring.timed import read_stm
from asr_distill.scoring.transcript_formats import transcript_format

anything = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
tokens = st.one_of(anything, st.text("a%2{}()/@; \t\u3000<ALT>", min_size=1, max_size=8)).map(normalise_text)


def score(capsys: pytest.CaptureFixture[str], *arguments: Any) -> Any:
    status = main(["score", *map(str, arguments), "--json", "--quiet", "--samples", "10", "--max-mismatch", "1"])
    captured = capsys.readouterr()
    return json.loads(captured.out) if status == 0 else captured.err


def figures(found: Any) -> tuple[int, int, int, int]:
    return found["words"], found["sub"], found["del"], found["ins"]


@pytest.mark.parametrize(
    "reference", ["i have { got to / gotta } go", "i have {got to/gotta} go", "i have {got to /gotta } go"]
)
@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        ("i have gotta go", (4, 0, 0, 0)),
        ("i have got to go", (5, 0, 0, 0)),
        ("i have go", (4, 0, 1, 0)),
        ("i have got go", (5, 0, 1, 0)),  # of one error each, the one with more words right
    ],
)
@pytest.mark.parametrize("form", ["trn", "text"])
def test_the_best_alternative_is_scored(capsys, tmp_path, reference, hypothesis, expected, form):
    line = "{0} (u1)\n" if form == "trn" else "u1 {0}\n"
    (tmp_path / "ref").write_text(line.format(reference))
    (tmp_path / "hyp").write_text(line.format(hypothesis))
    found = score(capsys, "--ref", tmp_path / "ref", "--hyp", tmp_path / "hyp")
    assert figures(found) == expected


def test_optional_words_and_nothing(capsys, tmp_path):
    (tmp_path / "ref.trn").write_text("{ uh / @ } go (uh) on (u1)\n(you know) stop (u2)\n{ a / { b / c d } e } (u3)\n")
    (tmp_path / "hyp.trn").write_text("go on (u1)\nyou know stop (u2)\nc d e (u3)\n")
    assert figures(score(capsys, "--ref", tmp_path / "ref.trn", "--hyp", tmp_path / "hyp.trn")) == (8, 0, 0, 0)


@given(st.data())
def test_the_best_reading_is_the_best_of_all(data):
    words = st.sampled_from("abc")
    references = st.recursive(
        st.lists(words, max_size=2).map(tuple),
        lambda inner: st.lists(
            st.one_of(words, st.lists(inner, min_size=1, max_size=2).map(lambda a: Choice(tuple(a)))), max_size=2
        ).map(tuple),
        max_leaves=5,
    )
    reference, hypothesis = data.draw(references), data.draw(st.lists(words, max_size=5))

    def readings(items):
        found = [()]
        for item in items:
            more = [(item,)] if isinstance(item, str) else [r for a in item.alternatives for r in readings(a)]
            found = [left + right for left in found for right in more]
        return found

    best = best_reading(reference, hypothesis)
    assert best in readings(reference)
    assert count_errors(best, hypothesis).errors == min(count_errors(r, hypothesis).errors for r in readings(reference))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{ a / b (u1)", "without its closing"),
        ("a } (u1)", "without its opening"),
        ("a (b c (u1)", "does not close|balanced"),
        ("a ) b (u1)", "opening"),
        ("x/y{a/b} (u1)", "blank"),
        ("{" * 30 + " a " + "}" * 30 + " (u1)", "deep"),
        ("a\u00a0b (u1)", r"U\+00A0"),
    ],
)
def test_marks_that_do_not_close_are_refused_with_the_line(tmp_path, line, says):
    (tmp_path / "ref.trn").write_text(f"good (u0)\n{line}\n")
    with pytest.raises(UserError, match=f"line 2.*({says})"):
        read_references(tmp_path / "ref.trn")


STM = """;; CATEGORY "0" "" ""
f1 A ann 0.00 2.00 <o,f0,female> i {got to / gotta} go
f1 A inter_segment_gap 2.00 3.00 <o,,>
f1 A bob 3.00 5.00 <o,f0,male> IGNORE_TIME_SEGMENT_IN_SCORING
f1 A ann 5.00 7.00 <o,f0,female> (uh) stop
f2 1 cid 0.0 1.0 yes
"""
CTM = """;; comment
f1 A 5.5 0.3 stop 0.9
f1 A 0.1 0.2 i 1.0
f1 A 0.4 0.2 gotta NA
f1 A 0.9 0.3 go -0.2
f1 A 2.2 0.2 cough 0.1
f1 A 3.1 0.5 ignored 0.5
f2 1 0.2 0.2 yes 1
f2 1 1.9 0.2 no 1
"""


def test_stm_references_and_ctm_with_confidences(capsys, tmp_path):
    (tmp_path / "ref.stm").write_text(STM)
    (tmp_path / "hyp.ctm").write_text(CTM)
    found = score(capsys, "--ref", tmp_path / "ref.stm", "--hyp", tmp_path / "hyp.ctm")
    assert figures(found) == (5, 0, 0, 1)  # "no" after the end of f2; what is said in gaps and ignored segments is left out
    assert set(found["per_speaker"]) == {"ann", "cid"}
    assert found["utterances"] == 3
    for name in ("ref.stm", "hyp.ctm"):  # found out by their lines
        (tmp_path / name).rename(tmp_path / name[:3])
    assert transcript_format(tmp_path / "ref") == "stm"
    assert transcript_format(tmp_path / "hyp") == "ctm"
    assert score(capsys, "--ref", tmp_path / "ref", "--hyp", tmp_path / "hyp") == found


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("hyp.ctm", "f1 A 0.1 0.2 go\nf1 A * * <ALT_BEGIN>\n", "line 2.*alternatives"),
        ("hyp.ctm", "f1 A 0.1 0.2\n", "line 1.*expected"),
        ("hyp.ctm", "f1 A soon 0.2 go\n", "line 1.*seconds"),
        ("hyp.ctm", "f1 A 0.1 -0.2 go\n", "line 1.*seconds"),
        ("hyp.ctm", "f1 A nan 0.2 go\n", "line 1.*seconds"),
        ("hyp.ctm", "", "holds no word"),
        ("hyp.ctm", "f1 C 0.1 0.2 go\n", "channel 'C'"),
        ("ref.stm", "f1 A ann 2.0 1.0 x\n", "line 1.*ends"),
        ("ref.stm", "f1 A ann 2.0\n", "line 1.*expected"),
        ("ref.stm", "f1 A ann 0.0 1.0 a\nf1 A ann 0.0 1.0 b\n", "line 2.*twice"),
        ("ref.stm", "f1 A inter_segment_gap 0.0 1.0\n", "no segment"),
    ],
)
def test_times_that_cannot_be_are_refused_with_the_line(capsys, tmp_path, name, text, says):
    import re

    (tmp_path / "ref.stm").write_text("f1 A ann 0.0 1.0 go\n")
    (tmp_path / "hyp.ctm").write_text("f1 A 0.1 0.2 go\n")
    (tmp_path / name).write_text(text)
    assert re.search(says, score(capsys, "--ref", tmp_path / "ref.stm", "--hyp", tmp_path / "hyp.ctm"))


def test_a_word_in_angles_is_no_label(tmp_path):
    (tmp_path / "a.stm").write_text("f A s 0 1 <unk> b\nf A s 1 2 c\nf A s 2 3 <o,f0,male> <unk> d\n")
    assert [segment.reference for segment in read_stm(tmp_path / "a.stm")] == [("<unk>", "b"), ("c",), ("<unk>", "d")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("utt1 go home (utt1)\nutt2 stop (utt2)\n", "begins in an id"),
        ("utt1 go home (breath)\nutt2 stop (noise)\n", "begins in an id"),
        ("spk1-utt1 go (utt1)\nspk1-utt2 stop (utt2)\n", "begins in an id"),
        ("spk1_utt1 go (spk1-utt1)\nspk1_utt2 stop (spk1-utt2)\n", "begins in an id"),
        ("u1 1 2 3 4\nu2 1 3 4 5\n", "may be ctm|may be stm"),
        ("f1 A ann 0.00 2.00 i go\nf1 A ann 2.00 3.00 on\nf1 A ann on\n", "line 3"),
        ("f1 A 0.00 2.00 i\nf1 A 2.00 3.00 on\nf1 A on\n", "line 3"),
    ],
)
def test_what_could_be_of_two_forms_is_refused(tmp_path, text, says):
    (tmp_path / "t").write_text(text)
    with pytest.raises(UserError, match=says):
        transcript_format(tmp_path / "t")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ref.csv", "id,text\nu1,a b\nu2,c d\n"),
        ("ref.srt", "1\n00:00:01,000 --> 00:00:02,000\nhello\n"),
        ("ref.json", '[{"id":"u1","text":"a"}]\n'),
        ("ref.mlf", '#!MLF!#\n"*/u1.lab"\na\n.\n'),
        ("ref.rttm", "SPEAKER f1 1 0.0 1.5 <NA> <NA> spk <NA> <NA>\n"),
    ],
)
def test_a_form_that_is_not_read_is_no_text(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"{name}: .*not read here"):
        transcript_format(tmp_path / name)


def test_a_declared_form_is_believed(tmp_path):
    (tmp_path / "t").write_text("u1 1 2 3 4\nu2 1 3 4 5\n")
    assert read_references(tmp_path / "t", "text")["u2"] == ("1", "3", "4", "5")
    (tmp_path / "t").write_text("utt1 go (utt1)\n")
    assert read_references(tmp_path / "t", "trn") == {"utt1": ("utt1", "go")}


@given(tokens)
def test_an_escaped_token_comes_back_and_is_one_field(token):
    written = escape_token(token)
    assert written.split() == [written]
    assert unescape_token(written) == token
    assert parse_markup([written], "here") == (token,)
    plain = "abc-123_x.y"
    assert escape_token(plain) == plain


def utterance(key: str, words: tuple[str, ...]) -> Any:
    result = SimpleNamespace(words=words, word_frames=tuple(range(len(words))), nbest=None, reached_final=True)
    row = {"id": key, "reference": " ".join(words), "hypothesis": list(words)}
    return SimpleNamespace(id=key, reference=words, result=result, num_frames=len(words), row=lambda split: row)


@given(st.dictionaries(tokens, st.lists(tokens, max_size=4).map(tuple), min_size=1, max_size=5))
def test_whatever_we_write_we_read(tmp_path_factory, transcripts):
    folder = tmp_path_factory.mktemp("decode") / "out"
    write_decode_directory(folder, [utterance(key, words) for key, words in transcripts.items()], "test", {})
    for name in ("hyp.trn", "ref.trn"):
        assert read_transcripts(folder / name) == transcripts
        assert read_references(folder / name, "trn") == transcripts
    spoken = {key: words for key, words in transcripts.items() if words}
    if spoken:
        assert read_transcripts(folder / "hyp.ctm") == spoken
        assert "  " not in Path(folder / "hyp.ctm").read_text(encoding="utf-8")


def test_ids_with_blanks_and_parentheses_through_the_scorer(capsys, tmp_path):
    rows = [
        utterance("my file (1)", ("go", "(uh)", "home")),
        utterance(";;a\u00a0b", ("stop",)),
        utterance("caf\u00e9", ("a", "{b}")),
    ]
    write_decode_directory(tmp_path / "out", rows, "test", {})
    out = tmp_path / "out"
    for reference in (out / "ref.trn", out / "hyp.ctm"):
        for hypothesis in (out / "hyp.trn", out / "hyp.ctm"):
            assert figures(score(capsys, "--ref", reference, "--hyp", hypothesis)) == (6, 0, 0, 0)
        assert figures(score(capsys, out, "--ref", reference)) == (6, 0, 0, 0)

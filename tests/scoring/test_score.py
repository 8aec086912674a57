"""Files in, score.json out: formats, mistakes in them, figures worked out by hand, and the command lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.cli.main import main
from asr_distill.scoring import (
    Normalisation,
    pair_transcripts,
    read_hypotheses,
    read_references,
    read_training_texts,
    read_transcripts,
    read_vocabulary,
    score_utterances,
)
from asr_distill.scoring.markup import Choice
from asr_distill.scoring.transcript_formats import split_trn

ROWS: list[dict[str, Any]] = [
    {"id": "a1", "speaker": "ann", "reference": "go to boston", "hypothesis": "go to boston", "frames": 100,
     "correct_frames": 60, "frames_speech": 80, "correct_frames_speech": 44, "k2_path_correct_frames": 70},
    {"id": "a2", "speaker": "ann", "reference": "stop", "hypothesis": "stop it", "frames": 50,
     "correct_frames": 30, "frames_speech": 30, "correct_frames_speech": 11, "k2_path_correct_frames": 35},
    {"id": "b1", "speaker": "bob", "reference": "go on go", "hypothesis": "go go", "frames": 50,
     "correct_frames": 30, "frames_speech": 40, "correct_frames_speech": 25, "k2_path_correct_frames": 25,
     "reached_final": False},
    {"id": "b2", "speaker": "bob", "reference": "yes", "hypothesis": None, "frames": None},
]  # fmt: skip


def decode_directory(path: Path, rows: list[dict[str, Any]] = ROWS, **decode: Any) -> Path:
    """A decode directory with these hypotheses."""
    path.mkdir(parents=True)
    (path / "hypotheses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (path / "decode.json").write_text(json.dumps(decode), encoding="utf-8")
    return path


def test_figures_by_hand(tmp_path: Path) -> None:
    score = score_utterances(read_hypotheses(decode_directory(tmp_path / "d")), training={("stop",)}, vocabulary={"go", "to"})
    assert (score["ins"], score["del"], score["sub"], score["words"], score["correct"]) == (1, 2, 0, 8, 6)
    assert score["wer"] == 37.5
    assert score["ser"] == 75.0
    assert score["frame_accuracy"]["all"] == 60.0
    assert score["frame_accuracy"]["speech"] == pytest.approx(100 * 80 / 150)
    assert score["frame_accuracy"]["silence"] == pytest.approx(80.0)
    assert score["frame_accuracy"]["utterances_without_labels"] == 1
    assert score["k2_path_accuracy"]["all"] == 65.0
    assert score["k2_path_accuracy"]["speech"] is None
    assert score["per_speaker"]["ann"]["wer"] == 25.0
    assert score["per_speaker"]["bob"]["del"] == 2
    assert score["training_text"]["seen"]["wer"] == 100.0
    assert score["training_text"]["unseen"]["utterances"] == 3
    assert score["out_of_vocabulary"] == {"words": 4, "share": 0.5, "counts": {"boston": 1, "stop": 1, "on": 1, "yes": 1}}
    assert score["missing"] == ["b2"]
    assert score["not_final"] == ["b1"]
    assert (score["bootstrap"]["unit"], score["ci95"]) == ("utterance within speaker", None)  # of two speakers and four of them
    json.dumps(score, allow_nan=False)


def test_transcripts_of_both_formats(tmp_path: Path) -> None:
    (tmp_path / "ref.trn").write_text(";; a comment\ngo to boston (a1)\n(a2)\n", encoding="utf-8")
    (tmp_path / "hyp.txt").write_text("a1 go boston\na2\n", encoding="utf-8")
    assert read_transcripts(tmp_path / "ref.trn") == {"a1": ("go", "to", "boston"), "a2": ()}
    assert read_transcripts(tmp_path / "hyp.txt") == {"a1": ("go", "boston"), "a2": ()}


@pytest.mark.parametrize(
    ("text", "named"),
    [("a1 x\na1 y\n", "a1"), ("x { a / b } (a1)\n", "alternatives"), ("", "no transcript")],
    ids=["twice", "alternatives", "empty"],
)
def test_bad_transcripts_are_refused(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "t").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=named):
        read_transcripts(tmp_path / "t")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "a1"}, "twice"),
        ({"correct_frames": 51}, "more than frames"),
        ({"frames": 50.5}, "whole number"),
        ({"reference": None}, "null"),
        ({"hypothesis": 3}, "list of words"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    rows = [ROWS[0], {**ROWS[1], **change}]
    with pytest.raises(UserError, match=named):
        read_hypotheses(decode_directory(tmp_path / "d", rows))


def test_nothing_is_normalised_unless_asked() -> None:
    references, hypotheses = {"u": ("Go", "<s>")}, {"u": ("go",), "v": ("x",)}
    plain, unknown = pair_transcripts(references, hypotheses)
    assert plain[0].errors.errors == 2
    assert unknown == ["v"]
    changed, _ = pair_transcripts(references, hypotheses, normalise=Normalisation("lower", ("<s>",)))
    assert changed[0].errors.errors == 0


def test_training_texts_of_cuts_and_sentences(tmp_path: Path) -> None:
    cut = {"id": "c", "supervisions": [{"text": "go to boston"}]}
    mixed = {"id": "m", "tracks": [{"cut": {"supervisions": [{"text": "stop"}]}}]}
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.write(json.dumps(cut) + "\n" + json.dumps(mixed) + "\n")
    (tmp_path / "text").write_text("yes\n", encoding="utf-8")
    found = read_training_texts(tmp_path / "text", tmp_path / "cuts.jsonl.gz")
    assert found == {("go", "to", "boston"), ("stop",), ("yes",)}
    rows = [{**ROWS[0], "reference": None}, ROWS[1]]  # decoded without a transcript, and with one
    assert read_training_texts(decode_directory(tmp_path / "d", rows) / "hypotheses.jsonl") == {("stop",)}


def test_an4_test_transcripts_that_were_trained_on(an4_dir: Path) -> None:
    clean = Normalisation(remove=("<s>", "</s>"))
    training = read_training_texts(an4_dir / "etc" / "an4_train.transcription", normalise=clean)
    references = read_transcripts(an4_dir / "etc" / "an4_test.transcription")
    utterances, _ = pair_transcripts(references, references, normalise=clean)
    score = score_utterances(utterances, training=training, samples=10)
    assert score["training_text"]["seen"]["utterances"] == 26
    assert (score["utterances"], score["words"], score["wer"]) == (130, 773, 0.0)


def test_the_command_line_scores_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = decode_directory(tmp_path / "d")
    listing = tmp_path / "listing.txt"
    command = ["score", str(folder), "--max-mismatch", "0.5", "--listing", str(listing), "--json", "--quiet"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((folder / "score.json").read_text())
    assert printed["wer"] == 37.5
    assert "REF: go on go" in listing.read_text()


def test_the_command_line_reports_what_has_no_partner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ref").write_text("a1 x y\na2 z\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("a1 x y\nq1 x\n", encoding="utf-8")
    command = ["score", "--ref", str(tmp_path / "ref"), "--hyp", str(tmp_path / "hyp"), "--quiet"]
    assert main(command) == 1
    assert "a2" in capsys.readouterr().err
    assert main([*command, "--max-mismatch", "0.5", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert (score["missing"], score["unknown"], score["del"]) == (["a2"], ["q1"], 1)
    assert main([*command, "--max-mismatch", "0.5", "--unit", "speaker"]) == 1


def test_the_command_line_compares_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    better = [{**row, "hypothesis": row["reference"]} for row in ROWS]  # two speakers of two utterances: no interval
    for seed in (0, 1):
        decode_directory(tmp_path / "a" / f"seed{seed}" / "test", better, senones_hash="one")
        decode_directory(tmp_path / "b" / f"seed{seed}" / "test", senones_hash="two")
    sides = [str(tmp_path / name / "seed*" / "test") for name in "ab"]
    assert main(["compare", *sides, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["a_value"], answer["b_value"], answer["difference"]) == (0.0, 37.5, -37.5)
    assert (answer["p_improvement"], answer["seeds_a"], answer["unit"]) == (None, 2, "utterance within speaker")
    assert main(["compare", *sides, "--metric", "frame_accuracy"]) == 1
    assert "different questions" in capsys.readouterr().err
    assert main(["compare", *sides, "--metric", "frame_accuracy", "--allow-different-senones"]) == 0
    capsys.readouterr()
    assert main(["compare", *sides, "--metric", "per", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "per"


def test_different_vocabularies_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in (("a", 100), ("b", 200), ("c", 100), ("d", None)):
        said = {} if words is None else {"words_hash": f"of {words}", "num_words": words}
        decode_directory(tmp_path / name, senones_hash="one", **said)
    for other, same in (("b", False), ("c", True), ("d", None)):
        sides = [str(tmp_path / "a"), str(tmp_path / other)]
        assert main(["compare", *sides, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["same_vocabulary"] is same
        assert main(["compare", *sides]) == 0
        assert ("A and B recognise different words (100 and 200 of them)" in capsys.readouterr().out) == (same is False)


def test_one_utterance_more_is_refused_by_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = decode_directory(tmp_path / "a"), decode_directory(tmp_path / "b", ROWS[:-1])
    assert main(["compare", str(a), str(b)]) == 1
    assert "b2" in capsys.readouterr().err


@pytest.mark.parametrize("id", ["0026-000260033(a)", "(a)", "(x)(y)", "a(b(c))d", "a", "\u00e4-(\u00e9)"])
def test_ids_with_parentheses(tmp_path: Path, id: str) -> None:
    (tmp_path / "t.trn").write_text(f"go (there) ({id})\n({id}2)\ngo({id}3) \n", encoding="utf-8")
    found = read_references(tmp_path / "t.trn")
    assert found == {id: ("go", Choice((("there",), ()))), f"{id}2": (), f"{id}3": ("go",)}


@given(
    st.recursive(
        st.text("ab", min_size=1, max_size=3),
        lambda part: st.tuples(part, part, part).map(lambda parts: "{}({}){}".format(*parts)),
        max_leaves=8,
    )
)
def test_an_id_with_balanced_parentheses_is_the_last_group(id: str) -> None:
    assert split_trn(f"go ({id})") == ("go ", id)


@pytest.mark.parametrize("line", ["go home", "go home (c1", "go home (c 1)", "go home ()", "go home (c1))"])
def test_the_line_that_is_no_trn_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "t").write_text(f"go (a1)\nstop (b1)\n;; a comment\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"t, line 4: expected `words \(utterance-id\)`, as 2 of 3 lines are") as refusal:
        read_transcripts(tmp_path / "t")
    assert repr(line) in str(refusal.value)


def test_remarks_in_parentheses_make_no_trn(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a1 ha (laughs)\na2 ha ha (laughs)\na3 go\n", encoding="utf-8")
    assert read_references(tmp_path / "text")["a2"] == ("ha", "ha", Choice((("laughs",), ())))
    with pytest.raises(UserError, match=r"text, line 1.*a hypothesis has one"):
        read_transcripts(tmp_path / "text")


def test_accents_in_two_spellings_are_one_word(tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("a1 caf\u00e9\na2 caf\u00e9\n", encoding="utf-8")
    (tmp_path / "hyp.trn").write_text("cafe\u0301 (a1)\n", encoding="utf-8")
    (tmp_path / "words.txt").write_text("cafe\u0301 1\n", encoding="utf-8")
    utterances, _ = pair_transcripts(read_transcripts(tmp_path / "ref"), read_transcripts(tmp_path / "hyp.trn"))
    assert [utterance.errors.errors for utterance in utterances] == [0, 1]
    assert read_vocabulary(tmp_path / "words.txt") == {"caf\u00e9"}
    rows = [{"id": "a1", "reference": "cafe\u0301", "hypothesis": ["caf\u00e9"]}]
    assert read_hypotheses(decode_directory(tmp_path / "d", rows))[0].errors.errors == 0
    (tmp_path / "sentences").write_text("cafe\u0301\n", encoding="utf-8")
    assert read_training_texts(tmp_path / "sentences") == {("caf\u00e9",)}

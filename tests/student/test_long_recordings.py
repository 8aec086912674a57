"""Long recordings: the pieces are the whole, cut at pauses; what is found in them is joined with times of the whole."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import read_json, read_jsonl
from asr_distill.cli.main import main
from asr_distill.decoding import DecodeResult, Hypothesis
from asr_distill.decoding.evaluation import DecodedUtterance, join_pieces
from asr_distill.features import ContextWindow
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.hclg import write_graph
from asr_distill.student import Student
from asr_distill.student.pauses import pause_frame, pieces_of

SILENCE = np.array([True, False, False])


def test_a_cut_is_in_the_middle_of_the_longest_pause() -> None:
    rows = torch.tensor([[0.1, 0.8, 0.1]]).repeat(300, 1).log()
    rows[100:103, 0] = rows[200:260, 0] = 5.0  # a stop, and a pause
    assert 210 <= pause_frame(rows, SILENCE, 50) <= 250
    assert pause_frame(rows[:130], SILENCE, 50) in range(95, 108)  # without a pause, where it costs least
    assert 50 <= pause_frame(rows[:60], np.zeros(3, bool), 50) < 60  # a model without silence


@given(st.integers(1, 400), st.integers(2, 90), st.integers(0, 9))
@settings(max_examples=60)
def test_pieces_are_the_whole(total: int, longest: int, seed: int) -> None:
    window, generator = ContextWindow(3, 2), torch.Generator().manual_seed(seed)
    features, weights = torch.randn(total, 4, generator=generator), torch.randn(window.width * 4, 3, generator=generator)

    def scores(inputs: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(inputs @ weights, 1)

    pieces = list(pieces_of(features, window, scores, SILENCE, longest))
    assert [begin for begin, _ in pieces] == np.cumsum([0, *(len(rows) for _, rows in pieces[:-1])]).tolist()
    assert all(longest // 2 <= len(rows) <= longest for _, rows in pieces[:-1])
    assert len(pieces[-1][1]) <= longest
    torch.testing.assert_close(torch.cat([rows for _, rows in pieces]), scores(window(features)), rtol=1e-4, atol=1e-4)


def decoded(id: str, begin: int, words: tuple[str, ...], final: bool = True, correct: int | None = 2) -> DecodedUtterance:
    nbest = (Hypothesis(words, -1.0), Hypothesis((), -3.0))
    result = DecodeResult(words, (1,) * len(words), (1,) * len(words), -1.0, final, np.full(4, begin, np.int32), nbest)
    return DecodedUtterance(id, "ann", ("a", "b"), 0.04, 4, result, {"frames": 4, "correct_frames": correct}, begin)


def test_pieces_are_joined_by_hand() -> None:
    rows = [decoded("x", 0, ("a",)), decoded("y", 0, ("c",)), decoded("x", 8, ("d",), final=False), decoded("x", 4, ("b",))]
    whole, other = join_pieces(rows)
    assert other is rows[1]
    assert (whole.id, whole.begin, whole.num_frames, whole.duration) == ("x", 0, 12, pytest.approx(0.12))
    assert whole.frames == {"frames": 12, "correct_frames": 6}
    assert whole.reference == ("a", "b")
    result = whole.result
    assert (result.words, result.word_frames, result.score, result.reached_final) == (("a", "b", "d"), (1, 5, 9), -3.0, False)
    assert result.senones.tolist() == [0] * 4 + [4] * 4 + [8] * 4
    assert result.nbest is not None
    assert result.nbest[0] == Hypothesis(("a", "b", "d"), -3.0)
    assert {hypothesis.words for hypothesis in result.nbest[1:]} <= {("b", "d"), ("a", "d"), ("a", "b")}
    assert join_pieces([decoded("x", 0, (), correct=None), decoded("x", 4, ())])[0].frames["correct_frames"] is None


def test_scores_of_pieces_are_those_of_the_whole(corpus: Any) -> None:
    student = Student.load(corpus.train())
    whole = {cut.id: scores for cut, scores, _ in student.scores(corpus.cuts)}
    pieces: dict[str, list[Any]] = {}
    for piece in student.score_pieces(corpus.cuts, 30):
        pieces.setdefault(piece.cut.id, []).append(piece)
    assert {key: len(parts) > 1 for key, parts in pieces.items()} == {key: len(rows) > 30 for key, rows in whole.items()}
    for key, parts in pieces.items():
        assert {part.total for part in parts} == {len(whole[key])}
        torch.testing.assert_close(torch.cat([part.scores for part in parts]), whole[key], rtol=1e-4, atol=1e-4)


@pytest.fixture
def decode(corpus: Any, tmp_path: Path) -> Callable[..., Path]:
    """Searches a recording of eight seconds in a graph that takes any senones."""
    count = corpus.inventory.num_senones
    zeros, labels = np.zeros(count, np.int32), np.arange(1, count + 1, dtype=np.int32)
    words = np.where(labels == count, 1, 0).astype(np.int32)
    fst = FstArrays(0, zeros, zeros, labels, words, np.zeros(count, np.float32), np.zeros(1, np.float32))
    write_graph(fst, corpus.inventory, {"<eps>": 0, "a": 1}, tmp_path / "graph", {"units": "words"})
    samples = np.random.default_rng(5).normal(0, 0.03, 8 * 16000 + 77)
    samples[3 * 16000 : 4 * 16000] *= 1e-3
    soundfile.write(tmp_path / "long.wav", samples, 16000, subtype="PCM_16")

    def decode(name: str, *words: str, status: int = 0) -> Path:
        given = ["--audio", str(tmp_path / "long.wav"), "--model", str(corpus.train()), "--graph", str(tmp_path / "graph")]
        assert main(["decode", *given, "--output", str(tmp_path / name), "--acoustic-scale", "1", *words]) == status
        return tmp_path / name

    return decode


@pytest.mark.parametrize("engine", ["kaldi", "k2"])
def test_a_recording_in_pieces_says_what_the_whole_says(
    decode: Callable[..., Path], caplog: pytest.LogCaptureFixture, engine: str
) -> None:
    if engine == "k2":
        pytest.importorskip("k2")
    whole = decode("whole", "--engine", engine, "--max-segment", "0")
    assert read_json(whole / "decode.json")["in_pieces"] == []
    with caplog.at_level(logging.INFO, "asr_distill"):
        cut = decode("cut", "--engine", engine, "--max-segment", "2")
    assert "long: 8 s, searched in pieces of 2 s at most, cut at pauses" in caplog.text
    assert read_json(cut / "decode.json")["in_pieces"] == ["long"]
    (first,), (second,) = (list(read_jsonl(folder / "hypotheses.jsonl")) for folder in (whole, cut))
    assert second["hypothesis"] == first["hypothesis"]
    assert second["score"] == pytest.approx(first["score"], rel=1e-4)
    assert (second["frames"], second["duration"]) == (first["frames"], pytest.approx(first["duration"]))
    assert (cut / "hyp.ctm").read_text() == (whole / "hyp.ctm").read_text()


def test_a_length_that_is_none_is_refused(decode: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("0.5", "-1", "nan"):
        decode("none", "--max-segment", wrong, status=1)
        assert "expected seconds, 1 or more, or 0" in capsys.readouterr().err

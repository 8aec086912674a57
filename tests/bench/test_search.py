"""The simulated task, how the beams are chosen, and what is said where k2 is missing."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from asr_distill.base import UserError
from asr_distill.bench import SearchCase, bench_search
from asr_distill.bench import search as room
from asr_distill.bench.search import KALDI, Pruning, decode, score, tune, worse_paths
from asr_distill.bench.search_task import SearchTask, make_task, random_text, random_words
from asr_distill.decoding import DecodeResult

needs_k2 = pytest.mark.skipif(importlib.util.find_spec("k2") is None, reason="k2 is not installed")
CASE = SearchCase(
    12, noise=0.4, utterances=4, pairs=1, beams=(12.0, 14.0), max_active=(2000,), batch_sizes=(1, 3), wide_beam=16.0
)


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> SearchTask:
    return make_task(CASE, tmp_path_factory.mktemp("search"), 0)


@pytest.fixture
def no_children(monkeypatch):
    monkeypatch.setattr(room, "peak_memory", lambda name, settings: {"peak_mb": 1.0, "imported_mb": 1.0})


def test_words_and_text_come_from_the_seed() -> None:
    words = random_words(20, np.random.default_rng(1))
    assert len(set(words)) == 20
    assert words == random_words(20, np.random.default_rng(1))
    text = random_text(words, 50, np.random.default_rng(2))
    assert len(text) == 50
    assert all(4 <= len(sentence) <= 12 and set(sentence) <= set(words) for sentence in text)
    with pytest.raises(UserError, match="CMUdict has"):
        random_words(10**7, np.random.default_rng(1))


def test_with_little_noise_everything_is_recognised(task) -> None:
    assert task.info["frame_accuracy"] > 90
    results = decode(task, Pruning(KALDI, 14.0, 2000).decoder(task), 3)
    assert score(task, results) == {"wer": 0.0, "no_final_state": 0}
    assert [result.words for result in results] == [task.references[index] for index in task.order]


def test_batches_hold_each_utterance_once_by_falling_length(task) -> None:
    lengths = [length for _, batch in task.batches(3) for length in batch.tolist()]
    assert lengths == sorted((len(scores) for scores in task.scores), reverse=True)
    assert task.audio_seconds == sum(lengths) / 100
    assert [tuple(scores.shape[:2]) for scores, _ in task.batches(3)] == [(3, lengths[0]), (1, lengths[3])]


def test_the_fastest_of_the_narrowest_beams_that_reach_the_target_is_taken(task, monkeypatch) -> None:
    case = SearchCase(12, noise=1.0, beams=(14.0, 8.0, 12.0), max_active=(900, 300), batch_sizes=(1, 4, 16))
    rates = {(8.0, 300): 9.0, (12.0, 300): 5.3, (14.0, 300): 5.3, (8.0, 900): 9.0, (12.0, 900): 5.05, (14.0, 900): 5.0}
    monkeypatch.setattr(Pruning, "decoder", lambda pruning, task: pruning)
    monkeypatch.setattr(room, "decode", lambda task, pruning, size: pruning)
    monkeypatch.setattr(room, "score", lambda task, pruning: {"wer": rates[pruning.beam, pruning.max_active]})
    pruning, size, tried = tune(case, KALDI, task, 5.0)
    assert (pruning.beam, pruning.max_active, size) == (12.0, 900, 4)
    order = [(8.0, 300), (12.0, 300), (14.0, 300), (8.0, 900), (12.0, 900), (12.0, 900)]  # the last again, for its time
    assert [(attempt["beam"], attempt["max_active"]) for attempt in tried] == order
    missed, _, _ = tune(case, KALDI, task, 1.0)
    assert (missed.beam, missed.max_active) == (14.0, 900)
    _, _, tried = tune(case, "k2", task, 5.0)
    assert [attempt["batch_size"] for attempt in tried[-3:]] == [1, 4, 16]


def test_worse_paths_are_counted() -> None:
    def result(score: float, final: bool = True) -> DecodeResult:
        return DecodeResult((), (), (), score, final, np.zeros(0, np.int32))

    widest = [result(-100.0), result(-100.0), result(-100.0)]
    assert worse_paths(widest, [result(-100.001), result(-101.0), result(-90.0, final=False)]) == 2


def test_unknown_engine_is_refused(task) -> None:
    with pytest.raises(UserError, match="julius"):
        Pruning("julius", 14.0, 2000).decoder(task)


def test_without_k2_the_ratio_is_null_with_a_reason(tmp_path, monkeypatch, no_children) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = bench_search(CASE, tmp_path, threads=1)
    assert result["vs_kaldi"] is None
    assert "k2 is not installed" in result["reason"]
    assert set(result["engines"]) == {KALDI}
    assert result["engines"][KALDI]["rtf"] > 0


@needs_k2
def test_both_engines_at_the_same_error_rate(tmp_path, no_children) -> None:
    result = bench_search(CASE, tmp_path, threads=1)
    assert result["reason"] is None
    assert {row["wer"] for row in result["engines"].values()} == {0.0}
    assert result["vs_kaldi"]["ratio"]["pairs"] == 1
    assert result["engines"]["k2"]["batch_size"] in (1, 3)
    assert result["data"] == "simulated scores"


@needs_k2
def test_engines_of_unequal_error_rate_have_no_ratio(tmp_path, monkeypatch, no_children) -> None:
    real = room.tune

    def narrow(case, engine, task, target):
        pruning, size, tried = real(case, engine, task, target)
        return (Pruning("k2", 0.5, 5) if engine == "k2" else pruning), size, tried

    monkeypatch.setattr(room, "tune", narrow)
    result = bench_search(CASE, tmp_path, threads=1)
    assert result["vs_kaldi"] is None
    assert "word error rates differ" in result["reason"]

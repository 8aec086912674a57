"""The simulated task, how the beams are chosen, and what is said where k2 is missing."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from asr_distill.base import UserError
from asr_distill.bench import SearchCase, bench_search
from asr_distill.bench import search as room
from asr_distill.bench.search import KALDI, Attempt, Pruning, decode, match, score, try_all, worse_paths
from asr_distill.bench.search_task import SearchTask, make_task, random_text, random_words
from asr_distill.decoding import DecodeResult

needs_k2 = pytest.mark.skipif(importlib.util.find_spec("k2") is None, reason="k2 is not installed")
CASE = SearchCase(
    12, noise=0.4, utterances=4, pairs=1, beams=(14.0, 11.0, 12.0), max_active=(2000,), batch_sizes=(1, 3), wide_beam=16.0
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


def attempt(beam: float, wer: float, rtf: float, engine: str = KALDI) -> Attempt:
    return Attempt(Pruning(engine, beam, 2000), wer, rtf)


def beams(found: dict[str, list[Pruning]]) -> dict[str, list[float]]:
    return {name: [pruning.beam for pruning in prunings] for name, prunings in found.items()}


def test_both_engines_are_measured_at_the_common_rate_nearest_to_the_target() -> None:
    kaldi = [attempt(10, 9.0, 1.0), attempt(12, 6.0, 2.0), attempt(13, 6.0, 1.5), attempt(14, 5.0, 3.0)]
    k2 = [attempt(10, 9.05, 1.0, "k2"), attempt(12, 6.06, 9.0, "k2"), attempt(14, 5.95, 2.0, "k2"), attempt(16, 4.5, 3.0, "k2")]
    assert beams(match(kaldi, k2, 5.0)) == {"kaldi": [13, 12], "k2": [14]}
    assert beams(match(kaldi, k2, 8.0)) == {"kaldi": [10], "k2": [10]}
    assert beams(match(kaldi[-1:], k2[-1:], 5.0)) == {"kaldi": [14], "k2": [16]}
    assert beams(match(kaldi, None, 5.0)) == {"kaldi": [14]}


def test_an_engine_that_is_faster_at_a_better_rate_is_not_measured_at_the_worse_one() -> None:
    kaldi = [attempt(11, 9.0, 1.0), attempt(14, 5.0, 2.0), attempt(16, 5.2, 4.0)]
    k2 = [attempt(11, 9.0, 1.0, "k2"), attempt(15, 5.2, 3.0, "k2")]
    assert beams(match(kaldi, k2, 5.2)) == {"kaldi": [11], "k2": [11]}


def test_every_pruning_is_tried_once(task) -> None:
    tried = try_all(CASE, KALDI, task)
    assert [(a.pruning.beam, a.pruning.max_active) for a in tried] == [(11.0, 2000), (12.0, 2000), (14.0, 2000)]
    assert all(a.wer == 0 and a.rtf > 0 for a in tried)


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
    chosen = {KALDI: [Pruning(KALDI, 14.0, 2000)], "k2": [Pruning("k2", 0.1, 2)]}
    monkeypatch.setattr(room, "match", lambda kaldi, k2, target: chosen)
    result = bench_search(CASE, tmp_path, threads=1)
    assert result["vs_kaldi"] is None
    assert "word error rates differ" in result["reason"]

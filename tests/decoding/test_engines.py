"""Both engines against exact search, and against each other."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from asr_distill.base import UserError
from asr_distill.decoding import K2Decoder, KaldiDecoder

HAS_K2 = importlib.util.find_spec("k2") is not None
needs_k2 = pytest.mark.skipif(not HAS_K2, reason="k2 is not installed")
SEEDS = range(12)


def engine(name: str, graph, **options):
    if name == "k2":
        return K2Decoder(graph, search_beam=1000, output_beam=50, max_active=100000, **options)
    return KaldiDecoder(graph, beam=1000, max_active=100000, lattice_beam=50, **options)


@pytest.fixture(params=[pytest.param("k2", marks=needs_k2), "kaldi"])
def name(request):
    return request.param


def batch(seed: int, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(lengths), max(lengths), 7, generator=generator) * 2, torch.tensor(lengths)


@pytest.mark.parametrize("seed", SEEDS)
def test_best_path_is_the_exact_one(name, seed, reference, tmp_path) -> None:
    case = reference.write_case(reference.random_fst(seed), tmp_path / "graph")
    scores, lengths = batch(seed, [5, 9, 1, 7])
    results = engine(name, case.graph).decode(scores, lengths)
    for i, result in enumerate(results):
        mine = scores[i, : lengths[i]].numpy()
        exact = reference.viterbi(case.arrays, mine)
        assert result.reached_final == np.isfinite(exact)
        if result.reached_final:
            assert result.score == pytest.approx(exact, rel=1e-4, abs=1e-4)
            assert len(result.senones) == lengths[i]
            along = reference.viterbi(case.arrays, mine, labels=result.senones + 1)
            assert along == pytest.approx(exact, rel=1e-4, abs=1e-4)
            assert reference.best_word_sequences(case.arrays, mine)[result.word_ids] == pytest.approx(exact, rel=1e-4, abs=1e-4)
            assert list(result.word_frames) == sorted(result.word_frames)
            assert len(result.word_frames) == len(result.words)
        elif np.isfinite(reference.viterbi(case.arrays, mine, ending=False)):
            assert len(result.senones) == lengths[i]
            assert result.score == pytest.approx(reference.viterbi(case.arrays, mine, ending=False), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_nbest_are_the_best_different_word_sequences(name, seed, reference, tmp_path) -> None:
    case = reference.write_case(reference.random_fst(seed), tmp_path / "graph")
    scores, lengths = batch(seed, [6, 4])
    for i, result in enumerate(engine(name, case.graph, nbest=4).decode(scores, lengths)):
        exact = reference.best_word_sequences(case.arrays, scores[i, : lengths[i]].numpy())
        if not result.reached_final:
            continue
        expected = sorted((score for score in exact.values() if score > max(exact.values()) - 40), reverse=True)[:4]
        found = [hypothesis.score for hypothesis in result.nbest]
        assert found == pytest.approx(expected[: len(found)], rel=1e-3, abs=1e-2)
        assert len(found) == len(expected)
        assert len({hypothesis.words for hypothesis in result.nbest}) == len(found)


@pytest.mark.parametrize("seed", range(4))
def test_both_searches_of_kaldi_find_the_same_best_path(seed, reference, tmp_path) -> None:
    case = reference.write_case(reference.random_fst(seed), tmp_path / "graph")
    scores, lengths = batch(seed, [5, 12, 1, 7])
    single, lattice = (engine("kaldi", case.graph, nbest=nbest).decode(scores, lengths) for nbest in (1, 4))
    assert any(result.reached_final for result in single)
    for one, other in zip(single, lattice, strict=True):
        assert (one.words, one.reached_final) == (other.words, other.reached_final)
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.senones.tolist() == other.senones.tolist()


def test_no_bound_is_recorded_that_the_search_does_not_keep(reference, tmp_path) -> None:
    import kaldi_decoder

    graph = reference.write_case(reference.random_fst(0), tmp_path / "graph").graph
    assert KaldiDecoder(graph, max_active=500).options["max_active"] == 500
    assert KaldiDecoder(graph, max_active=500, nbest=2).options == {"beam": 16.0, "lattice_beam": 8.0, "nbest": 2}
    # Should a version of the library get such a bound, this fails, and it is time to use it.
    assert not hasattr(kaldi_decoder.LatticeSimpleDecoderConfig(), "max_active")
    assert not hasattr(kaldi_decoder, "LatticeFasterDecoder")


def test_order_of_the_batch_does_not_matter(name, reference, tmp_path) -> None:
    case = reference.write_case(reference.random_fst(3), tmp_path / "graph")
    scores, lengths = batch(3, [3, 8, 0, 5])
    together = engine(name, case.graph).decode(scores, lengths)
    for i in range(4):
        alone = engine(name, case.graph).decode(scores[i : i + 1], lengths[i : i + 1])[0]
        assert alone.score == pytest.approx(together[i].score)
        assert alone.words == together[i].words
    assert not together[2].reached_final
    assert together[2].words == ()


def test_scores_that_cannot_be_searched_are_refused(name, reference, tmp_path) -> None:
    case = reference.write_case(reference.random_fst(0), tmp_path / "graph")
    decoder = engine(name, case.graph)
    with pytest.raises(UserError, match="9 senones and the graph has 7"):
        decoder.decode(torch.zeros(1, 4, 9), torch.tensor([4]))
    scores = torch.zeros(2, 4, 7)
    scores[1, 2, 3] = float("nan")
    with pytest.raises(UserError, match=r"utterance 1 .* frame 2"):
        decoder.decode(scores, torch.tensor([4, 4]))
    assert decoder.decode(scores, torch.tensor([4, 2]))
    with pytest.raises(UserError, match="do not fit"):
        decoder.decode(scores, torch.tensor([4, 5]))


@needs_k2
@pytest.mark.parametrize("max_active", [2, 20])
def test_kaldi_searches_with_few_active_states(max_active, reference, tmp_path) -> None:
    case = reference.write_case(reference.random_fst(0), tmp_path / "graph")
    scores, lengths = batch(0, [5, 9])
    results = KaldiDecoder(case.graph, max_active=max_active).decode(scores, lengths)
    for result, length in zip(results, lengths, strict=True):
        assert len(result.senones) == length or not result.reached_final
    with pytest.raises(UserError, match="2 active states or more, found max_active 1"):
        KaldiDecoder(case.graph, max_active=1)


@pytest.mark.parametrize("wrong", [{"beam": 0.0}, {"max_active": 0}, {"nbest": 0}, {"lattice_beam": float("nan")}])
def test_a_search_that_could_find_nothing_is_refused(name, wrong, reference, tmp_path) -> None:
    graph = reference.write_case(reference.random_fst(1), tmp_path).graph
    if name == "k2":
        names = {"beam": "search_beam", "lattice_beam": "output_beam"}
        with pytest.raises(UserError, match="above 0"):
            K2Decoder(graph, **{names.get(key, key): value for key, value in wrong.items()})
        with pytest.raises(UserError, match="min_active 30, max_active 20"):
            K2Decoder(graph, max_active=20)
    else:
        with pytest.raises(UserError, match="above 0"):
            KaldiDecoder(graph, **wrong)


@needs_k2
def test_engines_agree(reference, tmp_path) -> None:
    for seed in range(5):
        case = reference.write_case(reference.random_fst(100 + seed), tmp_path / f"graph{seed}")
        scores, lengths = batch(seed, [20, 30, 12])
        for one, other in zip(
            engine("k2", case.graph).decode(scores, lengths), engine("kaldi", case.graph).decode(scores, lengths), strict=True
        ):
            assert one.reached_final == other.reached_final
            assert one.score == pytest.approx(other.score, rel=1e-3)

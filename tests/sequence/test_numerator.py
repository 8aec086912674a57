"""Numerator graphs: from phones and from transcripts, against every reading spelled out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_speech import SIL, A, B, monophones, path_scores, phone_lm, triphones, weighted_paths

from asr_distill.alignment import TranscriptReader
from asr_distill.base import UserError
from asr_distill.graph.arrays import from_fst
from asr_distill.graph.k2_form import check_k2_form
from asr_distill.lang.lexicon_fst import build_lexicon_fst
from asr_distill.senones import SenoneInventory
from asr_distill.sequence import LatticeFreeLoss, NoNumerator, NumeratorBuilder, build_denominator
from asr_distill.sequence.loss import graph_of, log_sums
from asr_distill.sequence.readings import count_readings, read_once

WORDS = {"a": 1, "ab": 2}
FRAMES = 6


def reader(phones: tuple[str, ...] = ("SIL", "A", "B")) -> TranscriptReader:
    entries = [(1, 0.7, [A]), (1, 0.3, [B]), (2, 1.0, [A, B])]
    fst = build_lexicon_fst(entries, silence=SIL, silence_probability=0.2).to_kaldifst()
    return TranscriptReader(from_fst(fst), WORDS, phones, "SIL")


def readings(words: list[str]) -> list[tuple[int, ...]]:
    """Every phone string of a transcript: pronunciations, silence before, between and after or not."""
    strings: list[tuple[int, ...]] = [(), (SIL,)]
    for word in words:
        options = {"a": [(A,), (B,)], "ab": [(A, B)]}[word]
        strings = [(*string, *option, *end) for string in strings for option in options for end in ((), (SIL,))]
    return strings


@pytest.mark.parametrize("inventory", [monophones(), triphones()], ids=["monophones", "triphones"])
@pytest.mark.parametrize("words", [["a"], ["ab", "a"], ["a", "a"]])
def test_a_transcript_is_all_its_readings_under_the_phone_language_model(inventory: SenoneInventory, words: list[str]) -> None:
    pytest.importorskip("k2")
    lm = phone_lm(2)
    builder = NumeratorBuilder(build_denominator(lm, inventory, lm_scale=1.0), inventory, reader())
    form = builder.of_transcript(words, FRAMES)
    check_k2_form(form, inventory.num_senones)
    a = np.random.default_rng(4).normal(0, 2, (FRAMES, inventory.num_senones))
    paths, weights = weighted_paths(readings(words), lm, inventory, FRAMES)
    assert len(paths) > 4
    found = log_sums(graph_of(form), [0], torch.tensor(a, dtype=torch.float32), [FRAMES], 1000.0).item()
    assert found == pytest.approx(np.logaddexp.reduce(path_scores(paths, weights, a)), abs=1e-4)


@pytest.mark.parametrize("inventory", [monophones(), triphones()], ids=["monophones", "triphones"])
def test_a_phone_string_that_is_read_in_two_ways_counts_once(inventory: SenoneInventory) -> None:
    pytest.importorskip("k2")
    # "a ab" as A B A B is (A B)(A B) and also (A)(B A B), with and without silence before and behind: four sequences twice
    entries = [(1, 0.5, [A]), (1, 0.5, [A, B]), (2, 0.5, [A, B]), (2, 0.5, [B, A, B])]
    fst = build_lexicon_fst(entries, silence=SIL, silence_probability=0.2).to_kaldifst()
    twice = TranscriptReader(from_fst(fst), WORDS, ("SIL", "A", "B"), "SIL")
    lattice, frames = twice.lattice(["a", "ab"]), 8
    once = read_once(lattice)
    strings = {()} | {(SIL,)}
    for options in (((A,), (A, B)), ((A, B), (B, A, B))):
        strings = {(*string, *option, *end) for string in strings for option in options for end in ((), (SIL,))}
    assert (count_readings(lattice), count_readings(once)) == (32, len(strings)) == (32, 28)
    lm = phone_lm(2)
    form = NumeratorBuilder(build_denominator(lm, inventory), inventory, twice).of_transcript(["a", "ab"], frames)
    a = np.random.default_rng(4).normal(0, 2, (frames, inventory.num_senones))
    paths, weights = weighted_paths(sorted(strings), lm, inventory, frames)
    found = log_sums(graph_of(form), [0], torch.tensor(a, dtype=torch.float32), [frames], 1000.0).item()
    assert found == pytest.approx(np.logaddexp.reduce(path_scores(paths, weights, a)), abs=1e-4)
    plain = reader().lattice(["a", "ab", "a"])
    assert read_once(plain) is plain


def test_the_scale_of_the_language_model_is_the_denominators() -> None:
    pytest.importorskip("k2")
    inventory, lm = monophones(), phone_lm()
    a = torch.tensor(np.random.default_rng(1).normal(0, 1, (5, 3)), dtype=torch.float32)
    for scale in (0.0, 0.5, 2.0):
        denominator = build_denominator(lm, inventory, lm_scale=scale)
        builder = NumeratorBuilder(denominator, inventory, reader())
        own = log_sums(graph_of(builder.of_phones((A, B, A), 5)), [0], a, [5], 1000.0).item()
        paths, weights = weighted_paths([(A, B, A)], lm, inventory, 5)
        shift = (scale - 1) * lm.log_probability((A, B, A))
        assert own == pytest.approx(np.logaddexp.reduce(path_scores(paths, weights, a.numpy())) + shift, abs=1e-4)
        loss = LatticeFreeLoss(denominator, acoustic_scale=1.0, tolerance=None, beam=1000.0)
        losses = loss(a, [5], torch.zeros(5, dtype=torch.int64), [builder.of_transcript(["ab", "a"], 5)]).losses
        assert losses.item() > -1e-3


def test_utterances_without_a_path_say_why() -> None:
    inventory = monophones()
    builder = NumeratorBuilder(build_denominator(phone_lm(), inventory), inventory, reader())
    with pytest.raises(NoNumerator, match="not in the lexicon: nonsense"):
        builder.of_transcript(["nonsense"], 50)
    with pytest.raises(NoNumerator, match="too short: 2 frames, its states need 3"):
        builder.of_transcript(["ab", "a"], 2)
    with pytest.raises(NoNumerator, match="phone language model"):
        builder.of_phones((B, B), 50)
    with pytest.raises(NoNumerator, match="phone language model"):
        builder.of_phones((), 50)
    with pytest.raises(ValueError, match="reader"):
        NumeratorBuilder(build_denominator(phone_lm(), inventory), inventory).of_transcript(["a"], 5)
    with pytest.raises(UserError, match="same lang directory"):
        NumeratorBuilder(build_denominator(phone_lm(), inventory), inventory, reader(("SIL", "A", "C")))

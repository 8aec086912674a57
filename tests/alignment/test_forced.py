"""Forced alignment: every reading of a transcript tried by itself is the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_lang import PHONES, SILENCE, WORDS, reader, readings

from asr_distill.alignment import (
    ForcedAligner,
    TranscriptReader,
    UnknownWords,
    forced_align,
    train_monophone,
    train_triphone,
)
from asr_distill.alignment.phone_lattice import PhoneLattice
from asr_distill.base import UserError
from asr_distill.senones import (
    Leaf,
    PhoneticTree,
    SenoneInventory,
    Split,
    context_windows,
    default_topology,
    monophone_tree,
)

TOPOLOGY = default_topology(PHONES, ["SIL"], phone_states=2, silence_states=3, silence_pdf_classes=1)
MONOPHONES = SenoneInventory(TOPOLOGY, monophone_tree(TOPOLOGY))


def triphones() -> SenoneInventory:
    """A's first state asks for silence or the boundary on its left, its second for B or the boundary on its right."""
    roots: dict[tuple[str, int], int] = {}
    nodes: list[Split | Leaf] = []
    for key in monophone_tree(TOPOLOGY).roots:
        roots[key] = len(nodes)
        if key[0] == "A":
            position, question = (0, 0) if key[1] == 0 else (2, 1)
            here = len(nodes)
            nodes.append(Split(position, question, here + 1, here + 2))
            nodes += [Leaf(0), Leaf(0)]
        else:
            nodes.append(Leaf(0))
    numbered: list[Split | Leaf] = []
    count = 0
    for node in nodes:
        numbered.append(Leaf(count) if isinstance(node, Leaf) else node)
        count += isinstance(node, Leaf)
    questions = (frozenset({0, SILENCE}), frozenset({0, 3}))
    return SenoneInventory(TOPOLOGY, PhoneticTree(PHONES, 3, questions, roots, tuple(numbered)))


INVENTORIES = {"monophones": MONOPHONES, "triphones": triphones()}


def all_paths(lattice: PhoneLattice) -> dict[tuple[int, ...], tuple[float, tuple[tuple[str, int, int], ...]]]:
    """Phones to log-probability and word spans, by walking the lattice."""
    found: dict[tuple[int, ...], tuple[float, tuple[tuple[str, int, int], ...]]] = {}

    def walk(path: list[int], score: float) -> None:
        if np.isfinite(lattice.final[path[-1]]):
            phones = tuple(int(lattice.phones[i]) for i in path)
            assert phones not in found or found[phones][0] != score
            found[phones] = (score + float(lattice.final[path[-1]]), lattice.word_spans(path, SILENCE))
        for a, b, weight in zip(lattice.source, lattice.destination, lattice.weight, strict=True):
            if a == path[-1]:
                walk([*path, int(b)], score + float(weight))

    for start in np.flatnonzero(np.isfinite(lattice.entry)):
        walk([int(start)], float(lattice.entry[start]))
    return found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["ab", "c"]), max_size=4))
def test_lattice_has_every_reading(words: list[str]) -> None:
    expected = {phones: (score, spans) for phones, score, spans in readings(words) if phones}
    found = all_paths(reader().lattice(words))
    assert set(found) == set(expected)
    for phones, (score, spans) in expected.items():
        assert found[phones][0] == pytest.approx(score, abs=1e-5)
        assert found[phones][1] == spans


def test_lattice_of_variants_and_find_path() -> None:
    lattice = reader().lattice(["a", "c"])
    expected = {phones: (score, spans) for phones, score, spans in readings(["a", "c"])}
    assert {phones: spans for phones, (_, spans) in all_paths(lattice).items()} == {
        phones: spans for phones, (_, spans) in expected.items()
    }
    path = lattice.find_path([3, 2, SILENCE, 4])
    assert lattice.word_spans(path, SILENCE) == (("a", 0, 2), ("c", 3, 4))
    with pytest.raises(ValueError, match="no reading"):
        lattice.find_path([4, 2])


def test_without_optional_silence() -> None:
    assert list(all_paths(reader(0.0).lattice(["ab", "c"]))) == [(2, 3, 4)]


def test_subword_units_make_whole_words(tmp_path: Path) -> None:
    from asr_distill.lang import Lang
    from asr_distill.lang.subwords import Subwords

    texts = [["HELLO", "WORLD"], ["HOLD", "THE", "LOW", "ROW"]]
    words = sorted({word for text in texts for word in text})
    lang = Lang.build_subwords(Subwords.train(texts * 5, 14), words, tmp_path / "lang")
    assert len(lang.units(["WORLD"])) > 1
    subwords = TranscriptReader.of_lang(lang)
    lattice = subwords.lattice(["WORLD", "HELLO"])
    path = lattice.find_path([lang.phones[name] for name in ("SIL", *"WORLD", "SIL", *"HELLO")])
    assert lattice.word_spans(path, subwords.silence) == (("WORLD", 1, 6), ("HELLO", 7, 12))
    with pytest.raises(ValueError, match="no reading"):  # no silence within a word
        lattice.find_path([lang.phones[name] for name in (*"WOR", "SIL", *"LDHELLO")])
    with pytest.raises(UnknownWords, match="QZ"):
        subwords.lattice(["QZ", "HOLD"])


def test_unknown_words_are_named() -> None:
    with pytest.raises(UnknownWords, match="not in the lexicon: zebra yak"):
        reader().lattice(["zebra", "ab", "yak", "zebra"])


def single_reading_score(
    phones: tuple[int, ...], inventory: SenoneInventory, scores: np.ndarray, acoustic_scale: float
) -> float:
    """The best state path of one phone sequence, with Kaldi's scales on transitions, by a plain dynamic program."""
    rows = []
    for index, context in enumerate(context_windows(np.array(phones))):
        for state, hmm in enumerate(inventory.topology.states(phones[index])):
            rows.append((index, state, inventory.tree.senone(context.tolist(), hmm.pdf_class), hmm))
    where = {(index, state): i for i, (index, state, _, _) in enumerate(rows)}
    alpha = np.full(len(rows) + 1, -np.inf)
    alpha[0] = 0.0
    for frame in scores:
        alpha[len(rows)] = -np.inf
        following = np.full(len(rows) + 1, -np.inf)
        for i, (index, state, senone, hmm) in enumerate(rows):
            loop = dict(hmm.transitions).get(state, 0.0)
            for to, probability in hmm.transitions:
                leave = np.log(probability / (1 - loop)) + 0.1 * np.log(1 - loop)
                weight = 0.1 * np.log(loop) if to == state else leave
                end = to == len(inventory.topology.states(phones[index]))
                target = where.get((index + 1, 0), len(rows)) if end else where[index, to]
                following[target] = max(following[target], alpha[i] + weight + acoustic_scale * float(frame[senone]))
        alpha = following
    return float(alpha[len(rows)])


def check_against_every_reading(words: list[str], seed: int, frames: int, inventory: SenoneInventory) -> None:
    scores = np.random.default_rng(seed).normal(scale=3, size=(frames, inventory.num_senones)).astype(np.float32)
    options = [
        (weight + single_reading_score(phones, inventory, scores, 0.7), phones, spans)
        for phones, weight, spans in readings(words)
    ]
    best, phones, spans = max(options)
    report = ForcedAligner(inventory, reader(), acoustic_scale=0.7).align({"x": words}, [("x", scores)])
    if best == -np.inf:
        assert "too short" in report.failures["x"]
        return
    alignment = report.alignments["x"]
    assert tuple(alignment.phones.tolist()) == phones
    assert alignment.words == spans
    # The frames' senones as the inventory labels them: contexts across words and silence are the same on both ways.
    labels = inventory.label(alignment)
    assert alignment.log_likelihood == pytest.approx(float(scores[np.arange(frames), labels].sum()), abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(list(WORDS)), min_size=1, max_size=3),
    st.integers(0, 2**32 - 1),
    st.integers(4, 14),
    st.sampled_from(list(INVENTORIES)),
)
def test_best_of_every_reading(words: list[str], seed: int, frames: int, which: str) -> None:
    check_against_every_reading(words, seed, frames, INVENTORIES[which])


@pytest.mark.parametrize("seed", range(15))
def test_context_across_words_depends_on_the_next_pronunciation(seed: int) -> None:
    # The first "a" ends in A, before A or B as the second is said, which the tree tells apart.
    check_against_every_reading(["a", "a"], seed, 12, INVENTORIES["triphones"])


def test_together_as_alone_and_in_order() -> None:
    generator = np.random.default_rng(3)
    inventory = INVENTORIES["triphones"]
    transcripts = {f"u{i}": generator.choice(list(WORDS), size=generator.integers(1, 6)).tolist() for i in range(40)}
    scores = {
        key: generator.normal(scale=3, size=(int(generator.integers(20, 90)), inventory.num_senones)).astype(np.float32)
        for key in transcripts
    }
    together = ForcedAligner(inventory, reader(), batch_size=7).align(transcripts, scores.items())
    assert list(together.alignments) == list(scores)
    for key, matrix in scores.items():
        alone = ForcedAligner(inventory, reader()).align(transcripts, [(key, torch.from_numpy(matrix))])
        assert alone.alignments[key] == together.alignments[key]
        assert alone.alignments[key].log_likelihood == together.alignments[key].log_likelihood


def test_too_short_and_unknown_are_reported() -> None:
    scores = {"short": np.zeros((3, 7)), "least": np.zeros((4, 7)), "odd": np.zeros((9, 7)), "good": np.zeros((9, 7))}
    transcripts = {"short": ["ab"], "least": ["ab"], "odd": ["zebra"], "good": ["c"]}
    assert MONOPHONES.num_senones == 7
    report = ForcedAligner(MONOPHONES, reader()).align(transcripts, scores.items())
    assert list(report.alignments) == ["least", "good"]
    assert report.failures["short"].startswith("too short: 3 frames, the states of 'ab' need 4")
    assert report.failures["odd"] == "not in the lexicon: zebra"
    report.judge(0.5)
    with pytest.raises(
        UserError, match=r"(?s)2 of 4 utterances could not be aligned.*short: too short.*odd: not in the lexicon"
    ):
        report.judge(0.4)
    with pytest.raises(UserError, match="max_failed_share is 50, expected a share of the utterances from 0 to 1"):
        report.judge(50)


@pytest.mark.parametrize("share", [-0.01, 1.01, 5, float("nan")])
def test_a_share_that_is_none_is_refused_before_anything_is_read(share: float, tmp_path: Path) -> None:
    nothing: Any = None
    told = f"max_failed_share is {share:g}, expected a share of the utterances from 0 to 1"
    with pytest.raises(UserError, match=told):
        forced_align({}, [], MONOPHONES, reader(), max_failed_share=share)
    with pytest.raises(UserError, match=told):
        train_monophone(nothing, nothing, tmp_path, max_failed_share=share)
    with pytest.raises(UserError, match=told):
        train_triphone(nothing, nothing, nothing, nothing, tmp_path, max_failed_share=share)


def test_silence_alone() -> None:
    report = ForcedAligner(MONOPHONES, reader()).align({"x": []}, [("x", np.zeros((8, 7)))])
    assert report.alignments["x"].phones.tolist() == [SILENCE]
    assert report.alignments["x"].words == ()
    without = ForcedAligner(MONOPHONES, reader(silence_probability=0)).align({"x": []}, [("x", np.zeros((8, 7)))])
    assert without.failures == {
        "x": "no words: the transcript is empty, and the lexicon has no optional silence to be all of it"
    }


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(9, 6\), the inventory has 7"):
        forced_align({"x": ["ab"]}, [("x", np.zeros((9, 6)))], MONOPHONES, reader())
    with pytest.raises(UserError, match="NaN"):
        forced_align({"x": ["ab"]}, [("x", np.full((9, 7), np.nan))], MONOPHONES, reader())
    with pytest.raises(UserError, match="no transcript"):
        forced_align({}, [("x", np.zeros((9, 7)))], MONOPHONES, reader())
    with pytest.raises(UserError, match="came twice"):
        forced_align({"x": ["ab"]}, [("x", np.zeros((9, 7)))] * 2, MONOPHONES, reader())
    with pytest.raises(UserError, match="no utterances"):
        forced_align({}, [], MONOPHONES, reader())
    other = default_topology((*PHONES, "D"), ["SIL"])
    with pytest.raises(UserError, match="5 phones, the lang directory 4"):
        ForcedAligner(SenoneInventory(other, monophone_tree(other)), reader())

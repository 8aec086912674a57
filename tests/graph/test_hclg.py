"""HCLG against brute force: every label string up to a length, with its words and its cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from asr_distill.graph import Graph, build_hclg
from asr_distill.graph.arrays import FstArrays, from_fst

Accepted = dict[tuple[tuple[int, ...], tuple[int, ...]], float]
LONGEST = 6
TRANSITION_SCALE, SELF_LOOP_SCALE = 0.8, 0.3


def phone_strings(world, longest: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """(phones, words, cost) of all sentences of at most ``longest`` phones: G's paths x optional silence, straight from the
    tables."""
    number = {name: i + 1 for i, name in enumerate(world.phones)}

    def walk(state: int, phones: tuple[int, ...], words: tuple[int, ...], cost: float):
        if len(phones) > longest:
            return
        if state in world.grammar_final:
            yield phones, words, cost + world.grammar_final[state]
        for source, destination, word, _, weight in world.grammar_arcs:
            if source != state:
                continue
            if word == "#0":
                yield from walk(destination, phones, words, cost + weight)
                continue
            spoken = phones + tuple(number[phone] for phone in world.lexicon[word][0].split())
            for pause in ((), (number["SIL"],)):
                yield from walk(destination, spoken + pause, (*words, world.words[word]), cost + weight + world.pause_cost)

    for pause in ((), (number["SIL"],)):
        yield from walk(0, pause, (), world.pause_cost)


def label_strings(world, phones: tuple[int, ...], longest: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """(labels, cost) of all HMM paths through a phone string in at most ``longest`` frames."""
    topology, tree = world.inventory.topology, world.inventory.tree
    padded = (0, *phones, 0)

    def walk(index: int, state: int, labels: tuple[int, ...], cost: float):
        if index == len(phones):
            yield labels, cost
            return
        if len(labels) + len(phones) - index > longest:
            return
        states = topology.states(phones[index])
        context = padded[index : index + 3]
        label = tree.senone(context, states[state].pdf_class) + 1
        stay = sum(p for destination, p in states[state].transitions if destination == state)
        for destination, p in states[state].transitions:
            if destination == state:
                yield from walk(index, state, (*labels, label), cost - SELF_LOOP_SCALE * math.log(p))
                continue
            step = -TRANSITION_SCALE * math.log(p / (1 - stay)) - SELF_LOOP_SCALE * math.log(1 - stay)
            following = (index + 1, 0) if destination == len(states) else (index, destination)
            yield from walk(*following, (*labels, label), cost + step)

    yield from walk(0, 0, (), 0.0)


def brute_force(world, longest: int) -> Accepted:
    best: Accepted = {}
    for phones, words, cost in phone_strings(world, longest):
        for labels, hmm_cost in label_strings(world, phones, longest):
            key = (labels, words)
            best[key] = min(best.get(key, math.inf), cost + hmm_cost)
    return best


def accepted_by(fst: FstArrays, words_of, longest: int) -> Accepted:
    """The same by walking the finished graph."""
    out: list[list[int]] = [[] for _ in range(fst.num_states)]
    for arc, source in enumerate(fst.source):
        out[source].append(arc)
    best: Accepted = {}

    def walk(state: int, labels: tuple[int, ...], words: tuple[int, ...], cost: float) -> None:
        if math.isfinite(fst.final[state]):
            key = (labels, words)
            best[key] = min(best.get(key, math.inf), cost + float(fst.final[state]))
        for arc in out[state]:
            label = int(fst.ilabel[arc])
            if label and len(labels) == longest:
                continue
            extended = (*labels, label) if label else labels
            walk(int(fst.destination[arc]), extended, words + words_of(int(fst.olabel[arc])), cost + float(fst.weight[arc]))

    walk(fst.start, (), (), 0.0)
    return best


@pytest.fixture
def graph(small_world, tmp_path: Path) -> Graph:
    return build_hclg(
        small_world.lang, small_world.grammar, small_world.inventory, tmp_path / "graph",
        transition_scale=TRANSITION_SCALE, self_loop_scale=SELF_LOOP_SCALE,
    )  # fmt: skip


def assert_same(found: Accepted, expected: Accepted) -> None:
    assert set(found) == set(expected)
    worst = max(expected, key=lambda key: abs(found[key] - expected[key]))
    assert found[worst] == pytest.approx(expected[worst], abs=5e-3), worst


def test_openfst_form_accepts_what_the_tables_say(small_world, graph) -> None:
    expected = brute_force(small_world, LONGEST)
    assert len(expected) > 1000
    assert max(len(words) for _, words in expected) >= 4
    assert_same(accepted_by(from_fst(graph.fst), lambda word: (word,) if word else (), LONGEST), expected)


def test_k2_form_accepts_the_same_without_epsilons(small_world, graph) -> None:
    form = graph.k2_form
    assert (form.arcs[:, 2] != 0).all()
    inner = form.arcs[:, 2] != -1
    final = np.full(form.num_states, np.inf)
    final[form.arcs[~inner, 0]] = -form.scores[~inner]
    arrays = FstArrays(0, *form.arcs[inner, :2].T, form.arcs[inner, 2], form.aux[inner], -form.scores[inner], final)
    assert_same(accepted_by(arrays, graph.words_of, LONGEST), brute_force(small_world, LONGEST))

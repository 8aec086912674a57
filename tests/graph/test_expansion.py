"""Graphs of the user's own in plain k2, expanded: the same as `build_hclg` makes of the same lexicon and G."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from asr_distill.base import UserError
from asr_distill.graph import build_hclg, senone_graph
from asr_distill.graph.arrays import from_fst, to_fst
from asr_distill.graph.fst_file import read_fst_file
from asr_distill.graph.hclg import compose_lg
from asr_distill.lang.symbols import read_symbols

k2 = pytest.importorskip("k2")
torch = pytest.importorskip("torch")


def as_k2(fst) -> object:
    """An FST of OpenFst's as a k2.Fsa, by text."""
    arrays = from_fst(fst)
    columns = (arrays.source, arrays.destination, arrays.ilabel, arrays.olabel, arrays.weight)
    arcs = "".join(f"{a} {b} {i} {o} {w:.9g}\n" for a, b, i, o, w in sorted(zip(*columns, strict=True)))
    ends = "".join(f"{state} {arrays.final[state]:.9g}\n" for state in np.flatnonzero(np.isfinite(arrays.final)))
    return k2.Fsa.from_openfst(arcs + ends, acceptor=False)


def accepted(arcs: np.ndarray, scores: np.ndarray, words: list[list[int]], longest: int = 5) -> dict:
    """Best score of each (labels, words) of at most ``longest`` frames."""
    final = arcs[:, :2].max()
    leaving: dict[int, list[int]] = {}
    for index, source in enumerate(arcs[:, 0]):
        leaving.setdefault(int(source), []).append(index)
    found: dict = {}
    stack = [(0, (), (), 0.0)]
    while stack:
        state, labels, written, score = stack.pop()
        for index in leaving.get(state, ()):
            _, to, label = (int(value) for value in arcs[index])
            total = score + float(scores[index])
            if to == final:
                found[labels, written] = max(found.get((labels, written), -np.inf), total)
            elif len(labels) < longest:
                stack.append((to, (*labels, label), (*written, *(word for word in words[index] if word > 0)), total))
    return found


def of_fsa(fsa) -> dict:
    return accepted(fsa.arcs.values()[:, :3].numpy(), fsa.scores.numpy(), fsa.aux_labels.tolist())


@pytest.mark.parametrize("ragged", [False, True])
def test_the_same_as_our_own_graph(small_world, tmp_path, ragged: bool) -> None:
    graph = build_hclg(small_world.lang, small_world.grammar, small_world.inventory, tmp_path / "graph")
    form = graph.k2_form
    ours = accepted(form.arcs, form.scores, [list(form.words_of(int(aux))) for aux in form.aux])
    files = (small_world.lang / "L_disambig.fst", small_world.grammar)
    lg = as_k2(compose_lg(*(to_fst(read_fst_file(path).arrays) for path in files)))
    phones = read_symbols(small_world.lang / "phones.txt")
    # Another numbering of the same phones, as a user's own table has it.
    other = {name: number and len(phones) - number for name, number in phones.items()}
    renumbered = {phones[name]: other[name] for name in phones} | {-1: -1}
    lg.labels = torch.tensor([renumbered[label] for label in lg.labels.tolist()], dtype=torch.int32)
    if ragged:
        lg.aux_labels = k2.RaggedTensor([[word] if word else [] for word in lg.aux_labels.tolist()])
    theirs = of_fsa(senone_graph(lg, other, small_world.inventory))
    assert set(ours) == set(theirs)
    assert all(ours[key] == pytest.approx(theirs[key], abs=1e-3) for key in ours)
    assert len(ours) > 50


def test_one_arc_that_writes_several_words_and_a_phone_sequence(small_world) -> None:
    inventory = small_world.inventory
    names = inventory.topology.phones
    phones = {"<eps>": 0, names[1]: 1}
    lg = k2.Fsa.from_str("0 1 1 0.0\n1 2 -1 0.0\n2")
    assert {written for _, written in of_fsa(senone_graph(lg, phones, inventory))} == {()}
    lg.aux_labels = k2.RaggedTensor([[7, 3], [-1]])
    outcome = of_fsa(senone_graph(lg, phones, inventory))
    assert {written for _, written in outcome} == {(7, 3)}
    topology = inventory.topology
    first = inventory.senone(None, names[1], None, 0) + 1
    assert {labels[0] for labels, _ in outcome} == {first}
    assert min(len(labels) for labels, _ in outcome) == topology.min_frames(2)


def test_a_senone_by_name_is_the_trees(small_world) -> None:
    inventory = small_world.inventory
    topology = inventory.topology
    for left, phone, right in itertools.product(range(len(topology.phones) + 1), repeat=3):
        if phone == 0:
            continue
        given = [None if number == 0 else topology.name(number) for number in (left, phone, right)]
        for state, hmm_state in enumerate(topology.states(phone)):
            assert inventory.senone(*given, state) == inventory.tree.senone((left, phone, right), hmm_state.pdf_class)
    with pytest.raises(UserError, match="not in the topology"):
        inventory.senone(None, "XX", None)
    with pytest.raises(UserError, match="has the states 0 to"):
        inventory.senone(None, topology.phones[0], None, 9)


def test_what_cannot_be_expanded_is_said(small_world) -> None:
    inventory = small_world.inventory
    lg = k2.Fsa.from_str("0 1 5 0.0\n1 2 -1 0.0\n2")
    with pytest.raises(UserError, match="symbols 5"):
        senone_graph(lg, {"<eps>": 0, "XX": 5}, inventory)
    with pytest.raises(UserError, match="no arcs"):
        senone_graph(k2.Fsa.from_str(""), {"<eps>": 0}, inventory)
    lg.aux_labels = "words"
    with pytest.raises(UserError, match="aux_labels are a str"):
        senone_graph(lg, {"<eps>": 0, inventory.topology.phones[1]: 5}, inventory)

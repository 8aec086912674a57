"""The tree as a structure: vectorised lookup against the walk, ownership of senones, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from senone_trees import all_contexts, random_tree, small_topology

from asr_distill.lang import base_phone
from asr_distill.senones import Leaf, PhoneticTree, Split, default_topology, monophone_tree


def test_by_hand() -> None:
    """Phones SIL=1 A=2 B=3. A[0] asks: is the left phone SIL or the boundary? then: is the right one B?"""
    topology = default_topology(["SIL", "A", "B"], ["SIL"])
    roots = {("SIL", 0): 0, ("A", 0): 1, ("A", 1): 6, ("A", 2): 7, ("B", 0): 8, ("B", 1): 9, ("B", 2): 10}
    nodes = (Leaf(0), Split(0, 0, 2, 3), Leaf(1), Split(2, 1, 4, 5), Leaf(2), Leaf(3), *(Leaf(4 + i) for i in range(5)))
    tree = PhoneticTree(topology.phones, 3, (frozenset({0, 1}), frozenset({3})), roots, nodes)
    contexts = np.array([[0, 2, 3], [1, 2, 0], [3, 2, 3], [3, 2, 2], [3, 2, 2], [2, 3, 0], [2, 1, 2]])
    pdf_classes = np.array([0, 0, 0, 0, 1, 2, 0])
    assert tree.senones_of(contexts, pdf_classes).tolist() == [1, 1, 2, 3, 4, 8, 0]
    assert tree.senones_of(contexts, pdf_classes).dtype == np.int32
    assert [tree.senone_info(s) for s in (0, 2, 8)] == [("SIL", 0), ("A", 0), ("B", 2)]
    assert tree.num_senones == 9


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), position_dependent=st.booleans())
def test_vectorised_lookup_is_the_walk_and_every_context_reaches_a_leaf(seed: int, position_dependent: bool) -> None:
    topology = small_topology(position_dependent)
    tree = random_tree(topology, seed)
    contexts, pdf_classes = all_contexts(topology)
    chosen = np.random.default_rng(seed).choice(len(contexts), 300, replace=False)
    contexts, pdf_classes = contexts[chosen], pdf_classes[chosen]
    senones = tree.senones_of(contexts, pdf_classes)
    assert senones.tolist() == [tree.senone(tuple(c), int(k)) for c, k in zip(contexts, pdf_classes, strict=True)]
    for context, pdf_class, senone in zip(contexts, pdf_classes, senones, strict=True):
        assert tree.senone_info(int(senone)) == (base_phone(topology.name(int(context[1]))), int(pdf_class))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_round_trip(seed: int) -> None:
    topology = small_topology()
    tree = random_tree(topology, seed)
    again = PhoneticTree.from_dict(json.loads(json.dumps(tree.to_dict())))
    contexts, pdf_classes = all_contexts(topology)
    np.testing.assert_array_equal(again.senones_of(contexts, pdf_classes), tree.senones_of(contexts, pdf_classes))
    assert again.to_dict() == tree.to_dict()


def test_monophones_ignore_context() -> None:
    topology = small_topology(position_dependent=True)
    tree = monophone_tree(topology)
    assert tree.num_senones == 1 + 4 * 3
    contexts, pdf_classes = all_contexts(topology)
    senones = tree.senones_of(contexts, pdf_classes)
    np.testing.assert_array_equal(senones, tree.senones_of(contexts[:, 1:2], pdf_classes))
    assert [tree.senone_info(s) for s in range(5)] == [("SIL", 0), ("A", 0), ("A", 1), ("A", 2), ("B", 0)]
    assert tree.senone((0, 2, 0), 1) == tree.senone((2,), 1) == 2


def test_no_contexts() -> None:
    tree = random_tree(small_topology(), 0)
    assert tree.senones_of(np.zeros((0, 3), np.int32), np.zeros(0, np.int32)).shape == (0,)


@pytest.mark.parametrize(
    ("context", "pdf_class", "complaint"),
    [([0, 0, 2], 0, "no root"), ([2, 1, 2], 1, "no root"), ([2, 2, 9], 0, "expected 0..5"), ([2, 2, 2], 3, "outside 0..2")],
)
def test_contexts_outside_the_phones_are_refused(context: list[int], pdf_class: int, complaint: str) -> None:
    tree = random_tree(small_topology(), 0)
    with pytest.raises(ValueError, match=complaint):
        tree.senones_of(np.array([context]), np.array([pdf_class]))


@pytest.mark.parametrize(
    ("nodes", "complaint"),
    [
        ((Split(0, 0, 1, 1), Leaf(0)), "two parents"),
        ((Split(0, 0, 1, 5), Leaf(0)), "missing"),
        ((Split(0, 3, 1, 2), Leaf(0), Leaf(1)), "question 3"),
        ((Split(3, 0, 1, 2), Leaf(0), Leaf(1)), "position 3"),
        ((Split(0, 0, 1, 2), Leaf(0), Leaf(2)), "without gaps"),
    ],
)
def test_broken_forests_are_refused(nodes: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        PhoneticTree(("A",), 3, (frozenset({1}),), {("A", 0): 0}, nodes)


def test_a_senone_has_one_root() -> None:
    with pytest.raises(ValueError, match="under two roots"):
        PhoneticTree(("A",), 3, (), {("A", 0): 0, ("A", 1): 1}, (Leaf(0), Leaf(0)))
    with pytest.raises(ValueError, match="no root for the phones B"):
        PhoneticTree(("A", "B"), 3, (), {("A", 0): 0}, (Leaf(0),))

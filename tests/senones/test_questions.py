"""Questions: clusters worked by hand, a brute-force reference for merging, closure under word position."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from senone_trees import small_topology

from asr_distill.lang import base_phone
from asr_distill.senones import TreeStatistics, cluster_phone_questions
from asr_distill.senones.clustering import agglomerate
from asr_distill.senones.gaussian import log_likelihood
from asr_distill.senones.statistics import _pool


def packed_of(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([[len(frames)], frames.sum(0), (frames**2).sum(0)])


def monophones(means: dict[int, float], spread: float = 1.0) -> TreeStatistics:
    """Each phone id with frames mean - spread and mean + spread in every pdf class."""
    rows = [(1, phone, 1, pdf_class) for phone in means for pdf_class in range(3)]
    frames = np.array([[means[phone] - spread, means[phone] + spread] for _, phone, *_ in rows])
    table = np.array(rows)
    packed = np.stack([np.full(len(rows), 2.0), frames.sum(1), (frames**2).sum(1)], axis=1)
    return _pool(table[:, :3], table[:, 3], packed)


def test_by_hand() -> None:
    """Phones on a line, A=0, B=1, C=10, D=12: A and B merge first, then C and D."""
    topology = small_topology()
    questions = cluster_phone_questions(monophones({2: 0.0, 3: 1.0, 4: 10.0, 5: 12.0}), topology)
    expected = [{0}, {1}, {0, 1}, {2}, {3}, {4}, {5}, {2, 3}, {4, 5}, {2, 3, 4, 5}]
    assert [set(question) for question in questions.context] == expected
    assert questions.centre == ()


def test_each_pdf_class_has_a_hierarchy() -> None:
    """All in all A is like B and C like D, but in their first state A is like C and B like D."""
    topology = small_topology()
    first, others = {2: 0.0, 3: 10.0, 4: 1.0, 5: 12.0}, {2: 0.0, 3: 1.0, 4: 90.0, 5: 92.0}
    stats = monophones({phone: others[phone] for phone in others})
    rows = stats.pdf_classes == 0
    stats.sums[rows, 0] = [2 * first[int(phone)] for phone in stats.contexts[rows, 1]]
    stats.squares[rows, 0] = [2 * first[int(phone)] ** 2 + 2 for phone in stats.contexts[rows, 1]]
    together = set(cluster_phone_questions(stats, topology, per_pdf_class=False).context)
    alone = set(cluster_phone_questions(stats, topology).context)
    assert {frozenset({2, 3}), frozenset({4, 5})} <= together
    assert alone - together == {frozenset({2, 4}), frozenset({3, 5})}


def test_phones_without_statistics_are_speech_all_the_same() -> None:
    questions = cluster_phone_questions(monophones({2: 0.0, 3: 1.0}), small_topology())
    assert [set(question) for question in questions.context] == [{0}, {1}, {0, 1}, {2}, {3}, {2, 3}, {2, 3, 4, 5}]


def test_closed_under_word_position() -> None:
    topology = small_topology(position_dependent=True)
    generator = np.random.default_rng(0)
    stats = monophones({phone: float(generator.normal()) for phone in range(2, 18)})
    questions = cluster_phone_questions(stats, topology)
    for question in questions.context:
        bases = {base_phone(topology.name(phone)) for phone in question if phone}
        assert question - {0} == {phone for phone in range(1, 18) if base_phone(topology.name(phone)) in bases}
    begins = frozenset(phone for phone in range(1, 18) if topology.name(phone).endswith("_B"))
    assert begins in questions.centre
    assert len(questions.centre) == 6


@pytest.mark.parametrize("seed", range(5))
def test_merging_against_brute_force(seed: int) -> None:
    generator = np.random.default_rng(seed)
    frames = [
        [generator.normal(generator.normal(0, 3), 1, (int(generator.integers(2, 9)), 2)) for _ in range(2)] for _ in range(7)
    ]
    packed = np.array([[packed_of(part) for part in item] for item in frames])
    floor = np.full(2, 0.1)

    def fit(members: tuple[int, ...]) -> float:
        return sum(float(log_likelihood(packed_of(np.concatenate([frames[m][k] for m in members])), floor)) for k in range(2))

    clusters = [(index,) for index in range(7)]
    nodes, costs = list(clusters), []
    while len(clusters) > 1:
        cost, one, other = min((fit(a) + fit(b) - fit(tuple(a + b)), a, b) for a, b in itertools.combinations(clusters, 2))
        clusters = sorted([c for c in clusters if c not in (one, other)] + [tuple(sorted(one + other))])
        nodes.append(tuple(sorted(one + other)))
        costs.append(cost)
    hierarchy = agglomerate(packed, floor)
    assert list(hierarchy.nodes) == nodes
    assert hierarchy.clusters == (tuple(range(7)),)
    # A limit between the third and the fourth merger stops there (costs of greedy mergers may fall, so take the first three).
    if costs[3] > max(costs[:3]):
        stopped = agglomerate(packed, floor, max_cost=(costs[3] + max(costs[:3])) / 2)
        assert len(stopped.clusters) == 4
        assert sorted(itertools.chain(*stopped.clusters)) == list(range(7))


def test_nothing_to_merge() -> None:
    assert agglomerate(np.zeros((0, 1, 5)), np.ones(2)).clusters == ()
    assert agglomerate(np.ones((1, 1, 5)), np.ones(2)).clusters == ((0,),)

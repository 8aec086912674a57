"""The grown tree: a gain worked on paper, a brute-force reference over raw frames, and what must hold for any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from senone_trees import all_contexts, small_topology

from asr_distill.base import UserError
from asr_distill.senones import (
    Questions,
    SenoneInventory,
    Topology,
    TreeStatistics,
    cluster_phone_questions,
    default_topology,
    grow_tree,
    leaves_for,
)
from asr_distill.senones.gaussian import log_likelihood
from asr_distill.senones.statistics import _pool


def statistics_of(rows: list[tuple[tuple[int, int, int], int, np.ndarray]]) -> TreeStatistics:
    """From ``(context, pdf class, (n, D) frames)``."""
    contexts = np.concatenate([np.tile(context, (len(frames), 1)) for context, _, frames in rows])
    classes = np.concatenate([np.full(len(frames), pdf_class) for _, pdf_class, frames in rows])
    frames = np.concatenate([frames for _, _, frames in rows])
    return _pool(contexts, classes, np.concatenate([np.ones((len(frames), 1)), frames, frames**2], axis=1))


def random_rows(seed: int, topology: Topology, count: int = 60, dimension: int = 2) -> list:
    generator = np.random.default_rng(seed)
    contexts, classes = all_contexts(topology)
    of_phone = generator.normal(size=(len(topology.phones) + 1, dimension))
    rows = []
    for index in generator.choice(len(contexts), count, replace=False):
        left, centre, right = contexts[index]
        mean = 2 * of_phone[centre] + (2 - classes[index]) * of_phone[left] + classes[index] * of_phone[right]
        frames = mean + generator.normal(size=(int(generator.integers(1, 12)), dimension))
        rows.append(((int(left), int(centre), int(right)), int(classes[index]), frames))
    return rows


def test_gain_on_paper() -> None:
    """Phones A=1, B=2. A[0] after A: frames 0, 2; after B: 10, 12. One Gaussian: variance 26; apart: variance 1 each.

    Gain = -1/2 (2 ln 1 + 2 ln 1 - 4 ln 26) = 2 ln 26.
    """
    topology = default_topology(["A", "B"], [], phone_states=1)
    rows = [((1, 1, 2), 0, np.array([[0.0], [2.0]])), ((2, 1, 2), 0, np.array([[10.0], [12.0]]))]
    questions = Questions((frozenset({1}), frozenset({2})))
    tree, report = grow_tree(statistics_of(rows), topology, questions, num_leaves=3, min_gain=1.0, min_count=1)
    assert report.gains == (pytest.approx(2 * math.log(26)),)
    assert (report.log_likelihood_leaves - report.log_likelihood_roots) * 4 == pytest.approx(2 * math.log(26))
    # A after A: senone 0; A after anything else: 1; B never occurred: 2.
    contexts = [[1, 1, 2], [2, 1, 2], [0, 1, 0], [1, 1, 1], [1, 2, 1]]
    assert tree.senones_of(np.array(contexts), np.zeros(5, int)).tolist() == [0, 1, 1, 0, 2]
    assert report.unseen_roots == (("B", 0),)
    assert report.smallest_leaf == 2


def test_leaves_grow_with_the_root_of_the_hours() -> None:
    topology = default_topology(["A", "B", "SIL"], ["SIL"])
    assert [leaves_for(hours, topology) for hours in (0.25, 1.0, 4.0, 2000.0)] == [180, 360, 720, 16100]
    assert leaves_for(1e-6, topology) == 7  # three states of A and B, one senone of silence


@pytest.mark.parametrize(
    ("options", "senones"),
    [
        ({"num_leaves": 2}, 2),
        ({"num_leaves": 3, "min_gain": 6.6}, 2),
        ({"num_leaves": 3, "min_gain": 6.4}, 3),
        ({"num_leaves": 3, "min_count": 3}, 2),
        ({"num_leaves": 3, "merge_threshold": 6.4}, 3),
        ({"num_leaves": 3, "merge_threshold": 6.6}, 2),
    ],
)
def test_thresholds(options: dict, senones: int) -> None:
    """The only gain is 2 ln 26 = 6.516, with two frames on either side."""
    topology = default_topology(["A", "B"], [], phone_states=1)
    rows = [((1, 1, 2), 0, np.array([[0.0], [2.0]])), ((2, 1, 2), 0, np.array([[10.0], [12.0]]))]
    settings_ = {"min_gain": 1.0, "min_count": 1, **options}
    tree, report = grow_tree(statistics_of(rows), topology, Questions((frozenset({1}),)), **settings_)
    assert tree.num_senones == report.num_senones == senones


def brute_force(
    rows: list, topology: Topology, sets: list[frozenset[int]], num_leaves: int, min_gain: float, min_count: int
) -> tuple:
    """Best-gain-first growth that refits Gaussians to raw frames for every leaf, position and question at every step."""
    norm = pytest.importorskip("scipy.stats").norm
    everything = np.concatenate([frames for *_, frames in rows])
    floor = 0.01 * everything.var(axis=0)

    def fit(members: list[int]) -> float:
        frames = np.concatenate([rows[m][2] for m in members])
        return float(norm.logpdf(frames, frames.mean(0), np.sqrt(np.maximum(frames.var(0), floor))).sum())

    def frames_in(members: list[int]) -> int:
        return sum(len(rows[m][2]) for m in members)

    leaves: dict[tuple, list[int]] = {}
    for index, (context, pdf_class, _) in enumerate(rows):
        leaves.setdefault((context[1], pdf_class), []).append(index)
    unseen = sum(topology.num_pdf_classes(p) for p in range(1, len(topology.phones) + 1)) - len(leaves)
    partition, gains = list(leaves.values()), []
    while len(partition) + unseen < num_leaves:
        best = None
        for leaf, members in enumerate(partition):
            if topology.is_silence(rows[members[0]][0][1]):
                continue
            for position in (0, 2):
                for asked in sets:
                    yes = [m for m in members if rows[m][0][position] in asked]
                    no = [m for m in members if m not in yes]
                    if not yes or not no or min(frames_in(yes), frames_in(no)) < min_count:
                        continue
                    gain = fit(yes) + fit(no) - fit(members)
                    if best is None or gain > best[0] + 1e-9:
                        best = (gain, leaf, yes, no)
        if best is None or best[0] < min_gain:
            break
        gain, leaf, yes, no = best
        gains.append(gain)
        partition[leaf : leaf + 1] = [yes, no]
    return sorted(sorted(rows[m][:2] for m in members) for members in partition), gains


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 100_000), min_count=st.integers(1, 25), num_leaves=st.integers(13, 30))
def test_against_brute_force(seed: int, min_count: int, num_leaves: int) -> None:
    topology = small_topology()
    rows = random_rows(seed, topology, count=40)
    generator = np.random.default_rng(seed + 1)
    sets = [frozenset({p}) for p in range(3)] + [
        frozenset(int(p) for p in generator.choice(6, int(generator.integers(2, 4)), replace=False)) for _ in range(4)
    ]
    expected, gains = brute_force(rows, topology, sets, num_leaves, 1.0, min_count)
    tree, report = grow_tree(
        statistics_of(rows),
        topology,
        Questions(tuple(dict.fromkeys(sets))),
        num_leaves=num_leaves,
        min_gain=1.0,
        min_count=min_count,
    )
    np.testing.assert_allclose(report.gains, gains, rtol=1e-6, atol=1e-6)
    groups: dict[int, list] = {}
    for context, pdf_class, _ in rows:
        groups.setdefault(tree.senone(context, pdf_class), []).append((context, pdf_class))
    assert sorted(sorted(group) for group in groups.values()) == expected


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100_000), position_dependent=st.booleans(), merge=st.sampled_from([0.0, 20.0]))
def test_whatever_the_data(seed: int, position_dependent: bool, merge: float) -> None:
    topology = small_topology(position_dependent)
    stats = statistics_of(random_rows(seed, topology, count=100))
    questions = cluster_phone_questions(stats, topology)
    options = {"min_gain": 0.5, "min_count": 5, "merge_threshold": merge}
    tree, report = grow_tree(stats, topology, questions, num_leaves=40, **options)
    # Every context reaches a leaf of its own phone and pdf class; every senone is reached by some context.
    contexts, pdf_classes = all_contexts(topology)
    senones = tree.senones_of(contexts, pdf_classes)
    assert set(senones.tolist()) <= set(range(tree.num_senones))
    # No senone under a split root has fewer frames than asked; silence is one senone.
    seen = tree.senones_of(stats.contexts, stats.pdf_classes)
    counts = np.bincount(seen, weights=stats.counts, minlength=tree.num_senones)
    per_root: dict[tuple[str, int], list[int]] = {}
    for senone in range(tree.num_senones):
        per_root.setdefault(tree.senone_info(senone), []).append(senone)
    assert all(counts[senone] >= 5 for group in per_root.values() if len(group) > 1 for senone in group)
    assert len(per_root["SIL", 0]) == 1
    # Splits gain what was asked for, and the reported likelihoods are those of the partitions.
    assert all(gain >= 0.5 for gain in report.gains)
    floor = stats.variance_floor()
    pooled = np.zeros((tree.num_senones, 2 * stats.dimension + 1))
    np.add.at(pooled, seen, stats.packed())
    assert report.log_likelihood_leaves * stats.num_frames == pytest.approx(log_likelihood(pooled, floor).sum(), rel=1e-9)
    if merge == 0.0:
        gained = (report.log_likelihood_leaves - report.log_likelihood_roots) * stats.num_frames
        assert gained == pytest.approx(sum(report.gains), rel=1e-6, abs=1e-6)
        assert report.num_senones == report.leaves_grown == report.roots + len(report.gains)
    # More leaves never fit worse, and the same data give the same tree.
    smaller, before = grow_tree(stats, topology, questions, num_leaves=30, **options)
    if merge == 0.0:
        assert before.log_likelihood_leaves <= report.log_likelihood_leaves + 1e-9
        assert report.gains[: len(before.gains)] == before.gains
    again, _ = grow_tree(stats, topology, questions, num_leaves=40, **options)
    assert SenoneInventory(topology, again).hash == SenoneInventory(topology, tree).hash
    assert (SenoneInventory(topology, smaller).hash == SenoneInventory(topology, tree).hash) == (
        before.leaves_grown == report.leaves_grown
    )


def test_too_few_leaves_and_bad_thresholds_are_refused() -> None:
    topology = small_topology()
    stats = statistics_of(random_rows(0, topology))
    with pytest.raises(UserError, match="num_leaves is 12, but there are 13 roots"):
        grow_tree(stats, topology, Questions(()), num_leaves=12)
    with pytest.raises(UserError, match="min_gain 0"):
        grow_tree(stats, topology, Questions(()), num_leaves=13, min_gain=0)


def test_word_positions_are_asked_about_the_centre() -> None:
    """Frames depend on the word position alone, so only the centre can tell them apart."""
    topology = small_topology(position_dependent=True)
    generator = np.random.default_rng(0)
    begin, end = topology.phone_id("A_B"), topology.phone_id("A_E")
    rows = [
        ((left, phone, 1), 0, generator.normal(mean, 1, (40, 2))) for left in (1, 9) for phone, mean in ((begin, 0), (end, 9))
    ]
    stats = statistics_of(rows)
    tree, _ = grow_tree(stats, topology, cluster_phone_questions(stats, topology), num_leaves=14, min_gain=10)
    assert tree.senone((1, begin, 1), 0) == tree.senone((9, begin, 1), 0) != tree.senone((9, end, 1), 0)
    assert tree.senone_info(tree.senone((9, end, 1), 0)) == ("A", 0)

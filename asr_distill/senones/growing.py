"""Growing the tree: of all leaves, split the one whose best question raises the likelihood most, until there are enough.

For a leaf, its statistics are pooled by the phone at one position; one matrix product with the questions' membership then
gives the statistics of both sides of every question at once.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np

from asr_distill.base import UserError
from asr_distill.senones.clustering import agglomerate
from asr_distill.senones.gaussian import log_likelihood
from asr_distill.senones.questions import Questions
from asr_distill.senones.statistics import TreeStatistics
from asr_distill.senones.topology import Topology
from asr_distill.senones.tree import CENTRE, LEFT, RIGHT, Leaf, PhoneticTree, Split, root_keys

# Leaves for one hour of speech, silence included, growing with its square root: 0.64 h of AN4 had 300, 1.96 h of
# speechocean762 500, the 2,000 h of Hinton, Vinyals and Dean (2015) 14,000.
LEAVES_OF_AN_HOUR = 360
# Questions that part the data alike differ in the last bits of their gains; the first of them wins on every machine.
TIE_TOLERANCE = 1e-9


def check_num_leaves(num_leaves: int | None, topology: Topology) -> int:
    """The number of roots. Raises `UserError` where ``num_leaves`` (None: to be chosen by `leaves_for`) is below it."""
    roots = len(root_keys(topology))
    if num_leaves is not None and num_leaves < roots:
        raise UserError(
            f"num_leaves is {num_leaves}, but there are {roots} roots, the states (pdf classes) of {len(topology.base_phones)}"
            f" phones; expected at least as many. Next: --num-leaves auto, or {roots} and more"
        )
    return roots


def leaves_for(hours: float, topology: Topology) -> int:
    """A number of leaves for so many hours of aligned speech: ``360 sqrt(hours)``, and no fewer than there are roots."""
    return max(round(LEAVES_OF_AN_HOUR * math.sqrt(hours)), len(root_keys(topology)))


@dataclass(frozen=True)
class GrowthReport:
    """How the tree came about; likelihoods in nats per frame over all frames, silence included.

    Attributes:
        roots: number of roots.
        leaves_grown: leaves before merging.
        num_senones: leaves after merging.
        log_likelihood_roots: of the roots' Gaussians.
        log_likelihood_leaves: of the senones' Gaussians.
        gains: of each split in order of splitting, nats, non-increasing along any path only.
        stopped_by: "num_leaves", or "thresholds" where no split obeyed min_gain and min_count any more.
        unseen_roots: ``(base phone, pdf class)`` without any frame; one senone each that training never sees.
        smallest_leaf: fewest frames of a senone of a seen root that was split, 0 where none was.
    """

    roots: int
    leaves_grown: int
    num_senones: int
    log_likelihood_roots: float
    log_likelihood_leaves: float
    gains: tuple[float, ...]
    stopped_by: str
    unseen_roots: tuple[tuple[str, int], ...]
    smallest_leaf: float


@dataclass
class _Node:
    rows: np.ndarray
    root: int
    split: tuple[float, int, int] | None = None  # gain, position, question
    children: tuple[int, int] | None = None


@dataclass
class _Asker:
    """Finds the best split of a set of rows."""

    contexts: np.ndarray
    packed: np.ndarray
    variance_floor: np.ndarray
    min_count: float
    num_phones: int
    questions: tuple[frozenset[int], ...]
    positions: tuple[tuple[int, ...], ...]
    _member: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for position in (LEFT, CENTRE, RIGHT):
            asked = np.array([q for q, where in enumerate(self.positions) if position in where], dtype=np.int64)
            member = np.zeros((len(asked), self.num_phones + 1))
            for row, question in enumerate(asked):
                member[row, list(self.questions[question])] = 1.0
            self._member[position] = (asked, member)

    def best(self, rows: np.ndarray) -> tuple[float, int, int] | None:
        """``(gain in nats, position, question)`` of the best split that leaves at least min_count frames on both sides."""
        if len(rows) < 2:
            return None
        packed = self.packed[rows]
        whole = float(log_likelihood(packed.sum(axis=0), self.variance_floor))
        best: tuple[float, int, int] | None = None
        for position, (asked, member) in self._member.items():
            if not len(asked):
                continue
            phones, index = np.unique(self.contexts[rows, position], return_inverse=True)
            if len(phones) < 2:
                continue
            by_phone = np.add.reduceat(
                packed[np.argsort(index, kind="stable")], np.searchsorted(np.sort(index), np.arange(len(phones)))
            )
            inside = member[:, phones]
            yes, no = inside @ by_phone, (1.0 - inside) @ by_phone
            allowed = (np.minimum(yes[:, 0], no[:, 0]) >= self.min_count) & inside.any(axis=1) & (inside == 0).any(axis=1)
            if not allowed.any():
                continue
            candidates = np.flatnonzero(allowed)
            gains = log_likelihood(yes[candidates], self.variance_floor) + log_likelihood(no[candidates], self.variance_floor)
            gains -= whole
            tolerance = TIE_TOLERANCE * max(abs(whole), 1.0)
            winner = int(np.flatnonzero(gains >= gains.max() - tolerance)[0])
            if best is None or gains[winner] > best[0] + tolerance:
                best = (float(gains[winner]), position, int(asked[candidates[winner]]))
        return best


def grow_tree(
    stats: TreeStatistics,
    topology: Topology,
    questions: Questions,
    *,
    num_leaves: int,
    min_gain: float = 100.0,
    min_count: float = 50.0,
    merge_threshold: float = 0.0,
    variance_floor_share: float = 0.01,
) -> tuple[PhoneticTree, GrowthReport]:
    """Grows one tree per base phone and pdf class, all at once, best gain first.

    Args:
        stats: triphone statistics; the tree's quality depends on their features.
        num_leaves: stop at this many leaves over all roots, silence included.
        min_gain: smallest gain in log-likelihood (nats) that justifies a split, above 0.
        min_count: fewest frames on either side of a split.
        merge_threshold: afterwards merge leaves of one root while that costs at most this many nats; 0 merges none.
        variance_floor_share: floor of the variances, as a share of the variance of all frames.

    Returns:
        The tree (senones numbered by root, then depth first, yes before no) and a report.

    Raises `UserError` where ``num_leaves`` is below the number of roots, or a threshold is out of range.
    """
    keys = root_keys(topology)
    check_num_leaves(num_leaves, topology)
    if min_gain <= 0 or min_count < 0 or merge_threshold < 0 or variance_floor_share <= 0:
        raise UserError(
            f"min_gain {min_gain} and variance_floor_share {variance_floor_share} must be above 0, min_count {min_count} and"
            f" merge_threshold {merge_threshold} not below 0"
        )
    packed, floor = stats.packed(), stats.variance_floor(variance_floor_share)
    sets = tuple(dict.fromkeys(questions.context + questions.centre))
    positions = tuple(
        tuple([LEFT, RIGHT] if question in questions.context else []) + tuple([CENTRE] if question in questions.centre else [])
        for question in sets
    )
    asker = _Asker(stats.contexts, packed, floor, min_count, len(topology.phones), sets, positions)

    silence = {topology.base_phone(name) for name in topology.silence_phones}
    nodes = [_Node(rows, root) for root, rows in enumerate(_rows_of_roots(stats, topology, keys))]
    heap: list[tuple[float, int]] = []

    def consider(index: int) -> None:
        node = nodes[index]
        if keys[node.root][0] not in silence:
            node.split = asker.best(node.rows)
            if node.split is not None and node.split[0] >= min_gain:
                heapq.heappush(heap, (-node.split[0], index))

    for index in range(len(keys)):
        consider(index)
    gains: list[float] = []
    leaves = len(keys)
    while heap and leaves < num_leaves:
        _, index = heapq.heappop(heap)
        node = nodes[index]
        if node.split is None:
            continue
        gain, position, question = node.split
        phones = np.fromiter(sets[question], dtype=np.int64)
        yes = np.isin(stats.contexts[node.rows, position], phones)
        node.children = (len(nodes), len(nodes) + 1)
        nodes += [_Node(node.rows[yes], node.root), _Node(node.rows[~yes], node.root)]
        gains.append(gain)
        leaves += 1
        for child in node.children:
            consider(child)

    tree, groups = _freeze(nodes, keys, topology, sets, packed, floor, merge_threshold)
    pooled = np.stack([packed[rows].sum(axis=0) for rows in groups])
    of_roots = np.stack([packed[node.rows].sum(axis=0) for node in nodes[: len(keys)]])
    grown = {nodes[index].root for index in range(len(keys), len(nodes))}
    owners = [keys.index(info) for info in (tree.senone_info(senone) for senone in range(tree.num_senones))]
    frames = max(stats.num_frames, 1)
    return tree, GrowthReport(
        roots=len(keys),
        leaves_grown=leaves,
        num_senones=tree.num_senones,
        log_likelihood_roots=float(log_likelihood(of_roots, floor).sum()) / frames,
        log_likelihood_leaves=float(log_likelihood(pooled, floor).sum()) / frames,
        gains=tuple(gains),
        stopped_by="num_leaves" if leaves >= num_leaves else "thresholds",
        unseen_roots=tuple(key for key, node in zip(keys, nodes, strict=False) if not len(node.rows)),
        smallest_leaf=float(min((pooled[s, 0] for s, owner in enumerate(owners) if owner in grown), default=0.0)),
    )


def _rows_of_roots(stats: TreeStatistics, topology: Topology, keys: list[tuple[str, int]]) -> list[np.ndarray]:
    """For each root, the rows of the statistics that belong to it."""
    base_index = {base: index for index, base in enumerate(dict.fromkeys(base for base, _ in keys))}
    of_phone = np.array([-1] + [base_index[topology.base_phone(name)] for name in topology.phones])
    bases = of_phone[stats.contexts[:, CENTRE]]
    return [np.flatnonzero((bases == base_index[base]) & (stats.pdf_classes == pdf_class)) for base, pdf_class in keys]


def _freeze(
    nodes: list[_Node],
    keys: list[tuple[str, int]],
    topology: Topology,
    sets: tuple[frozenset[int], ...],
    packed: np.ndarray,
    floor: np.ndarray,
    merge_threshold: float,
) -> tuple[PhoneticTree, list[np.ndarray]]:
    """The tree with nodes in depth-first order and only the questions it asks, and for each senone its rows."""
    frozen: list[Split | Leaf] = []
    question_ids: dict[int, int] = {}
    roots: dict[tuple[str, int], int] = {}
    groups: list[np.ndarray] = []

    def place(index: int, senone_of: dict[int, int]) -> int:
        node, here = nodes[index], len(frozen)
        frozen.append(Leaf(-1))
        if node.children is None or node.split is None:
            frozen[here] = Leaf(senone_of[index])
            return here
        _, position, question = node.split
        asked = question_ids.setdefault(question, len(question_ids))
        yes, no = (place(child, senone_of) for child in node.children)
        frozen[here] = Split(position, asked, yes, no)
        return here

    for root, key in enumerate(keys):
        leaves: list[int] = []
        stack = [root]
        while stack:
            index = stack.pop()
            children = nodes[index].children
            if children is None:
                leaves.append(index)
            else:
                stack += [children[1], children[0]]
        clusters: tuple[tuple[int, ...], ...] = tuple((member,) for member in range(len(leaves)))
        if merge_threshold > 0 and len(leaves) > 1:
            pooled = np.stack([packed[nodes[leaf].rows].sum(axis=0) for leaf in leaves])
            clusters = agglomerate(pooled[:, None], floor, max_cost=merge_threshold).clusters
        senone_of = {}
        for members in clusters:
            for member in members:
                senone_of[leaves[member]] = len(groups)
            groups.append(np.concatenate([nodes[leaves[member]].rows for member in members]))
        roots[key] = place(root, senone_of)
    asked_sets = tuple(sets[question] for question in question_ids)
    return PhoneticTree(topology.phones, 3, asked_sets, roots, tuple(frozen)), groups

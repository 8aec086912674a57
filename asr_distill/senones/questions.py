"""Questions about the neighbouring phones, clustered from the data: phones that sound alike are asked about together.

As in Kaldi's ``cluster-phones``: phones are merged bottom-up, each time the pair whose pooling costs the least likelihood;
every node of the hierarchy is a question. Hierarchies come from all pdf classes together and from each alone, for a phone's
first state tells most about its influence on what precedes, its last state on what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_distill.senones.clustering import agglomerate
from asr_distill.senones.statistics import TreeStatistics
from asr_distill.senones.topology import Topology
from asr_distill.senones.tree import BOUNDARY


@dataclass(frozen=True)
class Questions:
    """Sets of phone ids to ask about, 0 being the sentence boundary.

    Attributes:
        context: for the left and the right phone; closed under word position (all variants of a base phone or none).
        centre: for the phone itself; about its word position only, empty for phones without one.
    """

    context: tuple[frozenset[int], ...]
    centre: tuple[frozenset[int], ...] = ()


def cluster_phone_questions(
    stats: TreeStatistics, topology: Topology, *, variance_floor_share: float = 0.01, per_pdf_class: bool = True
) -> Questions:
    """Questions from monophone statistics (pooled over contexts) of the speech phones, plus silence and boundary.

    Args:
        per_pdf_class: also a hierarchy per pdf class, beside the one over all of them.

    Returns:
        Questions without repetition, in a fixed order: boundary, silence phones, then the hierarchies from single phones up.
        A phone without statistics is only in the question "is it speech?".
    """
    speech = [
        base
        for base in topology.base_phones
        if not any(topology.base_phone(silence) == base for silence in topology.silence_phones)
    ]
    variants = {
        base: frozenset(phone for phone, name in enumerate(topology.phones, 1) if topology.base_phone(name) == base)
        for base in topology.base_phones
    }
    silences = [frozenset([topology.phone_id(name)]) for name in topology.silence_phones]
    found: list[frozenset[int]] = [frozenset([BOUNDARY]), *silences, frozenset([BOUNDARY]).union(*silences)]

    monophones = _monophone_statistics(stats, topology, speech)
    floor = stats.variance_floor(variance_floor_share)
    seen = [index for index in range(len(speech)) if monophones[index, :, 0].sum() > 0]
    views = [monophones[seen]]
    if per_pdf_class and monophones.shape[1] > 1:
        views += [monophones[seen, pdf_class : pdf_class + 1] for pdf_class in range(monophones.shape[1])]
    for view in views:
        for members in agglomerate(view, floor).nodes:
            found.append(frozenset().union(*(variants[speech[seen[member]]] for member in members)))
    found.append(frozenset().union(*(variants[base] for base in speech)))

    everything = frozenset(range(len(topology.phones) + 1))
    context = tuple(question for question in dict.fromkeys(found) if question and question != everything)
    return Questions(context, _word_position_questions(topology))


def _monophone_statistics(stats: TreeStatistics, topology: Topology, bases: Sequence[str]) -> np.ndarray:
    """``(B, K, 2D + 1)``: statistics pooled by base phone and pdf class."""
    row_of_base = {base: row for row, base in enumerate(bases)}
    row_of_phone = np.array([-1] + [row_of_base.get(topology.base_phone(name), -1) for name in topology.phones])
    rows, packed = row_of_phone[stats.contexts[:, 1]], stats.packed()
    ids = [phone for phone, name in enumerate(topology.phones, 1) if topology.base_phone(name) in row_of_base]
    classes = max((topology.num_pdf_classes(phone) for phone in ids), default=1)
    pooled = np.zeros((len(bases), classes, packed.shape[1]))
    speech = rows >= 0
    np.add.at(pooled, (rows[speech], stats.pdf_classes[speech]), packed[speech])
    return pooled


def _word_position_questions(topology: Topology) -> tuple[frozenset[int], ...]:
    if not topology.position_dependent:
        return ()

    def ending(*suffixes: str) -> frozenset[int]:
        return frozenset(
            phone
            for phone, name in enumerate(topology.phones, 1)
            if topology.base_phone(name) != name and name.endswith(suffixes)
        )

    wanted = [ending("_B"), ending("_I"), ending("_E"), ending("_S"), ending("_B", "_S"), ending("_E", "_S")]
    return tuple(question for question in dict.fromkeys(wanted) if question)

"""The phonetic decision tree: from a phone in its context and a pdf class to a senone.

Roots belong to one base phone and one pdf class each and are never shared, so a senone determines both. Inner nodes ask
whether the left, the centre or the right phone is in a set of phones. All tables are dense, so that millions of contexts
(the H transducer asks for all of them) walk down together, one level at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from asr_distill.lang import base_phone
from asr_distill.senones.topology import Topology

BOUNDARY = 0  # the phone id that stands for "before the first" and "after the last" phone of an utterance
LEFT, CENTRE, RIGHT = 0, 1, 2


@dataclass(frozen=True)
class Split:
    """An inner node: is the phone at ``position`` (0 left, 1 centre, 2 right) in set number ``question``? Then ``yes``."""

    position: int
    question: int
    yes: int
    no: int


@dataclass(frozen=True)
class Leaf:
    """A leaf; several leaves of one root may carry the same senone (they were merged)."""

    senone: int


@dataclass(frozen=True, eq=False)
class PhoneticTree:
    """A forest with one root per (base phone, pdf class).

    Attributes:
        phones: phone names in id order (id 1 first).
        context_width: 3 for triphones, 1 for monophones; the centre is position ``context_width // 2``.
        questions: sets of phone ids (0 is the sentence boundary) that splits refer to.
        roots: ``(base phone, pdf class)`` to the index of a node.
        nodes: splits and leaves.

    Raises `ValueError` where a node refers to something that is not there, a senone id is missing from 0..C-1, or a
    senone occurs under two roots.
    """

    phones: tuple[str, ...]
    context_width: int
    questions: tuple[frozenset[int], ...]
    roots: dict[tuple[str, int], int]
    nodes: tuple[Split | Leaf, ...]

    def __post_init__(self) -> None:
        if self.context_width not in (1, 3):
            raise ValueError(f"context_width is {self.context_width}, expected 1 or 3")
        if any(not 0 <= phone <= len(self.phones) for question in self.questions for phone in question):
            raise ValueError(f"a question holds a phone id outside 0..{len(self.phones)}")
        missing = sorted({self.root_phone(name) for name in self.phones} - {phone for phone, _ in self.roots})
        if missing:
            raise ValueError(f"no root for the phones {' '.join(missing)}")
        self._info  # noqa: B018  # walks the whole forest, and so checks it

    @cached_property
    def _info(self) -> tuple[tuple[str, int], ...]:
        owner: dict[int, tuple[str, int]] = {}
        visited: set[int] = set()
        for key, root in self.roots.items():
            stack = [root]
            while stack:
                index = stack.pop()
                if not 0 <= index < len(self.nodes) or index in visited:
                    raise ValueError(f"node {index} under root {key} is missing or has two parents")
                visited.add(index)
                node = self.nodes[index]
                if isinstance(node, Leaf):
                    if owner.setdefault(node.senone, key) != key:
                        raise ValueError(f"senone {node.senone} is under two roots: {owner[node.senone]} and {key}")
                    continue
                if node.position not in range(self.context_width) or not 0 <= node.question < len(self.questions):
                    raise ValueError(f"node {index} asks about position {node.position} with question {node.question}")
                stack += [node.yes, node.no]
        if sorted(owner) != list(range(len(owner))):
            raise ValueError(f"senone ids must be 0..{len(owner) - 1} without gaps")
        return tuple(owner[senone] for senone in range(len(owner)))

    def root_phone(self, name: str) -> str:
        """The phone whose roots a phone has: itself, or the base phone of a word-position variant."""
        return name if (name, 0) in self.roots else base_phone(name)

    @property
    def num_senones(self) -> int:
        """C."""
        return len(self._info)

    @property
    def central_position(self) -> int:
        """Position of the phone itself in a context."""
        return self.context_width // 2

    def senone_info(self, senone: int) -> tuple[str, int]:
        """``(base phone, pdf class)`` of a senone."""
        if not 0 <= senone < self.num_senones:
            raise ValueError(f"senone {senone} is outside 0..{self.num_senones - 1}")
        return self._info[senone]

    def senone(self, context: Sequence[int], pdf_class: int) -> int:
        """The senone of one context (phone ids, left to right) and pdf class; walks down from the root."""
        centre = int(context[len(context) // 2])
        if len(context) not in (self.context_width, 3) or not 1 <= centre <= len(self.phones):
            raise ValueError(f"context {tuple(context)} is not {self.context_width} phone ids around a phone")
        root = self.roots.get((self.root_phone(self.phones[centre - 1]), int(pdf_class)))
        if root is None:
            raise ValueError(f"phone {self.phones[centre - 1]} has no pdf class {pdf_class}")
        node = self.nodes[root]
        while isinstance(node, Split):
            node = self.nodes[node.yes if int(context[node.position]) in self.questions[node.question] else node.no]
        return node.senone

    def senones_of(self, contexts: np.ndarray, pdf_classes: np.ndarray) -> np.ndarray:
        """`senone` for many contexts at once.

        Args:
            contexts: ``(N, 3)`` phone ids (left, centre, right; 0 is the boundary), or ``(N, 1)`` for a monophone tree,
                which also accepts ``(N, 3)`` and looks at the centre.
            pdf_classes: ``(N,)``.

        Returns:
            ``(N,)`` int32. Raises `ValueError` on ids outside the phones or a pdf class that the phone lacks.
        """
        contexts, pdf_classes = np.asarray(contexts), np.asarray(pdf_classes)
        if contexts.ndim != 2 or contexts.shape[1] not in (self.context_width, 3) or pdf_classes.shape != contexts.shape[:1]:
            raise ValueError(f"contexts {contexts.shape} and pdf classes {pdf_classes.shape} don't fit (N, 3) and (N,)")
        root_of, position, question, children, member, senone = self._tables
        if contexts.size and (contexts.min() < 0 or contexts.max() > len(self.phones)):
            raise ValueError(f"contexts hold phone ids {contexts.min()}..{contexts.max()}, expected 0..{len(self.phones)}")
        if pdf_classes.size and (pdf_classes.min() < 0 or pdf_classes.max() >= root_of.shape[1]):
            raise ValueError(f"pdf classes {pdf_classes.min()}..{pdf_classes.max()} outside 0..{root_of.shape[1] - 1}")
        centre = contexts[:, contexts.shape[1] // 2]
        node = root_of[centre, pdf_classes]
        if (node < 0).any():
            row = int(np.flatnonzero(node < 0)[0])
            raise ValueError(f"no root for context {contexts[row].tolist()}, pdf class {int(pdf_classes[row])}")
        active = np.flatnonzero(question[node] >= 0)
        while len(active):
            here = node[active]
            yes = member[question[here], contexts[active, position[here]]]
            node[active] = children[here, yes.astype(np.int8)]
            active = active[question[node[active]] >= 0]
        return senone[node]

    @cached_property
    def _tables(self) -> tuple[np.ndarray, ...]:
        classes = 1 + max((pdf_class for _, pdf_class in self.roots), default=0)
        root_of = np.full((len(self.phones) + 1, classes), -1, dtype=np.int32)
        for phone, name in enumerate(self.phones, 1):
            for pdf_class in range(classes):
                root_of[phone, pdf_class] = self.roots.get((self.root_phone(name), pdf_class), -1)
        position = np.zeros(len(self.nodes), dtype=np.int8)
        question = np.full(len(self.nodes), -1, dtype=np.int32)
        children = np.zeros((len(self.nodes), 2), dtype=np.int32)
        senone = np.full(len(self.nodes), -1, dtype=np.int32)
        for index, node in enumerate(self.nodes):
            if isinstance(node, Leaf):
                senone[index] = node.senone
            else:
                position[index], question[index], children[index] = node.position, node.question, (node.no, node.yes)
        member = np.zeros((max(len(self.questions), 1), len(self.phones) + 1), dtype=bool)
        for index, phones in enumerate(self.questions):
            member[index, list(phones)] = True
        return root_of, position, question, children, member, senone

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a leaf is ``[senone]``, a split ``[position, question, yes, no]``."""
        return {
            "context_width": self.context_width,
            "phones": list(self.phones),
            "questions": [sorted(question) for question in self.questions],
            "roots": [[phone, pdf_class, node] for (phone, pdf_class), node in self.roots.items()],
            "nodes": [
                [node.senone] if isinstance(node, Leaf) else [node.position, node.question, node.yes, node.no]
                for node in self.nodes
            ],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PhoneticTree:
        """Reads what `to_dict` gave."""
        return cls(
            tuple(values["phones"]),
            int(values["context_width"]),
            tuple(frozenset(int(phone) for phone in question) for question in values["questions"]),
            {(phone, int(pdf_class)): int(node) for phone, pdf_class, node in values["roots"]},
            tuple(Leaf(*node) if len(node) == 1 else Split(*node) for node in values["nodes"]),
        )


def root_keys(topology: Topology) -> list[tuple[str, int]]:
    """Every ``(base phone, pdf class)``, base phones in id order."""
    keys = {}
    for phone_id, name in enumerate(topology.phones, 1):
        for pdf_class in range(topology.num_pdf_classes(phone_id)):
            keys[topology.base_phone(name), pdf_class] = True
    return list(keys)


def monophone_tree(topology: Topology) -> PhoneticTree:
    """One senone per base phone and pdf class, whatever the context; ids go by base phone, then pdf class."""
    keys = root_keys(topology)
    return PhoneticTree(
        topology.phones, 1, (), {key: index for index, key in enumerate(keys)}, tuple(Leaf(index) for index in range(len(keys)))
    )

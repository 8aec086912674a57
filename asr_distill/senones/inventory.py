"""The senone inventory: what each output of a network means, and the hash by which two inventories are told apart."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import UserError, hash_of_object, read_json, write_json
from asr_distill.senones.frame_alignment import FrameAlignment, context_windows
from asr_distill.senones.topology import Topology
from asr_distill.senones.tree import CENTRE, LEFT, RIGHT, Leaf, PhoneticTree

FORMAT = 1
_log = logging.getLogger("asr_distill")


@dataclass(frozen=True, eq=False)
class SenoneInventory:
    """Topology and tree together: alignments in, senone labels out. Raises `UserError` where they have different phones."""

    topology: Topology
    tree: PhoneticTree

    def __post_init__(self) -> None:
        if self.topology.phones != self.tree.phones:
            raise UserError(
                f"the topology has {len(self.topology.phones)} phones and the tree {len(self.tree.phones)}, or in another"
                " order; both must come from the same lang directory"
            )

    @property
    def num_senones(self) -> int:
        """C, the size of a network's output."""
        return self.tree.num_senones

    @cached_property
    def hash(self) -> str:
        """SHA-256 over phones, topology and tree only: the same senones have the same hash, whatever they were counted on."""
        return hash_of_object({"topology": self.topology.to_dict(), "tree": self.tree.to_dict()})

    @cached_property
    def silence_senones(self) -> np.ndarray:
        """``(C,)`` bool: the senones of silence phones."""
        silence = {self.tree.root_phone(name) for name in self.topology.silence_phones}
        return np.array([self.tree.senone_info(senone)[0] in silence for senone in range(self.num_senones)], dtype=bool)

    def label(self, alignment: FrameAlignment) -> np.ndarray:
        """The senone of each frame, ``(T,)`` int32; contexts run across words, 0 stands before the first and after the last.

        Raises `UserError` where the alignment holds a phone or a state that the topology lacks.
        """
        if not len(alignment):
            return np.zeros(0, dtype=np.int32)
        pdf_classes = alignment.pdf_classes(self.topology)
        return self.tree.senones_of(context_windows(alignment.phones)[alignment.phone_index], pdf_classes)

    def senone(self, left: str | None, phone: str, right: str | None, state: int = 0) -> int:
        """The senone, from 0, of one HMM state of a phone in context: the network's output, and a graph's label less one.

        Args:
            left, right: the neighbouring phones by name; None is the beginning or the end of the utterance.
            phone: by name, with its word position where the phones have one (``AH_B``).
            state: of the phone's HMM, from 0; a phone of the default topology has 3, silence 5.

        Raises `UserError` for a phone or a state that the topology lacks.
        """
        context = [0 if name is None else self.topology.phone_id(name) for name in (left, phone, right)]
        states = self.topology.states(context[CENTRE])
        if not 0 <= state < len(states):
            raise UserError(f"state {state} of phone {phone!r}: it has the states 0 to {len(states) - 1}")
        return int(self.tree.senones_of(np.array([context]), np.array([states[state].pdf_class]))[0])

    def describe(self, senone: int) -> str:
        """A senone in words: base phone, pdf class and the context classes that lead to it."""
        phone, pdf_class = self.tree.senone_info(senone)
        paths = [self._constraints_text(path) for path in self._paths[senone]]
        return f"{phone}[{pdf_class}] " + " or ".join(paths)

    @cached_property
    def _paths(self) -> list[list[list[tuple[int, frozenset[int]]]]]:
        """For each senone, for each of its leaves, what each position may be: ``(position, phone ids)``."""
        everything = frozenset(range(len(self.tree.phones) + 1))
        paths: list[list[list[tuple[int, frozenset[int]]]]] = [[] for _ in range(self.num_senones)]
        for root in self.tree.roots.values():
            stack: list[tuple[int, dict[int, frozenset[int]]]] = [(root, {})]
            while stack:
                index, allowed = stack.pop()
                node = self.tree.nodes[index]
                if isinstance(node, Leaf):
                    paths[node.senone].append(sorted(allowed.items()))
                    continue
                before, question = allowed.get(node.position, everything), self.tree.questions[node.question]
                stack.append((node.no, {**allowed, node.position: before - question}))
                stack.append((node.yes, {**allowed, node.position: before & question}))
        return paths

    def _constraints_text(self, path: Sequence[tuple[int, frozenset[int]]]) -> str:
        sides = {LEFT: "left", CENTRE: "centre", RIGHT: "right"}
        return " ".join(f"{sides[position]} in {{{self._phones_text(phones)}}}" for position, phones in path) or "any context"

    def _phones_text(self, ids: frozenset[int]) -> str:
        names = ["<boundary>" if phone == 0 else self.topology.name(phone) for phone in sorted(ids)]
        # Variants by word position are written as their base phone where all of them are in the set.
        bases: dict[str, list[str]] = {}
        for name in self.topology.phones:
            bases.setdefault(self.topology.base_phone(name), []).append(name)
        for base, variants in bases.items():
            if len(variants) > 1 and set(variants) <= set(names):
                names = [base if name == variants[0] else name for name in names if name not in variants[1:]]
        return " ".join(names)

    def save(self, path: str | Path) -> None:
        """Writes ``senones.json``, and lists its digest: the hash, each senone in words, the topology and the tree."""
        senones = []
        for senone in range(self.num_senones):
            phone, pdf_class = self.tree.senone_info(senone)
            context = " or ".join(self._constraints_text(constraints) for constraints in self._paths[senone])
            senones.append({"id": senone, "phone": phone, "pdf_class": pdf_class, "context": context})
        write_json(
            path,
            {
                "format": FORMAT,
                "hash": self.hash,
                "num_senones": self.num_senones,
                "senones": senones,
                "topology": self.topology.to_dict(),
                "tree": self.tree.to_dict(),
            },
            listed=True,
        )

    @classmethod
    def load(cls, path: str | Path) -> SenoneInventory:
        """Reads ``senones.json``. Raises `UserError` where the file is missing, of another format, or not what was hashed."""
        values: dict[str, Any] = read_json(path)
        if not isinstance(values, dict) or values.get("format") != FORMAT or "tree" not in values:
            raise UserError(f"{path} is not a senone inventory of format {FORMAT}; write it again with `asr-distill tree`")
        try:
            inventory = cls(Topology.from_dict(values["topology"]), PhoneticTree.from_dict(values["tree"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is broken ({error}); write it again with `asr-distill tree`") from None
        check_same(inventory.hash, values.get("hash"), f"the content of {path}", "the hash written in it")
        inventory._warn_of_shared_roots(path)
        return inventory

    def _warn_of_shared_roots(self, path: str | Path) -> None:
        """Such an inventory, from when ``t_S`` was taken for a variant of ``t``, is what its networks were trained with."""
        shared = [name for name in self.topology.phones if self.tree.root_phone(name) != self.topology.base_phone(name)]
        if shared:
            _log.warning(
                "%s: %s share the senones of %s, as if they were variants by word position. Next: to tell them apart, grow the"
                " tree anew with `asr-distill tree` and train on its labels",
                *(path, " ".join(shared), " ".join(dict.fromkeys(map(self.tree.root_phone, shared)))),
            )


def check_same(a_hash: str | None, b_hash: str | None, what_a: str, what_b: str) -> None:
    """Raises `UserError` with both hashes where two things belong to different senone inventories."""
    if a_hash is None or a_hash != b_hash:
        raise UserError(
            f"{what_a} and {what_b} belong to different senone inventories: {a_hash} and {b_hash}."
            " Make both from the same senones.json"
        )

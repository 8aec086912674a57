"""HMM topologies: which states a phone has, how they follow each other, and which of them share a distribution.

A *pdf class* is the index of a distribution within a phone: states of the same pdf class of the same phone in the same
context share a senone. Transition probabilities are those of Kaldi's ``gen_topo``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import UserError, read_text
from asr_distill.lang import base_phone
from asr_distill.lang.symbols import read_symbols

SELF_LOOP = 0.75
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class HmmState:
    """One emitting state: its pdf class and its ``(destination, probability)`` pairs.

    A destination equal to the number of states of the phone is the non-emitting end.
    """

    pdf_class: int
    transitions: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Topology:
    """The HMM of every phone; the start is always state 0.

    Attributes:
        phones: real phones in id order, without ``<eps>`` and disambiguation symbols; the id of ``phones[i]`` is ``i + 1``.
        silence_phones: those of ``phones`` that are silence or noise; the tree never splits them.
        hmms: by phone name, the states.

    Raises `UserError` where a phone has no HMM, a transition leads nowhere, probabilities of a state don't sum to 1, pdf
    classes are not 0..n-1, or phones of one base phone differ in their states.
    """

    phones: tuple[str, ...]
    silence_phones: tuple[str, ...]
    hmms: dict[str, tuple[HmmState, ...]]

    def __post_init__(self) -> None:
        if len(set(self.phones)) != len(self.phones):
            repeated = sorted({name for name in self.phones if self.phones.count(name) > 1})
            raise UserError(f"topology: phones listed more than once: {', '.join(repeated)}")
        unknown = [name for name in self.silence_phones if name not in self.phones]
        if unknown:
            raise UserError(f"topology: silence phones {', '.join(unknown)} are not among the phones")
        if set(self.hmms) != set(self.phones):
            different = sorted(set(self.hmms) ^ set(self.phones))
            raise UserError(f"topology: phones without an HMM, or HMMs without a phone: {', '.join(different)}")
        by_base: dict[str, tuple[HmmState, ...]] = {}
        for name in self.phones:
            _check_states(name, self.hmms[name])
            if by_base.setdefault(self.base_phone(name), self.hmms[name]) != self.hmms[name]:
                raise UserError(f"topology: {name} has other states than another variant of {self.base_phone(name)!r}")

    def name(self, phone_id: int) -> str:
        """The name of a phone id (from 1)."""
        if not 1 <= phone_id <= len(self.phones):
            raise ValueError(f"phone id {phone_id} is outside 1..{len(self.phones)}")
        return self.phones[phone_id - 1]

    def phone_id(self, name: str) -> int:
        """The id of a phone name. Raises `UserError` where there is no such phone."""
        try:
            return self.phones.index(name) + 1
        except ValueError:
            raise UserError(f"phone {name!r} is not in the topology; its phones are {' '.join(self.phones)}") from None

    def states(self, phone_id: int) -> tuple[HmmState, ...]:
        """The emitting states of a phone id."""
        return self.hmms[self.name(phone_id)]

    def num_pdf_classes(self, phone_id: int) -> int:
        """How many distributions a phone has per context."""
        return 1 + max(state.pdf_class for state in self.states(phone_id))

    def base_phone(self, name: str) -> str:
        """The phone without its word-position suffix, where phones have one; else the phone itself, ``t_S`` too."""
        return base_phone(name) if self.position_dependent else name

    @property
    def base_phones(self) -> tuple[str, ...]:
        """The distinct base phones, in the order of their first variant."""
        return tuple(dict.fromkeys(self.base_phone(name) for name in self.phones))

    @cached_property
    def position_dependent(self) -> bool:
        """Whether phones are word-position variants: then every one that is not silence has a suffix.

        X-SAMPA's ``t_S`` beside ``t`` is a phone of its own. `Lang.build` refuses a lexicon in which this cannot be told.
        """
        speech = [name for name in self.phones if name not in self.silence_phones]
        return bool(speech) and all(base_phone(name) != name for name in speech)

    def is_silence(self, phone_id: int) -> bool:
        """Whether a phone id is a silence phone; the sentence boundary 0 is not."""
        return phone_id > 0 and self.name(phone_id) in self.silence_phones

    @cached_property
    def pdf_class_table(self) -> np.ndarray:
        """``(phones + 1, most states)`` int32: pdf class by phone id and HMM state, -1 where there is no such state."""
        most = max((len(states) for states in self.hmms.values()), default=1)
        table = np.full((len(self.phones) + 1, most), -1, dtype=np.int32)
        for phone, name in enumerate(self.phones, 1):
            table[phone, : len(self.hmms[name])] = [state.pdf_class for state in self.hmms[name]]
        return table

    def min_frames(self, phone_id: int) -> int:
        """The fewest frames a phone can last: the number of states on its shortest path."""
        states = self.states(phone_id)
        shortest, frontier, length = {0}, {0}, 1
        while True:
            reached = {destination for state in frontier for destination, _ in states[state].transitions}
            if len(states) in reached:
                return length
            frontier = reached - shortest
            shortest |= frontier
            length += 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; HMMs that phones share are written once."""
        distinct = list(dict.fromkeys(self.hmms[name] for name in self.phones))
        return {
            "phones": list(self.phones),
            "silence_phones": list(self.silence_phones),
            "hmm_of_phone": [distinct.index(self.hmms[name]) for name in self.phones],
            "hmms": [
                [{"pdf_class": state.pdf_class, "transitions": [list(pair) for pair in state.transitions]} for state in states]
                for states in distinct
            ],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Topology:
        """Reads what `to_dict` gave."""
        distinct = [
            tuple(
                HmmState(int(state["pdf_class"]), tuple((int(to), float(p)) for to, p in state["transitions"]))
                for state in states
            )
            for states in values["hmms"]
        ]
        phones = tuple(values["phones"])
        hmms = {name: distinct[index] for name, index in zip(phones, values["hmm_of_phone"], strict=True)}
        return cls(phones, tuple(values["silence_phones"]), hmms)

    def to_kaldi_text(self, *, separate_pdf_classes: bool = True) -> str:
        """The topology in Kaldi's text form, phone ids as here, one entry per distinct HMM.

        With ``separate_pdf_classes`` each state is a pdf class of its own, as a GMM's monophone set-up has it; else the
        pdf classes are written as they are.
        """
        groups: dict[tuple[HmmState, ...], list[int]] = {}
        for index, name in enumerate(self.phones, 1):
            groups.setdefault(self.hmms[name], []).append(index)
        lines = ["<Topology>"]
        for states, ids in groups.items():
            lines += ["<TopologyEntry>", "<ForPhones>", " ".join(map(str, ids)), "</ForPhones>"]
            for index, state in enumerate(states):
                pdf_class = index if separate_pdf_classes else state.pdf_class
                arcs = " ".join(f"<Transition> {to} {probability:g}" for to, probability in state.transitions)
                lines.append(f"<State> {index} <PdfClass> {pdf_class} {arcs} </State>")
            lines += [f"<State> {len(states)} </State>", "</TopologyEntry>"]
        return "\n".join([*lines, "</Topology>"]) + "\n"


def _check_states(name: str, states: tuple[HmmState, ...]) -> None:
    if not states:
        raise UserError(f"topology: phone {name} has no states")
    for index, state in enumerate(states):
        total = sum(probability for _, probability in state.transitions)
        if abs(total - 1.0) > SUM_TOLERANCE or any(probability <= 0 for _, probability in state.transitions):
            raise UserError(f"topology: transitions of state {index} of {name} must be positive and sum to 1, found {total:g}")
        if any(not 0 <= to <= len(states) for to, _ in state.transitions):
            raise UserError(f"topology: state {index} of {name} leads outside 0..{len(states)}")
        if len({to for to, _ in state.transitions}) != len(state.transitions):
            raise UserError(f"topology: state {index} of {name} lists a destination twice")
    classes = {state.pdf_class for state in states}
    if classes != set(range(len(classes))):
        raise UserError(f"topology: pdf classes of {name} are {sorted(classes)}, expected 0..{len(classes) - 1} without gaps")
    reached: set[int] = set()
    frontier = {0}
    while frontier:
        reached |= frontier
        frontier = {to for index in frontier for to, _ in states[index].transitions if to < len(states)} - reached
    if len(reached) != len(states) or not any(to == len(states) for state in states for to, _ in state.transitions):
        raise UserError(f"topology: phone {name} has states that its start doesn't reach, or no way out")


def left_to_right(num_states: int, self_loop: float = SELF_LOOP) -> tuple[HmmState, ...]:
    """States in a row, each with a self-loop and one step forward."""
    return tuple(HmmState(index, ((index, self_loop), (index + 1, 1.0 - self_loop))) for index in range(num_states))


def ergodic_silence(num_states: int, num_pdf_classes: int) -> tuple[HmmState, ...]:
    """Kaldi's silence: entry state 0, inner states all connected, last state with the only exit; `left_to_right` below 3."""
    if num_pdf_classes not in (1, num_states):
        raise UserError(f"silence_pdf_classes is {num_pdf_classes}, expected 1 (all states tied) or {num_states} (one each)")
    if num_states < 3:
        states = left_to_right(num_states)
    else:
        last, probability = num_states - 1, 1.0 / (num_states - 1)
        states = (
            HmmState(0, tuple((to, probability) for to in range(last))),
            *(HmmState(index, tuple((to, probability) for to in range(1, num_states))) for index in range(1, last)),
            HmmState(last, ((last, SELF_LOOP), (num_states, 1.0 - SELF_LOOP))),
        )
    if num_pdf_classes == 1:
        return tuple(HmmState(0, state.transitions) for state in states)
    return states


def default_topology(
    phones: Sequence[str],
    silence_phones: Sequence[str],
    *,
    phone_states: int = 3,
    silence_states: int = 5,
    silence_pdf_classes: int = 1,
) -> Topology:
    """Left-to-right phones and ergodic silence.

    Args:
        phones: all real phones in id order (id 1 first), silence phones included.
        silence_phones: which of them get the silence HMM.
        silence_pdf_classes: 1 ties the silence states to one senone; ``silence_states`` gives each its own, as a GMM likes.
    """
    silence = ergodic_silence(silence_states, silence_pdf_classes)
    speech = left_to_right(phone_states)
    return Topology(
        tuple(phones), tuple(silence_phones), {name: silence if name in silence_phones else speech for name in phones}
    )


def topology_of_lang(lang_dir: str | Path, *, silence_pdf_classes: int = 1) -> Topology:
    """The default topology over the phones of a lang directory (its ``phones.txt`` and ``silence.txt``).

    Raises `UserError` where a file is missing, ids don't run from 0 without gaps, or phones follow disambiguation symbols.
    """
    table = Path(lang_dir) / "phones.txt"
    ids = read_symbols(table)
    names = sorted(ids, key=lambda name: ids[name])
    if sorted(ids.values()) != list(range(len(ids))):
        raise UserError(f"{table}: expected lines 'PHONE ID' with ids 0..{len(ids) - 1}; write it with `asr-distill lang`")
    phones = [name for name in names[1:] if not (name[0] == "#" and name[1:].isdigit())]
    if names[:1] != ["<eps>"] or names[1 : len(phones) + 1] != phones:
        raise UserError(f"{table}: expected <eps> as 0, then phones, then disambiguation symbols #0, #1, ...")
    silence = read_text(Path(lang_dir) / "silence.txt").split()
    return default_topology(phones, silence, silence_pdf_classes=silence_pdf_classes)

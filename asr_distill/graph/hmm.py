"""H: from context windows to HMM states, and the self-loops that go in last.

Inside the build an input label stands for one HMM state in one context class: a (phone, HMM state, senone) triple. Senones
alone would not do: all states of a tied silence share one, yet have different transitions, and position variants of a phone
share senones, yet only their difference makes the graph determinisable. The triples become senones when the self-loops are
added.

As in Kaldi's reordered graphs, leaving an HMM state emits its label once and the self-loop follows at the state that the arc
enters, so every state with a self-loop must be entered by arcs of one label only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from asr_distill.base import UserError
from asr_distill.graph.arrays import FstArrays

if TYPE_CHECKING:
    from asr_distill.senones.inventory import SenoneInventory


@dataclasses.dataclass(frozen=True)
class LabelClasses:
    """What the internal labels mean: label ``i + 1`` is HMM state ``states[i]`` of phone ``phones[i]`` with senone
    ``senones[i]``.

    ``self_loop`` (K,) is that state's self-loop probability, 0 where it has none.
    """

    phones: np.ndarray
    states: np.ndarray
    senones: np.ndarray
    self_loop: np.ndarray

    def __len__(self) -> int:
        return len(self.senones)


@dataclasses.dataclass(frozen=True)
class HTransducer:
    """H without self-loops, what its labels mean, and which context labels are the same HMM.

    ``representative`` (number of context labels,) sends each context label to the one that stands for it in H: windows whose
    states all share their senones differ for nobody after this point.
    """

    arrays: FstArrays
    classes: LabelClasses
    representative: np.ndarray


def build_h(windows: Sequence[Sequence[int]], inventory: SenoneInventory, *, transition_scale: float = 1.0) -> HTransducer:
    """Expands H for the context windows that ``compose_context`` listed.

    ``windows[i]`` is what context label ``i`` stands for: ``[]`` epsilon, ``[-d]`` disambiguation symbol d, ``[0]`` the symbol
    that the context transducer inserts at the start, else the phones of the window. Output labels are context labels; the
    input labels above ``len(classes)`` are disambiguation symbols. Transition weights leave the self-loop out:
    -transition_scale * log(p / (1 - p_self)). Raises `UserError` for a topology whose state cannot be left.
    """
    topology = inventory.topology
    centre = _central_position(windows)
    real = [i for i, window in enumerate(windows) if len(window) > 1 or (len(window) == 1 and window[0] > 0)]
    special = [i for i, window in enumerate(windows) if len(window) == 1 and window[0] <= 0]
    phone_of = {i: windows[i][centre] for i in real}
    rows = [(i, state) for i in real for state in range(len(topology.states(phone_of[i])))]
    contexts = np.array([_triple(windows[i], centre) for i, _ in rows], np.int32).reshape(-1, 3)
    pdf_classes = np.array([topology.states(phone_of[i])[state].pdf_class for i, state in rows], np.int32)
    senones = np.asarray(inventory.tree.senones_of(contexts, pdf_classes), np.int32)
    keys = np.stack([contexts[:, 1], np.array([state for _, state in rows], np.int32), senones], 1)
    unique, label = np.unique(keys, axis=0, return_inverse=True)
    label = label.reshape(-1) + 1

    self_loop = np.array([_self_loop(topology.states(int(phone))[state], int(state)) for phone, state, _ in unique], np.float64)
    classes = LabelClasses(phones=unique[:, 0], states=unique[:, 1], senones=unique[:, 2], self_loop=self_loop)
    for phone, state, _ in unique[self_loop >= 1.0]:
        name = topology.phones[int(phone) - 1]
        raise UserError(f"topology: state {state} of phone {name} has a self-loop of probability 1 and can never be left")

    representative = np.arange(len(windows), dtype=np.int32)
    arcs: list[tuple[int, int, int, int, float]] = []
    seen: dict[tuple[int, ...], int] = {}
    next_state, row = 1, 0
    for i in real:
        states = topology.states(phone_of[i])
        labels = tuple(int(value) for value in label[row : row + len(states)])
        row += len(states)
        if labels in seen:
            representative[i] = seen[labels]
            continue
        seen[labels] = i
        arcs.extend(_hmm_arcs(states, labels, i, next_state, transition_scale))
        next_state += len(states)
    for rank, i in enumerate(special):
        arcs.append((0, 0, len(classes) + 1 + rank, i, 0.0))
    table = np.array(arcs, np.float64).reshape(-1, 5)
    final = np.full(next_state, np.inf, np.float32)
    final[0] = 0.0
    source, destination, ilabel, olabel = (table[:, column].astype(np.int32) for column in range(4))
    arrays = FstArrays(0, source, destination, ilabel, olabel, table[:, 4].astype(np.float32), final)
    return HTransducer(arrays, classes, representative)


def _hmm_arcs(
    states: Sequence, labels: Sequence[int], context_label: int, first: int, scale: float
) -> list[tuple[int, int, int, int, float]]:
    """Arcs of one HMM between H's loop state 0 and itself; HMM state j is H state ``first + j``; the output is on the first
    arc."""
    arcs = []
    for j, state in enumerate(states):
        leaving = 1.0 - _self_loop(state, j)
        for destination, probability in state.transitions:
            if destination == j or probability <= 0.0:
                continue
            weight = -scale * float(np.log(probability / leaving))
            target = 0 if destination == len(states) else first + destination
            arcs.append((first + j, target, labels[j], 0, weight))
            if j == 0:
                arcs.append((0, target, labels[j], context_label, weight))
    return arcs


def _self_loop(state: object, index: int) -> float:
    return float(sum(p for destination, p in state.transitions if destination == index))  # type: ignore[attr-defined]


def _central_position(windows: Sequence[Sequence[int]]) -> int:
    width = max((len(window) for window in windows), default=1)
    if width not in (1, 3):
        raise UserError(f"context windows of {width} phones: only monophones (1) and triphones (3) are supported")
    return width // 2


def _triple(window: Sequence[int], centre: int) -> tuple[int, int, int]:
    if centre == 1:
        return window[0], window[1], window[2]
    return 0, window[0], 0


def add_self_loops(fst: FstArrays, classes: LabelClasses, self_loop_scale: float) -> FstArrays:
    """Adds the self-loops and turns internal labels into senone + 1 (disambiguation symbols must be gone: labels 0..K).

    The state that class c's arcs enter gets a loop of cost -self_loop_scale * log(p) and all that leaves it (arcs and final
    weight) costs -self_loop_scale * log(1 - p) more. A state that several classes, or epsilon, enter is reached through one
    extra state per class.
    """
    pairs, inverse = np.unique(np.stack([fst.destination, fst.ilabel], 1), axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    entries = np.bincount(pairs[:, 0], minlength=fst.num_states)
    entries[fst.start] += 1  # the beginning enters the start without a label
    mixed = (entries[pairs[:, 0]] > 1) & (pairs[:, 1] > 0)
    entry_state = pairs[:, 0].copy()
    entry_state[mixed] = fst.num_states + np.arange(int(mixed.sum()))
    num_states = fst.num_states + int(mixed.sum())
    state_class = np.zeros(num_states, np.int32)
    labelled = pairs[:, 1] > 0
    state_class[entry_state[labelled]] = pairs[labelled, 1]

    loop = np.concatenate(([0.0], classes.self_loop))[state_class]
    with np.errstate(divide="ignore"):
        stay = -self_loop_scale * np.log(loop)
        leave = -self_loop_scale * np.log1p(-loop)
    looping = np.flatnonzero(loop > 0.0).astype(np.int32)
    bridges = entry_state[mixed].astype(np.int32)
    zeros = np.zeros(len(bridges), np.int32)

    source = np.concatenate((fst.source, bridges))
    weight = np.concatenate((fst.weight.astype(np.float64), zeros)) + leave[source]
    final = np.full(num_states, np.inf)
    final[: fst.num_states] = fst.final
    final += leave
    senone_label = np.concatenate(([0], classes.senones + 1)).astype(np.int32)
    return FstArrays(
        start=fst.start,
        source=np.concatenate((source, looping)).astype(np.int32),
        destination=np.concatenate((entry_state[inverse], pairs[mixed, 0], looping)).astype(np.int32),
        ilabel=np.concatenate((senone_label[fst.ilabel], zeros, senone_label[state_class[looping]])).astype(np.int32),
        olabel=np.concatenate((fst.olabel, zeros, np.zeros(len(looping), np.int32))).astype(np.int32),
        weight=np.concatenate((weight, stay[looping])).astype(np.float32),
        final=final.astype(np.float32),
    ).sorted_by(np.arange(fst.num_arcs + len(bridges) + len(looping)))

"""The numerator: what was said, as a graph of the utterance's own, weighted by the denominator's phone n-gram.

Its paths are paths of the denominator with the same weights, so that the loss is minus the logarithm of a probability.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from asr_distill.alignment.phone_lattice import PhoneLattice, TranscriptReader, UnknownWords
from asr_distill.alignment.state_graph import StateGraph, StateGraphBuilder
from asr_distill.base import UserError
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.k2_form import K2Form
from asr_distill.senones import SenoneInventory
from asr_distill.sequence.all_paths import form_of_all_paths
from asr_distill.sequence.denominator import Denominator
from asr_distill.sequence.readings import read_once


class NoNumerator(Exception):  # counted per utterance, no error of the program
    """An utterance has no path; the message says why."""


class NumeratorBuilder:
    """Makes the numerator graphs of utterances for one denominator.

    reader: transcripts to phone lattices (pronunciations, optional silence), needed for `of_transcript` only.
    Raises `UserError` where inventory, denominator and lexicon do not belong together.
    """

    def __init__(self, denominator: Denominator, inventory: SenoneInventory, reader: TranscriptReader | None = None) -> None:
        denominator.check(inventory.num_senones, inventory.hash, "the senone inventory")
        if reader is not None and reader.phones != inventory.topology.phones:
            raise UserError(
                f"the lang directory has {len(reader.phones)} phones, the senone inventory {len(inventory.topology.phones)}, or"
                " others; both must come from the same lang directory"
            )
        self.reader = reader
        self._scale, self._final = denominator.lm_scale, denominator.lm.final.tolist()
        self._lm = denominator.lm.arcs_of()
        scales = {"transition_scale": denominator.transition_scale, "self_loop_scale": denominator.self_loop_scale}
        self._states = StateGraphBuilder(inventory, **scales)

    def of_phones(self, phones: Sequence[int], num_frames: int) -> K2Form:
        """One sequence of phone ids, silence included, with any duration of each. Raises `NoNumerator` as `of_transcript`."""
        count = len(phones)
        ends = np.full((2, count), -np.inf)
        ends[0, :1] = ends[1, -1:] = 0.0
        steps = np.arange(max(count - 1, 0))
        words = np.full(count, -1, np.int32)
        ids = np.asarray(phones, np.int32)
        return self._form(PhoneLattice(ids, words, ends[0], ends[1], steps, steps + 1, np.zeros(len(steps)), ()), num_frames)

    def of_transcript(self, words: Sequence[str], num_frames: int) -> K2Form:
        """All pronunciations of the words with optional silence; their weights are the phone n-gram's, not the lexicon's.

        A phone sequence that the words may be read as in two ways counts once.

        Raises `NoNumerator` where a word is not in the lexicon, no pronunciation is a sequence that the n-gram allows, or all
        paths take more than ``num_frames`` frames.
        """
        if self.reader is None:
            raise ValueError("of_transcript needs the reader of a lang directory")
        try:
            lattice = self.reader.lattice(words)
        except UnknownWords as error:
            raise NoNumerator(str(error)) from None
        return self._form(read_once(lattice), num_frames)

    def _form(self, lattice: PhoneLattice, num_frames: int) -> K2Form:
        weighted = self._weighted(lattice)
        if not len(weighted.phones):
            raise NoNumerator("no path in the phone language model: it was estimated on other phone sequences")
        graph = self._states.build(weighted)
        if num_frames < graph.min_frames:
            raise NoNumerator(f"too short: {num_frames} frames, its states need {graph.min_frames} or more")
        return form_of_states(graph)

    def _weighted(self, lattice: PhoneLattice) -> PhoneLattice:
        """The product with the n-gram, whose weights replace the lattice's: instances become (instance, n-gram state)."""
        phones, scale = lattice.phones.tolist(), self._scale
        followers: dict[int, list[int]] = defaultdict(list)
        for source, destination in zip(lattice.source.tolist(), lattice.destination.tolist(), strict=True):
            followers[source].append(destination)
        # Instances are in topological order, so one pass over them sees every predecessor first.
        reached: list[dict[int, int]] = [{} for _ in phones]
        instances: list[int] = []
        entry: list[float] = []
        final: list[float] = []
        links: list[tuple[int, int, float]] = []

        def enter(instance: int, state: int) -> tuple[int, float] | None:
            """The number and weight of the product instance that ``instance`` becomes after n-gram state ``state``."""
            if phones[instance] not in self._lm[state]:
                return None
            following, weight = self._lm[state][phones[instance]]
            if following not in reached[instance]:
                reached[instance][following] = len(instances)
                instances.append(instance)
                entry.append(-np.inf)
                ends = np.isfinite(lattice.final[instance]) and np.isfinite(self._final[following])
                final.append(scale * self._final[following] if ends else -np.inf)
            return reached[instance][following], scale * weight

        for instance in range(len(phones)):
            if np.isfinite(lattice.entry[instance]) and (found := enter(instance, 0)):
                entry[found[0]] = found[1]
            for state, number in list(reached[instance].items()):
                links += [(number, *found) for following in followers[instance] if (found := enter(following, state))]
        ends = np.array(entry, np.float64), np.array(final, np.float64)
        return _trimmed(lattice, np.array(instances, np.int64), *ends, np.array(links, np.float64).reshape(-1, 3))


def _trimmed(
    lattice: PhoneLattice, instances: np.ndarray, entry: np.ndarray, final: np.ndarray, links: np.ndarray
) -> PhoneLattice:
    """The product lattice without what leads to no end, in topological order."""
    order = np.argsort(instances, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    source, destination = rank[links[:, 0].astype(np.int64)], rank[links[:, 1].astype(np.int64)]
    instances, entry, final = instances[order], entry[order], final[order]
    live = np.isfinite(final)
    for link in np.argsort(-source, kind="stable"):  # backwards, so that what leads nowhere is known
        live[source[link]] |= live[destination[link]]
    number = np.cumsum(live) - 1
    kept = live[source] & live[destination]
    return PhoneLattice(
        lattice.phones[instances[live]],
        lattice.word[instances[live]],
        entry[live],
        final[live],
        number[source[kept]],
        number[destination[kept]],
        links[kept, 2],
        lattice.words,
    )


def form_of_states(graph: StateGraph) -> K2Form:
    """A state graph as k2 wants it: an arc into a state reads that state's senone + 1."""
    first, last = np.flatnonzero(np.isfinite(graph.initial)), np.isfinite(graph.final)
    labels = np.concatenate((graph.senones[first], graph.senones[graph.destination])) + 1
    arrays = FstArrays(
        start=0,
        source=np.concatenate((np.zeros(len(first)), graph.source + 1)).astype(np.int32),
        destination=np.concatenate((first, graph.destination)).astype(np.int32) + 1,
        ilabel=labels.astype(np.int32),
        olabel=np.zeros(len(labels), np.int32),
        weight=-np.concatenate((graph.initial[first], graph.weight)).astype(np.float32),
        final=np.concatenate(([np.inf], np.where(last, -graph.final, np.inf))).astype(np.float32),
    )
    return form_of_all_paths(arrays)


def senones_within(labels: torch.Tensor, lengths: Sequence[int], num_senones: int, tolerance: int) -> torch.Tensor:
    """``(F, C)`` bool: the senones that the alignment has within ``tolerance`` frames of each frame, in the same utterance.

    labels: ``(F,)`` int64 of utterances of ``lengths`` frames that follow each other. A frame without a label (negative) allows
    nothing by itself; a frame that has no labelled one within reach allows everything.
    """
    utterance = torch.repeat_interleave(torch.arange(len(lengths)), torch.as_tensor(lengths)).to(labels.device)
    allowed = torch.zeros(len(labels), num_senones, dtype=torch.bool, device=labels.device)
    frames = torch.arange(len(labels), device=labels.device)
    for shift in range(-tolerance, tolerance + 1):
        other = (frames + shift).clamp(0, len(labels) - 1)
        usable = (other == frames + shift) & (utterance[other] == utterance) & (labels[other] >= 0)
        allowed[frames[usable], labels[other[usable]]] = True
    return allowed | ~allowed.any(dim=1, keepdim=True)

"""A graph whose words are phones: the search it allows measures phone errors, free of lexicon and language model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr_distill.base import UserError, check_replaceable
from asr_distill.graph.arrays import FstArrays, to_fst
from asr_distill.graph.graph import INFO_NAME, Graph
from asr_distill.graph.hclg import check_phones, expand_and_write
from asr_distill.lang.symbols import read_symbols

if TYPE_CHECKING:
    from asr_distill.senones.inventory import SenoneInventory
    from asr_distill.senones.topology import Topology


def phone_loop_graph(
    lang_dir: str | Path,
    inventory: SenoneInventory,
    out_dir: str | Path,
    *,
    phone_sequences: Iterable[np.ndarray] | None = None,
    lm_scale: float = 1.0,
    insertion_penalty: float = 0.0,
    transition_scale: float = 1.0,
    self_loop_scale: float = 0.1,
) -> Graph:
    """Writes a graph folder whose output labels are base phones; silence is searched for but never written.

    ``phone_sequences``: phone ids of utterances (silence included) for a smoothed bigram; without them all phones are equally
    likely everywhere. Costs are ``lm_scale`` times -log probability, plus ``insertion_penalty`` for each phone written. With
    word-position variants only sequences that make words are allowed (B I* E, or S), and the bigram is one of base phones.
    Raises `UserError` where a sequence holds a phone id that the inventory lacks.
    """
    check_replaceable(out_dir, kind=INFO_NAME)
    check_phones(read_symbols(Path(lang_dir) / "phones.txt"), inventory, Path(lang_dir))
    topology = inventory.topology
    names = topology.base_phones
    probabilities = _uniform(len(names)) if phone_sequences is None else bigram(_as_base(phone_sequences, topology), len(names))
    spoken = [name for name in names if name not in {topology.base_phone(phone) for phone in topology.silence_phones}]
    words = {"<eps>": 0, **{name: number for number, name in enumerate(spoken, 1)}}
    lg = _loop(topology, -lm_scale * np.log(probabilities), insertion_penalty, words)
    description = {
        "units": "phones",
        "lang_hash": None,
        "g": "uniform" if phone_sequences is None else "bigram",
        "lm_scale": lm_scale,
        "insertion_penalty": insertion_penalty,
        "transition_scale": transition_scale,
        "self_loop_scale": self_loop_scale,
    }
    return expand_and_write(to_fst(lg), [], inventory, words, Path(out_dir), description)


def bigram(sequences: Iterable[np.ndarray], num_phones: int) -> np.ndarray:
    """Witten-Bell bigram ``(V + 1, V + 1)``: row h, column p is P(p | h); index V is the boundary, before the first and after
    the last.

    P(p | h) = (c(h, p) + t(h) P(p)) / (c(h) + t(h)), t(h) the number of different followers of h, P(p) a unigram with one
    added to each count. Every row sums to 1 and no entry is 0.
    """
    counts = np.zeros((num_phones + 1, num_phones + 1))
    for sequence in sequences:
        padded = np.concatenate(([num_phones], sequence, [num_phones]))
        np.add.at(counts, (padded[:-1], padded[1:]), 1)
    unigram = counts.sum(0) + 1
    unigram /= unigram.sum()
    kinds = np.maximum((counts > 0).sum(1, keepdims=True), 1)  # a history never seen is the unigram
    return (counts + kinds * unigram) / (counts.sum(1, keepdims=True) + kinds)


def _uniform(num_phones: int) -> np.ndarray:
    return np.full((num_phones + 1, num_phones + 1), 1.0 / (num_phones + 1))


def _as_base(sequences: Iterable[np.ndarray], topology: Topology) -> Iterable[np.ndarray]:
    order = {name: index for index, name in enumerate(topology.base_phones)}
    table = np.array([-1] + [order[topology.base_phone(name)] for name in topology.phones])
    for sequence in sequences:
        sequence = np.asarray(sequence)
        if len(sequence) and (sequence.min() < 1 or sequence.max() >= len(table)):
            raise UserError(
                f"a phone sequence holds ids {sequence.min()}..{sequence.max()}, the inventory has phones 1..{len(table) - 1};"
                " next: align with the same lang directory"
            )
        yield table[sequence]


def _loop(topology: Topology, costs: np.ndarray, penalty: float, words: dict[str, int]) -> FstArrays:
    """State 2h + inside: the last base phone h (or the boundary), and whether a word has begun and not ended."""
    order = {name: index for index, name in enumerate(topology.base_phones)}
    boundary = len(order)
    # suffix: (must be inside, is inside afterwards)
    moves = {"_B": (0, 1), "_I": (1, 1), "_E": (1, 0), "_S": (0, 0), "": (0, 0)}
    rows, weights = [], []
    for history in range(boundary + 1):
        for number, name in enumerate(topology.phones, 1):
            base = topology.base_phone(name)
            before, after = moves[name[len(base) :]]
            word = words.get(base, 0)
            rows.append((2 * history + before, 2 * order[base] + after, number, word))
            weights.append(costs[history, order[base]] + (penalty if word else 0.0))
    final = np.full(2 * (boundary + 1), np.inf, np.float32)
    final[::2] = costs[:, boundary]
    final[2 * boundary] = np.inf  # an utterance without any phone has no frames
    table = np.array(rows, np.int32)
    source, destination, ilabel, olabel = table.T
    return FstArrays(2 * boundary, source, destination, ilabel, olabel, np.array(weights, np.float32), final)

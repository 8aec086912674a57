"""A language of two phones and silence, every path through it by plain recursion, and a frame store of made-up speech."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.features.base import Features
from lhotse.features.io import NumpyFilesWriter

from asr_distill.data import FrameStore
from asr_distill.features import Fbank40Config
from asr_distill.senones import (
    FrameAlignment,
    Leaf,
    PhoneticTree,
    SenoneInventory,
    SenonePriors,
    Split,
    Topology,
    default_topology,
    monophone_tree,
)
from asr_distill.senones.tree import root_keys
from asr_distill.sequence import PhoneLm, estimate_phone_lm

SIL, A, B = 1, 2, 3
SEQUENCES = [(SIL, A, B, SIL), (SIL, A, A), (B, SIL), (A, B, A)]
SELF_LOOP_SCALE = 0.1


def topology(phone_states: int = 1) -> Topology:
    """Ergodic silence of three states that share a senone."""
    return default_topology(["SIL", "A", "B"], ["SIL"], phone_states=phone_states, silence_states=3)


def monophones(phone_states: int = 1) -> SenoneInventory:
    return SenoneInventory(topology(phone_states), monophone_tree(topology(phone_states)))


def triphones() -> SenoneInventory:
    """A and B are split by what stands left of A and right of B."""
    shape = topology()
    keys = root_keys(shape)
    nodes: list[Split | Leaf] = [Leaf(index) for index in range(len(keys))]
    for root, position in ((1, 0), (2, 2)):
        nodes[root] = Split(position, 0, len(nodes), len(nodes) + 1)
        nodes += [Leaf(root), Leaf(len(keys) + root - 1)]
    questions = (frozenset({0, A}),)
    roots = {key: index for index, key in enumerate(keys)}
    return SenoneInventory(shape, PhoneticTree(shape.phones, 3, questions, roots, tuple(nodes)))


def phone_lm(order: int = 3) -> PhoneLm:
    return estimate_phone_lm(SEQUENCES, order=order)


def phone_strings(longest: int) -> Iterator[tuple[int, ...]]:
    strings: list[tuple[int, ...]] = [()]
    for _ in range(longest):
        strings = [(*string, phone) for string in strings for phone in (SIL, A, B)]
        yield from strings


def paths_of(phones: Sequence[int], inventory: SenoneInventory, num_frames: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every HMM path of a phone string: its senones, one a frame, and the transitions' weight; straight from the topology."""
    shape = inventory.topology
    padded = (0, *phones, 0)

    def walk(place: int, state: int, frames: int) -> Iterator[tuple[tuple[int, ...], float]]:
        """From being in ``state`` of the phone at ``place`` with so many frames left, this one included."""
        states = shape.states(padded[place])
        context = np.array([padded[place - 1 : place + 2]])
        if inventory.tree.context_width == 1:
            context = np.array([[0, padded[place], 0]])
        senone = int(inventory.tree.senones_of(context, np.array([states[state].pdf_class]))[0])
        loop = sum(p for to, p in states[state].transitions if to == state)
        for to, p in states[state].transitions:
            stays = SELF_LOOP_SCALE * math.log(p) if to == state else 0.0
            moves = math.log(p / (1 - loop)) + SELF_LOOP_SCALE * math.log(1 - loop) if to != state else 0.0
            weight = stays + moves
            if to < len(states):
                rest = walk(place, to, frames - 1) if frames > 1 else iter(())
            elif place < len(phones):
                rest = walk(place + 1, 0, frames - 1) if frames > 1 else iter(())
            else:
                rest = iter([((), 0.0)] if frames == 1 else [])
            for senones, more in rest:
                yield (senone, *senones), weight + more

    yield from walk(1, 0, num_frames)


def weighted_paths(
    strings: Sequence[Sequence[int]], lm: PhoneLm, inventory: SenoneInventory, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """All paths of some phone strings that the n-gram allows: senones ``(P, T)`` and weights ``(P,)``."""
    rows, weights = [], []
    for phones in strings:
        score = lm.log_probability(phones)
        if np.isfinite(score):
            for senones, weight in paths_of(phones, inventory, num_frames):
                rows.append(senones)
                weights.append(score + weight)
    return np.array(rows, np.int64).reshape(-1, num_frames), np.array(weights)


def path_scores(senones: np.ndarray, weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """``(P,)``: graph weight plus the scores ``(T, C)`` along each path."""
    return weights + scores[np.arange(scores.shape[0]), senones].sum(1)


def occupancies(senones: np.ndarray, totals: np.ndarray, num_senones: int) -> np.ndarray:
    """``(T, C)``: the share of all paths' mass that reads each senone in each frame."""
    share = np.exp(totals - np.logaddexp.reduce(totals))
    gamma = np.zeros((senones.shape[1], num_senones))
    for path, mass in zip(senones, share, strict=True):
        gamma[np.arange(len(path)), path] += mass
    return gamma


def alignment_of(phones: Sequence[int], frames: Sequence[int], words: tuple[tuple[str, int, int], ...] = ()) -> FrameAlignment:
    """Each phone for so many frames; silence ends in its last state, the others have one state."""
    states = [[0] * (count - 2) + [1, 2] if phone == SIL else [0] * count for phone, count in zip(phones, frames, strict=True)]
    index = np.repeat(np.arange(len(phones)), frames)
    return FrameAlignment(np.array(phones), index, np.concatenate(states).astype(np.int16), words)


def make_store(
    folder: Path, alignments: dict[str, FrameAlignment], inventory: SenoneInventory, noise: float = 1.0
) -> FrameStore:
    """Features whose first bins tell the senone, under noise; labels by the alignments; senones.json and priors.json."""
    generator = np.random.default_rng(0)
    writer = NumpyFilesWriter(folder / "feats")
    cuts, all_labels = [], []
    for name, alignment in alignments.items():
        labels = inventory.label(alignment).astype(np.int32)
        values = generator.normal(0, noise, (len(labels), 40)).astype(np.float32)
        values[np.arange(len(labels)), labels] += 2.0
        duration = len(labels) / 100
        source = AudioSource("file", [0], "nowhere.wav")
        cut = MonoCut(name, 0.0, duration, 0, recording=Recording(name, [source], 16000, len(labels) * 160, duration))
        cut.supervisions = [SupervisionSegment(name, name, 0.0, duration, text="A", speaker=name)]
        stored = {"type": "fbank40", "num_frames": len(labels), "num_features": 40, "frame_shift": 0.01, "sampling_rate": 16000}
        place = {
            "storage_type": "numpy_files",
            "storage_path": str(folder / "feats"),
            "storage_key": writer.write(name, values),
        }
        cut.features = Features(start=0.0, duration=duration, **stored, **place)
        cut.senones = NumpyFilesWriter(folder / "labels").store_array(name, labels, frame_shift=0.01, temporal_dim=0, start=0.0)
        cuts.append(cut)
        all_labels.append(labels)
    inventory.save(folder / "senones.json")
    SenonePriors.from_labels(all_labels, inventory.num_senones, inventory.hash).save(folder / "priors.json")
    hashes = {"senones_hash": inventory.hash, "num_senones": inventory.num_senones}
    config = Fbank40Config()
    return FrameStore.create(folder / "store", cuts, "none", feature_config=config, **hashes)

"""What the training of a GMM reads: cepstra of all utterances in one array, lattices, and the equal split of a flat start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from asr_distill.alignment.cepstra import Cepstra, transcript_of
from asr_distill.alignment.phone_lattice import PhoneLattice, TranscriptReader, UnknownWords
from asr_distill.alignment.state_graph import StateGraphBuilder
from asr_distill.base import UserError, hash_of_array, hash_of_object, track
from asr_distill.senones import SenoneInventory


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Utterances in order.

    Attributes:
        keys: cut ids of the usable utterances.
        features: ``(F, D)`` float32, all usable utterances behind one another.
        offsets: ``(N + 1,)`` where each begins.
        transcripts, lattices: by cut id.
        failures: cut id to what makes it unusable.
    """

    keys: tuple[str, ...]
    features: np.ndarray
    offsets: np.ndarray
    transcripts: Mapping[str, tuple[str, ...]]
    lattices: Mapping[str, PhoneLattice]
    failures: Mapping[str, str]

    @cached_property
    def hash(self) -> str:
        """SHA-256 over ids, transcripts and features of the usable utterances: what training may learn from."""
        utterances = [[key, self.transcripts[key]] for key in self.keys]
        return hash_of_object([utterances, self.offsets.tolist(), hash_of_array(self.features)])

    def by_key(self) -> dict[str, np.ndarray]:
        """``(T, D)`` views by cut id."""
        return {key: self.features[self.offsets[i] : self.offsets[i + 1]] for i, key in enumerate(self.keys)}

    def frame_senones(self, senones: Mapping[str, np.ndarray]) -> np.ndarray:
        """``(F,)`` int64; -1 for utterances that are not in ``senones``."""
        frames = np.full(len(self.features), -1, dtype=np.int64)
        for i, key in enumerate(self.keys):
            if key in senones:
                frames[self.offsets[i] : self.offsets[i + 1]] = senones[key]
        return frames


def read_training_data(
    cuts: Iterable[Any], cepstra: Cepstra, reader: TranscriptReader, inventory: SenoneInventory, *, description: str = "cepstra"
) -> TrainingData:
    """Loads and normalises the features of all cuts; those without a possible alignment are set aside with a reason.

    A cut without a word is one of these. Forced alignment takes it for silence, as Kaldi's training graphs do too; but here a
    model is made, and where some transcripts of a corpus are missing, that of silence would be made of speech.

    Raises `UserError` where cuts have no features, an id comes twice, or no cut is usable.
    """
    cuts = list(cuts)
    statistics = cepstra.speaker_statistics(cuts)
    builder = StateGraphBuilder(inventory)
    keys: list[str] = []
    pieces: list[np.ndarray] = []
    transcripts: dict[str, tuple[str, ...]] = {}
    lattices: dict[str, PhoneLattice] = {}
    failures: dict[str, str] = {}
    for cut in track(cuts, description, len(cuts), "cuts"):
        if cut.id in transcripts or cut.id in failures:
            raise UserError(f"cut {cut.id!r} comes twice; cut ids must be unique")
        words = transcript_of(cut)
        transcripts[cut.id] = words
        if not words:
            failures[cut.id] = "no transcript: its text is empty; speech that passed for silence would spoil its model"
            continue
        try:
            lattice = reader.lattice(words)
        except UnknownWords as error:
            failures[cut.id] = str(error)
            continue
        needed = max(builder.build(lattice).min_frames, 1)
        features = cepstra.of_cut(cut, statistics)
        if len(features) < needed:
            failures[cut.id] = f"too short: {len(features)} frames, the states of {' '.join(words)!r} need {needed} or more"
            continue
        keys.append(cut.id)
        pieces.append(features)
        lattices[cut.id] = lattice
    if not keys:
        first = next(iter(failures.items()), ("-", "there are no cuts"))
        raise UserError(f"no utterance can be aligned; the first, {first[0]!r}: {first[1]}")
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return TrainingData(tuple(keys), np.concatenate(pieces), offsets, transcripts, lattices, failures)


def equal_split(num_frames: int, lattice: PhoneLattice, inventory: SenoneInventory, silence: int) -> np.ndarray | None:
    """``(T,)`` senones with every state of one reading given the same share of the frames: a flat start's first alignment.

    The reading is the transcript's first pronunciations with silence before and behind where that fits, else without; None
    where there are fewer frames than states.
    """
    topology = inventory.topology
    for edges in (True, False):
        phones = _reading(lattice, silence, edges)
        states = [inventory.tree.senone((0, phone, 0), state.pdf_class) for phone in phones for state in topology.states(phone)]
        if 0 < len(states) <= num_frames:
            return np.asarray(states, dtype=np.int64)[np.arange(num_frames) * len(states) // num_frames]
    return None


def _reading(lattice: PhoneLattice, silence: int, edges: bool) -> list[int]:
    """The phones of the reading with the fewest optional silences; with ``edges`` they are wanted at both ends."""
    optional = ((lattice.phones == silence) & (lattice.word < 0)).astype(np.int64)
    missing_edge = np.where(edges & (optional == 0), 2, 0)  # worth one silence there, not two
    followers: dict[int, list[int]] = {}
    for a, b in zip(lattice.source.tolist(), lattice.destination.tolist(), strict=True):
        followers.setdefault(a, []).append(b)
    # Backwards, for instances are in topological order: the cost from here to the end, and the way.
    cost = np.where(np.isfinite(lattice.final), missing_edge, np.iinfo(np.int32).max)
    onward = np.full(len(cost), -1)
    for i in range(len(cost) - 1, -1, -1):
        for following in followers.get(i, []):
            if cost[following] < cost[i]:
                cost[i], onward[i] = cost[following], following
        cost[i] += optional[i]
    path = [int(np.argmin(np.where(np.isfinite(lattice.entry), cost + missing_edge, np.iinfo(np.int64).max)))]
    while onward[path[-1]] >= 0:
        path.append(int(onward[path[-1]]))
    return lattice.phones[path].tolist()

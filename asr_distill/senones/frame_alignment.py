"""Which phone and which HMM state each frame of an utterance belongs to, and which phones make each word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import UserError, read_jsonl, write_jsonl
from asr_distill.senones.topology import Topology

_MOST_FRAMES = 100_000_000  # of one utterance, eleven days


@dataclass(frozen=True, eq=False)
class FrameAlignment:
    """The state alignment of one utterance; it knows nothing of trees, so that any inventory can label it.

    Attributes:
        phones: ``(P,)`` int32 phone ids in spoken order, silence included.
        phone_index: ``(T,)`` int32, for each frame the index into ``phones``; starts at 0, ends at P-1, steps of 0 or 1.
        hmm_states: ``(T,)`` int16, for each frame the state index within its phone's HMM.
        words: ``(word, first phone, last phone + 1)`` in spoken order, as indices into ``phones``.
        log_likelihood: of the whole utterance under the model that aligned it, in nats, or None.

    Raises `ValueError` where shapes or indices contradict each other.
    """

    phones: np.ndarray
    phone_index: np.ndarray
    hmm_states: np.ndarray
    words: tuple[tuple[str, int, int], ...] = ()
    log_likelihood: float | None = None

    def __post_init__(self) -> None:
        for name, dtype in (("phones", np.int32), ("phone_index", np.int32), ("hmm_states", np.int16)):
            value = np.ascontiguousarray(getattr(self, name), dtype=dtype)
            if value.ndim != 1:
                raise ValueError(f"{name} has shape {value.shape}, expected one dimension")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "words", tuple((str(w), int(first), int(last)) for w, first, last in self.words))
        if len(self.phone_index) != len(self.hmm_states):
            raise ValueError(f"{len(self.phone_index)} frames of phones but {len(self.hmm_states)} frames of states")
        if len(self.phone_index) < len(self.phones) or (len(self.phones) == 0) != (len(self.phone_index) == 0):
            raise ValueError(
                f"{len(self.phones)} phones in {len(self.phone_index)} frames: each phone needs at least one frame"
            )
        if len(self.phones):
            steps = np.diff(self.phone_index)
            if self.phone_index[0] != 0 or self.phone_index[-1] != len(self.phones) - 1 or ((steps < 0) | (steps > 1)).any():
                raise ValueError(f"phone_index must rise from 0 to {len(self.phones) - 1} in steps of 0 or 1")
            if self.phones.min() < 1 or self.hmm_states.min() < 0:
                raise ValueError("phone ids start at 1 and HMM states at 0")
        end = 0
        for word, first, last in self.words:
            if not end <= first <= last <= len(self.phones):
                raise ValueError(f"word {word!r} spans phones {first}..{last}, expected within {end}..{len(self.phones)}")
            end = last

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrameAlignment) and self.to_dict() == other.to_dict()

    def __len__(self) -> int:
        return len(self.phone_index)

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.phone_index)

    @property
    def frame_phones(self) -> np.ndarray:
        """``(T,)`` int32 phone id of each frame."""
        return self.phones[self.phone_index]

    def boundaries(self) -> np.ndarray:
        """``(P + 1,)`` int64 frame at which each phone starts, and T."""
        return np.searchsorted(self.phone_index, np.arange(len(self.phones) + 1))

    def phone_segments(self) -> list[tuple[int, int, int]]:
        """``(phone id, first frame, last frame + 1)`` of each phone."""
        bounds = self.boundaries().tolist()
        return list(zip(self.phones.tolist(), bounds[:-1], bounds[1:], strict=True))

    def word_segments(self, frame_shift: float = 0.01) -> list[tuple[str, float, float]]:
        """``(word, start, duration)`` in seconds of each word."""
        bounds = self.boundaries().tolist()
        return [
            (word, bounds[first] * frame_shift, (bounds[last] - bounds[first]) * frame_shift)
            for word, first, last in self.words
        ]

    def pdf_classes(self, topology: Topology) -> np.ndarray:
        """``(T,)`` int32 pdf class of each frame. Raises `UserError` on a phone or a state that the topology lacks."""
        if len(self.phones) and self.phones.max() > len(topology.phones):
            raise UserError(
                f"the alignment holds phone id {self.phones.max()}, the topology has 1..{len(topology.phones)}:"
                " they come from different lang directories; align again with this one"
            )
        table = topology.pdf_class_table
        pdf_classes = table[self.frame_phones, np.minimum(self.hmm_states, table.shape[1] - 1)]
        wrong = np.flatnonzero((pdf_classes < 0) | (self.hmm_states >= table.shape[1]))
        if len(wrong):
            frame, phone = int(wrong[0]), int(self.frame_phones[wrong[0]])
            raise UserError(
                f"frame {frame} is in state {self.hmm_states[frame]} of {topology.name(phone)}, which has states"
                f" 0..{len(topology.states(phone)) - 1} here; the alignment was made with another topology"
            )
        return pdf_classes

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: frames per phone, and runs ``[state, frames, state, frames, ...]`` of HMM states."""
        starts = np.flatnonzero(np.diff(self.hmm_states, prepend=np.int16(-1)))
        lengths = np.diff(starts, append=len(self.hmm_states))
        return {
            "phones": self.phones.tolist(),
            "phone_frames": np.diff(self.boundaries()).tolist(),
            "state_runs": np.stack([self.hmm_states[starts], lengths], 1).ravel().tolist(),
            "words": [list(word) for word in self.words],
            "log_likelihood": None if self.log_likelihood is None else float(self.log_likelihood),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FrameAlignment:
        """Reads what `to_dict` gave; keys besides are left alone. Raises `KeyError` or `ValueError` on other content."""
        phones = np.asarray(values["phones"], dtype=np.int32)
        frames = np.asarray(values["phone_frames"], dtype=np.int64)
        if len(frames) != len(phones):
            raise ValueError(f"{len(phones)} phones but {len(frames)} phone lengths")
        runs = np.asarray(values["state_runs"], dtype=np.int64).reshape(-1, 2)
        for lengths in (frames, runs[:, 1]):
            if len(lengths) and (lengths.min() < 0 or lengths.max() > _MOST_FRAMES or lengths.sum() > _MOST_FRAMES):
                raise ValueError(f"lengths of {lengths.min()} to {lengths.max()} frames, expected 0 to {_MOST_FRAMES} in all")
        return cls(
            phones,
            np.repeat(np.arange(len(phones)), frames),
            np.repeat(runs[:, 0], runs[:, 1]),
            tuple((word, first, last) for word, first, last in values.get("words", ())),
            values.get("log_likelihood"),
        )


def context_windows(phones: np.ndarray) -> np.ndarray:
    """``(P,)`` phone ids to ``(P, 3)`` int32 (left, centre, right), 0 beyond the ends."""
    padded = np.concatenate([[0], phones, [0]]).astype(np.int32)
    return np.stack([padded[:-2], padded[1:-1], padded[2:]], axis=1)


def write_alignments(path: str | Path, alignments: Mapping[str, FrameAlignment]) -> None:
    """Writes JSON lines ``{"id": cut id, ...}`` (gzip where the name ends in ``.gz``), in the mapping's order."""
    write_jsonl(path, ({"id": key, **alignment.to_dict()} for key, alignment in alignments.items()), listed=True)


def read_alignments(path: str | Path) -> dict[str, FrameAlignment]:
    """Reads what `write_alignments` wrote. Raises `UserError` naming the line's id where an entry is broken or doubled."""
    alignments: dict[str, FrameAlignment] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        key = row.get("id") if isinstance(row, dict) else None
        if not isinstance(key, str):
            raise UserError(f"{path}, line {number}: expected an object with an 'id'; is it a file of alignments?")
        if key in alignments:
            raise UserError(f"{path}, line {number}: a second alignment of {key!r}; write the file again with the align stage")
        try:
            alignments[key] = FrameAlignment.from_dict(row)
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path}, line {number}: alignment of {key!r} is broken: {error!r}") from None
    return alignments

"""An FST as flat numpy arrays, exchanged with OpenFst through its own binary file formats.

Python loops over arcs cost seconds per million; OpenFst's `const` file is two arrays that numpy reads whole; this
build of OpenFst reads back only `vector` files, so those are what is written.
"""

from __future__ import annotations

import dataclasses
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import UserError
from asr_distill.lang.openfst import write_fst

_MAGIC = 2125659606
_CONST_VERSION = 2  # 2 is the unaligned layout, 1 the aligned one
_STATE = np.dtype([("final", "<f4"), ("position", "<u4"), ("arcs", "<u4"), ("iepsilons", "<u4"), ("oepsilons", "<u4")])
_ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("destination", "<i4")])
_VECTOR_VERSION = 2
_EXPANDED_AND_MUTABLE = 0x3


@dataclasses.dataclass
class FstArrays:
    """Arcs ``(A,)``: int32 ``source``, ``destination``, ``ilabel``, ``olabel``, float32 ``weight`` (cost, nats); ``final``
    ``(S,)``.

    A state that is not final has ``final`` = infinity. Arcs are grouped by source.
    """

    start: int
    source: np.ndarray
    destination: np.ndarray
    ilabel: np.ndarray
    olabel: np.ndarray
    weight: np.ndarray
    final: np.ndarray

    @property
    def num_states(self) -> int:
        return len(self.final)

    @property
    def num_arcs(self) -> int:
        return len(self.source)

    def sorted_by(self, *keys: np.ndarray) -> FstArrays:
        """The same arcs grouped by source and, within a state, ordered by ``keys`` (first key first)."""
        order = np.lexsort((*reversed(keys), self.source))
        return dataclasses.replace(
            self,
            source=self.source[order],
            destination=self.destination[order],
            ilabel=self.ilabel[order],
            olabel=self.olabel[order],
            weight=self.weight[order],
        )

    def describe(self) -> dict[str, int]:
        """Counts for people and for graph.json."""
        return {
            "states": self.num_states,
            "arcs": self.num_arcs,
            "final_states": int(np.isfinite(self.final).sum()),
            "input_epsilons": int((self.ilabel == 0).sum()),
        }


def from_fst(fst: Any) -> FstArrays:
    """Reads any kaldifst FST over the tropical semiring into arrays."""
    import kaldifst

    if fst.start < 0:
        raise UserError("the graph is empty: no path leads from its start to a final state; check the lexicon and G")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fst"
        write_fst(kaldifst.StdConstFst(fst), path)
        data = path.read_bytes()
    return _parse_const(data)


def to_fst(arrays: FstArrays) -> Any:
    """A kaldifst `StdVectorFst` with these states and arcs."""
    import kaldifst

    arrays = arrays.sorted_by(np.arange(arrays.num_arcs))
    counts = np.bincount(arrays.source, minlength=arrays.num_states)
    # In OpenFst's `vector` file a state is its final weight, its number of arcs (int64) and then its arcs: words of four bytes.
    state_words, arc_words = 3, 4
    before = np.concatenate(([0], np.cumsum(counts)))[:-1] * arc_words + np.arange(arrays.num_states) * state_words
    words = np.zeros(arrays.num_states * state_words + arrays.num_arcs * arc_words, np.int32)
    words[before] = arrays.final.astype(np.float32).view(np.int32)
    words[before + 1] = counts
    first_arc = np.concatenate(([0], np.cumsum(counts)))[:-1]
    rank = np.arange(arrays.num_arcs) - np.repeat(first_arc, counts)
    position = np.repeat(before + state_words, counts) + rank * arc_words
    columns = (arrays.ilabel, arrays.olabel, arrays.weight.astype(np.float32).view(np.int32), arrays.destination)
    for column, values in enumerate(columns):
        words[position + column] = values
    header = struct.pack("<i", _MAGIC) + _text("vector") + _text("standard")
    header += struct.pack(
        "<iiQqqq", _VECTOR_VERSION, 0, _EXPANDED_AND_MUTABLE, arrays.start, arrays.num_states, arrays.num_arcs
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fst"
        path.write_bytes(header + words.tobytes())
        return kaldifst.StdVectorFst.read(str(path))


def _text(value: str) -> bytes:
    return struct.pack("<i", len(value)) + value.encode()


def _parse_const(data: bytes) -> FstArrays:
    magic, length = struct.unpack_from("<ii", data, 0)
    offset = 8 + length
    (length,) = struct.unpack_from("<i", data, offset)
    offset += 4 + length
    version, flags, _, start, num_states, num_arcs = struct.unpack_from("<iiQqqq", data, offset)
    offset += struct.calcsize("<iiQqqq")
    if magic != _MAGIC or version != _CONST_VERSION or flags & 3:
        raise UserError(f"an FST in OpenFst's const format was expected, found magic {magic}, version {version}, flags {flags}")
    states = np.frombuffer(data, _STATE, num_states, offset)
    arcs = np.frombuffer(data, _ARC, num_arcs, offset + states.nbytes)
    return FstArrays(
        start=int(start),
        source=np.repeat(np.arange(num_states, dtype=np.int32), states["arcs"].astype(np.int64)),
        destination=arcs["destination"].copy(),
        ilabel=arcs["ilabel"].copy(),
        olabel=arcs["olabel"].copy(),
        weight=arcs["weight"].copy(),
        final=states["final"].copy(),
    )

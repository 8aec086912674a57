"""Reads OpenFst files, binary and text, without OpenFst, whose reader ends the process where a file is damaged.

Every size, state, label and weight is checked before it is used. Symbol tables within a file come along: what its labels mean
is theirs to say.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from asr_distill.base import UserError, check_file
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.text_fst import parse_text_fst

_MAGIC, _SYMBOLS_MAGIC = 2125659606, 2125658996
_INPUT_SYMBOLS, _OUTPUT_SYMBOLS, _ALIGNED = 1, 2, 4
_ALIGNED_CONST_VERSION, _ALIGNMENT = 1, 16
_CONST_STATE = np.dtype([("final", "<f4"), ("position", "<u4"), ("arcs", "<u4"), ("iepsilons", "<u4"), ("oepsilons", "<u4")])
_ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("destination", "<i4")])
_HEAD = 12  # bytes of a state of a vector file before its arcs: final weight, number of arcs (int64)


@dataclasses.dataclass(frozen=True)
class FstFile:
    """States and arcs of a file, and what it says of its labels (number to name; None where it says nothing)."""

    path: Path
    arrays: FstArrays
    input_symbols: Mapping[int, str] | None = None
    output_symbols: Mapping[int, str] | None = None


def read_fst_file(path: str | Path) -> FstFile:
    """Reads an FST over the tropical semiring: OpenFst's ``vector`` or ``const`` file, or the text that ``fstprint`` gives.

    Raises `UserError` where the file is missing, not as its folder's list of digests says, of another kind (naming the command
    that converts it), damaged or cut short, and for a state, label or weight that cannot be.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {found}; expected an FST: run the stage that writes it, or name the right file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected an FST") from None
    check_file(path, data)
    if data[:4] == struct.pack("<i", _MAGIC):
        file = _Binary(path, data).read()
    elif data[:2] == b"\x1f\x8b":
        raise UserError(f"{path} is gzipped; unpack it first: gunzip -c {path.name} > G.fst")
    else:
        file = _text(path, data)
    _check(file.arrays, path)
    return file


def _text(path: Path, data: bytes) -> FstFile:
    if b"\0" in data:
        raise UserError(f"{path} is not an OpenFst file: it begins with {data[:8]!r}; copy it again or write it anew")
    arrays, inputs, outputs = parse_text_fst(path)
    return FstFile(path, arrays, inputs, outputs)


class _Binary:
    """The bytes of a file and how far they have been read."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.offset = path, data, 4

    def fail(self, found: str) -> UserError:
        return UserError(f"{self.path} is damaged or cut short: {found}; copy it again or write it anew")

    def take(self, format: str) -> tuple[int, ...]:
        size = struct.calcsize(format)
        if self.offset + size > len(self.data):
            raise self.fail(f"its {len(self.data)} bytes end within its header")
        values = struct.unpack_from(format, self.data, self.offset)
        self.offset += size
        return values

    def text(self) -> str:
        (length,) = self.take("<i")
        if not 0 <= length <= len(self.data) - self.offset:
            raise self.fail(f"a name of {length} bytes at byte {self.offset}")
        raw = self.data[self.offset : self.offset + length]
        self.offset += length
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(f"a name at byte {self.offset - length} is not UTF-8") from None

    def read(self) -> FstFile:
        kind, arc_type = self.text(), self.text()
        version, flags, _, start, num_states, num_arcs = self.take("<iiQqqq")
        convert = f"Next: fstprint {self.path.name} | fstcompile > CONVERTED.fst"
        if kind not in ("vector", "const"):
            raise UserError(f"{self.path} is an FST of type {kind!r}, expected vector or const. {convert}")
        if arc_type != "standard":
            raise UserError(
                f"{self.path} has arcs of type {arc_type!r}, expected standard (tropical weights, costs in nats). {convert}"
            )
        if version not in (1, 2) or flags & ~7:
            raise self.fail(f"{kind} file of version {version} with flags {flags}")
        inputs = self.symbols() if flags & _INPUT_SYMBOLS else None
        outputs = self.symbols() if flags & _OUTPUT_SYMBOLS else None
        if num_states == 0 or start < 0:
            raise UserError(f"{self.path} has no states or no start: no sentence is in it; write it anew")
        if not start < 2**31 or not -1 <= num_states < 2**31:
            raise self.fail(f"{num_states} states of which {start} is the first")
        if kind == "const":
            aligned = bool(flags & _ALIGNED) or version == _ALIGNED_CONST_VERSION
            arrays = self.const(start, num_states, num_arcs, aligned)
        else:
            arrays = self.vector(start, num_states)
        return FstFile(self.path, arrays, inputs, outputs)

    def symbols(self) -> dict[int, str]:
        (magic,) = self.take("<i")
        if magic != _SYMBOLS_MAGIC:
            raise self.fail(f"no symbol table at byte {self.offset - 4}")
        self.text()
        _, size = self.take("<qq")
        if not 0 <= size <= (len(self.data) - self.offset) // 12:
            raise self.fail(f"a symbol table of {size} names")
        table: dict[int, str] = {}
        for _ in range(size):
            name = self.text()
            (key,) = self.take("<q")
            if key in table:
                raise self.fail(f"the symbol {key} is there twice")
            table[key] = name
        return table

    def const(self, start: int, num_states: int, num_arcs: int, aligned: bool) -> FstArrays:
        if num_states < 0 or num_arcs < 0:
            raise self.fail(f"{num_states} states and {num_arcs} arcs")
        states = self.table(_CONST_STATE, num_states, aligned)
        arcs = self.table(_ARC, num_arcs, aligned)
        if self.offset != len(self.data):
            raise self.fail(f"{len(self.data) - self.offset} bytes follow its last arc")
        counts, position = states["arcs"].astype(np.int64), states["position"].astype(np.int64)
        if (position + counts > num_arcs).any() or counts.sum() != num_arcs:
            raise self.fail("its states do not have the arcs that its header counts")
        chosen = np.repeat(position, counts) + _ranks(counts)
        return _arrays(start, counts, arcs[chosen], states["final"])

    def table(self, kind: np.dtype, count: int, aligned: bool) -> np.ndarray:
        if aligned:
            self.offset += -self.offset % _ALIGNMENT
        if self.offset + count * kind.itemsize > len(self.data):
            raise self.fail(f"its {len(self.data)} bytes are too few for the states and arcs that its header counts")
        found = np.frombuffer(self.data, kind, count, self.offset)
        self.offset += found.nbytes
        return found

    def vector(self, start: int, num_states: int) -> FstArrays:
        """States one after the other, each with its arcs; a number of -1 says that they go on to the end of the file."""
        begin, end = self.offset, len(self.data)
        starts: list[int] = []
        counts: list[int] = []
        offset = begin
        while len(starts) < num_states or (num_states < 0 and offset < end):
            if offset + _HEAD > end:
                raise self.fail(f"it ends in state {len(starts)}")
            (count,) = struct.unpack_from("<q", self.data, offset + 4)
            if not 0 <= count <= (end - offset - _HEAD) // _ARC.itemsize:
                raise self.fail(f"state {len(starts)} has {count} arcs")
            starts.append(offset)
            counts.append(count)
            offset += _HEAD + _ARC.itemsize * count
        if offset != end:
            raise self.fail(f"{end - offset} bytes follow its last state")
        words = np.frombuffer(self.data, "<i4", (end - begin) // 4, begin)  # every record is of whole words
        heads, counted = (np.array(starts, np.int64) - begin) // 4, np.array(counts, np.int64)
        first = np.repeat(heads + _HEAD // 4, counted) + 4 * _ranks(counted)
        arcs = words[first[:, None] + np.arange(4)] if len(first) else np.zeros((0, 4), "<i4")
        return _arrays(start, counted, np.ascontiguousarray(arcs).view(_ARC)[:, 0], words[heads].view("<f4"))


def _ranks(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... for the arcs of each state."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _arrays(start: int, counts: np.ndarray, arcs: np.ndarray, final: np.ndarray) -> FstArrays:
    return FstArrays(
        start=start,
        source=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        destination=arcs["destination"].astype(np.int32),
        ilabel=arcs["ilabel"].astype(np.int32),
        olabel=arcs["olabel"].astype(np.int32),
        weight=arcs["weight"].astype(np.float32),
        final=final.astype(np.float32),
    )


def _check(fst: FstArrays, path: Path) -> None:
    wrong = (
        ((fst.destination < 0) | (fst.destination >= fst.num_states), "leads to a state that does not exist"),
        ((fst.ilabel < 0) | (fst.olabel < 0), "has a negative label"),
        (~np.isfinite(fst.weight), "has a weight that is no finite number"),
    )
    for found, says in wrong:
        if found.any():
            i = int(np.flatnonzero(found)[0])
            raise UserError(
                f"{path}: the arc {fst.source[i]} -> {fst.destination[i]} (labels {fst.ilabel[i]}:{fst.olabel[i]}, weight"
                f" {fst.weight[i]:g}) {says}; write the file anew, without such arcs"
            )
    if fst.start >= fst.num_states:
        raise UserError(f"{path}: starts in state {fst.start} and has {fst.num_states}; write the file anew")
    if (np.isnan(fst.final) | (fst.final == -np.inf)).any():
        raise UserError(f"{path}: a final weight is no number; write the file anew")
    if not np.isfinite(fst.final).any():
        raise UserError(f"{path} has no final state: no sentence can end; write the file anew")

"""Reads the text form of an FST: an arc a line (source, destination, input, output, weight), final states on lines of one or
two fields, as ``fstprint`` writes and ``fstcompile`` reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_distill.base import UserError, split_words, text_lines
from asr_distill.graph.arrays import FstArrays

_EPSILON = "<eps>"
_LARGEST = 3.4e38  # of a float32
Symbols = dict[int, str]
_Row = tuple[int, list[str]]


def parse_text_fst(path: Path) -> tuple[FstArrays, Symbols | None, Symbols | None]:
    """The arrays, and number to name of input and output labels: None where the labels of that side are numbers.

    A line of five fields shows a transducer, one of three an acceptor; where all have four, the fourth is a weight if it is a
    number that no other line contradicts. The first line's state is the start. Raises `UserError` with the line that is no arc
    and no final state, or that could be read in two ways.
    """
    lines = text_lines(path, "an FST, OpenFst's binary file or the text of fstprint")
    rows = [(number, fields) for number, line in lines if (fields := split_words(line, f"{path}, line {number}"))]
    if not rows:
        raise UserError(f"{path} is empty; expected an FST")
    arcs = [row for row in rows if len(row[1]) > 2]
    for number, fields in rows:
        if len(fields) > 5 or not all(_is_state(field) for field in fields[: 2 if len(fields) > 2 else 1]):
            raise UserError(
                f"{path}, line {number}: found {' '.join(fields)!r}, expected SOURCE DESTINATION INPUT [OUTPUT] [WEIGHT] or"
                " STATE [WEIGHT], or OpenFst's binary file"
            )
    labels = 1 if _is_acceptor(path, arcs) else 2
    states: dict[str, int] = {}
    table = np.array([[_number(states, field) for field in fields[:2]] for _, fields in arcs], np.int64).reshape(-1, 2)
    weights = [_weight(path, number, fields[2 + labels :]) for number, fields in arcs]
    final_rows = [(number, _number(states, fields[0]), fields[1:]) for number, fields in rows if len(fields) <= 2]
    first = _number(states, rows[0][1][0])
    final = np.full(len(states), np.inf, np.float32)
    for number, state, rest in final_rows:
        final[state] = _weight(path, number, rest)
    inputs, ilabel = _labels(path, [(number, fields[2]) for number, fields in arcs])
    outputs, olabel = (inputs, ilabel) if labels == 1 else _labels(path, [(number, fields[3]) for number, fields in arcs])
    arrays = FstArrays(
        start=first,
        source=table[:, 0].astype(np.int32),
        destination=table[:, 1].astype(np.int32),
        ilabel=ilabel,
        olabel=olabel,
        weight=np.array(weights, np.float32),
        final=final,
    )
    return arrays.sorted_by(np.arange(arrays.num_arcs)), inputs, outputs


def _is_acceptor(path: Path, arcs: Sequence[_Row]) -> bool:
    sizes = {len(fields) for _, fields in arcs}
    if {3, 5} <= sizes:
        number, fields = next(row for row in arcs if len(row[1]) != len(arcs[0][1]) and len(row[1]) in (3, 5))
        raise UserError(
            f"{path}, line {number}: found {' '.join(fields)!r}, of {len(fields)} fields beside lines of {8 - len(fields)}; an"
            " acceptor has three or four, a transducer four or five"
        )
    if 3 in sizes or 5 in sizes or not arcs:
        return 3 in sizes
    if any(not _is_weight(fields[3]) for _, fields in arcs) or all(fields[2] == fields[3] for _, fields in arcs):
        return False
    if any(not fields[3].isdigit() for _, fields in arcs) or any(not fields[2].isdigit() for _, fields in arcs):
        return True
    number, fields = next(row for row in arcs if row[1][2] != row[1][3])
    raise UserError(
        f"{path}, line {number}: found {' '.join(fields)!r}, whose last field may be a label or a weight. Next: write weights"
        " with a decimal point, or OpenFst's binary file (fstcompile, with --acceptor where it is one)"
    )


def _labels(path: Path, fields: Sequence[tuple[int, str]]) -> tuple[Symbols | None, np.ndarray]:
    """Numbers as they stand, or names numbered in the order of their coming, epsilon 0."""
    if all(field.isascii() and field.isdigit() for _, field in fields):
        for number, field in fields:
            if len(field) > 10 or int(field) >= 2**31:
                raise UserError(f"{path}, line {number}: the label {field} is too large")
        return None, np.array([int(field) for _, field in fields], np.int32)
    ids = {_EPSILON: 0}
    numbers = [ids.setdefault(field, len(ids)) for _, field in fields]
    return {number: name for name, number in ids.items()}, np.array(numbers, np.int32)


def _number(states: dict[str, int], field: str) -> int:
    return states.setdefault(str(int(field)), len(states))


def _weight(path: Path, number: int, rest: Sequence[str]) -> float:
    if not rest:
        return 0.0
    try:
        value = float(rest[0])
    except ValueError:
        raise UserError(f"{path}, line {number}: found the weight {rest[0]!r}, expected a number") from None
    return math.copysign(math.inf, value) if abs(value) > _LARGEST else value


def _is_state(field: str) -> bool:
    return field.isascii() and field.isdigit() and len(field) <= 18


def _is_weight(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True

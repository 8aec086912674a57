"""Figures named in report.yaml: plain numbers, ``FILE#key.key`` of a JSON file, ``SYSTEM.field.field`` of the systems."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, read_json
from asr_distill.report.configuration import ListConfig
from asr_distill.report.figures import rounded

_log = logging.getLogger("asr_distill")


def follow(value: Any, keys: Sequence[str], where: str) -> Any:
    """The value under a path of keys (numbers index lists). Raises `UserError` that lists the keys found instead."""
    for position, key in enumerate(keys):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.lstrip("-").isdigit() and -len(value) <= int(key) < len(value):
            value = value[int(key)]
        else:
            found = ", ".join(map(str, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
            raise UserError(f"{where}: no {'.'.join(keys[: position + 1])!r}; found {found}")
    return value


def read_figure(run: Path, figure: Any, seed: int | None = None) -> Any:
    """A figure of report.yaml: itself where it is no ``FILE#key``; else what the file says. Raises `UserError`."""
    if not isinstance(figure, str):
        return figure
    if seed is not None:
        figure = figure.replace("{seed}", str(seed))
    file, mark, keys = figure.partition("#")
    if not mark:
        raise UserError(f"figure {figure!r}: expected a number or FILE#key.key")
    value = follow(read_json(run / file), keys.split("."), str(run / file))
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{run / file}: {keys} is {value}; expected a finite number or null")
    return value


def mean_figure(run: Path, figure: Any, seeds: Sequence[int]) -> Any:
    """`read_figure`, averaged over seeds where the file's name has ``{seed}``; null where any seed has null."""
    if not (isinstance(figure, str) and "{seed}" in figure):
        return read_figure(run, figure)
    values = [read_figure(run, figure, seed) for seed in seeds]
    if any(value is None for value in values):
        return None
    if all(isinstance(value, (int, float)) for value in values):
        return math.fsum(values) / len(values)
    if any(value != values[0] for value in values):
        raise UserError(f"figure {figure!r} differs over seeds and is no number: {values}")
    return values[0]


def read_lists(run: Path, lists: Mapping[str, ListConfig], allow_missing: bool) -> dict[str, Any]:
    """The tables of report.yaml that stand in JSON files of the run: ``{name: {title, columns, digits, rows}}``.

    Raises `UserError` where a file, its key or a column is absent or there is no list of objects, unless they may be missing:
    then the log names them.
    """
    found = {}
    for name, wanted in lists.items():
        if allow_missing and not (run / wanted.rows.partition("#")[0]).is_file():
            continue
        try:
            rows = read_figure(run, wanted.rows)
            if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
                raise UserError(f"list {name!r}: {wanted.rows} is no list of objects")
            cells = [[rounded(follow(row, column.split("."), wanted.rows)) for column in wanted.columns] for row in rows]
        except UserError as error:
            if not allow_missing:
                raise
            _log.warning("list %s: left out, %s", name, error)
            continue
        found[name] = {"title": wanted.title or name, "columns": list(wanted.columns), "digits": wanted.digits, "rows": cells}
    return found

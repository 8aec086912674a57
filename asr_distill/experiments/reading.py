"""Read ``systems.yaml``: includes merged, ``like`` resolved, every key and name checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, from_mapping, read_yaml
from asr_distill.experiments.table import EVERYWHERE, KINDS, Entry, Table


def read_table(path: str | Path) -> Table:
    """Read a table and check it: strict keys, every name known, no circle.

    A key ``include`` names a file that this one is merged over: mappings key by key, anything else replaced, null removes.

    Raises:
        UserError: naming the entry and the key.
    """
    path = Path(path)
    values = _included(path, ())
    shared = values.pop("search", {})
    entries = values.get("systems")
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"{path}: expected `systems`, entries by name")
    folder, systems = path.resolve().parent, {}
    for name in entries:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)):
            raise UserError(f"{path}: the name {name!r} is part of paths: expected letters, digits, dashes, underscores")
        where = f"{path}: {name}"
        systems[name] = _entry(_resolved(str(name), entries, where, ()), shared, where, folder)
    table: Table = from_mapping(Table, {**values, "systems": {}}, str(path))
    table.systems.update(systems)
    _check_names(table, path)
    return table


def _included(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    values = read_yaml(path)
    other = values.pop("include", None)
    if other is None:
        return values
    file = path.parent / str(other)
    if file in above or len(above) > 10:
        raise UserError(f"{path}: include: {other} includes itself")
    merged: dict[str, Any] = _merged(_included(file, (*above, path)), values)
    return merged


def _merged(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    both = {
        key: _merged(under[key], over[key]) if key in under and key in over else {**under, **over}[key]
        for key in {**under, **over}
    }
    return {key: value for key, value in both.items() if not (key in over and over[key] is None)}


def _resolved(name: str, entries: Mapping[str, Any], where: str, above: tuple[str, ...]) -> dict[str, Any]:
    """Return an entry's values; what ``like`` names is copied, without the keys that its own kind has no use for."""
    values = entries.get(name)
    if not isinstance(values, dict):
        found = f"like: there is no entry {name!r}" if name not in entries else f"found {values!r}, expected keys and values"
        raise UserError(f"{where}: {found}")
    if name in above:
        raise UserError(f"{where}: like: {' -> '.join([*above, name])} is a circle")
    like = values.get("like")
    if like is None:
        return dict(values)
    own = {key: value for key, value in values.items() if key != "like"}
    copied = _resolved(str(like), entries, where, (*above, name))
    kinds = [kind for kind in KINDS if kind in own]
    if kinds:
        kept = KINDS[kinds[0]] | {kinds[0]}
        copied = {key: value for key, value in copied.items() if key in kept}
    copied = {key: value for key, value in copied.items() if key not in EVERYWHERE}
    merged: dict[str, Any] = _merged(copied, own)
    return merged


def _entry(values: dict[str, Any], shared: Any, where: str, folder: Path) -> Entry:
    kinds = [kind for kind in KINDS if kind in values]
    if len(kinds) != 1:
        found = f"found {', '.join(kinds)}" if kinds else f"found only {', '.join(map(str, values))}"
        raise UserError(f"{where}: {found}; expected exactly one of {', '.join(KINDS)}, or `like: NAME`")
    kind = kinds[0]
    allowed = KINDS[kind] | {kind} | EVERYWHERE
    odd = [key for key in values if key not in allowed]
    if odd:
        raise UserError(f"{where}: {odd[0]!r} does not go with `{kind}`; keys that do: {', '.join(sorted(allowed))}")
    values = dict(values)
    if values.get("search", True) is False:
        values["search"] = None
    elif "search" in KINDS[kind]:
        values["search"] = _merged(shared, values.get("search", {}))
    else:
        values["search"] = None
    if "seeds" in values:
        values["seeds"] = _seeds(values["seeds"], where)
    entry: Entry = from_mapping(Entry, values, where)
    if entry.config is not None and (folder / entry.config).is_file():
        entry = dataclasses.replace(entry, config=folder / entry.config)
    if entry.train is not None and entry.train != "hard" and entry.start is None:
        raise UserError(f"{where}: `train: {entry.train}` fine-tunes a trained network; next: start: NAME")
    if entry.distil is not None and entry.point is None and (entry.temperature is None or entry.hard_weight is None):
        raise UserError(f"{where}: a student needs `temperature` and `hard_weight`, or `point: SWEEP`")
    if entry.combine is not None and entry.members is None:
        raise UserError(f"{where}: an ensemble needs `members: NAME`, whose seeds it combines")
    return entry


def _seeds(value: Any, where: str) -> list[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)-(\d+)", value)) and int(match[1]) <= int(match[2]):
        return list(range(int(match[1]), int(match[2]) + 1))
    if isinstance(value, list) and value and len(set(map(str, value))) == len(value):
        return value
    raise UserError(f"{where}: seeds: found {value!r}, expected a number, a range such as 0-4, or a list, each once")


def _check_names(table: Table, path: Path) -> None:
    def known(name: str, where: str) -> None:
        if name not in table.systems:
            raise UserError(f"{path}: {where}: there is no entry {name!r}; known: {', '.join(table.systems)}")

    for name, entry in table.systems.items():
        for other in entry.named():
            known(other, name)
        needs = {"again": ("train", "distil", "combine"), "point": ("sweep",), "members": ("train", "distil")}
        needs |= {"start": ("train", "distil"), "store": ("train", "distil", "combine"), "curve": ("train", "distil")}
        for key, kinds in needs.items():
            other = getattr(entry, key)
            if other is not None and table.systems[other].kind not in kinds:
                raise UserError(
                    f"{path}: {name}: {key}: {other} is `{table.systems[other].kind}`, expected {' or '.join(kinds)}"
                )
    for title, one in table.tables.items():
        for row in one.get("rows", ()):
            known(row, f"tables: {title}")
    for pair in table.comparisons:
        if len(pair) != 3:
            raise UserError(f"{path}: comparisons: found {list(pair)}, expected [a, b, metric]")
    for name in table.default:
        if name not in table.tables:
            known(name, "default")
    table.wanted(tuple(table.systems))

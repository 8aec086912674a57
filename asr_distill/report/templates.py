"""Templates of report.yaml: what rows have in common is written once.

.. code-block:: yaml

    templates:
      network: {lm: bigram, decode: "decode/{model}_{lm}/seed{seed}/test", model: "models/{model}/seed{seed}"}
      student: {template: network, temperature: "models/{model}/seed{seed}/completed.json#summary.objective.temperature"}
    systems:
      - {name: ab_half, label: student of half the width, template: student}
      - {name: baseline_uniform, template: network, model: baseline, lm: uniform}

A template holds keys of a system and may stand on another. ``{name}`` and ``{lm}`` are those of the row, ``{model}`` is what a
row with a template gives as its ``model``, else its name; ``{seed}`` is filled in later, for each seed; so are ``{models}``
and ``{engine}`` of a label, the number of its networks and what searched, and ``{first}`` of ``dev_wer``, the first seed that
is decoded. A row's own keys win.

``base: FILE``, relative to the file that says it, is a report.yaml that this one stands on: its mappings are taken key by key,
a system of a name that is there already adds its keys to that row, and other rows of lists of rows come after those there, but
for one that says ``before``: it comes directly before the system of that name, or the first row that has those keys. A list of
names or numbers (seeds, columns, rows of a table) replaces the one there.

.. code-block:: yaml

    base: ../../conf/speech.report.yaml
    systems:
      - {name: tri_uniform, template: gmm, model: tri, lm: uniform, before: tri}
    comparisons:
      - {a: tri, b: mono, metric: per, before: {a: paper, metric: wer}}
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, from_mapping, read_yaml
from asr_distill.report.configuration import ReportConfig, SystemConfig

PLACEHOLDERS = ("engine", "first", "lm", "model", "models", "name", "seed")
_LATER = ("engine", "first", "models", "seed")  # filled in when the row's decodes are read
_KEYS = {field.name for field in dataclasses.fields(SystemConfig)} | {"template"}


def load_report_config(path: str | Path) -> ReportConfig:
    """Reads a report.yaml. Raises `UserError` for an unknown key, template or placeholder, listing the known ones."""
    return from_mapping(ReportConfig, expand_templates(_read(Path(path)), str(path)), str(path))


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a report.yaml over those of its base."""
    values = read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str) or (path.parent / base).resolve() in (path.resolve(), *above):
        raise UserError(f"{path}: base {base!r}: expected the path of another report.yaml that does not stand on this one")
    return dict(_over(_read(path.parent / base, (path.resolve(), *above)), values, str(path)))


def _over(below: Any, own: Any, where: str) -> Any:
    if isinstance(below, Mapping) and isinstance(own, Mapping):
        return {**below, **{key: _over(below[key], value, where) if key in below else value for key, value in own.items()}}
    if not (_is_rows(below) and _is_rows(own)):
        return own
    rows, names = list(below), {_name(row, where) for row in below}
    for row in own:
        there = "name" in row and _name(row, where) in names
        if "before" in row:
            if there:
                raise UserError(f"{where}: {row['name']!r} has `before`, which places a new row, but the base has that row")
            placed = {key: value for key, value in row.items() if key != "before"}
            rows.insert(_place(rows, row["before"], where), placed)
        elif there:
            place = _place(rows, row["name"], where)
            rows[place] = _over(rows[place], row, where)
        else:
            rows.append(row)
    return rows


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, Mapping) for row in value)


def _name(row: Mapping[str, Any], where: str) -> str | None:
    """The row's name; None where rows of this list have none."""
    name = row.get("name")
    if not (name is None or isinstance(name, str)):
        raise UserError(f"{where}: a row has the name {name!r}; expected a text")
    return name


def _place(rows: list[Mapping[str, Any]], wanted: Any, where: str) -> int:
    """Where the row of this name, or the first that has these keys, is in ``rows``."""
    keys = wanted if isinstance(wanted, Mapping) else {"name": wanted}
    for place, row in enumerate(rows):
        if all(row.get(key) == value for key, value in keys.items()):
            return place
    raise UserError(
        f"{where}: before {wanted!r}: expected the name of a row of the base, or keys that one has; none is like that"
    )


def expand_templates(values: Mapping[str, Any], where: str = "report.yaml") -> dict[str, Any]:
    """The same without ``templates``: each system that names one has the template's keys under its own.

    Raises `UserError` where a template is unknown, stands on itself or has a key that no system has, a placeholder is unknown,
    or a row has nothing to fill one with.
    """
    values = dict(values)
    templates = values.pop("templates", None) or {}
    if not isinstance(templates, Mapping) or not all(isinstance(template, Mapping) for template in templates.values()):
        raise UserError(f"{where}: templates: expected names, each with keys of a system")
    for name, template in templates.items():
        foreign = sorted(set(template) - (_KEYS - {"name"}))
        if foreign:
            raise UserError(
                f"{where}: template {name!r} has the key {foreign[0]!r}; valid keys: {', '.join(sorted(_KEYS - {'name'}))}"
            )
        whole = _resolve(name, templates, f"{where}: templates")
        _fill(whole, dict.fromkeys(PLACEHOLDERS, ""), f"{where}: template {name!r}")
    systems = values.get("systems")
    if isinstance(systems, list):
        values["systems"] = [_expand(system, templates, where) for system in systems]
    return values


def _expand(system: Any, templates: Mapping[str, Any], where: str) -> Any:
    if not isinstance(system, Mapping) or "template" not in system:
        return system
    row = dict(system)
    name = row.get("name")
    where = f"{where}: system {name!r}"
    template = _resolve(row.pop("template"), templates, where)
    model = row.pop("model", name)
    whole = {**template, **row}
    later = {placeholder: f"{{{placeholder}}}" for placeholder in _LATER}
    return _fill(whole, {"name": name, "model": model, "lm": whole.get("lm"), **later}, where)


def _resolve(name: Any, templates: Mapping[str, Any], where: str, above: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The keys of a template, those of the templates that it stands on under its own."""
    if not isinstance(name, str) or name not in templates:
        near = difflib.get_close_matches(str(name), templates, n=1)
        guess = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(f"{where}: no template {name!r}{guess}; known: {', '.join(sorted(templates)) or 'none'}")
    if name in above:
        raise UserError(f"{where}: template {name!r} stands on itself: {' -> '.join([*above, name])}")
    own = dict(templates[name])
    if "template" not in own:
        return own
    return {**_resolve(own.pop("template"), templates, where, (*above, name)), **own}


def _fill(value: Any, names: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _fill(item, names, where) for key, item in value.items()}
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        name = match[1]
        if name not in names:
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            raise UserError(f"{where}: unknown placeholder {{{name}}} in {value!r}; known: {known}")
        if not isinstance(names[name], str):
            raise UserError(f"{where}: {value!r} asks for {{{name}}}, but the row has none; give it {name}: TEXT")
        return str(names[name])

    return re.sub(r"\{([^{}]*)\}", one, value)

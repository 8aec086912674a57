"""Strict configuration: YAML into dataclasses; an unknown or mistyped key is an error that lists the valid ones."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from asr_distill.base.errors import UserError

Config = TypeVar("Config")
_LARGEST_FILE = 1 << 18  # bytes of a configuration
_DEEPEST = 50  # values within values
_MOST = 10**18  # whole numbers below are seeds, sizes and counts that every library takes


def load_config(cls: type[Config], path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Reads a YAML file into the dataclass ``cls``; ``overrides`` (top-level keys) win over the file."""
    return from_mapping(cls, {**read_yaml(path), **(overrides or {})}, where=str(path))


def shipped(path: str | Path) -> Path:
    """Where a configuration of ``recipes/``, as help texts name it, lies in this installation or checkout.

    Any other path, and one that is there from where the user stands, is left as it is.
    """
    path = Path(path)
    if path.parts[:1] != ("recipes",) or ".." in path.parts or path.exists():
        return path
    package = Path(__file__).resolve().parents[1]
    return next((found for root in (package, package.parent) if (found := root / path).is_file()), path)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file, also of one that is `shipped`.

    Raises `UserError` where it is absent, no text, no YAML or anything else; anchors and keys that come twice are refused.
    """
    path = shipped(path)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"configuration {path} has {path.stat().st_size} bytes, expected a YAML file of at most 256 KiB")
        values = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader) or {}
    except FileNotFoundError:
        raise UserError(f"configuration {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"configuration {path} cannot be read as text ({error}); expected a YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date of month 13, a number of 5,000 digits
        raise UserError(f"configuration {path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"configuration {path}: expected keys and values at the top level, found {type(values).__name__}")
    return values


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors, of which a few lines unpack to gigabytes, without keys that come twice, and not too deep."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(f"anchors and aliases (&{event.anchor}) are not taken{event.start_mark}; write the value out")
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.YAMLError(f"values within values, too many to read{event.start_mark}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.YAMLError(f"a key is a {type(key).__name__}{key_node.start_mark}; expected a word")
            if key in seen:
                raise yaml.YAMLError(f"the key {key!r} comes twice{node.start_mark}; keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep)


def from_mapping(cls: type[Config], values: Mapping[str, Any], where: str = "configuration") -> Config:
    """Builds the dataclass ``cls`` from a mapping, nested dataclasses included.

    Raises `UserError` on unknown keys (listing the valid ones and the nearest), missing keys and values of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # cls is a dataclass
    hints = typing.get_type_hints(cls)
    unknown = [key for key in values if key not in fields]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), fields, n=1)
        guess = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(f"{where}: unknown key {unknown[0]!r}{guess}; valid keys: {', '.join(sorted(fields))}")
    built = {}
    for name, field in fields.items():
        if name in values:
            built[name] = _convert(values[name], hints[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{where}: key {name!r} is missing")
    try:
        return cls(**built)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def to_mapping(config: Any) -> dict[str, Any]:
    """The dataclass as plain values, tuples as lists, paths as text: what `from_mapping` reads back."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return {key: plain(value) for key, value in dataclasses.asdict(config).items()}


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        failures = []
        for option in (option for option in arguments if option is not type(None)):
            try:
                return _convert(value, option, where)
            except UserError as error:
                failures.append(str(error))
        raise UserError(failures[0])
    if origin is typing.Literal:
        if isinstance(value, bool) and value not in arguments:  # YAML 1.1 reads a bare `off` as false and `on` as true
            value = "on" if value else "off"
        if value not in arguments:
            raise UserError(f"{where}: found {value!r}, expected one of {', '.join(map(str, arguments))}")
        return value
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: found {value!r}, expected keys and values")
        return from_mapping(typing.cast(type, hint), value, where)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: found {value!r}, expected a list")
        inner = arguments[0] if arguments else Any
        return origin(_convert(item, inner, where) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: found {value!r}, expected keys and values")
        return {_convert(k, arguments[0], where): _convert(v, arguments[1], where) for k, v in value.items()}
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):  # YAML reads 1e-3 as text
        try:
            number = float(value)
        except (ValueError, OverflowError):  # a whole number may have any number of digits
            raise UserError(f"{where}: found {_shortened(value)}, expected float") from None
        if not math.isfinite(number):
            raise UserError(f"{where}: found {_shortened(value)}, expected a finite number")
        return number
    if hint is Path and isinstance(value, str) and value:
        return Path(value)
    if hint is int and isinstance(value, int) and abs(value) >= _MOST:
        raise UserError(f"{where}: found {_shortened(value)}, expected a whole number of less than 19 digits")
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise UserError(f"{where}: found {value!r}, expected {getattr(hint, '__name__', hint)}")


def _shortened(value: Any) -> str:
    """A number's digits, the first of them where there are thousands, which Python would refuse to print."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a whole number of more than 40 digits"
    return repr(value) if len(repr(value)) < 80 else repr(value)[:76] + "..."

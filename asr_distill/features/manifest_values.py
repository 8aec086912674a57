"""Values of lhotse manifests: of the type that lhotse declares and within bounds, for lhotse takes whatever a file says."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

from asr_distill.base import UserError

_Fits: TypeAlias = Callable[[Any, str], bool]
_PLAIN = (str, int, float, type, type(None))
_MOST = 1e9  # seconds, and anything else that is no number of samples
_BOUNDS: dict[str, tuple[float, float]] = {
    "sampling_rate": (100, 1_000_000),
    "source_sampling_rate": (100, 1_000_000),
    "target_sampling_rate": (100, 1_000_000),
    "num_samples": (0, 1e15),
    "num_frames": (0, 1e12),
    "num_features": (0, 1e6),
    "frame_shift": (1e-5, 100),
    "temporal_dim": (0, 10),
    "shape": (0, 1e12),
    "channel": (0, 1e6),
    "channels": (0, 1e6),
    "channel_ids": (0, 1e6),
}


def check_values(item: Any, where: str) -> None:
    """Raises `UserError` that begins with ``where`` for a value of another type than its field's, or out of its bounds.

    item: a lhotse manifest object (cut, recording, ...); what stands in its custom fields is free but for these objects.
    """
    if isinstance(item, _PLAIN) or not dataclasses.is_dataclass(item):
        return
    for name, (hint, fits) in _fields(item.__class__).items():
        value = getattr(item, name)
        if not fits(value, where):
            raise UserError(f"{where}: its {name} is {shown(value)}, expected {hint}; correct the manifest")


@cache
def _fields(cls: Any) -> dict[str, tuple[str, _Fits]]:
    """Of each field what it expects, for messages, and whether a value is that."""
    hints = typing.get_type_hints(cls)
    return {field.name: _expected(hints[field.name], field.name) for field in dataclasses.fields(cls)}


def _expected(hint: Any, name: str) -> tuple[str, _Fits]:
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is int or origin is float:
        least, most = _BOUNDS.get(name, (-_MOST, _MOST))
        kinds = (int,) if origin is int else (int, float)

        def number(value: Any, where: str) -> bool:
            return isinstance(value, kinds) and not isinstance(value, bool) and least <= value <= most  # NaN is neither

        return f"{origin.__name__}, {least:g} to {most:g}", number
    described, fits = zip(*(_expected(part, name) for part in inner), strict=True) if inner else ((), ())
    if origin in (typing.Union, types.UnionType):
        return " or ".join(described), lambda value, where: any(option(value, where) for option in fits)
    if origin is list:
        return (
            f"a list of {described[0]}",
            lambda value, where: isinstance(value, list) and all(fits[0](element, where) for element in value),
        )
    if origin is dict and inner:
        return (
            f"a map to {described[1]}",
            lambda value, where: isinstance(value, Mapping) and all(fits[1](element, where) for element in value.values()),
        )

    def other(value: Any, where: str) -> bool:
        check_values(value, where)
        return origin is Any or isinstance(value, origin)

    return "nothing" if origin is type(None) else getattr(origin, "__name__", str(origin)), other


def shown(value: Any, *, quoted: bool = True) -> str:
    """A value as a message shows it: its first 80 characters."""
    text = repr(value) if quoted or not isinstance(value, str) else value
    return text if len(text) <= 80 else f"{text[:80]}..."

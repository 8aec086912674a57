"""What pages are made of: sections and tables of text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Cells of text; the first column stands left, the others right where ``numbers``."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True


@dataclass
class Section:
    """A heading with paragraphs, tables, and (name, command) pairs."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)


def number(value: Any, digits: int = 2) -> str:
    """A figure for people; ``-`` where it was not measured."""
    if value is None:
        return "-"
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(number(item, digits) for item in value) + "]"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"

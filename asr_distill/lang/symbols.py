"""Symbol tables: names and their integer ids, as OpenFst and Kaldi write them (``name id``, one a line)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from asr_distill.base import UserError, split_words, text_lines, write_text

EPSILON = "<eps>"
_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True)
class SymbolTable:
    """Names whose index is their id; ``symbols[0]`` is ``<eps>``. ``table["AH"]`` is an id and ``table[3]`` a name."""

    symbols: tuple[str, ...]

    @cached_property
    def ids(self) -> dict[str, int]:
        """Name to id."""
        return {name: index for index, name in enumerate(self.symbols)}

    @overload
    def __getitem__(self, key: str) -> int: ...
    @overload
    def __getitem__(self, key: int) -> str: ...
    def __getitem__(self, key: str | int) -> int | str:
        """Id of a name or name of an id. Raises `KeyError` where there is none."""
        if isinstance(key, str):
            return self.ids[key]
        if not 0 <= key < len(self.symbols):
            raise KeyError(key)
        return self.symbols[int(key)]

    def __contains__(self, name: object) -> bool:
        return name in self.ids

    def __len__(self) -> int:
        return len(self.symbols)

    def __iter__(self) -> Iterator[str]:
        return iter(self.symbols)

    def id(self, name: str) -> int:
        """Id of a name. Raises `KeyError` where there is none."""
        return self.ids[name]

    def name(self, index: int) -> str:
        """Name of an id. Raises `KeyError` where there is none."""
        return self[int(index)]

    def write(self, path: str | Path) -> None:
        """Writes ``name id`` lines in id order."""
        write_text(path, "".join(f"{name} {index}\n" for index, name in enumerate(self.symbols)))

    def to_kaldifst(self) -> Any:
        """``kaldifst.SymbolTable``, for an FST to carry: a number alone means something else in another table."""
        import kaldifst

        symbols = kaldifst.SymbolTable("symbols")
        for number, name in enumerate(self.symbols):
            symbols.add_symbol(name, number)
        return symbols

    @classmethod
    def read(cls, path: str | Path) -> SymbolTable:
        """Reads ``name id`` lines. Raises `UserError` naming the line where ids are not 0, 1, 2, ... or a name comes twice."""
        path = Path(path)
        names: list[str] = []
        seen: set[str] = set()
        for number, line in text_lines(path, "a symbol table, as `asr-distill lang build` writes it"):
            fields = split_words(line, f"{path}, line {number}")
            if not fields:
                continue
            if len(fields) != 2 or fields[1] != str(len(names)):
                raise UserError(f"{path}, line {number}: found {line!r}, expected a name and the id {len(names)}")
            if fields[0] in seen:
                raise UserError(f"{path}, line {number}: {fields[0]!r} is there twice")
            names.append(fields[0])
            seen.add(fields[0])
        if not names or names[0] != EPSILON:
            raise UserError(f"{path}: expected {EPSILON} with id 0 on the first line")
        return cls(tuple(names))


def read_symbols(path: str | Path) -> dict[str, int]:
    """Name to id of any symbol table (``name id`` a line, in any order, gaps allowed), in the file's order.

    Raises `UserError` naming the line that is not so, and for a name or an id that comes twice.
    """
    path = Path(path)
    table: dict[str, int] = {}
    seen: set[int] = set()
    for number, line in text_lines(path, "a symbol table, as `asr-distill lang build` writes it"):
        fields = split_words(line, f"{path}, line {number}")
        if not fields:
            continue
        if len(fields) != 2 or not (fields[1].isascii() and fields[1].isdigit()) or int(fields[1]) > _LARGEST_ID:
            raise UserError(f"{path}, line {number}: found {line!r}, expected a symbol and its number")
        name, index = fields[0], int(fields[1])
        if name in table or index in seen:
            raise UserError(f"{path}, line {number}: {name if name in table else index!r} is there twice; expected each once")
        table[name] = index
        seen.add(index)
    if not table:
        raise UserError(f"{path} holds no symbol; expected lines of a symbol and its number")
    return table

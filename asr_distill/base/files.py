"""Text, JSON and JSON lines: written whole, and compared with the digest of their folder's list as they are read."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from asr_distill.base.digests import check_file
from asr_distill.base.errors import UserError
from asr_distill.base.replace import atomic_path
from asr_distill.base.text import open_unpacked

LONGEST_LINE = 1 << 26  # bytes of a JSON line; a few kilobytes of gzip unpack to any length
_DEEPEST = 100  # brackets within brackets; what is read is walked by recursion later
_BRACKETS = re.compile(r'"[^"]*"|[][{}]')


def write_text(path: str | Path, text: str, *, listed: bool = False) -> None:
    """Writes UTF-8 text atomically; ``listed`` as in `atomic_path`."""
    with atomic_path(path, listed=listed) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, *, listed: bool = False) -> None:
    """Writes one JSON value atomically, indented, keys in the order given, no NaN or infinity.

    ``listed`` as in `atomic_path`.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", listed=listed)


def read_text(path: str | Path) -> str:
    """Reads UTF-8 text. Raises `UserError` where the file is missing, damaged or not text."""
    path = Path(path)
    try:
        data = path.read_bytes()
        check_file(path, data)
        return data.decode()
    except FileNotFoundError:
        check_file(path)
        raise UserError(f"{path} does not exist; run the stage that writes it first") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected a text file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}); convert it, or run the stage that writes it again") from None


def read_json(path: str | Path) -> Any:
    """Reads one JSON value. Raises `UserError` where the file is missing, damaged or is not JSON."""
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); remove it and run the stage that writes it again") from None


def write_jsonl(path: str | Path, rows: Iterable[Any], *, listed: bool = False) -> None:
    """Writes JSON lines atomically; gzip where the name ends in ``.gz``, the same bytes for the same rows.

    ``listed`` as in `atomic_path`.
    """
    with atomic_path(path, listed=listed) as temporary, ExitStack() as opened:
        stream: Any = opened.enter_context(open(temporary, "wb"))
        if str(path).endswith(".gz"):  # without the name and the time, which gzip.open writes into it
            stream = opened.enter_context(gzip.GzipFile("", "wb", fileobj=stream, mtime=0))
        for row in rows:
            stream.write((json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_jsonl(path: str | Path) -> Iterator[Any]:
    """Yields the values of a JSON-lines file, gzipped or not.

    Raises `UserError` where the file is missing, damaged, cut short or not text, naming the line that is not JSON.
    """
    path = Path(path)
    if path.is_file():
        check_file(path)
    elif not path.exists():
        raise UserError(f"{path} does not exist; run the stage that writes it first")
    number = 0
    try:
        with open_unpacked(path) as stream:
            while line := stream.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise ValueError(f"longer than {LONGEST_LINE >> 20} MiB")
                if text := line.decode().strip():
                    yield parse_json(text)
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read beyond line {number} ({error}); expected JSON lines, gzipped or not: run the stage that"
            " writes it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {number}: not valid JSON ({error})") from None


def parse_json(text: str) -> Any:
    """One JSON value as `write_json` writes it.

    Raises ValueError for other text, brackets too deep to read, a key that comes twice, and what could not be written again:
    NaN, infinity, 1e999, a whole number of more than 4,300 digits, half a character (``\\ud800``).
    """
    if text.count("[") + text.count("{") > _DEEPEST and _depth(text) > _DEEPEST:
        raise ValueError("brackets within brackets, too many to read")
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_without_repeats)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("brackets within brackets, too many to read") from None
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is beyond what a number can hold")
    return number


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} comes twice")
    return values


def _depth(text: str) -> int:
    depth = deepest = 0
    for found in _BRACKETS.finditer(text.replace("\\\\", "").replace('\\"', "")):
        if found.group() in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found.group() in "]}":
            depth -= 1
    return deepest

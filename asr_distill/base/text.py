"""Words that people wrote: what separates them, one spelling for what Unicode can write in two ways, lines of text files."""

from __future__ import annotations

import gzip
import io
import re
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from asr_distill.base.digests import check_file
from asr_distill.base.errors import UserError

# Blanks that are not space, tab or the end of a line; controls; characters that take no room. The joiners U+200C and U+200D
# are letters to several scripts and stay.
_ODD = re.compile(
    r"[^\S \t\r\n]|[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_LONGEST_LINE = 1 << 22
_LARGEST_RATIO = 200  # of text to its gzip form; dictionaries and language models have 3 to 10
_FREE = 1 << 24  # bytes of unpacked text that are read whatever the ratio


def normalise_text(text: str) -> str:
    """Unicode NFC: a letter and its accent are one character wherever Unicode has it; ASCII stays as it is.

    Editors and systems differ in how they write ``é``, and two words that look the same have to be the same.
    """
    return unicodedata.normalize("NFC", text)


def split_words(text: str, where: str) -> list[str]:
    """The words of ``text``, which are separated by spaces, tabs and ends of lines.

    Raises `UserError` that begins with ``where`` for other blanks (U+00A0, U+3000), characters that take no room (U+200B) and
    controls: whether they separate words only the writer knows.
    """
    found = _ODD.search(text)
    if found:
        raise UserError(f"{where}: {_odd_character(found)}")
    return text.split()


def has_odd_character(text: str) -> bool:
    """Whether `split_words` refuses the text."""
    return _ODD.search(text) is not None


def text_lines(path: str | Path, expected: str) -> Iterator[tuple[int, str]]:
    """Yields the number (from 1) and the text of each line of a UTF-8 file, gzipped or not (by its content).

    Lines end at a line feed, with or without a carriage return before it; a byte-order mark is taken off. ``expected`` says
    what the file should be. Raises `UserError` where it is missing, and, naming the line, for bytes that are not UTF-8, a
    carriage return within a line, a gzip file that is damaged or unpacks to more than 200 times its size; and where the file is
    not as its folder's list of digests says.
    """
    path = Path(path)
    check_file(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; expected {expected}")
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected {expected}")
    number = 0
    try:
        with open_unpacked(path) as stream:
            while raw := stream.readline(_LONGEST_LINE):
                number += 1
                if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise UserError(f"{path} is UTF-16; expected UTF-8. Next: iconv -f utf-16 -t utf-8 FILE > NEW_FILE")
                if len(raw) == _LONGEST_LINE and not raw.endswith(b"\n"):
                    raise UserError(f"{path}, line {number}: longer than {_LONGEST_LINE} bytes; expected a text file")
                line = raw.removesuffix(b"\n").removesuffix(b"\r")
                yield number, _decoded(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, path, number)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read beyond line {number} ({error}); expected {expected}") from None


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading bytes, gzipped or not (by its content).

    Reading raises OSError, EOFError or zlib.error where a gzip file is damaged, and OSError where it unpacks to more than 200
    times its size: a few kilobytes of gzip may hold gigabytes.
    """
    with open(path, "rb") as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            yield file
            return
        most = _FREE + _LARGEST_RATIO * path.stat().st_size
        with gzip.GzipFile(fileobj=file) as unpacked, io.BufferedReader(_Bounded(unpacked, most)) as stream:
            yield stream


class _Bounded(io.RawIOBase):
    """What a gzip file unpacks to, up to ``most`` bytes."""

    def __init__(self, unpacked: gzip.GzipFile, most: int) -> None:
        self._unpacked, self._left = unpacked, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._unpacked.readinto(buffer)
        self._left -= found
        if self._left < 0:
            raise OSError(f"it unpacks to more than {_LARGEST_RATIO} times its size; where that is right, gunzip it by hand")
        return found


def _decoded(raw: bytes, path: Path, number: int) -> str:
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start} of the line). Next: iconv -f latin1 -t"
            " utf-8 FILE > NEW_FILE, with the encoding that it has in place of latin1"
        ) from None
    if "\r" in line:
        raise UserError(
            f"{path}, line {number}: holds a carriage return within the line; expected lines that end in a line feed."
            " Next: tr '\\r' '\\n' < FILE > NEW_FILE"
        )
    return line


def _odd_character(found: re.Match[str]) -> str:
    character, text = found.group(), found.string
    name = unicodedata.name(character, "a control character")
    around = text[max(0, found.start() - 12) : found.end() + 12]
    return (
        f"found U+{ord(character):04X} ({name}) in {around!a}; words are separated by space and tab, and hold no"
        " character that is blank or takes no room. Next: write a space, or nothing, in its place"
    )

"""Reads transcripts: sclite .trn, Kaldi text, hypotheses.jsonl; speakers by utterance; vocabularies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_distill.base import (
    UserError,
    check_file,
    normalise_text,
)


@dataclass(frozen=True)
class Normalisation:
    """What is done to both sides before they are compared. The default does nothing: the words are compared as they stand.

    Readers have given them Unicode's composed form (NFC) by then.
    """

    case: Literal["none", "lower", "upper"] = "none"
    remove: tuple[str, ...] = ()

    def __call__(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """The words with ``remove`` taken out (compared before the case is changed) and the case changed."""
        kept = (word for word in words if word not in self.remove)
        if self.case == "none":
            return tuple(kept)
        return tuple(word.lower() if self.case == "lower" else word.upper() for word in kept)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are neither empty nor sclite comments (``;;``), with their numbers."""
    check_file(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist or is not a file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}); convert it first") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith(";;"):
            yield number, line.strip()


def transcript_format(path: Path) -> str:
    """``jsonl`` (the first line is a JSON object), ``trn`` (every line ends in ``(id)``) or ``text`` (``id words``).

    Raises `UserError` naming the first line that does not end so where more than half do, each in an id of its own.
    """
    lines = list(numbered_lines(path))
    if lines and lines[0][1].startswith("{"):
        try:
            if isinstance(json.loads(lines[0][1]), dict):
                return "jsonl"
        except json.JSONDecodeError:
            pass
    split = [_split_trn(line) for _, line in lines]
    ids = [found[1] for found in split if found]
    if len(ids) == len(lines):
        return "trn" if lines else "text"
    if 2 * len(ids) > len(lines) and len(set(ids)) == len(ids):
        number, line = lines[split.index(None)]
        raise _no_id(path, number, line, f", as {len(ids)} of {len(lines)} lines are")
    return "text"


def read_transcripts(path: str | Path, format: str = "auto") -> dict[str, tuple[str, ...]]:
    """Words by utterance id from a ``trn`` file (``words (id)``) or a Kaldi ``text`` file (``id words``); ``auto`` looks.

    Raises `UserError` for duplicate ids, sclite alternatives (``{ a / b }``) and lines without an id.
    """
    path = Path(path)
    if format == "auto":
        format = transcript_format(path)
    if format == "jsonl":
        raise UserError(f"{path} holds JSON lines; give the decode directory it lies in, or a .trn or Kaldi text file")
    transcripts: dict[str, tuple[str, ...]] = {}
    for number, line in numbered_lines(path):
        if format == "trn":
            found = _split_trn(line)
            if found is None:
                raise _no_id(path, number, line)
            utterance, words = found[1], tuple(normalise_text(found[0]).split())
            if "{" in words and "/" in words:
                raise UserError(f"{path}, line {number}: alternatives {{ a / b }} are not supported; write one of them")
        else:
            utterance, *rest = line.split()
            words = tuple(map(normalise_text, rest))
        if utterance in transcripts:
            raise UserError(f"{path}, line {number}: utterance id {utterance!r} occurs twice; keep one of the lines")
        transcripts[utterance] = words
    if not transcripts:
        raise UserError(f"{path} holds no transcript")
    return transcripts


def _split_trn(line: str) -> tuple[str, str] | None:
    """Words and id of ``words (id)``: the id is the last balanced group, for an id may have parentheses of its own."""
    depth = 0
    for start in range(len(line) - 1, -1, -1):
        depth += (line[start] == ")") - (line[start] == "(")
        if depth == 0:
            id = line[start + 1 : -1]
            return None if not id or line[-1] != ")" or any(map(str.isspace, id)) else (line[:start], id)
    return None


def _no_id(path: Path, number: int, line: str, like: str = "") -> UserError:
    return UserError(
        f"{path}, line {number}: expected `words (utterance-id)`{like}, with balanced parentheses and no space in the id,"
        f" found {line!r}; mend the line"
    )


def read_utterance_speakers(path: str | Path) -> dict[str, str]:
    """Speaker by utterance id from a Kaldi ``utt2spk`` file."""
    speakers = {}
    for number, line in numbered_lines(Path(path)):
        fields = line.split()
        if len(fields) != 2:
            raise UserError(f"{path}, line {number}: expected `utterance-id speaker`, found {line!r}")
        speakers[fields[0]] = fields[1]
    return speakers


def read_vocabulary(path: str | Path) -> set[str]:
    """The first field of each line: a words.txt, a lexicon, a word list. Symbols such as ``<eps>`` and ``#0`` do not count."""
    words = {normalise_text(line.split()[0]) for _, line in numbered_lines(Path(path))}
    return {word for word in words if not (word in ("<eps>", "<s>", "</s>") or re.fullmatch(r"#\d+", word))}

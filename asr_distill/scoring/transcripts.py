"""Reads transcripts: sclite .trn, Kaldi text, hypotheses.jsonl; speakers by utterance; vocabularies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_distill.base import UserError

_TRN_LINE = re.compile(r"^(?P<words>.*?)\s*\((?P<id>[^()\s]+)\)\s*$")


@dataclass(frozen=True)
class Normalisation:
    """What is done to both sides before they are compared. The default does nothing: the words are compared as they stand."""

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
    """``jsonl`` (the first line is a JSON object), ``trn`` (every line ends in ``(id)``) or ``text`` (``id words``)."""
    lines = [line for _, line in numbered_lines(path)]
    if lines and lines[0].startswith("{"):
        try:
            if isinstance(json.loads(lines[0]), dict):
                return "jsonl"
        except json.JSONDecodeError:
            pass
    return "trn" if lines and all(_TRN_LINE.match(line) for line in lines) else "text"


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
            match = _TRN_LINE.match(line)
            if not match:
                raise UserError(f"{path}, line {number}: expected `words (utterance-id)`, found {line!r}")
            utterance, words = match["id"], tuple(match["words"].split())
            if "{" in words and "/" in words:
                raise UserError(f"{path}, line {number}: alternatives {{ a / b }} are not supported; write one of them")
        else:
            utterance, *rest = line.split()
            words = tuple(rest)
        if utterance in transcripts:
            raise UserError(f"{path}, line {number}: utterance id {utterance!r} occurs twice; keep one of the lines")
        transcripts[utterance] = words
    if not transcripts:
        raise UserError(f"{path} holds no transcript")
    return transcripts


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
    words = {line.split()[0] for _, line in numbered_lines(Path(path))}
    return {word for word in words if not (word in ("<eps>", "<s>", "</s>") or re.fullmatch(r"#\d+", word))}

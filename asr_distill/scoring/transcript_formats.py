"""Which form a file of transcripts has: its name says so, or every line does, or the file is refused with the line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from asr_distill.base import UserError
from asr_distill.scoring.numbered_lines import numbered_lines

FORMATS = ("auto", "trn", "text", "ctm", "stm")
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)
_SIGNED = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|NA", re.ASCII)
_ALTERNATION = re.compile(r"<ALT(_BEGIN|_END)?>")
_OTHERS = (".csv", ".srt", ".vtt", ".json", ".mlf", ".rttm", ".textgrid", ".xml")
_Lines = Sequence[tuple[int, str]]


def transcript_format(path: Path) -> str:
    """``jsonl`` (the first line is a JSON object), ``trn`` (each line ends in ``(id)``), ``ctm`` (``file channel start duration
    word``), ``stm`` (``file channel speaker start end words``) or ``text`` (``id words``).

    A suffix .trn, .ctm or .stm declares the form. Raises `UserError` naming the line that is not as most others are, or that
    could be of two forms, and for a suffix of a form that is not read, such as .csv.
    """
    if path.suffix.lower() in _OTHERS:
        raise UserError(
            f"{path}: {path.suffix} files are not read here, expected trn, ctm, stm or Kaldi's text (id words). Next: convert"
            " it, or declare what it is (--ref-format, --hyp-format)"
        )
    lines = list(numbered_lines(path))
    declared = path.suffix.lower().removeprefix(".")
    if declared in FORMATS[1:] and declared != "text":
        return declared
    if lines and lines[0][1].startswith("{"):
        try:
            if isinstance(json.loads(lines[0][1]), dict):
                return "jsonl"
        except (json.JSONDecodeError, RecursionError):
            pass
    if _ends_in_ids(path, lines):
        return "trn"
    for name, looks_so, expected in (
        ("stm", _is_stm, "file channel speaker start end words"),
        ("ctm", _is_ctm, "file channel start duration word"),
    ):
        found = [looks_so(line.split()) for _, line in lines]
        sure = [line.split() for (_, line), match in zip(lines, found, strict=True) if match and "." in line]
        if lines and all(found):
            if sure:
                return name
            raise UserError(
                f"{path}, line {lines[0][0]}: found {lines[0][1]!r}, which may be {name} ({expected}) or Kaldi's text (id"
                f" words). Next: name the file .{name}, or declare it (--ref-format, --hyp-format)"
            )
        if 2 * len(sure) > len(lines):
            number, line = lines[found.index(False)]
            raise UserError(
                f"{path}, line {number}: expected `{expected}`, as {sum(found)} of {len(lines)} lines are, found {line!r}; mend"
                " the line"
            )
    return "text"


def _ends_in_ids(path: Path, lines: _Lines) -> bool:
    """Whether the lines are a trn file's; refuses one in which most are, and lines that have an id at both ends."""
    split = [split_trn(line) for _, line in lines]
    ids = [found[1] for found in split if found]
    unique = len(set(ids)) == len(ids)
    if ids and len(ids) == len(lines):
        first = [line.split()[0] for _, line in lines]
        twice = [
            word == id or (len(set(first)) == len(first) and _alike(word, id)) for word, id in zip(first, ids, strict=True)
        ]
        if all(twice):
            raise UserError(
                f"{path}, line {lines[0][0]}: found {lines[0][1]!r}, which begins in an id, as Kaldi's text does, and ends in"
                " one in parentheses, as trn does. Next: take one of them off, or --ref-format, --hyp-format text or trn"
            )
        # Many lines with few tags are text with remarks such as (laughs); a trn file has an id for each line.
        return 2 * len(set(ids)) > len(ids) or len(set(first)) < len(first)
    if 2 * len(ids) > len(lines) and unique:
        number, line = lines[split.index(None)]
        raise no_id(path, number, line, f", as {len(ids)} of {len(lines)} lines are")
    return False


def _alike(word: str, id: str) -> bool:
    """Whether the first word is the id rather: it has digits, and is like what the parentheses hold, or that has none."""
    if not any(map(str.isdigit, word)):
        return False
    word, id = ("".join(filter(str.isalnum, text)) for text in (word, id))  # spk1_utt1 and spk1-utt1
    return word in id or id in word or not any(map(str.isdigit, id))


def split_trn(line: str) -> tuple[str, str] | None:
    """Words and id of ``words (id)``: the id is the last balanced group, for an id may have parentheses of its own."""
    depth = 0
    for start in range(len(line) - 1, -1, -1):
        depth += (line[start] == ")") - (line[start] == "(")
        if depth == 0:
            id = line[start + 1 : -1]
            return None if not id or line[-1] != ")" or any(map(str.isspace, id)) else (line[:start], id)
    return None


def no_id(path: Path, number: int, line: str, like: str = "") -> UserError:
    """The error for a line of a trn file that does not end in an id."""
    return UserError(
        f"{path}, line {number}: expected `words (utterance-id)`{like}, with balanced parentheses and no space in the id,"
        f" found {line!r}; mend the line"
    )


def _is_stm(fields: list[str]) -> bool:
    return len(fields) >= 5 and all(map(_NUMBER.fullmatch, fields[3:5])) and float(fields[3]) <= float(fields[4])


def _is_ctm(fields: list[str]) -> bool:
    if len(fields) == 5 and _ALTERNATION.fullmatch(fields[4]):
        return fields[2:4] == ["*", "*"]
    times = len(fields) in (5, 6) and all(map(_NUMBER.fullmatch, fields[2:4]))
    return bool(times and (len(fields) == 5 or _SIGNED.fullmatch(fields[5])))

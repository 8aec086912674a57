"""The forms in which people keep dictionaries, and how a file's own form is found out: surely, or not at all.

`read_rows` gives every line as word, probability and phones. Which columns there are, whether ``#`` begins a comment and
whether ``READ(2)`` is another way to say ``READ`` is decided over the whole file; where two readings are possible the file is
refused with the line, and ``--lexicon-format`` declares the one that is right.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from asr_distill.base import UserError, normalise_text, split_words, text_lines

FORMATS = ("auto", "plain", "lexiconp", "lexiconp_silprob", "cmudict", "mfa")
# Numbers between word and phones; an aligner's dictionary (MFA) may have another count on each line.
_COLUMNS = {"plain": (0,), "lexiconp": (1,), "lexiconp_silprob": (4,), "cmudict": (0,), "mfa": (4, 1, 0)}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_ALTERNATIVE = re.compile(r"(.+)\((\d+)\)", re.ASCII)
_COMMENT = re.compile(r"(?<=[ \t])#.*")
_ARPABET = re.compile(
    r"(AA|AE|AH|AO|AW|AX|AXR|AY|EH|ER|EY|IH|IX|IY|OW|OY|UH|UW|UX)[0-2]?|B|CH|D|DH|DX|F|G|HH|JH|K|L|M|N|NG|P|R|S|SH|T|TH|V|W|Y|Z|ZH"
)
_CMU_SUFFIXES = (".dic", ".dict")
_log = logging.getLogger("asr_distill")


class Row(NamedTuple):
    """One pronunciation as it stands on a line of the file."""

    line: int
    word: str
    probability: float
    phones: tuple[str, ...]


class _Line(NamedTuple):
    number: int
    fields: list[str]
    before_tab: int  # how many of them; 0 where the line has no tab


def read_rows(path: str | Path, format: str = "auto") -> list[Row]:
    """The pronunciations of a dictionary in one of `FORMATS`, in the file's order; words in Unicode's composed form (NFC).

    ``plain``: word and phones. ``lexiconp``: a probability between them. ``lexiconp_silprob``: four numbers, the probability
    and three about silence, which are not used. ``cmudict``: comments from ``;;;`` or ``#`` on, ``READ(1)`` and ``READ(2)`` for
    alternatives. ``mfa``: none, one or four numbers, line by line. ``auto``: what the whole file shows. Lines that begin with
    ``;;;`` are comments in each of them.

    Raises `UserError` with file and line for what is not as the format says, and where ``auto`` could be two of them.
    """
    if format not in FORMATS:
        raise UserError(f"lexicon format {format!r}: expected one of {', '.join(FORMATS)}")
    path = Path(path)
    lines = _lines(path, format)
    if not lines:
        raise UserError(f"{path}: found no pronunciation; expected lines of a word and its phones")
    if format != "plain":
        _refuse_blanks_in_words(path, lines)
    columns = _columns(path, lines) if format == "auto" else _COLUMNS[format]
    by_number = {line.number: _numbers(line, columns, path) for line in lines}
    if format == "cmudict":
        alternative = {line.number for line in lines if _ALTERNATIVE.fullmatch(line.fields[0])}
    else:
        alternative = _alternatives(path, lines) if format == "auto" else set()
    heads = {line.fields[0] for line in lines if line.number not in alternative}
    rows = []
    for line in lines:
        numbers = by_number[line.number]
        word, match = line.fields[0], _ALTERNATIVE.fullmatch(line.fields[0])
        if match and line.number in alternative:
            word = match[1]
            if word not in heads and match[2] not in ("0", "1"):
                raise UserError(
                    f"{path}, line {line.number}: found {line.fields[0]!r}, an alternative of {word!r}, which comes nowhere"
                    f" before; expected {word} or {word}(1) first"
                )
            heads.add(word)
        rows.append(
            Row(line.number, normalise_text(word), numbers[0] if numbers else 1.0, tuple(line.fields[1 + len(numbers) :]))
        )
    if any(len(numbers) == 4 for numbers in by_number.values()):
        _log.info(
            "%s: probabilities of silence beside words are not used (--silence-probability is one for all words); those of"
            " pronunciations are",
            path,
        )
    return rows


def _lines(path: Path, format: str) -> list[_Line]:
    raw = text_lines(path, "a lexicon: Kaldi's lexicon.txt or lexiconp.txt, a .dic file, or an aligner's dictionary")
    texts = [(number, text.strip(" \t")) for number, text in raw if text.strip(" \t") and not text.startswith(";;;")]
    if format == "cmudict" or (format == "auto" and _comments_are_sure(path, texts)):
        texts = [(number, _COMMENT.sub("", text)) for number, text in texts]
        texts = [(number, text) for number, text in texts if text.rstrip() != "#" and not text.startswith("##")]
    return [
        _Line(number, split_words(text, f"{path}, line {number}"), len(text.partition("\t")[0].split()) if "\t" in text else 0)
        for number, text in texts
    ]


def _comments_are_sure(path: Path, texts: Sequence[tuple[int, str]]) -> bool:
    """Whether ``#`` begins comments; refuses a file in which it could be a phone."""
    found = [(number, text) for number, text in texts if re.search(r"(^|[ \t])#([ \t]|$)", text) or text.startswith("##")]
    if not found or path.suffix in _CMU_SUFFIXES:
        return path.suffix in _CMU_SUFFIXES
    phones = [phone for _, text in texts if not text.startswith("#") for phone in _COMMENT.sub("", text).split()[1:]]
    if phones and all(_ARPABET.fullmatch(phone) for phone in phones):
        return True
    raise UserError(
        f"{path}, line {found[0][0]}: found '#' in {found[0][1]!r}, which may begin a comment or be a phone. Next:"
        " --lexicon-format cmudict where it begins comments, --lexicon-format plain where it is a phone"
    )


def _refuse_blanks_in_words(path: Path, lines: Sequence[_Line]) -> None:
    """``New York<TAB>N UW ...`` is a word to its writer; here its second half would be a phone."""
    if all(line.before_tab for line in lines):
        for line in lines:
            if any(not _NUMBER.fullmatch(field) for field in line.fields[1 : line.before_tab]):
                word = " ".join(line.fields[: line.before_tab])
                raise UserError(
                    f"{path}, line {line.number}: found {word!r} before the tab that ends the word on every line; a word holds"
                    f" no blank. Next: write {'_'.join(word.split())!r} here and in the transcripts, or leave the line out"
                )


def _count_numbers(fields: Sequence[str]) -> int:
    count = 0
    for field in fields[1:]:
        if not _NUMBER.fullmatch(field):
            break
        count += 1
    return count


def _columns(path: Path, lines: Sequence[_Line]) -> tuple[int, ...]:
    """How many numbers stand between word and phones, as `_COLUMNS` has it; refuses a file that does not show it."""
    counts = [_count_numbers(line.fields) for line in lines]
    whole = [count == len(line.fields) - 1 and count > 0 for line, count in zip(lines, counts, strict=True)]
    kinds = set(counts)
    named = path.name.startswith(("lexiconp.", "lexiconp_silprob."))
    if len(kinds) == 1 and kinds <= {0, 1, 4} and not any(whole) and not (named and kinds == {0}):
        return (next(iter(kinds)),)
    if named and not any(whole):
        expected = 4 if path.name.startswith("lexiconp_silprob.") else 1
        wrong = next(line for line, count in zip(lines, counts, strict=True) if count != expected)
        raise UserError(
            f"{path}, line {wrong.number}: expected {'a probability' if expected == 1 else 'four numbers'} behind the word, as"
            f" the file's name says, found {' '.join(wrong.fields)!r}. Next: mend the line, or --lexicon-format plain"
        )
    if kinds <= {0, 1, 4} and not any(whole) and all(line.before_tab for line in lines):
        return _COLUMNS["mfa"]
    wrong = next(
        line
        for line, count, only_numbers in zip(lines, counts, whole, strict=True)
        if only_numbers or count != counts[0] or count not in (0, 1, 4)
    )
    raise UserError(
        f"{path}, line {wrong.number}: found {' '.join(wrong.fields)!r}, whose numbers may be probabilities or phones: the"
        f" lines of the file do not have the same count of them (here {_count_numbers(wrong.fields)}). Next: --lexicon-format"
        " lexiconp (one number a line), lexiconp_silprob (four), mfa (none, one or four), or plain (numbers are phones)"
    )


def _numbers(line: _Line, columns: tuple[int, ...], path: Path) -> list[float]:
    """The numbers behind the word, of the first count in ``columns`` that the line has."""
    found = _count_numbers(line.fields)
    count = next((count for count in columns if count <= found), None)
    if count is None:
        raise UserError(
            f"{path}, line {line.number}: expected {columns[-1]} number{'s' if columns[-1] > 1 else ''} behind the word, found"
            f" {' '.join(line.fields)!r}; mend the line, or declare another --lexicon-format"
        )
    numbers = [float(field) for field in line.fields[1 : 1 + count]]
    for position, value in enumerate(numbers):
        # Corrections, the last two, may be above 1; their logarithm has to exist.
        if not 0.0 < value <= (1.0 if position < 2 else 1e6):
            raise UserError(
                f"{path}, line {line.number}: the word {line.fields[0]!r} has the"
                f" {'probability' if position < 2 else 'correction'} {value:g}; expected more than 0"
                f"{' and at most 1' if position < 2 else ''}"
            )
    return numbers


def _alternatives(path: Path, lines: Sequence[_Line]) -> set[int]:
    """The lines whose ``WORD(2)`` is WORD: WORD itself or WORD(1) is there too, or the file's name ends as CMU's do."""
    matches = {line.number: match for line in lines if (match := _ALTERNATIVE.fullmatch(line.fields[0]))}
    if path.suffix in _CMU_SUFFIXES:
        return set(matches)
    heads = {line.fields[0] for line in lines if line.number not in matches}
    heads |= {match[1] for match in matches.values() if match[2] == "1"}
    sure = {number for number, match in matches.items() if match[1] in heads}
    alone = sorted(set(matches) - sure)
    if alone:
        raise UserError(
            f"{path}, line {alone[0]}: found {matches[alone[0]][0]!r}, an alternative of {matches[alone[0]][1]!r}, which comes"
            " nowhere, or a word of its own. Next: add the word, or"
            " --lexicon-format plain where no word is an alternative"
        )
    return sure

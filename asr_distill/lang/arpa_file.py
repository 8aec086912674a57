"""Reads ARPA text line by line: everything that a converter would stop at is refused here, with the line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from asr_distill.base import UserError, normalise_text, split_words, text_lines
from asr_distill.lang.arpa import BEGIN, END, LOG10_ZERO

Table = dict[tuple[str, ...], tuple[float, float]]
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_MINUS_INFINITY = re.compile(r"-inf(inity)?", re.IGNORECASE)
_RESERVED = re.compile(r"<eps>|#\d+|#nonterm.*")
_LARGEST_BACKOFF = 99.0
_log = logging.getLogger("asr_distill")


def read_ngrams(path: Path) -> tuple[Table, ...]:
    """The n-grams of an ARPA file, gzipped or not: for each order, words to ``(log10 probability, log10 back-off weight)``.

    Whatever header stands before the line that is ``\\\\data\\\\`` alone is passed over; words keep their case and come in
    Unicode's composed form (NFC). Probabilities and weights below -99, ``-inf`` among them, are -99, as tools write zero.
    N-grams with ``<s>`` behind their first or ``</s>`` before their last word, which no sentence has, are left out with a line
    in the log.

    Raises `UserError` with file and line for counts that do not agree with the header, fields that are no numbers, positive log
    probabilities, repeated n-grams, words without a unigram, reserved symbols, a model without words or without ``</s>``, and a
    missing ``\\\\end\\\\``.
    """
    return _Reader(path).read()


class _Reader:
    """One pass over the lines, with the line number at hand for errors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: Iterator[tuple[int, str]] = text_lines(path, "an ARPA language model (`asr-distill lang ngram` writes one)")
        self.number = 0
        self.impossible = 0

    def fail(self, message: str) -> UserError:
        return UserError(f"{self.path}, line {self.number}: {message}")

    def next_line(self) -> str:
        for number, line in self.lines:
            self.number = number
            if stripped := line.strip(" \t"):
                return stripped
        raise self.fail("the file ends here; expected \\end\\ (is it cut short?)")

    def read(self) -> tuple[Table, ...]:
        for number, line in self.lines:
            self.number = number
            if line.strip() == "\\data\\":
                break
        else:
            raise UserError(f"{self.path}: no line \\data\\ in it; expected an ARPA language model")
        counts, line = self.header()
        tables: list[Table] = []
        for n, expected in enumerate(counts, 1):
            table, line = self.section(line, n, expected, tables, last=n == len(counts))
            tables.append(table)
        if line != "\\end\\":
            raise self.fail(f"found {line!r}, expected '\\end\\'")
        if (END,) not in tables[0]:
            raise self.fail(
                f"the model has no 1-gram {END}, so no sentence can end. Next: train it on sentences with their marks, or add"
                f" the line '-1 {END}' to the 1-grams and one to their count"
            )
        if self.impossible:
            _log.warning("%s: %d n-grams with %s or %s inside are left out", self.path, self.impossible, BEGIN, END)
        return tuple(tables)

    def header(self) -> tuple[list[int], str]:
        counts: list[int] = []
        line = self.next_line()
        while line.startswith("ngram "):
            order, _, count = (part.strip() for part in line[len("ngram ") :].partition("="))
            if order != str(len(counts) + 1) or not (count.isascii() and count.isdigit()):
                raise self.fail(f"found {line!r}, expected 'ngram {len(counts) + 1}=COUNT'")
            counts.append(int(count))
            line = self.next_line()
        if not counts:
            raise self.fail(f"found {line!r}, expected 'ngram 1=COUNT'")
        if counts[0] == 0:
            raise self.fail("the header says that the model has no word; expected some 1-grams")
        return counts, line

    def section(self, line: str, n: int, expected: int, below: list[Table], *, last: bool) -> tuple[Table, str]:
        """The n-grams of one order, and the line that follows them."""
        if line != f"\\{n}-grams:":
            raise self.fail(f"found {line!r}, expected '\\{n}-grams:' (the header says {expected} {n}-grams)")
        table: Table = {}
        left_out: set[tuple[str, ...]] = set()
        line = self.next_line()
        while not line.startswith("\\"):
            ngram, values = self.ngram(line, n, last=last)
            if ngram in table or ngram in left_out:
                raise self.fail(f"the {n}-gram {' '.join(ngram)!r} comes twice")
            unlisted = [word for word in ngram if n > 1 and (word,) not in below[0]]
            if unlisted:
                raise self.fail(f"the word {unlisted[0]!r} has no 1-gram")
            if BEGIN in ngram[1:] or END in ngram[:-1]:
                left_out.add(ngram)
            else:
                table[ngram] = values
            line = self.next_line()
        if len(table) + len(left_out) != expected:
            raise self.fail(f"found {len(table) + len(left_out)} {n}-grams, the header says {expected}")
        self.impossible += len(left_out)
        return table, line

    def ngram(self, line: str, n: int, *, last: bool) -> tuple[tuple[str, ...], tuple[float, float]]:
        fields = split_words(line, f"{self.path}, line {self.number}")
        if len(fields) not in (n + 1, n + 2):
            raise self.fail(
                f"found {line!r}, expected a log10 probability, {n} words{'' if last else ' and maybe a back-off weight'}"
            )
        probability = self.value(fields[0], line, n)
        backoff = self.value(fields[n + 1], line, n) if len(fields) == n + 2 else 0.0
        if not probability <= 1e-4:
            raise self.fail(f"found the log10 probability {fields[0]}, expected at most 0")
        if not backoff <= _LARGEST_BACKOFF:
            raise self.fail(f"found the back-off weight {fields[n + 1]}, expected at most {_LARGEST_BACKOFF:g} (a log10)")
        words = tuple(normalise_text(word) for word in fields[1 : n + 1])
        reserved = next((word for word in words if _RESERVED.fullmatch(word)), None)
        if reserved is not None:
            raise self.fail(f"found the word {reserved!r}, which is reserved for transducers; rename it or leave it out")
        return words, (max(min(probability, 0.0), LOG10_ZERO), 0.0 if last else max(backoff, LOG10_ZERO))

    def value(self, field: str, line: str, n: int) -> float:
        if _MINUS_INFINITY.fullmatch(field):
            return LOG10_ZERO
        if not _NUMBER.fullmatch(field):
            raise self.fail(f"found {line!r}, expected numbers before and after the {n} words")
        return float(field)

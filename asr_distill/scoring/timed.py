"""Reads transcripts with times: ctm, a word a line, and stm, a segment a line."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from asr_distill.base import UserError, split_words, unescape_token
from asr_distill.scoring.markup import Reference, parse_markup
from asr_distill.scoring.numbered_lines import numbered_lines

_IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
_NO_SPEAKERS = frozenset(("inter_segment_gap", "excluded_region"))
_LABELS = re.compile(r"<[^<>]*>")
_ALTERNATION = re.compile(r"<ALT(_BEGIN|_END)?>")


@dataclass(frozen=True)
class TimedWord:
    """One line of a ctm file; times in seconds from the beginning of the file."""

    start: float
    duration: float
    word: str


@dataclass(frozen=True)
class Segment:
    """One line of an stm file; ``reference`` None: what is said there is not scored."""

    file: str
    channel: str
    speaker: str
    start: float
    end: float
    reference: Reference | None

    @property
    def id(self) -> str:
        """A name of its own: file, channel and times."""
        return f"{self.file}-{self.channel}-{self.start:.3f}-{self.end:.3f}"


Ctm = dict[tuple[str, str], list[TimedWord]]


def read_ctm(path: str | Path) -> Ctm:
    """Words by file and channel, in the order of their times; confidences are passed over.

    Raises `UserError` with the line that is not ``file channel start duration word [confidence]``, and for alternatives, of
    which a hypothesis has none.
    """
    path = Path(path)
    found: Ctm = {}
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        fields = split_words(line, where)
        if len(fields) == 5 and _ALTERNATION.fullmatch(fields[4]):
            raise UserError(f"{where}: alternatives ({fields[4]}) in a ctm file have several readings; write one of them")
        if len(fields) not in (5, 6):
            raise UserError(f"{where}: expected `file channel start duration word [confidence]`, found {line!r}; mend the line")
        start, duration = (_seconds(field, where, line) for field in fields[2:4])
        word = TimedWord(start, duration, unescape_token(fields[4]))
        found.setdefault((unescape_token(fields[0]), fields[1]), []).append(word)
    if not found:
        raise UserError(f"{path} holds no word")
    return {key: sorted(words, key=lambda word: word.start) for key, words in found.items()}


def words_by_file(ctm: Ctm, path: Path) -> dict[str, tuple[str, ...]]:
    """The words of each file, as our own ctm has a file for each cut. Raises `UserError` for a file of several channels."""
    channels = Counter(file for file, _ in ctm)
    several = next((file for file, count in channels.items() if count > 1), None)
    if several is not None:
        raise UserError(f"{path}: {several!r} has several channels; give an stm file as reference, which tells them apart")
    return {file: tuple(word.word for word in words) for (file, _), words in ctm.items()}


def read_stm(path: str | Path) -> list[Segment]:
    """The segments of an stm file, in its order; what is not to be scored (``IGNORE_TIME_SEGMENT_IN_SCORING``,
    ``inter_segment_gap``) among them.

    Raises `UserError` with the line that is not ``file channel speaker start end [<labels>] words``, and where two segments
    that are scored have the same times.
    """
    path = Path(path)
    segments: list[Segment] = []
    ids: set[str] = set()
    lines = list(numbered_lines(path))
    # <o,f0,male> is a label; <unk>, where not all segments begin so, a word.
    labelled = all(_LABELS.fullmatch(fields[5]) for _, line in lines if len(fields := line.split()) > 5)
    for number, line in lines:
        where = f"{path}, line {number}"
        fields = split_words(line, where)
        if len(fields) < 5:
            raise UserError(
                f"{where}: expected `file channel speaker start end [<labels>] words`, found {line!r}; mend the line"
            )
        start, end = (_seconds(field, where, line) for field in fields[3:5])
        if end < start:
            raise UserError(f"{where}: the segment ends at {end:g} s, before it starts ({start:g} s); mend the line")
        tokens = fields[5:]
        left_out = fields[2].lower() in _NO_SPEAKERS or any(token.upper() == _IGNORED for token in tokens)
        if tokens and _LABELS.fullmatch(tokens[0]) and ("," in tokens[0] or labelled):
            tokens = tokens[1:]
        reference = None if left_out else parse_markup(tokens, where)
        segment = Segment(unescape_token(fields[0]), fields[1], unescape_token(fields[2]), start, end, reference)
        if reference is not None:
            if segment.id in ids:
                raise UserError(f"{where}: a segment of {segment.file!r} from {start:g} to {end:g} s comes twice; keep one")
            ids.add(segment.id)
        segments.append(segment)
    if not ids:
        raise UserError(f"{path} holds no segment to score")
    return segments


def _seconds(field: str, where: str, line: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < 1e9:
        raise UserError(f"{where}: expected seconds, at least 0, found {field!r} in {line!r}; mend the line")
    return value

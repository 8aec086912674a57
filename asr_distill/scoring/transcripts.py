"""Reads transcripts: sclite .trn, Kaldi text, ctm; speakers by utterance; vocabularies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_distill.base import UserError, split_words, unescape_token
from asr_distill.scoring.markup import Reference, parse_markup, plain_words
from asr_distill.scoring.numbered_lines import numbered_lines
from asr_distill.scoring.timed import read_ctm, words_by_file
from asr_distill.scoring.transcript_formats import no_id, split_trn, transcript_format


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


def format_of(path: str | Path, format: str) -> str:
    """``format``, or where that is ``auto`` what `transcript_format` finds."""
    return transcript_format(Path(path)) if format == "auto" else format


def read_references(path: str | Path, format: str = "auto") -> dict[str, Reference]:
    """References by utterance id from a ``trn`` file (``words (id)``), a Kaldi ``text`` file (``id words``) or a ``ctm`` file,
    whose files are utterances; ``auto`` looks.

    Alternatives and optional words become `Choice`s. Ids and words that our own files write escaped come back as they were.
    Raises `UserError` for duplicate ids, lines without an id, and marks that do not close.
    """
    return {key: reference for _, key, reference in _references(Path(path), format_of(path, format))}


def read_transcripts(path: str | Path, format: str = "auto") -> dict[str, tuple[str, ...]]:
    """Words by utterance id as `read_references` reads them; for hypotheses, which have one reading.

    Raises `UserError` also for alternatives and optional words.
    """
    return {key: plain_words(words, where) for where, key, words in _references(Path(path), format_of(path, format))}


def _references(path: Path, format: str) -> Iterator[tuple[str, str, Reference]]:
    """File and line, id and reference."""
    if format == "ctm":
        yield from ((f"{path}, {key}", key, words) for key, words in words_by_file(read_ctm(path), path).items())
        return
    if format not in ("trn", "text"):
        says = (
            "JSON lines; give the decode directory it lies in"
            if format == "jsonl"
            else "stm lines, which are references for a ctm file"
        )
        raise UserError(f"{path} holds {says}, expected a .trn, .ctm or Kaldi text file here")
    seen: set[str] = set()
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        if format == "trn":
            found = split_trn(line)
            if found is None:
                raise no_id(path, number, line)
            tokens, utterance = split_words(found[0], where), found[1]
            split_words(utterance, where)
        else:
            utterance, *tokens = split_words(line, where)
        utterance = unescape_token(utterance)
        if utterance in seen:
            raise UserError(f"{where}: utterance id {utterance!r} occurs twice; keep one of the lines")
        seen.add(utterance)
        yield where, utterance, parse_markup(tokens, where)
    if not seen:
        raise UserError(f"{path} holds no transcript")


def read_utterance_speakers(path: str | Path) -> dict[str, str]:
    """Speaker by utterance id from a Kaldi ``utt2spk`` file."""
    speakers: dict[str, str] = {}
    for number, line in numbered_lines(Path(path)):
        fields = [unescape_token(field) for field in split_words(line, f"{path}, line {number}")]
        if len(fields) != 2:
            raise UserError(f"{path}, line {number}: expected `utterance-id speaker`, found {line!r}")
        if speakers.setdefault(fields[0], fields[1]) != fields[1]:
            raise UserError(f"{path}, line {number}: {fields[0]!r} has two speakers, {speakers[fields[0]]!r} and {fields[1]!r}")
    return speakers


def read_vocabulary(path: str | Path) -> set[str]:
    """The first field of each line: a words.txt, a lexicon, a word list. Symbols such as ``<eps>`` and ``#0`` do not count."""
    words = {split_words(line, f"{path}, line {number}")[0] for number, line in numbered_lines(Path(path))}
    return {word for word in words if not (word in ("<eps>", "<s>", "</s>") or re.fullmatch(r"#\d+", word))}

"""Transcripts of the training data, so that test utterances whose very text was trained on can be reported apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, normalise_text, read_jsonl, split_words
from asr_distill.scoring.markup import first_reading
from asr_distill.scoring.numbered_lines import numbered_lines
from asr_distill.scoring.transcript_formats import transcript_format
from asr_distill.scoring.transcripts import Normalisation, read_references


def _texts_of_cut(cut: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for supervision in cut.get("supervisions") or ():
        if supervision.get("text") is not None:
            yield tuple(split_words(normalise_text(supervision["text"]), f"the transcript of cut {cut.get('id')!r}"))
    for track in cut.get("tracks") or ():  # a MixedCut
        yield from _texts_of_cut(track.get("cut") or {})


def _references(path: Path) -> Iterator[tuple[str, ...]]:
    for number, row in enumerate(read_jsonl(path), 1):
        text = row.get("reference") if isinstance(row, dict) else None
        yield tuple(split_words(normalise_text(str(text or "")), f"{path}, row {number}"))


def read_training_texts(
    text: str | Path | None = None, cuts: str | Path | None = None, normalise: Normalisation | None = None
) -> set[tuple[str, ...]]:
    """The transcripts (tuples of words) of a text file and of a lhotse CutSet (JSON lines, gzip or not).

    A text file is a .trn or a hypotheses.jsonl where its lines look so, else plain sentences, one a line, without ids.
    Raises `UserError` where no transcript is found.
    """
    change = normalise or Normalisation()
    found: set[tuple[str, ...]] = set()
    if text is not None:
        path = Path(text)
        format = transcript_format(path)
        if format == "trn":
            found |= {change(first_reading(reference)) for reference in read_references(path, "trn").values()}
        elif format == "jsonl":
            found |= set(map(change, _references(path)))
        elif format in ("ctm", "stm"):
            raise UserError(f"{path} holds {format} lines, with times; expected sentences, a .trn or a hypotheses.jsonl")
        else:
            found |= {change(tuple(split_words(line, f"{path}, line {number}"))) for number, line in numbered_lines(path)}
    if cuts is not None:
        found |= {change(sentence) for cut in read_jsonl(cuts) for sentence in _texts_of_cut(cut)}
    found.discard(())
    if not found:
        raise UserError(f"no training transcript found in {' and '.join(str(name) for name in (text, cuts) if name)}")
    return found

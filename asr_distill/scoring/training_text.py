"""Transcripts of the training data, so that test utterances whose very text was trained on can be reported apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, normalise_text, read_jsonl
from asr_distill.scoring.transcripts import Normalisation, numbered_lines, read_transcripts, transcript_format


def _texts_of_cut(cut: Mapping[str, Any]) -> Iterator[str]:
    for supervision in cut.get("supervisions") or ():
        if supervision.get("text") is not None:
            yield normalise_text(supervision["text"])
    for track in cut.get("tracks") or ():  # a MixedCut
        yield from _texts_of_cut(track.get("cut") or {})


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
            found |= {change(words) for words in read_transcripts(path, "trn").values()}
        elif format == "jsonl":
            found |= {change(tuple(normalise_text(str(row.get("reference") or "")).split())) for row in read_jsonl(path)}
        else:
            found |= {change(tuple(normalise_text(line).split())) for _, line in numbered_lines(path)}
    if cuts is not None:
        found |= {change(tuple(sentence.split())) for cut in read_jsonl(cuts) for sentence in _texts_of_cut(cut)}
    found.discard(())
    if not found:
        raise UserError(f"no training transcript found in {' and '.join(str(name) for name in (text, cuts) if name)}")
    return found

"""A decode directory: hypotheses for machines, trn and ctm for the scoring tools of others, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_distill.base import atomic_directory, escape_token, write_json, write_jsonl, write_text
from asr_distill.decoding.evaluation import DecodedUtterance

DECODE_FILE = "decode.json"
# (word, start in seconds, duration in seconds)
WordTimes = Sequence[tuple[str, float, float]]


def write_decode_directory(
    directory: str | Path,
    utterances: Sequence[DecodedUtterance],
    split: str,
    summary: Mapping[str, Any],
    *,
    word_times: Mapping[str, WordTimes] | None = None,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
    frame_shift: float = 0.01,
) -> None:
    """Writes hypotheses.jsonl, hyp.trn, ref.trn, hyp.ctm, nbest.jsonl (where n best were asked for) and decode.json, all or
    nothing. What has no reference is null there and has no line in ref.trn. In trn and ctm a blank or bracket of an id or word
    is written as ``%XX`` (`escape_token`), which our readers read back.

    ``word_times`` by utterance id; an utterance without them gets `path_word_times`. ``extra`` adds keys to an utterance's row.
    """
    word_times, extra = word_times or {}, extra or {}
    with atomic_directory(directory, kind=DECODE_FILE) as folder:
        write_jsonl(folder / "hypotheses.jsonl", ({**u.row(split), **extra.get(u.id, {})} for u in utterances))
        write_text(folder / "hyp.trn", "".join(_trn(u.result.words, u.id) for u in utterances))
        write_text(folder / "ref.trn", "".join(_trn(u.reference, u.id) for u in utterances if u.reference is not None))
        lines = []
        for utterance in utterances:
            for word, start, duration in word_times.get(utterance.id) or path_word_times(utterance, frame_shift):
                lines.append(f"{escape_token(utterance.id)} 1 {start:.3f} {duration:.3f} {escape_token(word)}\n")
        write_text(folder / "hyp.ctm", "".join(lines))
        if any(utterance.result.nbest is not None for utterance in utterances):
            write_jsonl(folder / "nbest.jsonl", (_nbest_row(utterance) for utterance in utterances))
        write_json(folder / DECODE_FILE, summary)


def path_word_times(utterance: DecodedUtterance, frame_shift: float = 0.01) -> list[tuple[str, float, float]]:
    """Times from the frames whose arcs wrote the words, each lasting until the next word or the end.

    In a determinised graph a word is written as soon as it is certain, which is within the word or, after a shared beginning,
    late.
    """
    frames = [*utterance.result.word_frames, utterance.num_frames]
    return [
        (word, frames[i] * frame_shift, max(frames[i + 1] - frames[i], 0) * frame_shift)
        for i, word in enumerate(utterance.result.words)
    ]


def _trn(words: Sequence[str], key: str) -> str:
    return " ".join([*map(escape_token, words), f"({escape_token(key)})"]) + "\n"


def _nbest_row(utterance: DecodedUtterance) -> dict[str, Any]:
    nbest = utterance.result.nbest or ()
    return {"id": utterance.id, "nbest": [{"hypothesis": " ".join(item.words), "score": item.score} for item in nbest]}

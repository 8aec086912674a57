"""Sentences to train and to measure language models with, from text files and CutSets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, normalise_text, split_words, text_lines
from asr_distill.lang.arpa import BEGIN, END

_NAME_PARTS = re.compile(r"[._-]")


def read_sentences(text: Iterable[str | Path] = (), cuts: Iterable[str | Path] = (), *, ids: bool = False) -> list[list[str]]:
    """The sentences of text files (one a line, words between spaces) and of CutSets, in order, as lists of words.

    ``ids``: the first field of each text line is an utterance id, as in Kaldi's ``text``. ``<s>`` and ``</s>`` at the ends are
    taken off. Raises `UserError` for files that are missing, not UTF-8 or without a single word, and for cuts without text.
    """
    sentences: list[list[str]] = []
    for path in map(Path, text):
        sentences += _from_text(path, ids)
    for path in map(Path, cuts):
        sentences += _from_cuts(path)
    if not any(sentences):
        raise UserError("found no words to read; name a text file (--text) or a CutSet (--cuts)")
    return sentences


def refuse_test_data(paths: Iterable[str | Path]) -> None:
    """Raises `UserError` where a file or its folder is named as test data: no test transcript may enter a language model."""
    for path in map(Path, paths):
        if "test" in _NAME_PARTS.split(path.name) or path.parent.name == "test":
            raise UserError(
                f"{path} is named as test data, and no test transcript may enter a language model; give the training part"
            )


def refuse_shared_cuts(training: Iterable[str | Path], held_out: Iterable[str | Path]) -> None:
    """Raises `UserError` where a cut of ``held_out`` is also in ``training``: its perplexity would mean nothing."""
    ids = {cut_id for path in training for cut_id in _cut_ids(Path(path))}
    for path in held_out:
        shared = sorted(ids.intersection(_cut_ids(Path(path))))
        if shared:
            raise UserError(
                f"{path}: {len(shared)} cuts are also in the training text, the first {shared[0]!r}; split the corpus again"
            )


def _from_text(path: Path, ids: bool) -> list[list[str]]:
    lines = text_lines(path, "text, a sentence a line")
    words = [
        split_words(normalise_text(line), f"{path}, line {number}")[1 if ids else 0 :] for number, line in lines if line.strip()
    ]
    return [_without_marks(sentence) for sentence in words]


def _cuts(path: Path) -> Iterable[Any]:
    from asr_distill.features.sources import read_manifest  # lhotse, which text alone does not need

    return read_manifest(path)


def _from_cuts(path: Path) -> list[list[str]]:
    sentences = []
    for cut in _cuts(path):
        texts = [supervision.text for supervision in cut.supervisions]
        if not texts or any(text is None for text in texts):
            raise UserError(f"{path}: the cut {cut.id!r} has no transcript; prepare the corpus again or leave the cut out")
        sentences.append(_without_marks(split_words(normalise_text(" ".join(texts)), f"{path}: the transcript of {cut.id!r}")))
    return sentences


def _cut_ids(path: Path) -> list[str]:
    return [cut.id for cut in _cuts(path)]


def _without_marks(words: list[str]) -> list[str]:
    if words and words[0] == BEGIN:
        words = words[1:]
    return words[:-1] if words and words[-1] == END else words

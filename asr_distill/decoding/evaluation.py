"""One pass over scored utterances: batches are searched at one or several settings and compared with references and labels."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from asr_distill.decoding.result import Decoder, DecodeResult, Hypothesis

# A batch holds at most this many scores (padded), 160 MB in float32, and this many utterances.
MAX_SCORES, MAX_UTTERANCES = 40_000_000, 32


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredUtterance:
    """An utterance ready for the search.

    ``log_likelihoods`` (T, C), unscaled; ``predicted`` (T,) the senone that the network finds likeliest in each frame;
    ``reference`` the words that were said, None where they are not known; ``labels`` (T,) the aligned senones, or None;
    ``duration`` in seconds; ``begin`` the first frame, of a piece of a longer recording (`join_pieces`).
    """

    id: str
    speaker: str | None
    reference: tuple[str, ...] | None
    duration: float
    log_likelihoods: torch.Tensor
    predicted: np.ndarray
    labels: np.ndarray | None
    begin: int = 0


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to search: an engine on a graph, and what the log-likelihoods are multiplied by."""

    decoder: Decoder
    acoustic_scale: float


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedUtterance:
    """An utterance after the search: who said what (None: not known), the result, counts of frames (None without labels)."""

    id: str
    speaker: str | None
    reference: tuple[str, ...] | None
    duration: float
    num_frames: int
    result: DecodeResult
    frames: dict[str, int | None]
    begin: int = 0

    def row(self, split: str) -> dict[str, Any]:
        """The line of hypotheses.jsonl."""
        return {
            "id": self.id,
            "speaker": self.speaker,
            "split": split,
            "reference": None if self.reference is None else " ".join(self.reference),
            "hypothesis": " ".join(self.result.words),
            "score": self.result.score if np.isfinite(self.result.score) else None,
            "reached_final": self.result.reached_final,
            **self.frames,
            "duration": self.duration,
        }


def decode_utterances(
    utterances: Iterable[ScoredUtterance], settings: Sequence[Setting], silence_senones: np.ndarray
) -> Iterator[tuple[int, float, list[DecodedUtterance]]]:
    """Searches batch by batch; yields (index of the setting, seconds of search, utterances of the batch), every setting for
    each batch.

    Only one batch of scores is in memory at a time, however many settings are tried. ``silence_senones`` is ``(C,)`` bool.
    """
    for batch in _batches(utterances):
        lengths = torch.tensor([len(utterance.log_likelihoods) for utterance in batch])
        padded = torch.nn.utils.rnn.pad_sequence([utterance.log_likelihoods for utterance in batch], batch_first=True)
        for index, setting in enumerate(settings):
            start = time.perf_counter()
            results = setting.decoder.decode(padded * setting.acoustic_scale, lengths)
            seconds = time.perf_counter() - start
            decoded = [_compare(utterance, result, silence_senones) for utterance, result in zip(batch, results, strict=True)]
            yield index, seconds, decoded


def _batches(utterances: Iterable[ScoredUtterance]) -> Iterator[list[ScoredUtterance]]:
    batch: list[ScoredUtterance] = []
    longest = 0
    for utterance in utterances:
        frames, senones = utterance.log_likelihoods.shape
        longest = max(longest, frames)
        if batch and (len(batch) >= MAX_UTTERANCES or (len(batch) + 1) * longest * senones > MAX_SCORES):
            yield batch
            batch, longest = [], frames
        batch.append(utterance)
    if batch:
        yield batch


def _compare(utterance: ScoredUtterance, result: DecodeResult, silence_senones: np.ndarray) -> DecodedUtterance:
    return DecodedUtterance(
        utterance.id,
        utterance.speaker,
        utterance.reference,
        utterance.duration,
        len(utterance.predicted),
        result,
        frame_counts(utterance.predicted, result.senones, utterance.labels, silence_senones),
        utterance.begin,
    )


def join_pieces(rows: Sequence[DecodedUtterance]) -> list[DecodedUtterance]:
    """Make one utterance of the pieces of each recording, in the order of the first ones.

    Words and n best follow each other, scores add up, frames count from the recording's beginning; a final state was reached
    where all pieces reached one.
    """
    of: dict[str, list[DecodedUtterance]] = {}
    for row in rows:
        of.setdefault(row.id, []).append(row)
    return [pieces[0] if len(pieces) == 1 else _joined(sorted(pieces, key=lambda one: one.begin)) for pieces in of.values()]


def _joined(pieces: Sequence[DecodedUtterance]) -> DecodedUtterance:
    results = [piece.result for piece in pieces]
    nbest: tuple[Hypothesis, ...] | None = None
    if all(result.nbest is not None for result in results):
        nbest = (Hypothesis((), 0.0),)
        for result in results:
            most, both = len(result.nbest or ()), [(a, b) for a in nbest for b in result.nbest or ()]
            sums = sorted((Hypothesis(a.words + b.words, a.score + b.score) for a, b in both), key=lambda one: -one.score)
            nbest = tuple(sums[: max(most, len(nbest))])
    joined = DecodeResult(
        tuple(word for result in results for word in result.words),
        tuple(word for result in results for word in result.word_ids),
        tuple(piece.begin + frame for piece in pieces for frame in piece.result.word_frames),
        sum(result.score for result in results),
        all(result.reached_final for result in results),
        np.concatenate([result.senones for result in results]),
        nbest,
    )
    frames = {
        name: None if any(piece.frames[name] is None for piece in pieces) else sum(piece.frames[name] or 0 for piece in pieces)
        for name in pieces[0].frames
    }
    return dataclasses.replace(
        pieces[0],
        duration=sum(piece.duration for piece in pieces),
        num_frames=sum(piece.num_frames for piece in pieces),
        result=joined,
        frames=frames,
    )


def frame_counts(
    predicted: np.ndarray, path: np.ndarray, labels: np.ndarray | None, silence_senones: np.ndarray
) -> dict[str, int | None]:
    """How many frames agree with the labels: the network's own choice, and the senone on the best path; all and speech only.

    ``predicted`` (T,), ``path`` (T,) or empty where nothing survived the search (then no frame agrees), ``labels`` (T,) or
    None.
    """
    names = ["frames", "correct_frames", "frames_speech", "correct_frames_speech"]
    names += ["k2_path_correct_frames", "k2_path_correct_frames_speech"]
    if labels is None:
        return {**dict.fromkeys(names), "frames": len(predicted)}
    speech = ~silence_senones[labels]
    correct = predicted == labels
    on_path = path == labels if len(path) == len(labels) else np.zeros(len(labels), bool)
    counts = [len(labels), correct.sum(), speech.sum(), (correct & speech).sum(), on_path.sum(), (on_path & speech).sum()]
    return dict(zip(names, (int(count) for count in counts), strict=True))

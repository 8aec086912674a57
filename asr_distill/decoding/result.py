"""What a search gives back, the same from both engines."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
import torch

from asr_distill.base import UserError


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """One of the n best word sequences and the score (log, higher is better) of its best path."""

    words: tuple[str, ...]
    score: float


@dataclasses.dataclass(frozen=True, eq=False)
class DecodeResult:
    """One utterance.

    Attributes:
        words, word_ids: the best path's words. word_frames: for each word the frame whose arc wrote it on the best path; a
        word is written somewhere within it, so this is
            no word boundary.
        score: total log score of the best path: scaled acoustics, graph and, where a final state was reached, its final
        weight. reached_final: False where no path within the beam ends in a final state; the words are then those of the best
        path so far. senones: ``(T,)`` int32, the senone of each frame along the best path; empty where nothing survived.
        nbest: different word sequences, best first, or None where none were asked for.
    """

    words: tuple[str, ...]
    word_ids: tuple[int, ...]
    word_frames: tuple[int, ...]
    score: float
    reached_final: bool
    senones: np.ndarray
    nbest: tuple[Hypothesis, ...] | None = None

    @staticmethod
    def nothing() -> DecodeResult:
        """No path survived: no words, score minus infinity."""
        return DecodeResult((), (), (), float("-inf"), False, np.zeros(0, np.int32))


class Decoder(Protocol):
    """What both engines offer; ``options`` says how the search is pruned, for records."""

    options: dict[str, float | int]

    def decode(self, log_likelihoods: torch.Tensor, lengths: torch.Tensor) -> list[DecodeResult]:
        """Searches a padded batch."""


def check_options(*, beam: float, lattice_beam: float, max_active: int, nbest: int) -> None:
    """Raises `UserError` for a search that could find nothing; k2 would print its stack instead."""
    if not (beam > 0 and lattice_beam > 0 and max_active > 0 and nbest > 0):
        raise UserError(
            f"beam {beam:g}, lattice beam {lattice_beam:g}, max active {max_active}, n best {nbest}: all must be above 0"
        )


def check_scores(log_likelihoods: torch.Tensor, lengths: torch.Tensor, num_senones: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch as float32 ``(N, T, C)`` and lengths as int64 ``(N,)``.

    Raises `UserError` on another shape, a number of senones that is not the graph's, a length out of range, and NaN or
    infinite scores.
    """
    scores, lengths = torch.as_tensor(log_likelihoods), torch.as_tensor(lengths)
    if scores.dim() != 3 or lengths.dim() != 1 or len(lengths) != len(scores):
        raise UserError(f"scores {tuple(scores.shape)} and lengths {tuple(lengths.shape)}: expected (N, T, C) and (N,)")
    if scores.shape[2] != num_senones:
        raise UserError(
            f"the scores are for {scores.shape[2]} senones and the graph has {num_senones};"
            " next: build the graph with the model's senones.json (`asr-distill graph build --inventory`)"
        )
    if len(lengths) and (int(lengths.min()) < 0 or int(lengths.max()) > scores.shape[1]):
        raise UserError(f"lengths {int(lengths.min())}..{int(lengths.max())} do not fit {scores.shape[1]} frames")
    for i, length in enumerate(lengths.tolist()):
        if not bool(torch.isfinite(scores[i, :length]).all()):
            frame = int((~torch.isfinite(scores[i, :length])).any(1).nonzero()[0])
            raise UserError(
                f"utterance {i} of the batch has a score that is NaN or infinite in frame {frame};"
                " check the model and its input"
            )
    return scores.float(), lengths.long()

"""Forced alignment: transcripts and any frame scores in, state alignments out; failures are counted, never dropped."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from asr_distill.alignment.phone_lattice import PhoneLattice, TranscriptReader, UnknownWords
from asr_distill.alignment.state_graph import StateGraph, StateGraphBuilder
from asr_distill.alignment.viterbi import BestPath, best_paths
from asr_distill.base import UserError, track
from asr_distill.senones import FrameAlignment, SenoneInventory

_log = logging.getLogger("asr_distill")
_LISTED = 10


@dataclass
class AlignmentReport:
    """alignments: by cut id, in the order the scores came; failures: cut id to what is wrong with it."""

    alignments: dict[str, FrameAlignment] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def judge(self, max_failed_share: float) -> None:
        """Logs the failures; raises `UserError` where they are more than ``max_failed_share`` (0 to 1), or all."""
        judge_failures(self.failures, len(self.alignments) + len(self.failures), max_failed_share)


def check_failed_share(max_failed_share: float) -> None:
    """Raises `UserError` unless ``max_failed_share`` is a share, 0 to 1; long work asks before it begins."""
    if not 0 <= max_failed_share <= 1:
        raise UserError(
            f"max_failed_share is {max_failed_share:g}, expected a share of the utterances from 0 to 1, such as 0.05 for 5 %."
            " Next: give --max-failed-share such a number"
        )


def judge_failures(failures: Mapping[str, str], total: int, max_failed_share: float) -> None:
    """Logs failed utterances by id; raises `UserError` where their share is above ``max_failed_share``, or nothing is left."""
    check_failed_share(max_failed_share)
    if not total:
        raise UserError("there are no utterances to align; are these the right cuts?")
    if not failures:
        return
    kinds = Counter(reason.split(":")[0] for reason in failures.values())
    summary = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    listing = "\n".join(f"  {key}: {reason}" for key, reason in list(failures.items())[:_LISTED])
    if len(failures) > _LISTED:
        listing += f"\n  and {len(failures) - _LISTED} more"
    if len(failures) > max_failed_share * total or len(failures) == total:
        raise UserError(
            f"{len(failures)} of {total} utterances could not be aligned ({summary}), more than the share of"
            f" {max_failed_share:g} that is allowed:\n{listing}\nNext: mend the transcripts or the lexicon, or raise"
            " --max-failed-share"
        )
    _log.warning("%d of %d utterances could not be aligned (%s):\n%s", len(failures), total, summary, listing)


class ForcedAligner:
    """Exact Viterbi over the state graphs of transcripts.

    Args:
        inventory: what the columns of the scores are.
        reader: transcripts to phone lattices; see `TranscriptReader.of_lang`.
        acoustic_scale: factor of the scores; 0.1 as in Kaldi's aligners, against transitions in full and self-loops at 0.1.
        batch_cells: bound on N x T x S of one batch, which bounds memory.

    Raises `UserError` where inventory and lexicon have different phones.
    """

    def __init__(
        self,
        inventory: SenoneInventory,
        reader: TranscriptReader,
        *,
        acoustic_scale: float = 0.1,
        transition_scale: float = 1.0,
        self_loop_scale: float = 0.1,
        device: str | torch.device = "cpu",
        batch_size: int = 32,
        batch_cells: int = 16_000_000,
    ) -> None:
        if inventory.topology.phones != reader.phones:
            raise UserError(
                f"the senone inventory has {len(inventory.topology.phones)} phones, the lang directory {len(reader.phones)}, or"
                " others; both must come from the same lang directory"
            )
        self.inventory, self.reader = inventory, reader
        self.acoustic_scale, self.device = acoustic_scale, device
        self.batch_size, self.batch_cells = batch_size, batch_cells
        self._builder = StateGraphBuilder(inventory, transition_scale=transition_scale, self_loop_scale=self_loop_scale)

    def align(
        self,
        transcripts: Mapping[str, Sequence[str]],
        scores: Iterable[tuple[str, np.ndarray | torch.Tensor]],
        *,
        total: int | None = None,
    ) -> AlignmentReport:
        """Aligns every utterance of ``scores``, an iterable of ``(id, (T, C))`` log-likelihoods that is read once.

        An alignment's ``log_likelihood`` is the sum of its frames' unscaled scores, in nats. A transcript without words is
        aligned as silence, as Kaldi's aligners do; where silence is not optional in the lexicon it is a failure.

        Raises `UserError` where scores are not ``(T, C)``, an id has no transcript or comes twice.
        """
        report = AlignmentReport()
        order: list[str] = []
        for batch in self._batches(transcripts, scores, report, order, total):
            graphs = [utterance.graph for utterance in batch]
            matrices = [utterance.scores for utterance in batch]
            found = best_paths(graphs, matrices, acoustic_scale=self.acoustic_scale, device=self.device)
            for utterance, path in zip(batch, found, strict=True):
                if path is None:
                    report.failures[utterance.key] = "no path: every reading of the transcript has a score of -inf"
                else:
                    report.alignments[utterance.key] = self._frame_alignment(utterance, path)
        report.alignments = {key: report.alignments[key] for key in order if key in report.alignments}
        report.failures = {key: report.failures[key] for key in order if key in report.failures}
        return report

    def _batches(
        self,
        transcripts: Mapping[str, Sequence[str]],
        scores: Iterable[tuple[str, np.ndarray | torch.Tensor]],
        report: AlignmentReport,
        order: list[str],
        total: int | None,
    ) -> Iterator[list[_Utterance]]:
        """Utterances of similar length together, out of a bounded window, so that little is padded."""
        waiting: list[_Utterance] = []
        seen: set[str] = set()
        for key, matrix in track(scores, "forced alignment", total, "utterances"):
            if key in seen:
                raise UserError(f"scores of {key!r} came twice; cut ids must be unique")
            if key not in transcripts:
                raise UserError(f"there are scores of {key!r} but no transcript; give the cuts that the scores are of")
            seen.add(key)
            order.append(key)
            utterance = self._prepare(key, transcripts[key], torch.as_tensor(matrix), report)
            if utterance is not None:
                waiting.append(utterance)
            if len(waiting) >= 8 * self.batch_size:
                yield from self._grouped(waiting)
                waiting = []
        yield from self._grouped(waiting)

    def _grouped(self, waiting: list[_Utterance]) -> Iterator[list[_Utterance]]:
        waiting = sorted(waiting, key=lambda utterance: (len(utterance.scores), len(utterance.graph.senones)))
        batch: list[_Utterance] = []
        frames = states = 0
        for utterance in waiting:
            frames, states = max(frames, len(utterance.scores)), max(states, len(utterance.graph.senones))
            if batch and (len(batch) >= self.batch_size or (len(batch) + 1) * frames * states > self.batch_cells):
                yield batch
                batch, frames, states = [], len(utterance.scores), len(utterance.graph.senones)
            batch.append(utterance)
        if batch:
            yield batch

    def _prepare(self, key: str, words: Sequence[str], scores: torch.Tensor, report: AlignmentReport) -> _Utterance | None:
        if scores.ndim != 2 or scores.shape[1] != self.inventory.num_senones:
            raise UserError(
                f"scores of {key!r} have shape {tuple(scores.shape)}, the inventory has {self.inventory.num_senones} senones;"
                " score with a model of this inventory"
            )
        if bool(torch.isnan(scores).any()) or bool((scores == float("inf")).any()):
            raise UserError(f"scores of {key!r} hold NaN or +inf; is the model's training gone astray?")
        try:
            lattice = self.reader.lattice(words)
        except UnknownWords as error:
            report.failures[key] = str(error)
            return None
        graph = self._builder.build(lattice)
        if not words and not len(graph.senones):
            report.failures[key] = "no words: the transcript is empty, and the lexicon has no optional silence to be all of it"
            return None
        if len(scores) < max(graph.min_frames, 1) or not len(graph.senones):
            report.failures[key] = (
                f"too short: {len(scores)} frames, the states of {' '.join(words)!r} need {graph.min_frames} or more"
            )
            return None
        return _Utterance(key, scores, lattice, graph)

    def _frame_alignment(self, utterance: _Utterance, path: BestPath) -> FrameAlignment:
        graph, lattice = utterance.graph, utterance.lattice
        nodes = graph.nodes[path.states]
        begins = np.flatnonzero(np.diff(nodes, prepend=np.int32(-1)))
        instances = graph.instances[path.states[begins]]
        phone_index = np.cumsum(np.diff(nodes, prepend=nodes[0]) != 0)
        senones = torch.from_numpy(graph.senones[path.states]).unsqueeze(1)
        likelihood = torch.gather(utterance.scores.double(), 1, senones).sum()
        return FrameAlignment(
            lattice.phones[instances],
            phone_index,
            graph.hmm_states[path.states],
            lattice.word_spans(instances.tolist(), self.reader.silence),
            float(likelihood),
        )


@dataclass(frozen=True, eq=False)
class _Utterance:
    key: str
    scores: torch.Tensor
    lattice: PhoneLattice
    graph: StateGraph


def forced_align(
    transcripts: Mapping[str, Sequence[str]],
    scores: Iterable[tuple[str, Any]],
    inventory: SenoneInventory,
    reader: TranscriptReader,
    *,
    max_failed_share: float = 0.05,
    total: int | None = None,
    **options: Any,
) -> AlignmentReport:
    """`ForcedAligner.align` in one call, refused where more than ``max_failed_share`` fails; options as `ForcedAligner`'s."""
    check_failed_share(max_failed_share)
    report = ForcedAligner(inventory, reader, **options).align(transcripts, scores, total=total)
    report.judge(max_failed_share)
    return report

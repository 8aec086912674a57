"""Search with k2: dense intersection with the graph, lattice, shortest path, n best."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError, missing_package
from asr_distill.decoding.nbest import nbest_of_arcs
from asr_distill.decoding.result import DecodeResult, Hypothesis, check_options, check_scores
from asr_distill.graph import Graph

# With one best path wanted, alternatives are dropped as soon as k2 sees them: the best path to every active state costs
# nothing more than itself, so any beam above rounding errors keeps it, and the search takes half the time that a lattice beam
# of 8 takes.
_BEST_PATH_BEAM = 1.0
# On a CPU a few utterances at a time stay in the cache; 16 at once take 1.4 times as long as 4.
_CPU_UTTERANCES = 4
# Frames of a search, its shorter utterances padded: what a lattice needs of memory grows with them.
_MOST_FRAMES = 6000


class K2Decoder:
    """Searches batches with `k2.intersect_dense_pruned`.

    ``search_beam`` prunes during the search, ``output_beam`` the lattice (with ``nbest`` above 1); ``min_active`` and
    ``max_active`` bound the states per frame. ``nbest`` above 1 asks for that many different word sequences. Raises
    `UserError` where k2 is not installed.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        search_beam: float = 20.0,
        output_beam: float = 8.0,
        min_active: int = 30,
        max_active: int = 10000,
        device: str | torch.device = "cpu",
        nbest: int = 1,
    ) -> None:
        try:
            import k2  # noqa: F401
        except ImportError:
            raise missing_package("k2", "searching with the k2 engine") from None
        check_options(beam=search_beam, lattice_beam=output_beam, max_active=max_active, nbest=nbest)
        if not 0 <= min_active < max_active:
            raise UserError(f"min_active {min_active}, max_active {max_active}: expected 0 or more, and the second larger")
        self.graph, self.device, self.nbest = graph, torch.device(device), nbest
        self.search_beam, self.output_beam = search_beam, output_beam
        self.min_active, self.max_active = min_active, max_active
        self.options: dict[str, float | int] = {
            "beam": search_beam,
            "lattice_beam": output_beam,
            "min_active": min_active,
            "max_active": max_active,
            "nbest": nbest,
        }
        graph.k2_fsa(self.device)  # now, so that the first utterance is not charged for it

    def decode(self, log_likelihoods: torch.Tensor, lengths: torch.Tensor) -> list[DecodeResult]:
        """Searches ``(N, T, C)`` scores, already scaled by the acoustic scale, of ``(N,)`` frames; results in the same order.

        An utterance whose paths end in no final state is searched again on the same graph with every state final, and marked.
        Raises `UserError` as `check_scores` does.
        """
        scores, lengths = check_scores(log_likelihoods, lengths, self.graph.num_senones)
        results = [DecodeResult.nothing()] * len(scores)
        waiting = [i for i in range(len(scores)) if lengths[i] > 0]
        for all_states_final in (False, True):
            if waiting:
                found = self._search_groups(scores, lengths, waiting, all_states_final)
                results = [found.get(i, result) for i, result in enumerate(results)]
                waiting = [i for i in waiting if i not in found]
        return results

    def _search_groups(
        self, scores: torch.Tensor, lengths: torch.Tensor, chosen: list[int], partial: bool
    ) -> dict[int, DecodeResult]:
        order = sorted(chosen, key=lambda i: -int(lengths[i]))
        found: dict[int, DecodeResult] = {}
        while order:
            size = len(order)
            if self.device.type == "cpu":
                size = min(_CPU_UTTERANCES, max(1, _MOST_FRAMES // int(lengths[order[0]])))
            found.update(self._search(scores, lengths, order[:size], partial))
            order = order[size:]
        return found

    def _search(self, scores: torch.Tensor, lengths: torch.Tensor, order: list[int], partial: bool) -> dict[int, DecodeResult]:
        import k2

        # k2's columns are labels: 0, which no arc of the graph has, then senone + 1.
        columns = torch.nn.functional.pad(scores[order, : int(lengths[order].max())], (1, 0), value=-torch.inf)
        segments = torch.tensor([[row, 0, int(lengths[i])] for row, i in enumerate(order)], dtype=torch.int32)
        dense = k2.DenseFsaVec(columns.to(self.device), segments)
        lattice = k2.intersect_dense_pruned(
            self.graph.k2_fsa(self.device, all_states_final=partial),
            dense,
            self.search_beam,
            self.output_beam if self.nbest > 1 else min(self.output_beam, _BEST_PATH_BEAM),
            self.min_active,
            self.max_active,
        )
        best = k2.shortest_path(lattice, use_double_scores=True)
        totals = best.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()
        splits = _arc_splits(best)
        labels, aux = best.labels.cpu().numpy(), best.aux_labels.cpu().numpy()
        results = {}
        for row, i in enumerate(order):
            begin, end = splits[row], splits[row + 1]
            if end == begin or not np.isfinite(totals[row]):
                continue
            nbest = self._nbest(lattice, row) if self.nbest > 1 else None
            results[i] = self._result(labels[begin : end - 1], aux[begin : end - 1], totals[row], not partial, nbest)
        return results

    def _result(
        self, labels: np.ndarray, aux: np.ndarray, score: float, final: bool, nbest: tuple[Hypothesis, ...] | None
    ) -> DecodeResult:
        written = [(word, int(frame)) for frame in np.flatnonzero(aux > 0) for word in self.graph.words_of(int(aux[frame]))]
        ids = tuple(word for word, _ in written)
        words = tuple(self.graph.words[word] for word in ids)
        return DecodeResult(
            words, ids, tuple(frame for _, frame in written), score, final, (labels - 1).astype(np.int32), nbest
        )

    def _nbest(self, lattice: Any, row: int) -> tuple[Hypothesis, ...]:
        one = lattice[row]
        table = one.arcs.values()[:, :2].cpu().tolist()
        labels, aux = one.labels.cpu().tolist(), one.aux_labels.cpu().tolist()
        scores = one.scores.cpu().tolist()
        arcs, finals = [], {}
        for (source, destination), label, words, score in zip(table, labels, aux, scores, strict=True):
            if label == -1:
                finals[destination] = 0.0
            arcs.append((source, destination, self.graph.words_of(words), -score))
        found = nbest_of_arcs(arcs, 0, finals, self.nbest)
        return tuple(Hypothesis(tuple(self.graph.words[word] for word in words), -cost) for words, cost in found)


def _arc_splits(fsas: Any) -> list[int]:
    """Where the arcs of each FSA of an FsaVec begin, and where the last ends."""
    shape = fsas.arcs.shape()
    return shape.row_splits(2)[shape.row_splits(1).long()].tolist()

"""Search with kaldi-decoder: one utterance after the other, for machines without k2 and as the second opinion."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError
from asr_distill.decoding.nbest import nbest_of_arcs
from asr_distill.decoding.result import DecodeResult, Hypothesis, check_options, check_scores
from asr_distill.graph import Graph

_LEAST_ACTIVE = 20  # the library's own choice


class KaldiDecoder:
    """Searches with kaldi-decoder's FasterDecoder; with ``nbest`` above 1 with its LatticeSimpleDecoder.

    ``beam`` and ``max_active`` prune during the search. The lattice decoder, the only one in that package, knows no
    ``max_active``, so that ``options`` has none either; it keeps paths within ``lattice_beam`` of the best.
    """

    def __init__(
        self, graph: Graph, *, beam: float = 16.0, max_active: int = 7000, lattice_beam: float = 8.0, nbest: int = 1
    ) -> None:
        check_options(beam=beam, lattice_beam=lattice_beam, max_active=max_active, nbest=nbest)
        if max_active < 2 and nbest == 1:
            raise UserError(f"kaldi-decoder searches with 2 active states or more, found max_active {max_active}")
        self.graph, self.beam, self.max_active, self.lattice_beam, self.nbest = graph, beam, max_active, lattice_beam, nbest
        self.options: dict[str, float | int] = {"beam": beam, "lattice_beam": lattice_beam, "nbest": nbest}
        if nbest == 1:
            self.options["max_active"] = max_active
        _ = graph.fst  # now, so that the first utterance is not charged for it

    def decode(self, log_likelihoods: torch.Tensor, lengths: torch.Tensor) -> list[DecodeResult]:
        """Searches ``(N, T, C)`` scores, already scaled by the acoustic scale, of ``(N,)`` frames; results in the same order.

        Where no final state is reached the best path that is alive counts, and is marked. Raises `UserError` as `check_scores`
        does.
        """
        scores, lengths = check_scores(log_likelihoods, lengths, self.graph.num_senones)
        return [self._decode_one(scores[i, : int(length)]) for i, length in enumerate(lengths)]

    def _decode_one(self, scores: torch.Tensor) -> DecodeResult:
        import kaldi_decoder

        if not len(scores):
            return DecodeResult.nothing()
        decodable = kaldi_decoder.DecodableCtc(np.ascontiguousarray(scores.cpu().numpy()))
        if self.nbest > 1:
            config = kaldi_decoder.LatticeSimpleDecoderConfig(beam=self.beam, lattice_beam=self.lattice_beam)
            decoder = kaldi_decoder.LatticeSimpleDecoder(self.graph.fst, config)
            alive = decoder.decode(decodable)
            final = bool(alive) and bool(np.isfinite(decoder.final_relative_cost()))
        else:
            least = min(_LEAST_ACTIVE, self.max_active - 1)  # the library refuses as many as max_active
            options = kaldi_decoder.FasterDecoderOptions(beam=self.beam, max_active=self.max_active, min_active=least)
            decoder = kaldi_decoder.FasterDecoder(self.graph.fst, options)
            decoder.decode(decodable)
            final = bool(decoder.reached_final())
        found, lattice = decoder.get_best_path()
        if not found:
            return DecodeResult.nothing()
        return self._result(lattice, final, self._nbest(decoder) if self.nbest > 1 else None)

    def _result(self, lattice: Any, final: bool, nbest: tuple[Hypothesis, ...] | None) -> DecodeResult:
        senones: list[int] = []
        written: list[tuple[int, int]] = []
        cost, state = 0.0, lattice.start
        while True:
            arcs = _arcs(lattice, state)
            if not arcs:
                break
            arc = arcs[0]
            if arc.ilabel:
                senones.append(arc.ilabel - 1)
            if arc.olabel:
                written.append((arc.olabel, max(len(senones) - 1, 0)))
            cost += arc.weight.value1 + arc.weight.value2
            state = arc.nextstate
        ending = lattice.final(state)
        if final:
            cost += ending.value1 + ending.value2
        ids = tuple(word for word, _ in written)
        words = tuple(self.graph.words[word] for word in ids)
        frames = tuple(frame for _, frame in written)
        return DecodeResult(words, ids, frames, -cost, final, np.array(senones, np.int32), nbest)

    def _nbest(self, decoder: Any) -> tuple[Hypothesis, ...]:
        found, lattice = decoder.get_raw_lattice()
        if not found:
            return ()
        arcs, finals = [], {}
        for state in range(lattice.num_states):
            for arc in _arcs(lattice, state):
                words = (arc.olabel,) if arc.olabel else ()
                arcs.append((state, arc.nextstate, words, arc.weight.value1 + arc.weight.value2))
            ending = lattice.final(state)
            if np.isfinite(ending.value1):
                finals[state] = ending.value1 + ending.value2
        best = nbest_of_arcs(arcs, lattice.start, finals, self.nbest)
        return tuple(Hypothesis(tuple(self.graph.words[word] for word in words), -cost) for words, cost in best)


def _arcs(lattice: Any, state: int) -> list[Any]:
    """The arcs that leave a state; kaldifst 1.7 has this iterator for lattices in its compiled half only."""
    iterator = importlib.import_module("_kaldifst")._ArcIteratorLattice(lattice, state)
    arcs = []
    while not iterator.done:
        arc = iterator.value
        arcs.append(arc)
        iterator.next()
    return arcs

"""The k2 form of a graph: what is stored, what is checked, and how a `k2.Fsa` is made of it.

In k2's dense intersection every arc consumes a frame, and an arc with label L reads column L: so labels are senone + 1, column
0 stays unused, no arc may have label 0, and arcs into the one final state carry -1.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import UserError, missing_package, read_tensors, write_tensors
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.epsilon import WordSequences, remove_input_epsilons, trim


@dataclasses.dataclass(frozen=True)
class K2Form:
    """Arcs ``(A, 3)`` int32 (source, destination, label) sorted as k2 sorts them, scores ``(A,)`` float32 (log, higher is
    better), aux ``(A,)`` int32: 0 no word, a word id, above ``num_words`` a sequence of words, -1 on arcs into the final
    state."""

    arcs: np.ndarray
    scores: np.ndarray
    aux: np.ndarray
    num_words: int
    sequences: tuple[tuple[int, ...], ...]

    @property
    def num_states(self) -> int:
        return int(self.arcs[:, :2].max()) + 1 if len(self.arcs) else 0

    def words_of(self, aux: int) -> tuple[int, ...]:
        """The word ids that an aux label stands for."""
        if aux <= 0:
            return ()
        return (aux,) if aux <= self.num_words else self.sequences[aux - self.num_words - 1]

    def all_states_final(self) -> K2Form:
        """The same graph where a path may end in any state at no cost: what an utterance that reaches no final state is
        searched with."""
        final_state = self.num_states - 1
        inner = self.arcs[:, 2] != -1
        ends = np.stack([np.arange(final_state), np.full(final_state, final_state), np.full(final_state, -1)], 1).astype(
            np.int32
        )
        return _sorted(
            np.concatenate((self.arcs[inner], ends)),
            np.concatenate((self.scores[inner], np.zeros(final_state, np.float32))),
            np.concatenate((self.aux[inner], np.full(final_state, -1, np.int32))),
            self.num_words,
            self.sequences,
        )

    def to_fsa(self, device: Any = "cpu") -> Any:
        """A `k2.Fsa` with ``aux_labels`` (int32, numbered as ``aux``). Raises `UserError` where k2 is not installed."""
        try:
            import k2
        except ImportError:
            raise missing_package("k2", "searching with the k2 engine") from None
        import torch

        bits = self.scores.astype(np.float32).view(np.int32)[:, None]
        fsa = k2.Fsa(torch.from_numpy(np.concatenate((self.arcs, bits), 1)))
        fsa.aux_labels = torch.from_numpy(self.aux.copy())
        return fsa.to(device)

    def save(self, path: Path) -> None:
        """Writes safetensors: no code in the file."""
        words = np.array([word for words in self.sequences for word in words], np.int32)
        offsets = np.cumsum([0] + [len(words) for words in self.sequences]).astype(np.int32)
        tensors = {
            "arcs": self.arcs,
            "scores": self.scores,
            "aux": self.aux,
            "sequence_words": words,
            "sequence_offsets": offsets,
        }
        write_tensors(path, tensors, {"num_words": str(self.num_words)})

    @staticmethod
    def load(path: Path) -> K2Form:
        """Reads what `save` wrote. Raises `UserError` where the file is missing or damaged."""
        again = "run `asr-distill graph build` again"
        tensors, facts = read_tensors(path, again=again)
        try:
            num_words = int(facts["num_words"])
            words, offsets = tensors["sequence_words"], tensors["sequence_offsets"]
        except (KeyError, ValueError) as error:
            raise UserError(f"{path} is not a readable k2 graph ({error}); {again}") from None
        sequences = tuple(tuple(int(w) for w in words[a:b]) for a, b in itertools.pairwise(offsets))
        return K2Form(tensors["arcs"], tensors["scores"], tensors["aux"], num_words, sequences)


def to_k2_form(fst: FstArrays, num_words: int) -> K2Form:
    """Removes input epsilons and turns final weights into arcs with label -1 to one final state, the last."""
    free, sequences = remove_input_epsilons(fst, num_words)
    ends = np.flatnonzero(np.isfinite(free.final)).astype(np.int32)
    final_state = free.num_states
    arcs = np.concatenate(
        (
            np.stack([free.source, free.destination, free.ilabel], 1),
            np.stack([ends, np.full(len(ends), final_state), np.full(len(ends), -1)], 1),
        )
    ).astype(np.int32)
    scores = -np.concatenate((free.weight, free.final[ends]))
    aux = np.concatenate((free.olabel, np.full(len(ends), -1))).astype(np.int32)
    return _sorted(arcs, scores.astype(np.float32), aux, num_words, _sequences(sequences))


def _sequences(sequences: WordSequences) -> tuple[tuple[int, ...], ...]:
    return tuple(sequences.sequences)


def _sorted(
    arcs: np.ndarray, scores: np.ndarray, aux: np.ndarray, num_words: int, sequences: tuple[tuple[int, ...], ...]
) -> K2Form:
    # k2 compares labels as unsigned numbers: -1 comes last.
    order = np.lexsort((arcs[:, 1], arcs[:, 2].astype(np.int32).view(np.uint32), arcs[:, 0]))
    return K2Form(np.ascontiguousarray(arcs[order]), scores[order], aux[order], num_words, sequences)


def check_k2_form(form: K2Form, num_senones: int, where: str = "graph") -> None:
    """Raises `UserError` naming the first arc that k2 must not see.

    Refused: label 0 or an input epsilon, a senone that the model does not have, -1 elsewhere than into the final state, a
    score that is NaN or infinite, a word number out of range, and states that lie on no path from start to end.
    """
    source, destination, label = form.arcs.T.astype(np.int64)
    final_state = form.num_states - 1
    highest = form.num_words + len(form.sequences)

    def refuse(bad: np.ndarray, what: str) -> None:
        if bad.any():
            arc = int(np.flatnonzero(bad)[0])
            raise UserError(
                f"{where}: arc {arc} ({source[arc]} -> {destination[arc]}, label {label[arc]}, words {int(form.aux[arc])},"
                f" score {form.scores[arc]:.6g}): {what}; {int(bad.sum())} such arcs."
                " Next: `asr-distill graph build` with this inventory"
            )

    if not len(form.arcs):
        raise UserError(f"{where}: the graph has no arcs")
    refuse(label == 0, "reads no senone (label 0), which k2 would take for a frame")
    refuse(label > num_senones, f"its senone (label - 1) is not in the model, which has senones 0 to {num_senones - 1}")
    refuse((label < -1), "negative labels other than -1 mean nothing to k2")
    refuse(
        (label == -1) != (destination == final_state),
        f"label -1 belongs on the arcs into the final state {final_state}, and only there",
    )
    refuse((label == -1) != (form.aux == -1), "word label -1 belongs on final arcs, and only there")
    refuse((form.aux < -1) | (form.aux > highest), f"word numbers go from 0 to {highest}")
    refuse(~np.isfinite(form.scores), "its score is not a finite number")
    refuse((source < 0) | (destination < 0) | (source >= final_state), "its states are out of range")
    final = np.full(form.num_states, np.inf, np.float32)
    final[final_state] = 0.0
    whole = FstArrays(0, source, destination, label, form.aux, form.scores, final)
    kept = trim(whole)
    if kept.num_states != whole.num_states:
        lost = np.setdiff1d(np.arange(final_state), source)
        example = f", for example state {lost[0]}" if len(lost) else ""
        raise UserError(
            f"{where}: {whole.num_states - kept.num_states} of {whole.num_states} states lie on no path from start"
            f" to end{example}"
        )

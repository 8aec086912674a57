"""Sequence training of a senone network: the objective, and how utterances come by their numerators."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from asr_distill.alignment.forced import check_failed_share
from asr_distill.base import UserError, hash_of_object, track
from asr_distill.data import FrameStore
from asr_distill.graph.k2_form import K2Form
from asr_distill.senones import FrameAlignment, SenoneInventory, SenonePriors, check_same
from asr_distill.sequence import LatticeFreeLoss, NoNumerator, NumeratorBuilder
from asr_distill.training.objectives import frame_counts

_log = logging.getLogger("asr_distill")
_LISTED = 10


class LatticeFree:
    """A lattice-free loss over whole utterances, interpolated with cross-entropy of the aligned senones.

    (1 - h) * sequence loss / frames + h * cross-entropy (F-smoothing, Su et al. 2013), per frame; scores are the logits less
    the log priors. Batches must come from `UtteranceExamples`.

    loss: the criterion and its denominator. numerators: for each cut of the store by its number, its graph or None.
    priors: of the senones, as the search will subtract them; None trains the logits themselves to be log-likelihoods.
    frame_weight: h, 0 to 1. max_failed_share: of the utterances that may be left out because a graph has no path
    for the scores that they meet.
    Raises `UserError` where priors, denominator and network have different senones, or a weight or share is not 0 to 1.
    """

    def __init__(
        self,
        loss: LatticeFreeLoss,
        numerators: Sequence[K2Form | None],
        *,
        priors: SenonePriors | None,
        frame_weight: float = 0.1,
        names: Sequence[str] = (),
        max_failed_share: float = 0.05,
    ) -> None:
        if not 0 <= frame_weight <= 1:
            raise UserError(f"frame weight {frame_weight}: expected 0 (sequence loss alone) to 1 (cross-entropy alone)")
        check_failed_share(max_failed_share)
        if priors is not None:
            check_same(priors.inventory_hash, loss.denominator.senones_hash, "the priors", "the denominator graph")
        self.loss, self.numerators, self.priors = loss, numerators, priors
        self.frame_weight, self.names, self.max_failed_share = frame_weight, names, max_failed_share
        self._log_priors = None if priors is None else torch.from_numpy(priors.log_priors)
        self._allowed = max_failed_share * sum(form is not None for form in numerators)
        self._lost: set[int] = set()

    def __call__(self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """``(F, C)`` logits of whole utterances to the mean loss per frame; frames of an utterance left out count as 0.

        Raises `UserError` where more than ``max_failed_share`` of the utterances had to be left out.
        """
        cuts, counts = torch.unique_consecutive(batch["cuts"], return_counts=True)
        lengths, labels = counts.tolist(), batch["labels"]
        scores = logits.float()
        log_posteriors = functional.log_softmax(scores, dim=1)
        cross_entropy = functional.nll_loss(
            log_posteriors, torch.where(labels >= 0, labels, -100), ignore_index=-100, reduction="sum"
        )
        total = self.frame_weight * cross_entropy / (labels >= 0).sum().clamp(min=1)
        if self.frame_weight < 1:
            priors = 0.0 if self._log_priors is None else self._log_priors.to(scores.device)
            found = self.loss(log_posteriors - priors, lengths, labels, [self.numerators[cut] for cut in cuts.tolist()])
            self._judge(cuts.tolist(), found.usable.tolist())
            frames = torch.tensor(lengths, device=scores.device)[found.usable].sum().clamp(min=1)
            total = total + (1 - self.frame_weight) * (found.losses.sum() / frames).float()
        return total, frame_counts(scores, labels)

    def describe(self) -> dict[str, Any]:
        """What decides the result, the graphs by their hashes."""
        return {
            "name": "lattice_free",
            **self.loss.describe(),
            "frame_weight": self.frame_weight,
            "priors_hash": None if self.priors is None else self.priors.hash,
            "numerators_hash": hash_of_object([_digest(form) for form in self.numerators]),
        }

    def _judge(self, cuts: Sequence[int], usable: Sequence[bool]) -> None:
        for cut in (cut for cut, good in zip(cuts, usable, strict=True) if not good and cut not in self._lost):
            self._lost.add(cut)
            _log.warning("%s: left out, no path of its length through its graph and these scores", self._name(cut))
        if len(self._lost) > self._allowed:
            names = ", ".join(self._name(cut) for cut in sorted(self._lost)[:_LISTED])
            tolerance = "raise --tolerance, or " if self.loss.criterion == "mmi" else ""
            raise UserError(
                f"{len(self._lost)} utterances had no path through their graph ({names}), more than the share of"
                f" {self.max_failed_share:g} that is allowed; {tolerance}check the alignments"
            )

    def _name(self, cut: int) -> str:
        return self.names[cut] if cut < len(self.names) else f"cut {cut}"


@dataclass(frozen=True)
class Numerators:
    """graphs: for each cut of a store its numerator, or None; cuts: numbers of those that have one; failures: id to reason."""

    graphs: list[K2Form | None]
    cuts: list[int]
    failures: dict[str, str]


def make_numerators(
    store: FrameStore,
    alignments: Mapping[str, FrameAlignment],
    inventory: SenoneInventory,
    builder: NumeratorBuilder,
    *,
    chosen: Sequence[int] | None = None,
    transcripts: bool = False,
    keeps_times: bool = True,
    max_frames: int = 2000,
    max_failed_share: float = 0.05,
) -> Numerators:
    """The numerator of every cut of ``store`` (of the numbers ``chosen``), from its alignment's phones or, with
    ``transcripts``, from its words.

    keeps_times: the store's labels must be those of the alignment, for numerators will be held to them. max_frames: longer
    utterances are left out, which bounds the memory of a step.
    Logs the utterances left out by id; raises `UserError` where their share is above ``max_failed_share``, or none is left.
    """
    check_failed_share(max_failed_share)
    graphs: list[K2Form | None] = [None] * store.num_cuts
    failures: dict[str, str] = {}
    numbers = list(range(store.num_cuts)) if chosen is None else [int(number) for number in chosen]
    for number in track(numbers, "numerators", len(numbers), "utterances"):
        name = store.cut_ids[number]
        _, labels = store.utterance(number)
        try:
            alignment = _alignment_of(name, labels, alignments, max_frames)
            if keeps_times and not np.array_equal(inventory.label(alignment), labels):
                raise NoNumerator("the store's labels are not those of its alignment")
            words = [word for word, _, _ in alignment.words]
            graphs[number] = (
                builder.of_transcript(words, len(labels))
                if transcripts
                else builder.of_phones(alignment.phones.tolist(), len(labels))
            )
        except NoNumerator as error:
            failures[name] = str(error)
    _judge_failures(failures, len(numbers), max_failed_share)
    return Numerators(graphs, [number for number in numbers if graphs[number] is not None], failures)


def _alignment_of(name: str, labels: np.ndarray, alignments: Mapping[str, FrameAlignment], max_frames: int) -> FrameAlignment:
    if len(labels) > max_frames:
        raise NoNumerator(f"too long: {len(labels)} frames, taken are {max_frames} at most")
    if name not in alignments:
        raise NoNumerator("no alignment")
    if len(alignments[name]) != len(labels):
        raise NoNumerator(f"{len(labels)} frames in the store, {len(alignments[name])} in its alignment")
    return alignments[name]


def _judge_failures(failures: Mapping[str, str], total: int, max_failed_share: float) -> None:
    if not failures:
        return
    listing = "\n".join(f"  {name}: {reason}" for name, reason in list(failures.items())[:_LISTED])
    listing += f"\n  and {len(failures) - _LISTED} more" if len(failures) > _LISTED else ""
    what = f"{len(failures)} of {total} utterances have no numerator graph"
    if len(failures) > max_failed_share * total or len(failures) == total:
        raise UserError(
            f"{what}, more than the share of {max_failed_share:g} that is allowed:\n{listing}\nNext: give the alignments that"
            " the store's labels were made of, or raise --max-failed-share"
        )
    _log.warning("%s and are left out:\n%s", what, listing)


def _digest(form: K2Form | None) -> str | None:
    return None if form is None else hashlib.sha256(form.arcs.tobytes() + form.scores.tobytes()).hexdigest()

"""Lattice-free losses: log-sums over all paths of numerator and denominator by k2, differentiable in the scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError, missing_package
from asr_distill.graph.k2_form import K2Form
from asr_distill.sequence.denominator import Denominator
from asr_distill.sequence.numerator import senones_within

CRITERIA = ("mmi", "smbr")
LEAST_MARGIN = 1e-3  # nats; less is lost when it is added to a float32 score of some hundred, and the difference is noise


@dataclass(frozen=True)
class UtteranceLosses:
    """losses: ``(N,)`` float64, differentiable, summed over the frames; 0 where ``usable`` (N,) bool is false."""

    losses: torch.Tensor
    usable: torch.Tensor


class LatticeFreeLoss:
    r"""The loss of utterances under ``mmi`` or ``smbr``, from senone scores :math:`a_t(s)` scaled by :math:`\kappa`.

    With :math:`\log Z(G, a) = \log \sum_{\pi \in G} \exp (w(\pi) + \sum_t a_t(\pi_t))` over the paths :math:`\pi` of a graph of
    T frames (w: language model and transitions):

    - ``mmi``: :math:`\log Z(D, \kappa a + b (1 - A)) - \log Z(N, \kappa a)` in nats, D the denominator, N the utterance's
      numerator, :math:`A_t(s) = 1` where s is the aligned senone. With boost b = 0 it is minus the log-probability of what was
      said among all that the phone n-gram allows, never below 0; b > 0 is boosted MMI (Povey et al. 2008), with frames of the
      right senone as the accuracy.
    - ``smbr``: :math:`T - [\log Z(D, \kappa a + m A) - \log Z(D, \kappa a - m A)] / 2m`, in frames: for a small margin m the
      expected number of frames whose senone is not the aligned one, with an error of :math:`O(m^2)` (state-level minimum Bayes
      risk as the limit of differenced MMI, McDermott et al. 2010, section 3). No numerator is needed; T counts labelled frames.

    Whatever is added to all senones of a frame cancels in both, so logits and log-posteriors are the same scores.

    denominator: the graph D. acoustic_scale: :math:`\kappa`. tolerance: numerator paths keep to senones that the alignment has
    within so many frames; None lets the numerator find its own times. beam: arcs of paths worse than the best by more (nats)
    are left out of the sums; the intersection is exact otherwise, so 15 changes the loss by less than 1e-5 a frame.
    Raises `UserError` where k2 is not installed, the criterion is unknown or a number is out of range.
    """

    def __init__(
        self,
        denominator: Denominator,
        *,
        criterion: str = "mmi",
        acoustic_scale: float = 0.15,
        boost: float = 0.0,
        margin: float = 0.05,
        tolerance: int | None = 5,
        beam: float = 15.0,
        device: str | torch.device = "cpu",
    ) -> None:
        check_k2()
        if criterion not in CRITERIA:
            raise UserError(f"sequence criterion {criterion!r} is unknown; expected one of {', '.join(CRITERIA)}")
        if not 0 < acoustic_scale < math.inf:
            raise UserError(f"acoustic scale {acoustic_scale}: expected a finite number above 0")
        if not LEAST_MARGIN <= margin < math.inf:
            raise UserError(f"margin {margin}: expected a finite number of at least {LEAST_MARGIN:g}, for scores are float32")
        if not beam > 0:
            raise UserError(f"beam {beam}: expected a number above 0")
        if not 0 <= boost < math.inf:
            raise UserError(f"boost {boost}: expected a finite number of 0 or more")
        if tolerance is not None and tolerance < 0:
            raise UserError(f"tolerance {tolerance}: expected 0 or more, or None")
        self.denominator, self.criterion, self.acoustic_scale = denominator, criterion, acoustic_scale
        self.boost, self.margin, self.tolerance, self.beam = boost, margin, tolerance, beam
        self._graph = graph_of(denominator.form, device)

    def __call__(
        self,
        scores: torch.Tensor,
        lengths: Sequence[int],
        labels: torch.Tensor,
        numerators: Sequence[K2Form | None],
    ) -> UtteranceLosses:
        """The losses of N utterances.

        scores: ``(F, C)`` log-likelihoods, unscaled, float, of all utterances one after the other. lengths: N numbers of
        frames, F together. labels: ``(F,)`` int64 aligned senones, negative where there is none. numerators: N, None for an
        utterance without one (not used by ``smbr``). An utterance is not usable where a graph has no path of its length.
        Raises `UserError` where the shapes contradict each other or the graph.
        """
        if scores.shape != (sum(lengths), self.denominator.num_senones) or len(lengths) != len(numerators):
            raise UserError(
                f"expected scores ({sum(lengths)}, {self.denominator.num_senones}) of {len(numerators)} utterances, found"
                f" {tuple(scores.shape)} of {len(lengths)}"
            )
        if labels.shape != scores.shape[:1] or (len(labels) and int(labels.max()) >= scores.shape[1]):
            raise UserError(
                f"expected labels ({scores.shape[0]},) below {scores.shape[1]}, found {tuple(labels.shape)}"
                f" up to {int(labels.max()) if labels.numel() else None}"
            )
        scaled = self.acoustic_scale * scores.float()
        labelled = labels >= 0
        accuracy = torch.zeros_like(scaled)
        accuracy[labelled, labels[labelled]] = 1.0
        if self.criterion == "smbr":
            above, below = (self._denominator(scaled + sign * self.margin * accuracy, lengths) for sign in (1.0, -1.0))
            frames = torch.stack([part.sum() for part in labelled.split(list(lengths))]).double()
            losses, usable = frames - (above - below) / (2 * self.margin), torch.isfinite(above) & torch.isfinite(below)
            return UtteranceLosses(torch.where(usable, losses, torch.zeros_like(losses)), usable)
        numerator = self._numerator(scaled, lengths, labels, numerators)
        boosted = scaled if self.boost == 0 else scaled + self.boost * (labelled[:, None].float() - accuracy)
        denominator = self._denominator(boosted, lengths)
        usable = torch.isfinite(numerator) & torch.isfinite(denominator)
        zero = torch.zeros_like(numerator)
        losses = torch.where(usable, denominator, zero) - torch.where(usable, numerator, zero)
        return UtteranceLosses(losses, usable)

    def describe(self) -> dict[str, Any]:
        """Plain values that decide the loss."""
        return {
            "criterion": self.criterion,
            "acoustic_scale": self.acoustic_scale,
            "boost": self.boost,
            "margin": self.margin if self.criterion == "smbr" else None,
            "tolerance": self.tolerance,
            "beam": self.beam,
            "denominator": self.denominator.describe(),
        }

    def _denominator(self, scaled: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        return log_sums(self._graph, [0] * len(lengths), scaled, lengths, self.beam)

    def _numerator(
        self, scaled: torch.Tensor, lengths: Sequence[int], labels: torch.Tensor, numerators: Sequence[K2Form | None]
    ) -> torch.Tensor:
        import k2

        given = [(row, form) for row, form in enumerate(numerators) if form is not None]
        present = [row for row, _ in given]
        totals = torch.full((len(lengths),), -torch.inf, dtype=torch.float64, device=scaled.device)
        if not present:
            return totals
        if self.tolerance is not None:
            allowed = senones_within(labels, lengths, scaled.shape[1], self.tolerance)
            scaled = scaled.masked_fill(~allowed, -torch.inf)
        rows = scaled.split(list(lengths))
        graphs = k2.create_fsa_vec([graph_of(form, scaled.device)[0] for _, form in given])
        theirs = torch.cat([rows[row] for row in present])
        sums = log_sums(graphs, range(len(present)), theirs, [lengths[row] for row in present], self.beam)
        return totals.index_put((torch.tensor(present, device=scaled.device),), sums)


def check_k2() -> None:
    """Raises `UserError` with the install hint where k2 is not installed."""
    try:
        import k2  # noqa: F401
    except ImportError:
        raise missing_package("k2", "lattice-free sequence training") from None


def graph_of(form: K2Form, device: str | torch.device = "cpu") -> Any:
    """A `k2.FsaVec` of one graph, without output labels: those would be copied into every lattice."""
    import k2

    bits = form.scores.astype(np.float32).view(np.int32)[:, None]
    fsa = k2.Fsa(torch.from_numpy(np.concatenate((form.arcs, bits), 1)))
    return k2.create_fsa_vec([fsa]).to(device)


def log_sums(graphs: Any, which: Sequence[int], scores: torch.Tensor, lengths: Sequence[int], beam: float) -> torch.Tensor:
    """``(N,)`` float64 log-sums over the paths of N graphs, -inf where there is none; differentiable in the scores.

    graphs: a `k2.FsaVec` whose labels are senone + 1. which: N numbers of graphs in it, one an utterance. scores: ``(F, C)``
    float32 of all utterances one after the other, -inf allowed. lengths: N numbers of frames above 0. beam: see
    `LatticeFreeLoss`.
    """
    import k2

    ends = np.cumsum(lengths)
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])  # k2.intersect_dense wants the longest first
    segments = torch.tensor([[0, int(ends[row]) - lengths[row], lengths[row]] for row in order], dtype=torch.int32)
    chosen = torch.tensor([which[row] for row in order], dtype=torch.int32, device=graphs.device)
    # k2's columns are labels: 0, which no arc of a graph has, then senone + 1.
    dense = k2.DenseFsaVec(torch.nn.functional.pad(scores, (1, 0), value=-torch.inf)[None], segments)
    lattice = k2.intersect_dense(k2.index_fsa(graphs, chosen), dense, beam)
    sums = lattice.get_tot_scores(log_semiring=True, use_double_scores=True)
    places = torch.empty(len(order), dtype=torch.int64)
    places[torch.tensor(order)] = torch.arange(len(order))
    return sums[places.to(sums.device)]

"""What each further member adds: frame accuracy and cross-entropy of every size of an ensemble, in one pass over the frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from asr_distill.base import UserError
from asr_distill.data import FrameStore
from asr_distill.student.accuracy import FrameAccuracy, labelled_batches
from asr_distill.student.combination import member_weights, mixture_weights
from asr_distill.student.ensemble import Ensemble

CURVE_MODES = ("arithmetic", "geometric")
FITTED_MODES = ("weighted", "best")
_FULL = ("accuracy", "speech_accuracy", "cross_entropy", "gain", "speech_gain")
_BATCH_SCORES = 2**24  # of all members together, 64 MB in float32


def random_orders(size: int, count: int, seed: int) -> list[list[int]]:
    """The given order of the members, and ``count`` random ones: the first m of each are a random subset of m."""
    generator = torch.Generator().manual_seed(seed)
    return [list(range(size)), *(torch.randperm(size, generator=generator).tolist() for _ in range(count))]


@torch.no_grad()
def ensemble_curve(
    ensemble: Ensemble,
    store: FrameStore,
    modes: Sequence[str] = CURVE_MODES,
    *,
    orders: int = 4,
    seed: int = 0,
    fitted: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Plain values: frame accuracies (per cent) and cross-entropy (nats per frame) of the first 1 to M members, by mode.

    ``frames``, ``speech_frames``; ``members``: each member alone; ``single``: their mean; for each mode a list of sizes with
    ``accuracy``, ``speech_accuracy``, ``cross_entropy``, ``gain`` and ``speech_gain`` (points above ``single``) in the given
    order, and in ``random_orders`` the same as means over ``orders`` random ones (None for 0). ``full_size``: a row for all M
    members by each mode, those of ``fitted`` included: their names (``weighted``, ``best``) and weights, by `fit_weights`.
    Raises `UserError` for another mode, and what `asr_distill.student.accuracy.frame_accuracy` raises.
    """
    unknown = [mode for mode in modes if mode not in CURVE_MODES]
    if unknown:
        raise UserError(f"a curve of mode {unknown[0]!r} is not drawn; expected some of {', '.join(CURVE_MODES)}")
    weights = {mode: _log_shares(mode, given, len(ensemble.members)) for mode, given in (fitted or {}).items()}
    size, device = len(ensemble.members), ensemble.device
    chains = random_orders(size, orders, seed)
    alone = torch.zeros(size, 3, dtype=torch.float64, device=device)
    sums = {mode: torch.zeros(len(chains), size, 3, dtype=torch.float64, device=device) for mode in modes}
    whole = {mode: torch.zeros(3, dtype=torch.float64, device=device) for mode in weights}
    frames = speech_frames = 0
    for batch in labelled_batches(ensemble, store, _batch_size(ensemble), "ensemble curve"):
        labels, speech = batch["labels"], batch["speech"]
        frames, speech_frames = frames + len(labels), speech_frames + int(speech.sum())
        members = list(ensemble.member_log_posteriors(batch["inputs"]))
        of_label = torch.stack([member.gather(1, labels[:, None])[:, 0] for member in members]).double()
        for member, rows in enumerate(members):
            alone[member] += _measure(rows, -of_label[member], labels, speech)
        for mode in modes:
            parts = [member.exp() for member in members] if mode == "arithmetic" else members
            for chain, order in enumerate(chains):
                sums[mode][chain] += _chain(mode, parts, of_label, order, labels, speech)
        for mode, shares in weights.items():
            entropy = -torch.logsumexp(of_label + shares[:, None].to(device), dim=0)
            mixed = sum(rows.exp() * share for rows, share in zip(members, shares.exp().tolist(), strict=True) if share)
            whole[mode] += _measure(torch.as_tensor(mixed), entropy, labels, speech)
    totals = {mode: [_accuracies(rows, frames, speech_frames) for rows in sums[mode]] for mode in modes}
    singles = _accuracies(alone, frames, speech_frames)
    single = _mean(singles)
    curves = {mode: _sizes(chained[0], chained[1:], single) for mode, chained in totals.items()}
    full = [{"mode": mode, **{key: curves[mode][-1][key] for key in _FULL}} for mode in modes]
    for mode, row in zip(
        whole, _accuracies(torch.stack(list(whole.values())), frames, speech_frames) if whole else [], strict=True
    ):
        full.append({"mode": mode, **_with_gain(row, single)})
    counts = {"frames": frames, "speech_frames": speech_frames}
    return {**counts, "members": singles, "single": single, **curves, "full_size": full}


@torch.no_grad()
def fit_weights(ensemble: Ensemble, store: FrameStore, mode: str) -> list[float]:
    """Weights for the modes ``weighted`` (a mixture's, by `mixture_weights`) and ``best`` (the frame accuracies), from dev.

    Raises `UserError` for any other mode, and where the store has no labels.
    """
    if mode not in FITTED_MODES:
        raise UserError(f"mode {mode!r} takes no weights; they are for weighted and best")
    of_label, correct = [], torch.zeros(len(ensemble.members), dtype=torch.float64)
    for batch in labelled_batches(ensemble, store, _batch_size(ensemble), f"{mode} on dev"):
        labels, rows = batch["labels"], []
        for member, posteriors in enumerate(ensemble.member_log_posteriors(batch["inputs"])):
            rows.append(posteriors.gather(1, labels[:, None])[:, 0].cpu())
            correct[member] += int((posteriors.max(dim=1).indices == labels).sum())
        of_label.append(torch.stack(rows))
    if not of_label:
        raise UserError(f"{store.path} has no labelled frame to fit weights on; give a store written with --senones")
    together = torch.cat(of_label, dim=1)
    return mixture_weights(together) if mode == "weighted" else (correct / together.shape[1]).tolist()


def _log_shares(mode: str, weights: Sequence[float], size: int) -> torch.Tensor:
    """``(M,)`` float64, logarithms of what each member counts in all; -inf for nothing."""
    if mode not in FITTED_MODES or len(weights) != size:
        raise UserError(f"{len(weights)} weights of mode {mode!r} for {size} members; expected {' or '.join(FITTED_MODES)}")
    return torch.tensor(member_weights(mode, weights, range(size), size), dtype=torch.float64).log()


def _batch_size(ensemble: Ensemble) -> int:
    return max(32, min(4096, _BATCH_SCORES // (len(ensemble.members) * ensemble.num_senones)))


def _chain(
    mode: str,
    parts: list[torch.Tensor],
    of_label: torch.Tensor,
    order: Sequence[int],
    labels: torch.Tensor,
    speech: torch.Tensor,
) -> torch.Tensor:
    """``(M, 3)`` sums of the first 1 to M members of ``order``; parts are probabilities or, of geometric, their logs."""
    rows = []
    total = torch.zeros_like(parts[0])
    for size, member in enumerate(order, 1):
        total += parts[member]
        chosen = of_label[list(order[:size])]
        if mode == "arithmetic":
            entropy = math.log(size) - torch.logsumexp(chosen, dim=0)
        else:
            entropy = torch.logsumexp(total / size, dim=1) - chosen.mean(0)
        rows.append(_measure(total, entropy, labels, speech))
    return torch.stack(rows)


def _measure(scores: torch.Tensor, entropy: torch.Tensor, labels: torch.Tensor, speech: torch.Tensor) -> torch.Tensor:
    """``(3,)`` float64: correct frames, correct speech frames, cross-entropy, summed over the batch."""
    correct = scores.max(dim=1).indices == labels
    return torch.stack([correct.sum().double(), (correct & speech).sum().double(), entropy.double().sum()])


def _accuracies(sums: torch.Tensor, frames: int, speech_frames: int) -> list[dict[str, float | None]]:
    names = ("accuracy", "speech_accuracy", "cross_entropy")
    values = (FrameAccuracy.of_sums(frames, speech_frames, *row) for row in sums.tolist())
    return [{name: getattr(value, name) for name in names} for value in values]


def _mean(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return {name: mean([row[name] for row in rows]) for name in rows[0]}


def _sizes(
    given: list[dict[str, float | None]], random: list[list[dict[str, float | None]]], single: dict[str, float | None]
) -> list[dict[str, Any]]:
    sizes = []
    for index, row in enumerate(given):
        over_orders = _with_gain(_mean([chain[index] for chain in random]), single) if random else None
        sizes.append({"size": index + 1, **_with_gain(row, single), "random_orders": over_orders})
    return sizes


def _with_gain(row: dict[str, float | None], single: dict[str, float | None]) -> dict[str, float | None]:
    def above(name: str) -> float | None:
        value, base = row[name], single[name]
        return None if value is None or base is None else value - base

    return {**row, "gain": above("accuracy"), "speech_gain": above("speech_accuracy")}

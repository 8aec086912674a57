"""What stored targets lose against dense ones: divergence by mode, k and temperature, on given or simulated posteriors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from asr_distill.base import track
from asr_distill.distillation.combine import soften
from asr_distill.distillation.soft_target_basis import TailBasis, principal_components
from asr_distill.distillation.soft_target_modes import TAIL_RANK, TEMPERATURES, Encoding
from asr_distill.distillation.soft_target_tail import TailSums
from asr_distill.distillation.sparse import SparseTargets

KS = (1, 2, 4, 6, 8, 12, 16, 32, 64)
TAIL_RANKS = (20, TAIL_RANK)
MODES = {
    "dense": "float16 log-probabilities of all classes",
    "topk": "top k, the tail's mass per frame and its mean shape, one for each temperature: a store of tail rank 0",
    "topk_low_rank": "the same, but each frame's tail has a shape of its own of the rank tail_rank: what a store holds",
    "topk_shape_at_1": "as topk, but the tail's shape at T = 1 serves every temperature",
    "topk_uniform_tail": "as topk, but the tail is spread evenly",
    "topk_no_tail": "top k, renormalised to 1",
    "sampled": "k draws from the softened distribution",
}
MEASURES = {
    "kl_dense_to_stored": "KL(dense || stored), nats per frame; null where the stored target excludes a class",
    "kl_stored_to_dense": "KL(stored || dense), nats per frame",
    "total_variation": "half the sum of absolute differences, mean over frames",
    "mean_total_variation": "the same between the means over all frames: what stays wrong however many frames are seen",
}
_SHOWN = ("dense", "topk_low_rank", "topk", "topk_no_tail", "sampled")  # in a summary
_CHUNK_VALUES = 1 << 22
_BISECTIONS = 30


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each mode, k and tail rank: bytes a frame, and of each T ``kl_T`` (dense || stored) and ``variation_T``.

    The modes that no store has but for comparison are left out.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if row["mode"] not in _SHOWN:
            continue
        start = {name: row[name] for name in ("mode", "k", "tail_rank", "bytes_per_frame")}
        entry = found.setdefault((row["mode"], row["k"], row["tail_rank"]), start)
        entry[f"kl_{row['temperature']:g}"] = row["kl_dense_to_stored"]
        entry[f"variation_{row['temperature']:g}"] = row["total_variation"]
    order = {mode: position for position, mode in enumerate(_SHOWN)}
    return sorted(found.values(), key=lambda entry: order[entry["mode"]])


def study_soft_targets(
    log_probs: torch.Tensor,
    for_tail: torch.Tensor,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    ks: Sequence[int] = KS,
    tail_ranks: Sequence[int] = TAIL_RANKS,
    seed: int = 0,
    description: str = "soft targets",
) -> list[dict[str, Any]]:
    """One row for each of `MODES`, k, tail rank and temperature, with the bytes per frame and the `MEASURES`.

    log_probs: ``(N, C)`` float32 at T = 1, normalised; for_tail: ``(M, C)`` likewise of other frames, from which the shapes and
    directions of the tail are gathered, for in a large store one frame's part in them is nothing. k is the number of classes
    kept, of sampled the number of draws; k above C is left out, and a rank above C - k. The bytes of topk are with tails for
    all ``temperatures``.
    """
    num_classes = log_probs.shape[1]
    values = [float(value) for value in temperatures]
    rows = []
    dense = Encoding.choose("dense", num_classes)
    for temperature in values:
        pairs = (
            (soften(part, temperature), dense.decode_dense(dense.encode(part, seed), temperature)) for part in _parts(log_probs)
        )
        rows.append(_row("dense", None, temperature, dense, pairs))
    mean, directions = principal_components(for_tail, max(tail_ranks, default=0))
    for k in track([k for k in ks if k <= num_classes], f"study of {description}", unit="values of k"):
        topk = Encoding.choose("topk", num_classes, values, top_k=k, tail_rank=0)
        sums = TailSums(len(topk.temperatures), num_classes)
        topk.encode(for_tail, seed, sums)
        shapes = torch.from_numpy(sums.log_shape())
        uniform = torch.full((num_classes,), -math.log(num_classes))
        records = topk.encode(log_probs, seed)
        for rank in [rank for rank in tail_ranks if rank <= num_classes - k]:
            own = Encoding.choose("topk", num_classes, values, top_k=k, tail_rank=rank)
            basis = TailBasis.fit(for_tail, k, own.temperatures, rank, (mean, directions))
            encoded = own.encode(log_probs, seed, basis=basis)
            for temperature in values:
                at = own.temperatures.index(temperature)
                stored = _pairs(own, log_probs, encoded, temperature, basis.shapes[at], basis.directions)
                rows.append(_row("topk_low_rank", k, temperature, own, stored))
        for temperature in values:
            sampled = Encoding.choose("sampled", num_classes, [temperature], num_samples=k)
            drawn = sampled.encode(log_probs, seed)
            for mode, encoding, encoded, shape in (
                ("topk", topk, records, shapes[topk.temperatures.index(temperature)]),
                ("topk_shape_at_1", topk, records, shapes[topk.temperatures.index(1.0)]),
                ("topk_uniform_tail", topk, records, uniform),
                ("topk_no_tail", topk, records, None),
                ("sampled", sampled, drawn, uniform),
            ):
                rows.append(_row(mode, k, temperature, encoding, _pairs(encoding, log_probs, encoded, temperature, shape)))
    return rows


def simulated_posteriors(
    num_frames: int,
    num_classes: int = 14_000,
    *,
    residual: float = 0.01,
    outside: int = 16,
    rank: int = 64,
    seed: int = 0,
) -> torch.Tensor:
    """``(num_frames, num_classes)`` float32 log-probabilities such as a last layer of ``rank`` hidden units gives.

    Logits are products of random frame and class vectors plus a Zipf-like bias of the classes, scaled so that on average
    ``residual`` of a frame's mass lies outside its ``outside`` most probable classes.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn(rank, num_classes, generator=generator)
    bias = -torch.randperm(num_classes, generator=generator).add(10.0).log()
    frames = torch.randn(num_frames, rank, generator=generator) / math.sqrt(rank)
    some = frames[:128] @ classes
    low, high = 0.1, 50.0
    for _ in range(_BISECTIONS):
        scale = math.sqrt(low * high)
        inside = torch.softmax(scale * some + bias, dim=1).topk(min(outside, num_classes), dim=1).values.sum(1)
        low, high = (scale, high) if float(1 - inside.mean()) > residual else (low, scale)
    return torch.log_softmax(high * (frames @ classes) + bias, dim=1)


def residual_mass(log_probs: torch.Tensor, k: int, temperature: float) -> float:
    """The mean mass outside the k most probable classes at ``temperature``, of ``(N, C)`` log-probabilities at T = 1."""
    masses = [1 - soften(part, temperature).topk(k, dim=1).values.exp().sum(1) for part in _parts(log_probs)]
    return float(torch.cat(masses).clamp(min=0).mean())


def _parts(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return values.split(max(1, _CHUNK_VALUES // values.shape[1]))


def _pairs(
    encoding: Encoding,
    log_probs: torch.Tensor,
    records: torch.Tensor,
    temperature: float,
    shape: torch.Tensor | None,
    basis: torch.Tensor | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Chunks ``(n, C)`` of the true and the stored distribution; without a shape the tail is dropped."""
    parts = _parts(log_probs)
    for part, stored in zip(parts, records.split([len(part) for part in parts]), strict=True):
        targets = encoding.decode(stored, temperature, part.new_zeros(part.shape[1]) if shape is None else shape, basis)
        yield soften(part, temperature), (_without_tail(targets) if shape is None else targets).dense()


def _without_tail(targets: SparseTargets) -> SparseTargets:
    none = torch.full_like(targets.tail_log_mass, -math.inf)
    return replace(targets, log_probs=torch.log_softmax(targets.log_probs, dim=1), tail_log_mass=none)


def _row(
    mode: str, k: int | None, temperature: float, encoding: Encoding, pairs: Iterator[tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, Any]:
    sums = torch.zeros(3, dtype=torch.float64)
    means: torch.Tensor | None = None
    num_frames = 0
    for dense, stored in pairs:
        p, q = dense.exp(), stored.exp()
        difference = p - q
        to_stored = torch.where(p > 0, p * (dense - stored), 0.0)
        to_dense = torch.where(q > 0, q * (stored - dense), 0.0)
        sums += torch.stack([values.sum(dtype=torch.float64) for values in (to_stored, to_dense, difference.abs() / 2)])
        total = difference.sum(0, dtype=torch.float64)
        means = total if means is None else means + total
        num_frames += len(dense)
    kl_to_stored, kl_to_dense, variation = (sums / num_frames).tolist()
    figures = {
        "kl_dense_to_stored": kl_to_stored if math.isfinite(kl_to_stored) else None,
        "kl_stored_to_dense": kl_to_dense if math.isfinite(kl_to_dense) else None,
        "total_variation": variation,
        "mean_total_variation": None if means is None else float(means.abs().sum() / 2 / num_frames),
    }
    layout = {"k": k, "tail_rank": encoding.tail_rank, "temperature": temperature}
    return {"mode": mode, **layout, "bytes_per_frame": encoding.bytes_per_frame, **figures}

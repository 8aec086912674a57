"""The layouts of a stored soft target: dense, top-k with a tail, or sampled; whole batches of frames are packed and unpacked.

A frame is a record of ``bytes_per_frame`` bytes, little-endian, its fields one after the other:

dense    log_probs: C half floats at T = 1, from which every temperature can be made.
topk     log_probs: k half floats at T = 1, largest first; tails: for each declared temperature the log of the softened mass of
         all other classes; ids: k unsigned integers. The softened mass is stored since it cannot be had from the residual at
         T = 1: at T = 5 a residual of 1 % in 14,000 classes is nearly everything. coefficients: ``tail_rank`` signed bytes
         that say how the tail is spread over its classes (see ``soft_target_basis.py``); with a rank of 0 there are none, and
         all frames have the mean tail of the store (see ``soft_target_tail.py``).
sampled  ids: ``num_samples`` draws from the distribution softened to T; a class drawn twice is there twice, which takes less
         room than counts, for most classes that are drawn at all are drawn once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from asr_distill.base import UserError, hash_of_object
from asr_distill.distillation.combine import check_temperature, soften
from asr_distill.distillation.soft_target_basis import TailBasis
from asr_distill.distillation.soft_target_tail import TailSums
from asr_distill.distillation.sparse import SparseTargets

MODES = ("dense", "topk", "sampled")
TEMPERATURES = (1.0, 2.0, 5.0, 10.0)
TOP_K, TAIL_RANK, NUM_SAMPLES = 6, 44, 40
"""Of topk 76 bytes a frame at 14,000 classes. KL(dense || stored) at T = 1, 2, 5 and 10 on an ensemble's posteriors over 300
senones and on simulated ones of 14,000 classes, also with k = 12 and rank 20 in as many bytes: recipes/an4/RESULTS.md, by
`study_soft_targets`. Above T = 1 directions say more than further classes do; at T = 1 further classes do, by next to nothing
on the real posteriors. The students that learn from either store at T = 5 are there too.
"""
_FLOAT16_MAX, _FLOAT16_TINY = 65504.0, 2.0**-24
_CHUNK_BYTES = 64 << 20  # float32 of the classes of the frames that are encoded at once


@dataclass(frozen=True)
class Encoding:
    """One layout. ``temperatures`` are those that can be read: none are declared for dense (any), one for sampled.

    top_k and num_samples are None in the other modes, tail_rank is 0. Raises `UserError` for values that make no layout.
    """

    mode: str
    num_classes: int
    temperatures: tuple[float, ...] = ()
    top_k: int | None = None
    num_samples: int | None = None
    tail_rank: int = 0

    @classmethod
    def choose(
        cls,
        mode: str,
        num_classes: int,
        temperatures: Sequence[float] = TEMPERATURES,
        top_k: int = TOP_K,
        num_samples: int = NUM_SAMPLES,
        tail_rank: int = TAIL_RANK,
    ) -> Encoding:
        """The layout of ``mode``: what does not concern it is left out, T = 1 is added to the temperatures of topk.

        The rank is at most the number of classes in a tail.
        """
        declared = tuple(sorted({float(value) for value in temperatures} | ({1.0} if mode == "topk" else set())))
        if mode == "dense":
            return cls(mode, num_classes)
        if mode == "topk":
            kept = min(top_k, num_classes)
            return cls(mode, num_classes, declared, top_k=kept, tail_rank=min(tail_rank, num_classes - kept))
        return cls(mode, num_classes, declared, num_samples=num_samples)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"soft targets: mode {self.mode!r}, expected one of {', '.join(MODES)}")
        if not 1 <= self.num_classes < 1 << 31:
            raise UserError(f"soft targets: {self.num_classes} classes, expected at least 1")
        for value in self.temperatures:
            _checked(value, f"soft targets: temperatures {_listed(self.temperatures)}")
        if self.mode == "topk" and not 1 <= (self.top_k or 0) <= self.num_classes:
            raise UserError(f"soft targets: top_k is {self.top_k}, expected 1 to {self.num_classes}")
        most = self.num_classes - (self.top_k or 0) if self.mode == "topk" else 0
        if not 0 <= self.tail_rank <= most:
            raise UserError(f"soft targets: tail_rank is {self.tail_rank}, expected 0 to {most}")
        if self.mode == "sampled" and not 1 <= (self.num_samples or 0) < 1 << 16:
            raise UserError(f"soft targets: num_samples is {self.num_samples}, expected 1 to 65535")
        if self.mode == "sampled" and len(self.temperatures) != 1:
            raise UserError(
                f"soft targets: samples are drawn at one temperature, found {_listed(self.temperatures)}; name one"
                " (--temperatures 2), or use the mode topk for several"
            )

    @property
    def fields(self) -> dict[str, tuple[torch.dtype, int]]:
        """Name, dtype and number of values of each field, in the order of the bytes."""
        ids = _unsigned(self.num_classes)
        if self.mode == "dense":
            return {"log_probs": (torch.float16, self.num_classes)}
        if self.mode == "topk":
            k = self.top_k or 0
            fields = {"log_probs": (torch.float16, k), "tails": (torch.float16, len(self.temperatures)), "ids": (ids, k)}
            return {**fields, "coefficients": (torch.int8, self.tail_rank)} if self.tail_rank else fields
        return {"ids": (ids, self._draws)}

    @property
    def bytes_per_frame(self) -> int:
        """The size of one frame's record."""
        return sum(_SIZES[dtype] * count for dtype, count in self.fields.values())

    @property
    def _draws(self) -> int:
        return self.num_samples or 0

    def check_temperature(self, temperature: float, where: str) -> float:
        """``temperature`` as a float. Raises `UserError` where what is stored cannot be read at it."""
        value = _checked(temperature, where)
        if self.mode != "dense" and value not in self.temperatures:
            held = "draws at" if self.mode == "sampled" else "the tail's mass for"
            raise UserError(
                f"{where} was not written for temperature {value:g}: it holds {held} {_listed(self.temperatures)}; write it"
                f" again with `asr-distill soft-targets --temperatures {value:g}`, or in the mode dense for every temperature"
            )
        return value

    def encode(
        self, log_probs: torch.Tensor, seed: int, tail: TailSums | None = None, basis: TailBasis | None = None
    ) -> torch.Tensor:
        """Records ``(N, bytes_per_frame)`` uint8 of normalised ``(N, C)`` float32 log-probabilities at T = 1, nats.

        seed: of the draws of sampled. tail: gathers the tail's shape in the mode topk. basis: of the coefficients, needed
        where the rank is above 0.
        """
        generator = torch.Generator().manual_seed(seed)
        rows = max(1, _CHUNK_BYTES // (4 * self.num_classes))
        records = [torch.empty(0, self.bytes_per_frame, dtype=torch.uint8)]
        for chunk in log_probs.split(rows):
            if self.mode == "dense":
                values = {"log_probs": _half(chunk)}
            elif self.mode == "topk":
                values = self._encode_topk(chunk, tail, basis)
            else:
                values = self._encode_sampled(chunk, generator)
            records.append(self._pack(values))
        return torch.cat(records)

    def _encode_topk(self, log_probs: torch.Tensor, tail: TailSums | None, basis: TailBasis | None) -> dict[str, torch.Tensor]:
        top, ids = log_probs.topk(self.top_k or 0, dim=1)
        masses = []
        for index, temperature in enumerate(self.temperatures):
            outside = soften(log_probs, temperature).scatter_(1, ids, -math.inf).exp_()
            masses.append(outside.sum(1))
            if tail is not None:
                tail.add(index, outside, masses[-1], ids)
        # A mass that rounds to 1 would leave nothing for the top k.
        tails = _half(torch.stack(masses, 1).log().clamp(max=-_FLOAT16_TINY))
        values = {"log_probs": _half(top), "tails": tails, "ids": ids}
        if self.tail_rank:
            if basis is None or len(basis.directions) != self.tail_rank:
                raise ValueError(f"a tail of rank {self.tail_rank} needs a basis of as many directions")
            values["coefficients"] = basis.coefficients(log_probs, ids)
        return values

    def _encode_sampled(self, log_probs: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        # Systematic draws, one uniform number a frame: each class is drawn floor(k p) or ceil(k p) times and k p times in the
        # mean, so the estimate is unbiased as that of independent draws, with less variance.
        cumulated = soften(log_probs, self.temperatures[0]).double().exp_().cumsum(1)
        points = torch.arange(self._draws) + torch.rand(len(log_probs), 1, generator=generator, dtype=torch.float64)
        drawn = torch.searchsorted(cumulated, points * (cumulated[:, -1:] / self._draws), right=True)
        return {"ids": drawn.clamp_(max=self.num_classes - 1)}

    def decode(
        self, records: torch.Tensor, temperature: float, tail_shape: torch.Tensor, tail_basis: torch.Tensor | None = None
    ) -> SparseTargets:
        """Softened targets of records ``(N, bytes_per_frame)`` of topk or sampled, on their device.

        tail_shape: ``(C,)`` log-probabilities of the store's tail at ``temperature`` (sampled has no tail: any). tail_basis:
        the directions ``(R, C)`` of the coefficients, None where the rank is 0.
        """
        values = self._unpack(records)
        if self.mode == "sampled":
            each = torch.full(values["ids"].shape, -math.log(self._draws), device=records.device)
            no_tail = torch.full((len(records),), -math.inf, device=records.device)
            return SparseTargets(values["ids"], each, no_tail, tail_shape, temperature)
        tail = values["tails"][:, self.temperatures.index(temperature)].float()
        inside = torch.log_softmax(values["log_probs"].float() / temperature, dim=1)
        inside += log_complement(tail)[:, None]
        own = values["coefficients"] / temperature if self.tail_rank else None
        return SparseTargets(values["ids"], inside, tail, tail_shape, temperature, own, tail_basis)

    def decode_dense(self, records: torch.Tensor, temperature: float) -> torch.Tensor:
        """Normalised ``(N, C)`` float32 log-probabilities at ``temperature`` of records of the mode dense."""
        return soften(self._unpack(records)["log_probs"].float(), temperature)

    def _pack(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        parts = [values[name].to(dtype).contiguous().view(torch.uint8) for name, (dtype, _) in self.fields.items()]
        return torch.cat(parts, 1)

    def _unpack(self, records: torch.Tensor) -> dict[str, torch.Tensor]:
        values, start = {}, 0
        for name, (dtype, count) in self.fields.items():
            end = start + _SIZES[dtype] * count
            # A copy, since the bytes of a slice need not lie where the dtype may begin.
            field = records[:, start:end].clone(memory_format=torch.contiguous_format).view(dtype)
            if dtype == torch.int8:
                values[name] = field.float()
            else:
                values[name] = field if dtype == torch.float16 else field.long() & _MASKS[dtype]
            start = end
        return values


def log_complement(log_mass: torch.Tensor) -> torch.Tensor:
    """``log(1 - exp(x))`` for x <= 0, without cancellation at either end."""
    return torch.where(log_mass > -math.log(2), (-torch.expm1(log_mass)).log(), torch.log1p(-log_mass.exp()))


def seed_of(seed: int, cut_id: str) -> int:
    """The seed of one cut's draws, so that they do not depend on which cuts were written before it."""
    return int(hash_of_object([seed, cut_id])[:15], 16)


def estimate(encodings: Sequence[Encoding], num_frames: int) -> list[dict[str, Any]]:
    """For each layout its bytes per frame, and in all for ``num_frames`` frames with what is stored once (of the tail)."""
    rows = []
    for encoding in encodings:
        arrays = len(encoding.temperatures) if encoding.mode == "topk" else 0
        if encoding.tail_rank:
            arrays += 1 + encoding.tail_rank
        once = 4 * encoding.num_classes * arrays
        each = encoding.bytes_per_frame
        rows.append(
            {
                "mode": encoding.mode,
                "top_k": encoding.top_k,
                "tail_rank": encoding.tail_rank if encoding.mode == "topk" else None,
                "num_samples": encoding.num_samples,
                "temperatures": list(encoding.temperatures) or "any",
                "bytes_per_frame": each,
                "frames": num_frames,
                "bytes": each * num_frames + once,
            }
        )
    return rows


# torch has no unsigned 16-bit integers before 2.3: the signed ones hold the same bits.
_SIZES = {torch.float16: 2, torch.int8: 1, torch.uint8: 1, torch.int16: 2, torch.int32: 4}
_MASKS = {torch.uint8: 0xFF, torch.int16: 0xFFFF, torch.int32: 0xFFFFFFFF}


def _unsigned(count: int) -> torch.dtype:
    """The smallest integers that hold 0 to ``count`` - 1."""
    return torch.uint8 if count <= 1 << 8 else torch.int16 if count <= 1 << 16 else torch.int32


def _half(values: torch.Tensor) -> torch.Tensor:
    """As float16; what is finite stays finite."""
    return torch.where(values.isinf(), values, values.clamp(-_FLOAT16_MAX, _FLOAT16_MAX)).half()


def _checked(temperature: float, where: str) -> float:
    try:
        return check_temperature(temperature)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"

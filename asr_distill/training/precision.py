"""Where to compute and in which precision."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from asr_distill.base import UserError


def choose_device(name: str) -> torch.device:
    """``auto`` is a GPU where torch can use one, else the CPU. Raises `UserError` where the device named is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r} is unknown; expected auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name!r} was asked for, but torch {torch.__version__} sees no GPU; use --device cpu")
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies matrices in bf16 (on a CPU: AMX or AVX512_BF16)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


def choose_bf16(autocast: str, device: torch.device) -> bool:
    """Whether to compute in bf16: ``auto`` asks the processor, ``bf16`` and ``off`` decide."""
    return autocast == "bf16" or (autocast == "auto" and has_bf16(device))


def precision(bf16: bool, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a network runs: autocast to bf16, or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else contextlib.nullcontext()

"""What the processor can do, and the switch that lets an old MKL use it."""

from __future__ import annotations

import os
from pathlib import Path

SWITCH = "MKL_DEBUG_CPU_TYPE"
_AVX2 = "5"


def processor() -> str:
    """Return what Linux says of the processors, an empty text on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def use_fast_products(described: str | None = None) -> None:
    """Let MKL 2020.0, which torch 1.13 brings, use its AVX2 code on AMD processors: three times the float32 products.

    MKL reads the environment variable at its first product; newer releases ignore it. A value that the user has set stays.

    Args:
        described: what `processor` returns, by default of this machine.
    """
    described = processor() if described is None else described
    if "AuthenticAMD" in described and "avx2" in described:
        os.environ.setdefault(SWITCH, _AVX2)


def slow_products(torch_build: str, described: str) -> bool:
    """Tell whether MKL keeps its fast code from this processor: ``torch_build`` is what ``torch.__config__.show()`` returns."""
    old = "Math Kernel Library Version 2020.0.0" in torch_build
    return old and "AuthenticAMD" in described and "avx2" in described and os.environ.get(SWITCH) != _AVX2

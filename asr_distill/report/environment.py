"""Where the figures were made: versions, processor, the checkout's commit. No host names, no paths."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent.parent


def version_of(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str | None:
    """The processor's name as the kernel gives it, else as Python does."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or None


def commit() -> str | None:
    """The checkout's commit; with ``+changes`` where tracked files of the package differ from it; None outside a checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", "asr_distill", "local")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def today() -> str:
    """The date, UTC, as YYYY-MM-DD."""
    return datetime.now(timezone.utc).date().isoformat()


def environment(engine: str | None, device: str | None) -> dict[str, Any]:
    """The object of results.json; engine and device as the decodes recorded them."""
    return {
        "python": platform.python_version(),
        "torch": version_of("torch"),
        "k2": version_of("k2"),
        "engine": engine,
        "cpu": processor(),
        "device": device,
    }

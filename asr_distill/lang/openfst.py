"""FSTs in OpenFst's binary form: the library says with a False that it could not write one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asr_distill.base import write_error


def write_fst(fst: Any, path: Path, shown: Path | None = None) -> None:
    """Writes an FST of kaldifst's to ``path``. Raises `DiskError` naming ``shown``, by default ``path``, where it cannot."""
    if not fst.write(str(path)):
        raise write_error(shown or path, "its writer failed, as where the disk is full")

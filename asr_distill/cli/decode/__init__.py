"""``asr-distill decode``: a model, a graph and a CutSet or audio files in; a decode directory out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

__all__ = [
    "TYPE_CHECKING",
    "Any",
    "Callable",
    "Path",
    "Sequence",
    "annotations",
]

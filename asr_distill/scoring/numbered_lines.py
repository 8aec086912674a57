"""The lines of transcripts that count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr_distill.base import normalise_text, text_lines


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are neither empty nor sclite comments (``;;``), with their numbers; text in Unicode's composed form (NFC)."""
    for number, line in text_lines(path, "transcripts"):
        line = line.strip(" \t")
        if line and not line.startswith(";;"):
            yield number, normalise_text(line)

"""The code blocks of README.md and docs/*.md, and how the tests run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"]  # a page's blocks may need what those before it have written
_FENCE = re.compile(r"```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)")
_COMMENT = re.compile(r"<!-- not run here: (.*?)-->\s*$")


@dataclass(frozen=True)
class Block:
    """A block of a page: its code, ``python`` or ``sh``, and why it is not run, None where it is."""

    page: Path
    line: int
    code: str
    language: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The fenced and the indented blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [(m.start(), m[2], m[1]) for m in _FENCE.finditer(text)]
    plain = _FENCE.sub(lambda m: re.sub(r"[^\n]", "-", m[0]), text)  # a fenced block may have indented lines
    found += [(m.start(), re.sub(r"^ {4}", "", m[1], flags=re.MULTILINE), "") for m in _INDENTED.finditer(plain)]
    blocks = []
    for start, code, language in sorted(found):
        comment = _COMMENT.search(text[:start])
        known = language or ("python" if re.match(r"(import|from) ", code) else "sh")
        reason = comment[1].strip() if comment else None
        blocks.append(Block(page, text.count("\n", 0, start) + 1, code.rstrip() + "\n", known, reason))
    return blocks


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [block for block in BLOCKS if block.reason is None]


def run(block: Block, folder: Path, prelude: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a block in a folder that has the checkout's `local` and `recipes`, with this interpreter's programs."""
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    if block.language == "python":
        command = [sys.executable, "-c", block.code]
    else:
        command = ["bash", "-euo", "pipefail", "-c", prelude + block.code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

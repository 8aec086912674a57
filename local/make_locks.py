#!/usr/bin/env python3
"""Resolve the two locked environments anew (maintainers; needs uv on the PATH):  python local/make_locks.py

local/k2.lock      torch 1.13.1 + k2 1.23.4, Python 3.10 and 3.11: k2's newest wheels in the registry are built for that torch.
local/torch2.lock  torch 2.13.0 without k2, Python 3.10 to 3.13. torch itself stays outside the hashes, pinned by version in
                   local/setup.sh, because it comes as a CPU build on some machines and as a CUDA build on others; the packages
                   that both builds need are here, with hashes.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# torch 1.13.1 and k2 1.23.4 were built against numpy 1; from lhotse 1.32.1 on no sampler can be made beside torch 1.13.
BESIDE_K2 = ["numpy==1.26.4", "lhotse==1.32.0"]
# setuptools and wheel build the editable install offline.
COMMON = ["tensorboard", "matplotlib", "espeakng-loader", "setuptools", "wheel"]
# Every k2 1.23.4 wheel is tagged py3.X-none-any, so pip would take whichever tag sorts last; the hash decides instead.
K2 = """k2==1.23.4 ; python_version == '3.11' \\
    --hash=sha256:5b5f709b12b9cd092b583984d0b7d940c9f898101259c998d68d1f4adefa48d4
k2==1.23.4 ; python_version == '3.10' \\
    --hash=sha256:1404589732fdb7f6f5bf62297a20dd73318b7b4f2e10dd52dc3d5b6669688a4c
"""
CUDA_BUILD_ONLY = re.compile(r"^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)(\[.*\])?==")


def resolve(*pins: str) -> list[str]:
    """The resolved requirements as blocks of text, one per package."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.in"
        wanted.write_text("\n".join([*pins, *COMMON]) + "\n", encoding="utf-8")
        command = [
            "uv",
            "pip",
            "compile",
            "-q",
            "--universal",
            "--python-version",
            "3.10",
            "--generate-hashes",
            "--no-annotate",
        ]
        command += ["--no-header", "--extra", "dev", str(ROOT / "pyproject.toml"), str(wanted)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.split(r"\n(?=[a-z])", text.strip())


def main() -> None:
    """Writes both lock files."""
    note = "# {}\n# made by local/make_locks.py; install with: pip install --no-deps --require-hashes -r local/{}.lock\n"
    k2_blocks = resolve("torch==1.13.1", *BESIDE_K2)
    header = note.format("torch 1.13.1 + k2 1.23.4 for Python 3.10 and 3.11 on Linux x86-64", "k2")
    (ROOT / "local" / "k2.lock").write_text(header + "\n".join(k2_blocks) + "\n" + K2, encoding="utf-8")
    torch2_blocks = [block for block in resolve("torch==2.13.0") if not CUDA_BUILD_ONLY.match(block)]
    header = note.format("what stands beside torch 2.13.0 (pinned in local/setup.sh), Python 3.10 to 3.13", "torch2")
    (ROOT / "local" / "torch2.lock").write_text(header + "\n".join(torch2_blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

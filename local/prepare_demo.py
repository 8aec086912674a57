#!/usr/bin/env python3
"""The demo corpus: connected speech synthesised by espeak-ng (package espeakng-loader), with noise, to lhotse manifests.

Example: python local/prepare_demo.py --size tiny --output exp/demo/manifests     (audio goes to exp/demo/audio)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asr_distill.data.demo import SIZES, prepare_demo
from asr_distill.data.preparation import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="manifests folder; audio/ is made beside it")
    parser.add_argument("--size", choices=tuple(SIZES), default="small", help="how many utterances (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of sentences, voices and noise (default: %(default)s)")
    args = parser.parse_args(argv)
    prepare_demo(args.output, size=args.size, seed=args.seed)


if __name__ == "__main__":
    sys.exit(run_script(main))

#!/usr/bin/env python3
"""CMU AN4 to lhotse manifests.

The corpus is looked for at --corpus-dir, $AN4_DIR, ../shared/an4, downloads/an4; else it is downloaded to downloads/.
Example: python local/prepare_an4.py --output exp/an4/manifests
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asr_distill.data import an4
from asr_distill.data.preparation import add_common_options, audio_options, locate_corpus, run_script

ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus-dir", type=Path, metavar="DIR", help="AN4 in its own layout (etc/, wav/)")
    add_common_options(parser)
    parser.add_argument("--allow-partial", action="store_true", help="go on with a corpus that is not complete")
    parser.add_argument("--raw-byte-order", choices=("auto", "big", "little"), default="auto", help="of .raw files")
    parser.add_argument("--sha256", default=an4.SHA256, help="digest of the archive that is downloaded (default: %(default)s)")
    args = parser.parse_args(argv)
    corpus_dir = locate_corpus(args.corpus_dir, "AN4_DIR", ROOT.parent / "shared" / "an4")
    if corpus_dir is None:
        corpus_dir = an4.fetch_an4(ROOT / "downloads", args.sha256)
    an4.prepare_an4(corpus_dir, args.output, allow_partial=args.allow_partial, options=audio_options(args))


if __name__ == "__main__":
    sys.exit(run_script(main))

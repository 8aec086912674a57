#!/usr/bin/env python3
"""speechocean762 to lhotse manifests.

The corpus is looked for at --corpus-dir, $SPEECHOCEAN762_DIR, ../shared/speechocean762, downloads/speechocean762.
Example: python local/prepare_speechocean762.py --output exp/speechocean762/manifests
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asr_distill.data import speechocean762
from asr_distill.data.preparation import add_common_options, audio_options, locate_corpus, run_script

ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus-dir", type=Path, metavar="DIR", help="the corpus's top folder (train/, resource/, WAVE/)")
    add_common_options(parser)
    parser.add_argument(
        "--split",
        choices=("speakers", "official"),
        default="speakers",
        help="speakers: the training half into 85/10/30 speakers; official: the corpus's own test half (default: %(default)s)",
    )
    parser.add_argument("--allow-partial", action="store_true", help="go on with a corpus that is not complete")
    parser.add_argument("--sha256", help="download the corpus where it is not at hand, and check it against this digest")
    args = parser.parse_args(argv)
    corpus_dir = locate_corpus(args.corpus_dir, "SPEECHOCEAN762_DIR", ROOT.parent / "shared" / "speechocean762")
    if corpus_dir is None:
        corpus_dir = speechocean762.fetch_speechocean762(ROOT / "downloads", args.sha256)
    speechocean762.prepare_speechocean762(
        corpus_dir, args.output, split=args.split, allow_partial=args.allow_partial, options=audio_options(args)
    )


if __name__ == "__main__":
    sys.exit(run_script(main))

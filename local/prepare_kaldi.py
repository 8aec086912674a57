#!/usr/bin/env python3
"""Kaldi data directories (wav.scp, text, utt2spk; segments, spk2gender, spk2age where there are any) to lhotse manifests.

Example: python local/prepare_kaldi.py --data-dir train=data/train dev=data/dev test=data/test \\
    --lexicon data/local/dict/lexicon.txt --output exp/custom/manifests
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asr_distill.base import UserError
from asr_distill.data.corpora import write_manifests
from asr_distill.data.kaldi_directory import read_kaldi_directory, read_lexicon
from asr_distill.data.preparation import add_common_options, audio_options, run_script

PARTS = ("train", "dev", "test")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", nargs="+", required=True, metavar="PART=DIR", help="train=DIR dev=DIR test=DIR")
    parser.add_argument("--lexicon", type=Path, metavar="FILE", help="Kaldi lexicon.txt, taken along as manifests/lexicon.txt")
    parser.add_argument("--audio-root", type=Path, metavar="DIR", help="where the relative paths of wav.scp begin")
    parser.add_argument("--name", default="custom", help="name of the corpus (default: %(default)s)")
    add_common_options(parser)
    args = parser.parse_args(argv)
    folders = dict(entry.partition("=")[::2] for entry in args.data_dir)
    if sorted(folders) != sorted(PARTS) or len(folders) != len(args.data_dir) or not all(folders.values()):
        raise UserError(f"--data-dir {' '.join(args.data_dir)}: expected train=DIR dev=DIR test=DIR, each once")
    roots = [args.audio_root] if args.audio_root else []
    parts = {part: read_kaldi_directory(Path(folders[part]), roots) for part in PARTS}
    corpus = {"name": args.name, "source": "real", "split": {"rule": "as given: one Kaldi data directory per part"}}
    texts = {"lexicon.txt": read_lexicon(args.lexicon)} if args.lexicon else {}
    write_manifests(args.output, parts, corpus, options=audio_options(args), texts=texts)


if __name__ == "__main__":
    sys.exit(run_script(main))

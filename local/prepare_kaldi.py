#!/usr/bin/env python3
"""Kaldi data directories (wav.scp, text, utt2spk or spk2utt; segments, spk2gender, spk2age where there are any) or lhotse
CutSets (cuts.jsonl.gz with supervisions, recordings in files) to manifests. Commands in wav.scp are not run; where one only
unpacks a file (flac -c -d -s, sph2pipe -f wav -p -c 1, sox FILE -t wav -, cat), the file itself is read. Without dev=, whole
speakers of train are set aside.

Example: python local/prepare_kaldi.py --data-dir train=data/train dev=data/dev test=data/test \\
    --lexicon data/local/dict/lexicon.txt --output exp/mine/manifests
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from asr_distill.base import UserError
from asr_distill.data.corpora import AudioOptions
from asr_distill.data.custom import prepare_custom
from asr_distill.data.preparation import add_common_options, audio_options, run_script
from asr_distill.data.transcript_text import TextOptions
from asr_distill.data.transcript_words import WordOptions
from asr_distill.lang.lexicon_formats import FORMATS


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir",
        nargs="+",
        required=True,
        metavar="PART=PATH",
        help="train=PATH test=PATH, and dev=PATH where there is one; test=PATH alone to decode with a trained model",
    )
    parser.add_argument("--dev-speakers", type=int, metavar="N", help="without dev=: speakers set aside (default: a tenth)")
    parser.add_argument(
        "--speaker-from",
        choices=("supervision", "recording", "utterance"),
        default="supervision",
        help="recording, utterance: each of them is a speaker where none is named (default: that is an error)",
    )
    parser.add_argument(
        "--allow-shared-speakers",
        action="store_true",
        help="a speaker may be in several parts: the figures then mean nothing for new speakers",
    )
    parser.add_argument("--audio-root", type=Path, metavar="DIR", help="where relative paths of audio begin")
    parser.add_argument(
        "--sampling-rate",
        type=int,
        metavar="HZ",
        help="write other recordings anew at this rate (default: they stay as they are)",
    )
    parser.add_argument(
        "--clip-segments",
        type=float,
        default=AudioOptions.clip,
        metavar="SECONDS",
        help="cut off what ends up to so much after its recording; Kaldi: 0.5 (default: %(default)s, a frame)",
    )
    words = parser.add_argument_group("words")
    words.add_argument(
        "--case", choices=("as-is", "upper", "lower"), default="as-is", help="of the transcripts (default: %(default)s)"
    )
    words.add_argument(
        "--strip-punctuation", action="store_true", help="take punctuation off both ends of words, apostrophes not"
    )
    words.add_argument("--lexicon", type=Path, metavar="FILE", help="lexicon.txt, lexiconp.txt or .dic, taken along")
    words.add_argument(
        "--lexicon-format",
        choices=FORMATS,
        default="auto",
        help="columns, comments and alternatives of --lexicon; auto: as the file shows, or an error (default: %(default)s)",
    )
    words.add_argument("--cmudict", choices=("yes", "no"), default="no", help="CMUdict for words that the lexicon lacks")
    words.add_argument(
        "--vocabulary",
        choices=("lexicon", "train"),
        default="lexicon",
        help="words that can be recognised: all of the lexicon, or those of the training transcripts (default: %(default)s)",
    )
    words.add_argument("--unknown-word", metavar="WORD", help="stands for words without a pronunciation (default: an error)")
    words.add_argument("--arpa", type=Path, metavar="FILE", help="a language model of your own, taken along as lm.arpa")
    words.add_argument(
        "--lang-kind", choices=("build", "subwords"), default="build", help="subwords: no dictionary, phones are characters"
    )
    parser.add_argument("--name", default="custom", help="name of the corpus (default: %(default)s)")
    add_common_options(parser)
    args = parser.parse_args(argv)
    paths = dict(entry.partition("=")[::2] for entry in args.data_dir)
    known = set(paths) <= {"train", "dev", "test"} and "test" in paths and ("train" in paths or "dev" not in paths)
    if not known or len(paths) != len(args.data_dir) or "" in paths.values():
        raise UserError(
            f"--data-dir {' '.join(args.data_dir)}: expected train=PATH test=PATH, dev=PATH too if you like, each once; or"
            " test=PATH alone, for a model that is trained"
        )
    if not 0 <= args.clip_segments <= 10:
        raise UserError(f"--clip-segments {args.clip_segments:g}: expected seconds from 0 to 10")
    if args.sampling_rate is not None and args.sampling_rate < 1:
        raise UserError(f"--sampling-rate {args.sampling_rate}: expected a number of hertz such as 16000")
    prepare_custom(
        {part: Path(path) for part, path in paths.items()},
        args.output,
        name=args.name,
        audio_roots=[args.audio_root] if args.audio_root else [],
        dev_speakers=args.dev_speakers,
        speaker_from=args.speaker_from,
        allow_shared_speakers=args.allow_shared_speakers,
        words=None
        if args.lang_kind == "subwords"
        else WordOptions(
            args.lexicon, args.cmudict == "yes", args.vocabulary, args.unknown_word, args.arpa, args.lexicon_format
        ),
        text=TextOptions(args.case, args.strip_punctuation),
        options=dataclasses.replace(audio_options(args), sampling_rate=args.sampling_rate, clip=args.clip_segments),
    )


if __name__ == "__main__":
    sys.exit(run_script(main))

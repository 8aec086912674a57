#!/usr/bin/env python3
"""Word error rates of files that stand alone: by their own statistics, drawn towards a typical training speaker, and,
for comparison, pooled by speaker. The run is one that a speech recipe left.

Example: python local/measure_alone.py exp/an4 --split dev --seeds 0,1 --frames 0,100,200,400     (0: own statistics only)
         python local/measure_alone.py exp/an4 --split dev --words    (single words of 0.4 to 1 s, cut out by their alignment)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lhotse import CutSet, SupervisionSegment
from lhotse.utils import fastcopy

from asr_distill.data import FrameStore
from asr_distill.data.checks import load_cuts
from asr_distill.data.preparation import run_script
from asr_distill.experiments.decoding import DecodingJob
from asr_distill.features import Normalisation
from asr_distill.senones import read_alignments


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="EXP", help="the run: models/baseline, senones/, graph/, align/")
    parser.add_argument("--split", default="dev", help="default: %(default)s; test only for a number of frames chosen on dev")
    parser.add_argument("--seeds", default="0", help="of models/baseline (default: %(default)s)")
    parser.add_argument("--frames", default="0,200", help="that a typical speaker counts as (default: %(default)s)")
    parser.add_argument("--words", action="store_true", help="single words instead of utterances")
    args = parser.parse_args(argv)
    graph = next(iter(sorted((args.run / "graph" / "senones").glob("[!p]*"))))
    training = FrameStore.open(args.run / "senones" / "frames" / "train").normalisation
    cuts = list(words_of(args.run, args.split) if args.words else load_cuts(args.run / "fbank" / f"cuts_{args.split}.jsonl.gz"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        CutSet.from_cuts(cuts).to_file(place / "pooled.jsonl.gz")
        alone = [cut.map_supervisions(lambda one: dataclasses.replace(one, speaker=None)) for cut in cuts]
        CutSet.from_cuts(alone).to_file(place / "alone.jsonl.gz")
        for seed in args.seeds.split(","):
            model = args.run / "models" / "baseline" / f"seed{seed}"
            dev = args.run / "senones" / "labels" / "cuts_dev.jsonl.gz"
            tuned = DecodingJob(model, place / "dev", dev, graphs=(graph,), system="x", scales=(0.07, 0.1, 0.14, 0.2))
            scale = tuned.run()["acoustic_scale"]
            found = {"pooled": error_rate(model, graph, place / "pooled.jsonl.gz", place, scale)}
            for frames in map(int, args.frames.split(",")):
                copy = place / "bundle"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(model, copy)
                prior = training.typical_speaker(frames) if frames else None
                dataclasses.replace(Normalisation.load(copy), prior=prior).save(copy)
                found[str(frames)] = error_rate(copy, graph, place / "alone.jsonl.gz", place, scale)
            print(json.dumps({"split": args.split, "words": args.words, "cuts": len(cuts), "seed": seed, "wer": found}))


def error_rate(model: Path, graph: Path, cuts: Path, place: Path, scale: float) -> float:
    job = DecodingJob(model, place / "decode", cuts, graphs=(graph,), system="x", acoustic_scale=scale)
    return round(float(job.run()["error_rate"]), 2)


def words_of(run: Path, split: str) -> Iterator[Any]:
    """Yield a cut for each aligned word with a tenth of a second on both sides."""
    alignments = read_alignments(run / "align" / f"alignments_{split}.jsonl.gz")
    for cut in load_cuts(run / "fbank" / f"cuts_{split}.jsonl.gz"):
        for number, (word, start, length) in enumerate(alignments[cut.id].word_segments(0.01) if cut.id in alignments else ()):
            begin, end = max(0.0, start - 0.1), min(cut.duration, start + length + 0.1)
            if not 0.4 <= end - begin <= 1.0:
                continue
            rate = cut.sampling_rate
            part = {"start": cut.start + round(begin * rate) / rate, "duration": int((end - begin) * rate) / rate}
            one = fastcopy(cut, id=f"{cut.id}-{number}", features=None, custom=None, **part)
            speaker = cut.supervisions[0].speaker
            said = SupervisionSegment(one.id, cut.recording_id, 0.0, one.duration, cut.channel, text=word, speaker=speaker)
            yield fastcopy(one, supervisions=[said])


if __name__ == "__main__":
    sys.exit(run_script(main))

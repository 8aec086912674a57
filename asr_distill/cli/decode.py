"""``asr-distill decode``: a model, a graph and a CutSet or audio files in; a decode directory out."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = (
    "asr-distill decode --graph graph/bigram --model models/baseline/seed0 --cuts labels/cuts_dev.jsonl.gz"
    " --scale-grid 0.05,0.07,0.1,0.14 --system baseline --output decode/baseline/dev\n"
    "         asr-distill decode --graph graph/bigram --model models/baseline/seed0 --cuts labels/cuts_test.jsonl.gz"
    " --scales-from decode/baseline/dev/tuned.json --system baseline --output decode/baseline/test\n"
    "         asr-distill decode --graph graph/bigram --model models/distilled/seed0 --audio one.wav two.flac"
    " --output decode/new"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    add = parser.add_argument
    add("--graph", type=Path, nargs="+", metavar="DIR", help="graph folder; several with --scale-grid: the best is kept")
    add("--model", type=Path, required=True, metavar="DIR", help="model bundle, ensemble, or the folder of a GMM")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--cuts", type=Path, metavar="CUTS", help="lhotse CutSet; with senone labels, frames are scored too")
    given.add_argument(
        "--audio",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="audio files of any rate instead, one utterance each, named by the file; nothing is scored; one that is unreadable"
        " does not keep the others from being searched, but the exit status is 1",
    )
    add("--channel", type=int, metavar="N", help="of --audio files with several")
    add(
        *("--speaker",),
        metavar="NAME",
        help="of all --audio files: their statistics are pooled (default: each file stands alone, normalised by its own and"
        " those of a typical training speaker)",
    )
    add("--utt2spk", type=Path, metavar="FILE", help="the same for several speakers: Kaldi's utt2spk, ids are files' names")
    add("--output", type=Path, required=True, metavar="DIR", help="decode directory to write, decode/SYSTEM/SPLIT")
    add("--system", metavar="NAME", help="name of the system in reports (default, of --audio only: the model)")
    add("--split", metavar="NAME", help="name of the split (default: last part of --output)")
    add("--engine", choices=("k2", "kaldi", "auto"), default="auto", help="search engine; auto is k2 where it is installed")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--acoustic-scale", type=float, help="default: the one in the model bundle, else 0.1")
    scale.add_argument("--scale-grid", metavar="SCALES", help="comma-separated; the best by WER (use dev) goes to tuned.json")
    scale.add_argument(
        "--scales-from", type=Path, metavar="JSON", help="a tuned.json: its acoustic scale, its graph by default"
    )
    add("--beam", type=float, help="search beam (default: k2 20, kaldi 16)")
    add("--lattice-beam", type=float, default=8.0, help="lattice beam (default: %(default)s)")
    add(
        "--max-active",
        type=int,
        help="states per frame (default: k2 10000, kaldi 7000); refused where kaldi searches for --nbest above 1",
    )
    add(
        "--nbest",
        type=int,
        default=1,
        metavar="N",
        help="also write the N best word sequences; kaldi then keeps to the beams alone, for its lattices know no --max-active",
    )
    add(
        "--lang",
        type=Path,
        metavar="DIR",
        help="lang directory, or GRAPH/lang: word times by forced alignment of the hypothesis, which --audio has anyway",
    )
    add(
        "--alignments",
        type=Path,
        metavar="JSONL",
        help="reference phones for a phone loop graph: alignments.jsonl.gz of the split",
    )
    add(
        *("--max-segment",),
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="longer recordings are searched in pieces of at most so much, cut at pauses, with bounded memory; 0: whole"
        " (default: %(default)g)",
    )
    add(
        "--max-bad-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of utterances (0 to 1) to leave out where audio or labels cannot be used; they are reported by id",
    )
    add("--device", default="cpu", help="for the network and k2 (default: %(default)s)")
    add("--autocast", choices=("off", "bf16", "auto"), default="off", help="precision of the network (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from asr_distill.cli.main import emit
    from asr_distill.experiments.decoding import DecodingJob
    from asr_distill.experiments.decoding.summary import as_text, spoken_line

    names = (
        "system split channel speaker utt2spk engine acoustic_scale scales_from beam lattice_beam max_active nbest lang".split()
    )
    names += "alignments max_segment max_bad_share device autocast".split()
    options = {name: getattr(args, name) for name in names}
    job = DecodingJob(
        *(args.model, args.output, args.cuts, None if args.audio is None else tuple(args.audio), tuple(args.graph or ())),
        scales=_scales(args.scale_grid),
        **options,
    )
    summary, rows, left_out = job.search()
    text = as_text(summary, args.output)
    if args.audio:
        text = "\n".join([*(spoken_line(row, row.id in summary["silent"]) for row in rows), text])
    emit(args, summary, text)
    left_out.judge()
    return 0


def _scales(grid: str | None) -> tuple[float, ...] | None:
    from asr_distill.base import UserError

    if grid is None:
        return None
    try:
        return tuple(float(word) for word in grid.split(","))
    except ValueError:
        raise UserError(f"--scale-grid {grid!r}: expected numbers between commas, such as 0.07,0.1") from None

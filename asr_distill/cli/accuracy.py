"""``asr-distill accuracy``: frame accuracy and cross-entropy of a model on labelled frame stores."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = (
    "asr-distill accuracy --model models/baseline/seed0 --frames frames/train frames/dev --output accuracy.json\n"
    "         asr-distill accuracy --model models/ensemble --frames frames/test --system ensemble --per-utterance frames.jsonl"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``accuracy``."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model bundle or ensemble")
    parser.add_argument("--frames", type=Path, nargs="+", required=True, metavar="STORE", help="labelled frame stores")
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        metavar="S",
        help="of each store's utterances, those that `train --share` trains on: the training accuracy of such a network",
    )
    parser.add_argument("--output", type=Path, metavar="JSON", help="write the figures here, by the stores' names")
    parser.add_argument("--per-utterance", type=Path, metavar="JSONL", help="counts of each cut, for bootstraps over speakers")
    parser.add_argument("--system", metavar="NAME", help="name of the system in --per-utterance")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed in --per-utterance (default: the one of the training, or 0)"
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--autocast", default="off", choices=("auto", "bf16", "off"), help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Prints a line per store."""
    from asr_distill.cli.main import emit
    from asr_distill.experiments.model_jobs import AccuracyJob

    options = {"share": args.share, "per_utterance": args.per_utterance, "system": args.system, "seed": args.seed}
    places = {"device": args.device, "autocast": args.autocast}
    figures = AccuracyJob(args.model, tuple(args.frames), args.output, **options, **places).run()
    lines = [f"{'store':<10} {'frames':>9} {'accuracy':>9} {'speech':>9} {'cross-entropy':>14}"]
    for name, row in figures.items():
        cells = [f"{row[key]:.2f} %" if row[key] is not None else "-" for key in ("accuracy", "speech_accuracy")]
        entropy = f"{row['cross_entropy']:.4f}" if row["cross_entropy"] is not None else "-"
        lines.append(f"{name:<10} {row['frames']:>9} {cells[0]:>9} {cells[1]:>9} {entropy:>14}")
    emit(args, figures, "\n".join(lines))
    return 0

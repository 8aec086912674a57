"""``asr-distill accuracy``: frame accuracy and cross-entropy of a model on labelled frame stores."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = "asr-distill accuracy --model models/baseline/seed0 --frames frames/train frames/dev --output accuracy.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``accuracy``."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model bundle")
    parser.add_argument("--frames", type=Path, nargs="+", required=True, metavar="STORE", help="labelled frame stores")
    parser.add_argument("--output", type=Path, metavar="JSON", help="write the figures here, by the stores' names")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--autocast", default="off", choices=("auto", "bf16", "off"), help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Prints a line per store."""
    from asr_distill.base import UserError, write_json
    from asr_distill.cli.main import emit
    from asr_distill.data import FrameStore
    from asr_distill.student import Student
    from asr_distill.student.accuracy import frame_accuracy

    names = [path.name for path in args.frames]
    if len(set(names)) != len(names):
        raise UserError(f"--frames: two stores have the same name ({', '.join(names)}); measure them one after the other")
    student = Student.load(args.model, device=args.device, autocast=args.autocast)
    figures = {path.name: frame_accuracy(student, FrameStore.open(path)).to_dict() for path in args.frames}
    if args.output:
        write_json(args.output, figures)
    lines = [f"{'store':<10} {'frames':>9} {'accuracy':>9} {'speech':>9} {'cross-entropy':>14}"]
    for name, row in figures.items():
        cells = [f"{row[key]:.2f} %" if row[key] is not None else "-" for key in ("accuracy", "speech_accuracy")]
        entropy = f"{row['cross_entropy']:.4f}" if row["cross_entropy"] is not None else "-"
        lines.append(f"{name:<10} {row['frames']:>9} {cells[0]:>9} {cells[1]:>9} {entropy:>14}")
    emit(args, figures, "\n".join(lines))
    return 0

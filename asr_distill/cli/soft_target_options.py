"""The options of ``asr-distill soft-targets``, and what they become."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = (
    "asr-distill soft-targets --teacher models/ensemble --frames frames/train --mode topk --temperatures 1,2,5,10"
    " --output soft_targets/train\n"
    "         asr-distill soft-targets --estimate --num-classes 14000 --num-frames 700000000\n"
    "         asr-distill soft-targets --verify soft_targets/train\n"
    "         asr-distill soft-targets --study --teacher models/ensemble --frames frames/dev --output study.json"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--estimate", action="store_true", help="only print bytes per frame and in all for each mode")
    what.add_argument("--verify", type=Path, metavar="DIR", help="check every byte of a store instead of writing one")
    what.add_argument(
        "--study", action="store_true", help="divergence of each mode from dense as k grows, on the teacher and simulated"
    )
    parser.add_argument("--teacher", type=Path, metavar="DIR", help="a model bundle, or the folder of an ensemble")
    parser.add_argument(
        "--frames", type=Path, metavar="STORE", help="frame store, normalised as the teacher's; labels are not needed"
    )
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="the store to write or to continue; with --study the JSON file"
    )
    parser.add_argument(
        "--mode",
        choices=("dense", "topk", "sampled"),
        default="topk",
        help="all classes and any temperature; the k best and a tail; draws at one temperature (default: %(default)s)",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="K",
        help="classes kept by topk; more of them and less rank where T = 1 only counts (default: 6)",
    )
    parser.add_argument(
        "--tail-rank",
        type=int,
        metavar="R",
        help="bytes that say how topk spreads a frame's tail over its classes; 0: as the mean tail (default: 44)",
    )
    parser.add_argument(
        "--temperatures",
        default=None,
        metavar="LIST",
        help="at which topk can be read, or the one at which sampled draws (default: 1,2,5,10)",
    )
    parser.add_argument("--num-samples", type=int, metavar="N", help="draws of sampled (default: 40)")
    parser.add_argument(
        "--shard-frames",
        type=int,
        metavar="N",
        help="frames of a shard, at which a stopped writer continues; with --tail-rank after the first 65,536 frames at the"
        " earliest, 4,793 of 14,000 classes (default: 262144, at most 256 MB)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (default: %(default)s)")
    parser.add_argument("--num-classes", type=int, metavar="N", help="with --estimate, instead of a teacher")
    parser.add_argument("--num-frames", type=int, metavar="N", help="with --estimate, instead of a frame store")
    parser.add_argument("--study-frames", type=int, default=2000, metavar="N", help="measured (default: %(default)s)")
    parser.add_argument(
        "--simulated-frames", type=int, default=256, metavar="N", help="measured at 14,000 classes (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--autocast", default="off", choices=("auto", "bf16", "off"), help="default: %(default)s")


def complete_options(args: argparse.Namespace) -> None:
    """Gives options their defaults. Raises `UserError` for one that the mode of the store to be written has no use for."""
    from asr_distill.base import UserError
    from asr_distill.distillation.soft_target_modes import NUM_SAMPLES, TAIL_RANK, TOP_K

    belongs = {"top_k": ("topk",), "tail_rank": ("topk",), "num_samples": ("sampled",), "temperatures": ("topk", "sampled")}
    if not (args.verify or args.estimate or args.study):
        for name, modes in belongs.items():
            if getattr(args, name) is not None and args.mode not in modes:
                raise UserError(
                    f"--{name.replace('_', '-')} has no effect with --mode {args.mode}: it belongs to {' and '.join(modes)}."
                    " Next: leave it out"
                )
    for name, value in (("top_k", TOP_K), ("tail_rank", TAIL_RANK), ("num_samples", NUM_SAMPLES)):
        if getattr(args, name) is None:
            setattr(args, name, value)


def temperatures_of(args: argparse.Namespace) -> list[float]:
    from asr_distill.cli.runs import parse_temperatures
    from asr_distill.distillation.soft_target_modes import TEMPERATURES

    return list(TEMPERATURES) if args.temperatures is None else parse_temperatures("--temperatures", args.temperatures)


def at_least(least: int, args: argparse.Namespace, *names: str) -> None:
    """Raises `UserError` for an option of these that is given and below ``least``."""
    from asr_distill.base import UserError

    for name in names:
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} {value}: expected {least} or more")

"""``asr-distill bundle``: what a model bundle holds, and its acoustic scale."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = (
    "asr-distill bundle show models/distilled/seed0\n"
    "         asr-distill bundle scale models/distilled/seed0 --from decode/distilled_bigram/seed0/dev/tuned.json\n"
    "         asr-distill bundle prior models/distilled/seed0 --frames senones/frames/train"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        *("action",),
        choices=("show", "scale", "prior"),
        help="show what it holds; scale: write the tuned acoustic scale; prior: add the typical training speaker that files"
        " standing alone are drawn to, to a bundle of an earlier version",
    )
    parser.add_argument("model", type=Path, metavar="DIR", help="model bundle")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--from", dest="tuned", type=Path, metavar="JSON", help="a tuned.json that decoding dev wrote")
    scale.add_argument("--acoustic-scale", type=float, metavar="S", help="the scale itself")
    parser.add_argument("--frames", type=Path, metavar="STORE", help="prior: the frame store that the network was trained on")


def run(args: argparse.Namespace) -> int:
    """Prints a line per property."""
    from asr_distill.base import UserError, read_json, to_mapping
    from asr_distill.cli.main import emit
    from asr_distill.student import Student, set_acoustic_scale

    if args.action == "show" and (args.tuned is not None or args.acoustic_scale is not None):
        raise UserError("bundle show changes nothing; next: `asr-distill bundle scale` with the same options")
    if (args.action == "prior") != (args.frames is not None):
        raise UserError("--frames belongs to `asr-distill bundle prior MODEL --frames STORE`")
    if args.action == "prior":
        _add_prior(args.model, args.frames)
    if args.action == "scale":
        scale = args.acoustic_scale
        if args.tuned is not None:
            tuned = read_json(args.tuned)
            scale = tuned.get("acoustic_scale") if isinstance(tuned, dict) else None
            if not isinstance(scale, (int, float)):
                raise UserError(f"{args.tuned} has no acoustic_scale; give the tuned.json of a decode with --scale-grid")
        if scale is None or not scale > 0:
            raise UserError(f"acoustic scale {scale}: expected one above 0, by --from tuned.json or --acoustic-scale")
        set_acoustic_scale(args.model, float(scale))
    student = Student.load(args.model)
    config = student.config
    facts = {
        "network": config.network,
        "parameters": sum(parameter.numel() for parameter in student.network.parameters()),
        "senones": student.num_senones,
        "senones_hash": config.senones_hash,
        "features": to_mapping(config.features),
        "window": to_mapping(config.window),
        "normalisation": config.normalisation.get("kind"),
        "prior_frames": student.normalisation.prior.count if student.normalisation.prior is not None else None,
        "acoustic_scale": config.acoustic_scale,
        "objective": config.training.get("objective"),
    }
    emit(args, facts, "\n".join(f"{name:<15} {value}" for name, value in facts.items()))
    return 0


def _add_prior(model: Path, frames: Path) -> None:
    import dataclasses

    from asr_distill.base import UserError
    from asr_distill.data import FrameStore
    from asr_distill.student import Student
    from asr_distill.student.accuracy import check_store

    student, store = Student.load(model), FrameStore.open(frames)
    check_store(student, store, labelled=False)
    prior = store.normalisation.typical_speaker()
    if prior is None:
        raise UserError(f"{frames} is normalised per {store.normalisation.kind}: files alone are normalised in the same way")
    dataclasses.replace(student.normalisation, prior=prior).save(model)

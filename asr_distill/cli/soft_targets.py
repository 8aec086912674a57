"""``asr-distill soft-targets``: what a teacher says about every frame of a frame store, written once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from asr_distill.cli.soft_target_options import EXAMPLE, at_least, complete_options, configure, temperatures_of

if TYPE_CHECKING:
    from asr_distill.data import FrameStore
    from asr_distill.distillation.soft_target_modes import Encoding

__all__ = ["EXAMPLE", "configure", "run"]

_TOPK_SHOWN = 16


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    complete_options(args)
    if args.verify:
        return _verify(args)
    if args.estimate:
        return _estimate(args)
    return _study(args) if args.study else _write(args)


def _verify(args: argparse.Namespace) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.distillation import SoftTargetStore

    store = SoftTargetStore.open(args.verify, resident_bytes=0)
    store.verify()
    emit(args, {"store": str(args.verify), "verified": True, "hash": store.hash}, f"{args.verify}: whole, {store.hash}")
    return 0


def _estimate(args: argparse.Namespace) -> int:
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.data import FrameStore
    from asr_distill.distillation.soft_target_modes import estimate
    from asr_distill.experiments.soft_target_job import sizes_as_text

    if args.num_classes is None and args.teacher is None:
        raise UserError("--estimate needs the number of classes: give --teacher or --num-classes")
    if args.num_frames is None and args.frames is None:
        raise UserError("--estimate needs the number of frames: give --frames or --num-frames")
    at_least(1, args, "num_classes", "num_frames")
    num_classes = _teacher(args).num_senones if args.num_classes is None else args.num_classes
    num_frames = FrameStore.open(args.frames).num_frames if args.num_frames is None else args.num_frames
    rows = estimate(_encodings(args, num_classes), num_frames)
    emit(args, {"num_classes": num_classes, "num_frames": num_frames, "modes": rows}, sizes_as_text(rows, num_classes))
    return 0


def _write(args: argparse.Namespace) -> int:
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.experiments.soft_target_job import SoftTargetJob

    for name in ("output", "teacher", "frames"):
        if getattr(args, name) is None:
            raise UserError(f"--{name} is missing; see `asr-distill soft-targets --help`")
    options = {name: getattr(args, name) for name in ("mode", "top_k", "tail_rank", "num_samples", "shard_frames", "seed")}
    places = {"device": args.device, "autocast": args.autocast}
    temperatures = tuple(temperatures_of(args))
    result = SoftTargetJob(args.teacher, args.frames, args.output, **options, temperatures=temperatures, **places).run()
    written, rate = result["frames_written_now"], result["frames_per_second"]
    text = (
        f"{args.output}: {result['mode']}, {result['cuts']} cuts, {result['frames']} frames of {result['bytes_per_frame']}"
        f" bytes, {result['bytes'] / 1e6:.1f} MB in all;"
        f" {f'{written} written now at {rate:.0f} frames/s' if rate else 'nothing was left to do'}"
    )
    emit(args, result, text)
    return 0


def _study(args: argparse.Namespace) -> int:
    import numpy as np
    import torch

    from asr_distill.base import UserError, write_json
    from asr_distill.cli.main import emit
    from asr_distill.distillation.soft_target_study import (
        MEASURES,
        MODES,
        residual_mass,
        simulated_posteriors,
        study_soft_targets,
        summary,
    )
    from asr_distill.student.stored_posteriors import stored_posteriors

    if args.output is None:
        raise UserError("--output is missing: name the JSON file of the study")
    at_least(1, args, "num_classes", "study_frames")
    at_least(0, args, "simulated_frames")
    if args.teacher is None and args.frames is None and not args.simulated_frames:
        raise UserError("there is nothing to study: give --teacher and --frames, or --simulated-frames above 0")
    temperatures = temperatures_of(args)
    result: dict[str, Any] = {"modes": MODES, "measures": MEASURES, "temperatures": temperatures, "studies": []}

    def add(name: str, posteriors: torch.Tensor, measured: int, **about: Any) -> None:
        rows = study_soft_targets(
            posteriors[:measured], posteriors[measured:], temperatures=temperatures, seed=args.seed, description=name
        )
        k = min(_TOPK_SHOWN, posteriors.shape[1])
        residuals = {f"{value:g}": residual_mass(posteriors[:measured], k, value) for value in temperatures}
        counts = {"num_classes": posteriors.shape[1], "frames": measured, "frames_for_tail": len(posteriors) - measured}
        said = {"posteriors": name, **about, **counts, f"mass_outside_{k}": residuals}
        result["studies"].append({**said, "summary": summary(rows), "rows": rows})

    if args.teacher is not None or args.frames is not None:
        teacher, frames = _inputs(args)
        order, parts, found = np.random.default_rng(args.seed).permutation(frames.num_cuts), [], 0
        chosen = [frames.cut(frames.cut_ids[index]) for index in order]
        for _, posteriors in stored_posteriors(teacher, frames, chosen):  # whole cuts: but one is on one side of the split only
            parts.append(posteriors)
            found += len(posteriors)
            if found >= 8 * args.study_frames:
                break
        measured = min(args.study_frames, found // 2)
        add("real", torch.cat(parts), measured, teacher=_describe(args, teacher), source={"frames": frames.hash})
    if args.simulated_frames:
        simulated = simulated_posteriors(5 * args.simulated_frames, args.num_classes or 14_000, seed=args.seed)
        add("simulated", simulated, args.simulated_frames)
    write_json(args.output, result, listed=True)
    emit(args, result, f"{_divergences(result)}\nwrote {args.output}")
    return 0


def _divergences(result: dict[str, Any]) -> str:
    head = f"{'posteriors':<12} {'mode':<18} {'k':>4} {'rank':>4} {'T':>5} {'bytes':>6}"
    lines = [f"{head} {'KL(dense||stored)':>18} {'variation':>10}"]
    for study in result["studies"]:
        for row in study["rows"]:
            divergence = "-" if row["kl_dense_to_stored"] is None else f"{row['kl_dense_to_stored']:.5f}"
            lines.append(
                f"{study['posteriors']:<12} {row['mode']:<18} {row['k'] or '-':>4} {row['tail_rank'] or '-':>4}"
                f" {row['temperature']:>5g} {row['bytes_per_frame']:>6} {divergence:>18} {row['total_variation']:>10.5f}"
            )
    return "\n".join(lines)


def _inputs(args: argparse.Namespace) -> tuple[Any, FrameStore]:
    """The teacher and the frames, which fit each other."""
    from asr_distill.base import UserError
    from asr_distill.data import FrameStore
    from asr_distill.student.teachers import check_frames

    for name in ("teacher", "frames"):
        if getattr(args, name) is None:
            raise UserError(f"--{name} is missing; see `asr-distill soft-targets --help`")
    teacher, frames = _teacher(args), FrameStore.open(args.frames)
    check_frames(teacher, frames)
    return teacher, frames


def _teacher(args: argparse.Namespace) -> Any:
    from asr_distill.student.ensemble import load_model

    return load_model(args.teacher, device=args.device, autocast=args.autocast)


def _describe(args: argparse.Namespace, teacher: Any) -> dict[str, Any]:
    """What names the teacher, and the precision that it was asked in."""
    return {**teacher.describe(), "autocast": args.autocast}


def _encodings(args: argparse.Namespace, num_classes: int) -> list[Encoding]:
    from asr_distill.experiments.soft_target_job import encodings

    return encodings(args.mode, num_classes, temperatures_of(args), args.top_k, args.tail_rank, args.num_samples)

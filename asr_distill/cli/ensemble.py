"""``asr-distill ensemble``: bundles combined into one model, and what each further member adds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXAMPLE = (
    "asr-distill ensemble --members models/baseline/seed* --output models/ensemble\n"
    "         asr-distill ensemble --members models/baseline/seed* --mode weighted --dev frames/dev --output models/weighted\n"
    "         asr-distill ensemble curve --members models/baseline/seed* --frames frames/dev frames/test --output curve.json"
    " --plot curve.png"
)
MODES, CURVE_MODES = ("arithmetic", "geometric", "weighted", "best"), ("arithmetic", "geometric")
# of both actions, and of each its own options
_PLACES = {"device": "cpu", "autocast": "off"}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "combine": {"mode": "arithmetic", "weights": None, "folds": None},
    "curve": {"frames": None, "modes": list(CURVE_MODES), "orders": 4, "seed": 0, "plot": None},
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    add = parser.add_argument
    add(
        "action",
        nargs="?",
        choices=("combine", "curve"),
        default="combine",
        help="combine: write an ensemble; curve: measure every size from 1 to all members (default: %(default)s)",
    )
    add("--members", type=Path, nargs="+", required=True, metavar="DIR", help="model bundles, in order")
    add("--output", type=Path, required=True, metavar="PATH", help="combine: the folder to write; curve: the JSON to write")
    add("--device", metavar="NAME", help="auto, cpu, cuda; combine: with --dev, which asks the networks (default: cpu)")
    add("--autocast", choices=("auto", "bf16", "off"), help="precision of the networks, likewise (default: off)")
    combine = parser.add_argument_group("combine").add_argument
    combine("--mode", choices=MODES, help="how posteriors are combined (default: arithmetic)")
    combine("--weights", type=float, nargs="+", metavar="W", help="of weighted and best, one per member, in their order")
    add(
        "--dev",
        type=Path,
        metavar="STORE",
        help="labelled frames that decide the weights of weighted and best; curve: measure these two as well, all members",
    )
    combine(
        "--folds",
        type=Path,
        metavar="JSON",
        help='out-of-fold targets: {"speaker or cut id": [numbers of the members that did not train on it]}; "*": all others',
    )
    curve = parser.add_argument_group("curve").add_argument
    curve("--frames", type=Path, nargs="+", metavar="STORE", help="labelled frame stores")
    curve("--modes", nargs="+", choices=CURVE_MODES, help="(default: both)")
    curve("--orders", type=int, metavar="N", help="random orders of the members to average (default: 4)")
    curve("--seed", type=int, metavar="N", help="of the random orders (default: 0)")
    curve("--plot", type=Path, metavar="PNG", help="draw gain against the number of models")


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    _complete(args)
    return _curve(args) if args.action == "curve" else _combine(args)


def _complete(args: argparse.Namespace) -> None:
    """Gives options that were left out their defaults. Raises `UserError` for those given that the action does not read."""
    from asr_distill.base import UserError

    for action, defaults in _DEFAULTS.items():
        given = [f"--{name}" for name in defaults if getattr(args, name) is not None]
        if given and action != args.action:
            raise UserError(
                f"{', '.join(given)} {'belongs' if len(given) == 1 else 'belong'} to `asr-distill ensemble {action}`, found"
                f" {args.action}. Next: leave it out, or name the action"
            )
        for name, value in defaults.items():
            if getattr(args, name) is None:
                setattr(args, name, value)
    if args.action == "combine" and args.dev is not None and args.mode not in ("weighted", "best"):
        raise UserError(f"--dev decides the weights of weighted and best, found --mode {args.mode}; leave it out")
    if args.weights is not None and args.dev is not None:
        raise UserError("--dev beside --weights, which say it; give one of them")
    placed = [f"--{name}" for name in _PLACES if getattr(args, name) is not None]
    if placed and args.action == "combine" and args.dev is None:
        raise UserError(
            f"{' and '.join(placed)}: without --dev no network is asked, and where it is asked is not written into the"
            " ensemble. Next: leave it out here, and give it to the command that opens the ensemble"
        )
    for name, value in _PLACES.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def _combine(args: argparse.Namespace) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.experiments.model_jobs import CombinationJob

    weights = None if args.weights is None else tuple(args.weights)
    options = {"weights": weights, "dev": args.dev, "folds": args.folds, "device": args.device, "autocast": args.autocast}
    result = CombinationJob(tuple(args.members), args.output, args.mode, **options).run()
    lines = [
        f"{args.mode} ensemble of {len(args.members)}, {result['num_senones']} senones, {result['hash'][:12]} -> {args.output}"
    ]
    if result["weights"] is not None:
        lines += [f"  {weight:.4f}  {path}" for weight, path in zip(result["weights"], args.members, strict=True)]
    emit(args, result, "\n".join(lines))
    return 0


def _curve(args: argparse.Namespace) -> int:
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.experiments.model_jobs import CurveJob

    if not args.frames:
        raise UserError("--frames is missing: name the labelled frame stores to measure on")
    options = {name: getattr(args, name) for name in ("dev", "orders", "seed", "plot", "device", "autocast")}
    result = CurveJob(tuple(args.members), tuple(args.frames), args.output, tuple(args.modes), **options).run()
    emit(args, result, "\n".join(_table(name, curve, result["modes"]) for name, curve in result["splits"].items()))
    return 0


def _table(name: str, curve: dict[str, Any], modes: list[str]) -> str:
    def cells(row: dict[str, Any]) -> str:
        percents = "".join("        -" if row[key] is None else f"{row[key]:>9.2f}" for key in ("accuracy", "speech_accuracy"))
        return percents + ("            -" if row["cross_entropy"] is None else f"{row['cross_entropy']:>13.4f}")

    lines = [f"{name}: {curve['frames']} frames, {curve['speech_frames']} of speech"]
    lines.append(f"{'models':<22}{'all %':>9}{'speech %':>9}{'cross-entropy':>13}   random subsets")
    lines.append(f"{'1, mean of all':<22}{cells(curve['single'])}")
    for mode in modes:
        for row in curve[mode]:
            over_orders = row["random_orders"]
            lines.append(f"{row['size']:>2} {mode:<19}{cells(row)}{'' if over_orders is None else cells(over_orders)}")
    for row in curve["full_size"][len(modes) :]:
        lines.append(f"{len(curve['members']):>2} {row['mode']:<19}{cells(row)}")
    return "\n".join(lines)

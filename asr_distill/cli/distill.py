"""``asr-distill distill``: a student from an ensemble's soft targets, at one temperature or swept over several."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from asr_distill.cli.runs import configure_training, parse_numbers, parse_temperatures, table_of_runs, train_all, training_jobs

EXAMPLE = (
    "asr-distill distill --config recipes/conf/student.yaml --train frames/train --dev frames/dev --inventory"
    " senones/senones.json --priors senones/priors.json --soft-targets targets/ensemble --temperature 2 --hard-weight 0.5"
    " --output models/student --seeds 0-4\n"
    "         asr-distill distill ... --temperature 1,2,5,10 --hard-weight 0,0.5,1 --output models/sweep"
)
SWEEP = "sweep.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    add = parser.add_argument
    add("--train", type=Path, required=True, metavar="STORE", help="frame store of the transfer set; labels may be absent")
    teacher = parser.add_mutually_exclusive_group(required=True)
    teacher.add_argument("--soft-targets", type=Path, metavar="STORE", help="what `asr-distill soft-targets` wrote")
    teacher.add_argument("--teacher", type=Path, metavar="DIR", help="bundle or ensemble, asked about each perturbed input")
    add(
        *("--soften",),
        choices=("ensemble", "members"),
        help="with --teacher: soften what the members agree on, or each member (default: ensemble)",
    )
    add("--temperature", "-T", metavar="T[,T]", help="several: a sweep (default: 1)")
    add("--soft-weight", type=float, default=1.0, metavar="W", help="of the soft term, times T^2 (default: %(default)s)")
    add("--hard-weight", metavar="W[,W]", help="of the labels' term; several: a sweep (default: 0.5)")
    add(
        "--loss",
        choices=("paper", "convex", "student_at_one", "corrected", "logits"),
        default="paper",
        help="equation, see asr_distill.distillation.soft_target_loss (default: %(default)s)",
    )
    add("--point", type=Path, metavar="JSON", help="temperature and hard weight chosen by an earlier sweep: its sweep.json")
    add("--output", type=Path, required=True, metavar="DIR", help="gets seed0/, seed1/, ...; in a sweep T2_h0.5/seed0/, ...")
    configure_training(parser)


def run(args: argparse.Namespace) -> int:
    """Trains every point and seed that is not trained yet; of a sweep it names the best by dev frame accuracy."""
    from asr_distill.base import UserError, check_own, write_json
    from asr_distill.cli.main import emit
    from asr_distill.experiments.sweep import Point, choose
    from asr_distill.experiments.training_job import SoftTargets, TrainingJob

    if args.soften is not None and args.teacher is None:
        raise UserError(
            f"--soften {args.soften}: a store holds what was combined already. Next: leave it out, or ask with --teacher DIR"
        )
    temperatures, hard_weights = _grid(args)
    _check_loss(args, temperatures, hard_weights)
    _check_store(args, temperatures)
    points = [Point(*pair) for pair in itertools.product(temperatures, hard_weights)]
    sweep = len(points) > 1
    if sweep and args.dev is None:
        raise UserError("a sweep is decided by dev frame accuracy; next: --dev STORE")
    if sweep:
        check_own(args.output / SWEEP)
    jobs: dict[str, TrainingJob] = {}
    for point in points:
        soft = SoftTargets(
            *(args.soft_targets, args.teacher, args.soften or "ensemble"),
            temperature=point.temperature,
            soft_weight=args.soft_weight,
            hard_weight=point.hard_weight,
            loss=args.loss,
        )
        output = args.output / point.name if sweep else args.output
        of_seeds = training_jobs(args, soft=soft, output=output, points=len(points))
        jobs |= {f"T {point.temperature:g}, weight {point.hard_weight:g}, {seed}": job for seed, job in of_seeds.items()}
    rows = train_all(args, jobs)
    result: dict[str, Any] = {"output": str(args.output), "models": rows}
    text = table_of_runs(rows, args.output)
    if sweep:
        result["sweep"] = choose(args.output, rows)
        write_json(args.output / SWEEP, result["sweep"], listed=True)
        text = _sweep_table(result["sweep"])
    emit(args, result, text)
    return 0


def _grid(args: argparse.Namespace) -> tuple[list[float], list[float]]:
    from asr_distill.base import UserError, read_json

    if args.point is not None:
        given = [name for name in ("temperature", "hard_weight") if getattr(args, name) is not None]
        if given:
            options = " and ".join(f"--{name.replace('_', '-')} {getattr(args, name)}" for name in given)
            raise UserError(f"{options} beside --point {args.point}, which says both; give the point or the values")
        sweep = read_json(args.point)
        chosen = sweep.get("chosen") if isinstance(sweep, dict) else None
        if not isinstance(chosen, dict) or not {"temperature", "hard_weight"} <= chosen.keys():
            raise UserError(
                f"{args.point} names no chosen temperature and hard_weight; give the sweep.json of a finished sweep"
            )
        where = f"{args.point}, the chosen"
        temperatures = parse_temperatures(f"{where} temperature", str(chosen["temperature"]))
        return temperatures, parse_numbers(f"{where} hard_weight", str(chosen["hard_weight"]), zero=True)
    temperature = "1" if args.temperature is None else args.temperature
    hard_weight = "0.5" if args.hard_weight is None else args.hard_weight
    return parse_temperatures("--temperature", temperature), parse_numbers("--hard-weight", hard_weight, zero=True)


def _check_loss(args: argparse.Namespace, temperatures: list[float], hard_weights: list[float]) -> None:
    """Raises `UserError` for weights that the loss has no meaning for, and temperatures that make no difference to it.

    Before anything is read. Softened log-probabilities times T are the teacher's logits again, so matched logits do not know
    the temperature, unless each member was softened by itself.
    """
    from asr_distill.base import UserError
    from asr_distill.distillation.checks import check_options

    for hard_weight in hard_weights:
        try:
            check_options(args.soft_weight, hard_weight, args.loss, "mean")
        except ValueError as error:
            raise UserError(
                f"--loss {args.loss} --soft-weight {args.soft_weight:g} --hard-weight {hard_weight:g}: {error}"
            ) from None
        if args.soft_weight == 0 and hard_weight == 0:
            raise UserError("--soft-weight 0 with --hard-weight 0 leaves nothing to learn from; give one of them")
    matched = args.loss == "logits" and args.soften != "members"
    if len(temperatures) > 1 and (matched or args.soft_weight == 0):
        without = "--loss logits" if matched else "--soft-weight 0"
        raise UserError(
            f"--temperature {','.join(f'{value:g}' for value in temperatures)} with {without}: the temperature has no"
            " influence on it, and every point of the sweep would be the same student. Next: give one temperature"
        )


def _check_store(args: argparse.Namespace, temperatures: list[float]) -> None:
    """Raises `UserError` for a store that does not hold what the loss reads, or at one of the temperatures."""
    from asr_distill.distillation import SoftTargetStore
    from asr_distill.training.distillation import check_targets

    if args.soft_targets is None:
        return
    store = SoftTargetStore.open(args.soft_targets, resident_bytes=0)  # its records are not read here
    check_targets(args.loss, store.mode, str(store.path))
    for temperature in temperatures:
        store.encoding.check_temperature(temperature, str(store.path))


def _sweep_table(sweep: dict[str, Any]) -> str:
    lines = [f"{'T':>6} {'hard weight':>12} {'dev accuracy':>13}"]
    for point in sweep["points"]:
        mark = " <- best" if point is sweep["chosen"] else ""
        lines.append(f"{point['temperature']:>6g} {point['hard_weight']:>12g} {point['dev_accuracy']:>12.2f} %{mark}")
    return "\n".join(lines)

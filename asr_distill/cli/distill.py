"""``asr-distill distill``: a student from an ensemble's soft targets, at one temperature or swept over several."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from asr_distill.cli.runs import (
    in_processes,
    of_seed,
    parse_numbers,
    parse_seeds,
    parse_temperatures,
    table_of_runs,
    threads_of_each,
)

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
    add("--config", type=Path, metavar="YAML", help="training configuration of the student: network, epochs, ...")
    add(*("--set", "-s"), action="append", default=[], metavar="KEY=VALUE", help="one option over the configuration")
    add("--train", type=Path, required=True, metavar="STORE", help="frame store of the transfer set; labels may be absent")
    add("--dev", type=Path, metavar="STORE", help="labelled frame store that decides the best epoch and the best of a sweep")
    add("--inventory", type=Path, required=True, metavar="JSON", help="senones.json that student and teacher share")
    add("--priors", type=Path, required=True, metavar="JSON", help="priors.json of the same senones")
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
    add("--share", type=float, default=1.0, metavar="S", help="of the transfer utterances, 0.03 for 3 %% (default: all)")
    add("--output", type=Path, required=True, metavar="DIR", help="gets seed0/, seed1/, ...; in a sweep T2_h0.5/seed0/, ...")
    add("--seeds", "--seed", default=None, metavar="LIST", help="such as 0 or 0-4 (default: the configuration's)")
    add(
        *("--initial-model",),
        type=Path,
        metavar="DIR",
        help="start from these weights instead of fresh ones; models/baseline/seed{seed}: each seed from its own",
    )
    add("--allow-shared-speakers", action="store_true", help="train and dev may have speakers in common")
    add("--device", metavar="NAME", help="auto, cpu, cuda (default: the configuration's)")
    add("--threads", type=int, metavar="N", help="CPU threads of each job (default: the configuration's)")
    add("--jobs", type=int, default=1, metavar="N", help="students trained at a time, each in a process")


def run(args: argparse.Namespace) -> int:
    """Trains every point and seed that is not trained yet; of a sweep it names the best by dev frame accuracy."""
    from asr_distill.base import UserError, check_own, write_json
    from asr_distill.cli.main import emit
    from asr_distill.training import load_training_config

    if args.soften is not None and args.teacher is None:
        raise UserError(
            f"--soften {args.soften}: a store holds what was combined already. Next: leave it out, or ask with --teacher DIR"
        )
    temperatures, hard_weights = _grid(args)
    _check_loss(args, temperatures, hard_weights)
    _check_store(args, temperatures)
    config = load_training_config(args.config, args.set)
    seeds = parse_seeds(args.seeds) if args.seeds is not None else [config.seed]
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: expected 1 or more")
    sweep = len(temperatures) * len(hard_weights) > 1
    if sweep and args.dev is None:
        raise UserError("a sweep is decided by dev frame accuracy; next: --dev STORE")
    if sweep:
        check_own(args.output / SWEEP)
    points = [
        (temperature, hard_weight, seed, args.output / f"T{temperature:g}_h{hard_weight:g}" if sweep else args.output)
        for temperature, hard_weight in itertools.product(temperatures, hard_weights)
        for seed in seeds
    ]
    if min(args.jobs, len(points)) > 1:
        threads = threads_of_each(args.threads, args.jobs, config.threads)
        rows = in_processes(
            [(f"T {t:g}, weight {h:g}, seed {s}", _command(args, t, h, s, out, threads)) for t, h, s, out in points], args.jobs
        )
    else:
        rows = [_distill(of_seed(args, point[2]), *point) for point in points]
    result: dict[str, Any] = {"output": str(args.output), "models": rows}
    text = table_of_runs(rows, args.output)
    if sweep:
        result["sweep"] = _choose(points, rows)
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


def _distill(args: argparse.Namespace, temperature: float, hard_weight: float, seed: int, output: Path) -> dict[str, Any]:
    """One student; returns at once where it is trained already."""
    from asr_distill.base import UserError
    from asr_distill.student.senone_task import open_senone_task
    from asr_distill.training import load_training_config, train_model
    from asr_distill.training.distillation import Distillation

    settings = [f"{name}={getattr(args, name)}" for name in ("threads", "device") if getattr(args, name) is not None]
    config = load_training_config(args.config, [*args.set, *settings, f"seed={seed}"])
    if config.label_smoothing:
        raise UserError(
            f"label_smoothing is {config.label_smoothing:g}, but no loss of distillation smooths its labels:"
            " soft targets do that. Next: --set label_smoothing=0"
        )
    task = open_senone_task(
        *(config, args.train, args.dev, args.inventory, args.priors),
        allow_shared_speakers=args.allow_shared_speakers,
        share=args.share,
        unlabelled=True,
    )
    if args.soft_weight == 0 and task.train.num_labelled == 0:
        raise UserError(
            f"--soft-weight 0 learns from labels alone, and none of the {task.train.num_examples} frames of {args.train} has"
            " one; give a --soft-weight above 0, or --train with labels"
        )
    objective = Distillation(
        _teacher(args, task, temperature, config),
        soft_weight=args.soft_weight,
        hard_weight=hard_weight,
        variant=args.loss,
    )
    summary = train_model(
        *(config, task.train, task.dev, output / f"seed{seed}", objective),
        description=task.parts.describe(),
        companions=task.parts.write,
        initial_model=args.initial_model,
    )
    return {**summary, "temperature": temperature, "hard_weight": hard_weight}


def _teacher(args: argparse.Namespace, task: Any, temperature: float, config: Any) -> Any:
    from asr_distill.distillation import SoftTargetStore
    from asr_distill.senones import check_same
    from asr_distill.training.distillation import StoredTeacher
    from asr_distill.training.precision import choose_device

    device = choose_device(config.device)
    if args.soft_targets is not None:
        store = SoftTargetStore.open(args.soft_targets)
        check_same(store.senones_hash, task.inventory.hash, f"the soft targets {args.soft_targets}", str(args.inventory))
        return StoredTeacher(store, task.store, temperature, device)
    from asr_distill.student.ensemble import load_model
    from asr_distill.student.teachers import ModelTeacher, check_frames

    model = load_model(args.teacher, device=str(device), autocast=config.autocast)
    model.check_senones(task.inventory.hash, str(args.inventory))
    check_frames(model, task.store, config.window)
    return ModelTeacher(model, temperature, args.soften or "ensemble")


def _command(
    args: argparse.Namespace, temperature: float, hard_weight: float, seed: int, output: Path, threads: int
) -> list[str]:
    """The command line of one student."""
    command = ["distill", "--temperature", str(temperature), "--hard-weight", str(hard_weight), "--seeds", str(seed)]
    command += ["--output", str(output), "--threads", str(threads), "--share", str(args.share)]
    command += ["--soft-weight", str(args.soft_weight), "--loss", args.loss]
    files = ("config", "train", "dev", "inventory", "priors", "soft_targets", "teacher", "initial_model")
    for name in (*files, "soften", "device"):
        if getattr(args, name) is not None:
            command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    command += [word for setting in args.set for word in ("--set", setting)] + (["--quiet"] if args.quiet else [])
    return command + (["--allow-shared-speakers"] if args.allow_shared_speakers else [])


def _choose(points: list[tuple[float, float, int, Path]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Dev frame accuracy of each point, the mean over its seeds, and the best point."""
    table: dict[tuple[float, float], dict[str, Any]] = {}
    for (temperature, hard_weight, seed, output), row in zip(points, rows, strict=True):
        entry = table.setdefault(
            (temperature, hard_weight),
            {"temperature": temperature, "hard_weight": hard_weight, "path": str(output), "seeds": [], "accuracies": []},
        )
        entry["seeds"].append(seed)
        entry["accuracies"].append(row["dev_accuracy"])
    for entry in table.values():
        entry["dev_accuracy"] = sum(entry["accuracies"]) / len(entry["accuracies"])
    best = max(table.values(), key=lambda entry: entry["dev_accuracy"])
    return {"chosen": best, "points": list(table.values()), "criterion": "dev frame accuracy, mean over seeds"}


def _sweep_table(sweep: dict[str, Any]) -> str:
    lines = [f"{'T':>6} {'hard weight':>12} {'dev accuracy':>13}"]
    for point in sweep["points"]:
        mark = " <- best" if point is sweep["chosen"] else ""
        lines.append(f"{point['temperature']:>6g} {point['hard_weight']:>12g} {point['dev_accuracy']:>12.2f} %{mark}")
    return "\n".join(lines)

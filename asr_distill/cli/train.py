"""``asr-distill train``: one senone network per seed, each in a bundle of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asr_distill.cli.runs import in_processes, of_seed, parse_seeds, table_of_runs, threads_of_each
from asr_distill.cli.train_sequence import complete_sequence_options, configure_sequence, sequence_options, sequence_task

EXAMPLE = (
    "asr-distill train --config recipes/conf/cpu.yaml --train frames/train --dev frames/dev --inventory senones/senones.json"
    " --priors senones/priors.json --output models/baseline --seeds 0-3"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("--config", type=Path, metavar="YAML", help="training configuration (default: every option's default)")
    parser.add_argument(
        *("--set", "-s"),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one option over the configuration, such as learning_rate=0.01 or network.width=512; may be repeated",
    )
    parser.add_argument("--train", type=Path, required=True, metavar="STORE", help="frame store to train on")
    parser.add_argument("--dev", type=Path, metavar="STORE", help="frame store that decides the best epoch and early stopping")
    parser.add_argument("--inventory", type=Path, required=True, metavar="JSON", help="senones.json of the labels")
    parser.add_argument("--priors", type=Path, required=True, metavar="JSON", help="priors.json of the same senones")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets seed0/, seed1/, ...: one bundle each")
    parser.add_argument(
        *("--seeds", "--seed"), default=None, metavar="LIST", help="such as 0 or 0-9 or 0,3,5-7 (default: the configuration's)"
    )
    parser.add_argument(
        "--allow-shared-speakers", action="store_true", help="train and dev may have speakers in common (default: refused)"
    )
    parser.add_argument(
        "--share", type=float, default=1.0, metavar="S", help="of the training utterances, 0.03 for 3 %% (default: all)"
    )
    parser.add_argument(
        *("--initial-model",),
        type=Path,
        metavar="DIR",
        help="start from these weights instead of fresh ones; models/baseline/seed{seed}: each seed from its own",
    )
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda (default: the configuration's)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of each job (default: the configuration's)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="seeds trained at a time, each in a process")
    configure_sequence(parser)


def run(args: argparse.Namespace) -> int:
    """Trains every seed that is not trained yet, and prints what each reached."""
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.training import load_training_config

    complete_sequence_options(args)
    settings = [*args.set]
    for name in ("threads", "device"):
        if getattr(args, name) is not None:
            settings.append(f"{name}={getattr(args, name)}")
    config = load_training_config(args.config, settings)
    seeds = parse_seeds(args.seeds) if args.seeds is not None else [config.seed]
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: expected 1 or more")
    rows = (
        _in_processes(args, seeds, threads_of_each(args.threads, args.jobs, config.threads))
        if min(args.jobs, len(seeds)) > 1
        else [_train(of_seed(args, s), settings, s) for s in seeds]
    )
    emit(args, {"output": str(args.output), "models": rows}, table_of_runs(rows, args.output))
    return 0


def _train(args: argparse.Namespace, settings: list[str], seed: int) -> dict[str, Any]:
    """One seed; returns at once where it is trained already."""
    from asr_distill.student.senone_task import open_senone_task
    from asr_distill.training import load_training_config, train_model

    config = load_training_config(args.config, [*settings, f"seed={seed}"])
    task = open_senone_task(
        *(config, args.train, args.dev, args.inventory, args.priors),
        allow_shared_speakers=args.allow_shared_speakers,
        share=args.share,
    )
    examples, objective = (task.train, None) if args.objective == "hard" else sequence_task(args, config, task)
    return train_model(
        *(config, examples, task.dev, args.output / f"seed{seed}", objective),
        description=task.parts.describe(),
        companions=task.parts.write,
        initial_model=args.initial_model,
    )


def _in_processes(args: argparse.Namespace, seeds: list[int], threads: int) -> list[dict[str, Any]]:
    """Each seed in a process of its own, ``args.jobs`` at a time; raises `UserError` naming the seeds that failed."""
    command = ["train", "--threads", str(threads), "--share", str(args.share)]
    for name in ("config", "train", "dev", "inventory", "priors", "output", "initial_model", "device"):
        if getattr(args, name) is not None:
            command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    command += [word for setting in args.set for word in ("--set", setting)] + (["--quiet"] if args.quiet else [])
    command += sequence_options(args)
    command += ["--allow-shared-speakers"] if args.allow_shared_speakers else []
    return in_processes([(f"seed {seed}", [*command, "--seeds", str(seed)]) for seed in seeds], args.jobs)

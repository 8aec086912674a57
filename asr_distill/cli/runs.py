"""What `train` and `distill` share: their options, the jobs of their seeds, and the table of what these reached."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_distill.base.executor import Executor
    from asr_distill.experiments.training_job import SequenceObjective, SoftTargets, TrainingJob


def configure_training(parser: argparse.ArgumentParser) -> None:
    """Add the options that are the same whatever a network learns from."""
    add = parser.add_argument
    add("--config", type=Path, metavar="YAML", help="training configuration (default: every option's default)")
    add(
        *("--set", "-s"),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one option over the configuration, such as learning_rate=0.01 or network.width=512; may be repeated",
    )
    add("--dev", type=Path, metavar="STORE", help="labelled frame store that decides the best epoch, early stopping, a sweep")
    add("--inventory", type=Path, required=True, metavar="JSON", help="senones.json of the labels, and of the teacher")
    add("--priors", type=Path, required=True, metavar="JSON", help="priors.json of the same senones")
    add(*("--seeds", "--seed"), metavar="LIST", help="such as 0 or 0-9 or 0,3,5-7 (default: the configuration's)")
    add("--allow-shared-speakers", action="store_true", help="train and dev may have speakers in common (default: refused)")
    add("--share", type=float, default=1.0, metavar="S", help="of the training utterances, 0.03 for 3 %% (default: all)")
    add(
        *("--initial-model",),
        type=Path,
        metavar="DIR",
        help="start from these weights instead of fresh ones; models/baseline/seed{seed}: each seed from its own",
    )
    add("--device", metavar="NAME", help="auto, cpu, cuda (default: the configuration's)")
    add("--threads", type=int, metavar="N", help="CPU threads of each job (default: the configuration's)")
    add("--jobs", type=int, default=1, metavar="N", help="networks trained at a time, each in a process")


def training_jobs(
    args: argparse.Namespace,
    soft: SoftTargets | None = None,
    sequence: SequenceObjective | None = None,
    output: Path | None = None,
    points: int = 1,
) -> dict[str, TrainingJob]:
    """Return the job of each seed by its name, ``seed N``.

    Args:
        args: what `configure_training` adds, ``--train`` and ``--output``.
        soft, sequence: what the networks learn from; labels without them.
        output: the folder over the seeds, by default the option's.
        points: how often these seeds are trained by one command.
    """
    from asr_distill.base import to_mapping
    from asr_distill.experiments.training_job import TrainingJob
    from asr_distill.training import load_training_config

    settings = [*args.set, *([f"device={args.device}"] if args.device is not None else [])]
    config = load_training_config(args.config, settings)
    seeds = parse_seeds(args.seeds) if args.seeds is not None else [config.seed]
    together = min(args.jobs, points * len(seeds))
    threads = threads_of_each(args.threads, args.jobs, config.threads) if together > 1 else args.threads
    settings += [f"threads={threads}"] if threads is not None else []
    jobs = {}
    for seed in seeds:
        start = args.initial_model and Path(str(args.initial_model).replace("{seed}", str(seed)))
        jobs[f"seed {seed}"] = TrainingJob(
            to_mapping(load_training_config(args.config, [*settings, f"seed={seed}"])),
            *(args.train, args.dev, args.inventory, args.priors, (output or args.output) / f"seed{seed}"),
            share=args.share,
            initial_model=start,
            allow_shared_speakers=args.allow_shared_speakers,
            soft=soft,
            sequence=sequence,
        )
    return jobs


def train_all(args: argparse.Namespace, jobs: Mapping[str, TrainingJob]) -> list[dict[str, Any]]:
    """Run the jobs, ``--jobs`` at a time. Raises `UserError` naming those that failed; the others are complete by then."""
    from asr_distill.base.executor import run_jobs

    return run_jobs(executor_of(args, len(jobs)), jobs)


def executor_of(args: argparse.Namespace, wanted: int) -> Executor:
    """Return the executor that ``--jobs`` asks for: this process for one job at a time, else processes of their own."""
    from asr_distill.base import UserError
    from asr_distill.base.executor import Executor, ProcessExecutor
    from asr_distill.models import imported_networks

    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: expected 1 or more")
    if min(args.jobs, wanted) == 1:
        return Executor()
    imports = [word for source in imported_networks() for word in ("--import", source)]
    return ProcessExecutor(min(args.jobs, wanted), [*imports, *(["--quiet"] if args.quiet else [])])


def parse_seeds(text: str) -> list[int]:
    """``0``, ``0-3``, ``0,2,5-7`` to numbers in order, without repeats."""
    from asr_distill.base import UserError

    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UserError(f"--seeds {text}: expected whole numbers and ranges, such as 0 or 0-9 or 0,3,5-7")
        seeds += range(int(first), int(last if dash else first) + 1)
    return list(dict.fromkeys(seeds))


def parse_numbers(option: str, text: str, zero: bool = False) -> list[float]:
    """Finite numbers between commas, above 0 or, with ``zero``, from 0 on, in order. Raises `UserError` naming the option."""
    from asr_distill.base import UserError

    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text!r}: expected numbers between commas, such as 1,2,5,10") from None
    if not all(math.isfinite(value) and (value > 0 or (zero and value == 0)) for value in values):
        raise UserError(f"{option} {text}: expected finite values {'of 0 or more' if zero else 'above 0'}")
    return list(dict.fromkeys(values))


def parse_temperatures(option: str, text: str) -> list[float]:
    """`parse_numbers` that are temperatures of soft targets. Raises `UserError` naming the option for one out of range."""
    from asr_distill.base import UserError
    from asr_distill.distillation.combine import check_temperature

    try:
        return [check_temperature(value) for value in parse_numbers(option, text)]
    except ValueError as error:
        raise UserError(f"{option} {text}: {error}") from None


def table_of_runs(rows: list[dict[str, Any]], output: Path) -> str:
    """Per seed: epochs trained and kept, frame accuracies in per cent, dev cross-entropy in nats, seconds."""

    def cell(value: float | None, pattern: str) -> str:
        return "-" if value is None else format(value, pattern)

    heads = ("seed", "epochs", "kept", "train acc", "dev acc", "dev loss", "seconds")
    names = ("seed", "epochs", "kept_epoch", "train_accuracy", "dev_accuracy", "dev_loss", "seconds")
    patterns = ("d", "d", "d", ".2f", ".2f", ".4f", ".1f")
    lines = ["  ".join(f"{head:>9}" for head in heads)]
    for row in rows:
        lines.append("  ".join(f"{cell(row[name], pattern):>9}" for name, pattern in zip(names, patterns, strict=True)))
    return "\n".join([*lines, f"{rows[0]['parameters']:,} parameters each; bundles in {output}"])


def threads_of_each(threads: int | None, jobs: int, configured: int | None = None) -> int:
    """What was asked for, else what the configuration says, else the processors shared out among the jobs."""
    import os

    return threads or configured or max(1, (os.cpu_count() or 1) // jobs)

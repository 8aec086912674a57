"""Many training runs by one command: lists of seeds, runs in processes of their own, and the table of what they reached."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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


def of_seed(args: argparse.Namespace, seed: int) -> argparse.Namespace:
    """The options of one seed's run: ``{seed}`` in ``--initial-model`` is the seed, so that each may start from its own."""
    if args.initial_model is None:
        return args
    path = Path(str(args.initial_model).replace("{seed}", str(seed)))
    return argparse.Namespace(**{**vars(args), "initial_model": path})


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


def in_processes(commands: Sequence[tuple[str, Sequence[str]]], jobs: int) -> list[dict[str, Any]]:
    """Runs `asr-distill` commands, ``(name, arguments)`` each, ``jobs`` at a time; the first model of each one's JSON.

    Raises `UserError` naming those that failed; the others are complete by then. Where this process is interrupted, terminated
    or killed, or dies of an error, so are they.
    """
    import json
    import sys
    from concurrent.futures import ThreadPoolExecutor

    from asr_distill.base import UserError
    from asr_distill.cli.children import Children
    from asr_distill.models import imported_networks

    imports = [word for source in imported_networks() for word in ("--import", source)]

    def work(item: tuple[str, Sequence[str]]) -> dict[str, Any] | None:
        command = [sys.executable, "-m", "asr_distill", *item[1], *imports, "--json"]
        output = children.output_of(command)
        return None if output is None else json.loads(output)["models"][0]

    with ThreadPoolExecutor(min(jobs, len(commands))) as pool, Children() as children:
        rows = list(pool.map(work, commands))
    failed = [name for (name, _), row in zip(commands, rows, strict=True) if row is None]
    if failed:
        raise UserError(f"training failed for {', '.join(failed)}: see the messages above; the others are complete")
    return [row for row in rows if row is not None]


def threads_of_each(threads: int | None, jobs: int, configured: int | None = None) -> int:
    """What was asked for, else what the configuration says, else the processors shared out among the jobs."""
    import os

    return threads or configured or max(1, (os.cpu_count() or 1) // jobs)

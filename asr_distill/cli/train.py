"""``asr-distill train``: one senone network per seed, each in a bundle of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_distill.cli.runs import configure_training, table_of_runs, train_all, training_jobs
from asr_distill.cli.train_sequence import configure_sequence, sequence_objective

EXAMPLE = (
    "asr-distill train --config recipes/conf/cpu.yaml --train frames/train --dev frames/dev --inventory senones/senones.json"
    " --priors senones/priors.json --output models/baseline --seeds 0-3"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("--train", type=Path, required=True, metavar="STORE", help="frame store to train on")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets seed0/, seed1/, ...: one bundle each")
    configure_training(parser)
    configure_sequence(parser)


def run(args: argparse.Namespace) -> int:
    """Trains every seed that is not trained yet, and prints what each reached."""
    from asr_distill.cli.main import emit

    rows = train_all(args, training_jobs(args, sequence=sequence_objective(args)))
    emit(args, {"output": str(args.output), "models": rows}, table_of_runs(rows, args.output))
    return 0

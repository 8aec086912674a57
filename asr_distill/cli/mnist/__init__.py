"""``asr-distill mnist``: the paper's MNIST experiments: how long they take, training them, their figures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asr_distill.cli.main import answer_options

EXAMPLE = "asr-distill mnist train --config recipes/mnist/conf/full.yaml --run exp/mnist-full --threads 1 --jobs 2"
PARTS = {
    "estimate": "how long the runs that are left will take on this machine",
    "train": "train what is not trained yet",
    "report": "results.json, per_utterance.jsonl, RESULTS.md and plots",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parts = parser.add_subparsers(dest="part", metavar="WHAT", required=True)
    for name, summary in PARTS.items():
        part = parts.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        part.add_argument("--config", type=Path, required=True, metavar="YAML", help="such as recipes/mnist/conf/full.yaml")
        part.add_argument(
            "--run", dest="root", type=Path, required=True, metavar="DIR", help="the folder of the runs, such as exp/mnist-full"
        )
        part.add_argument(
            "--corpus-dir",
            dest="data",
            type=Path,
            metavar="DIR",
            help="the four idx files (default: MNIST_DIR, ../shared/mnist, else downloaded to downloads/mnist)",
        )
        answer_options(part)
        if name == "report":
            _configure_report(part)
        else:
            part.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of each run (default: 1)")
            part.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time, each in a process (default: 1)")


def _configure_report(part: argparse.ArgumentParser) -> None:
    part.add_argument("--publish", type=Path, metavar="DIR", help="write the files here (default: --run)")
    part.add_argument(
        "--paper-protocol", action="store_true", help="also report the biases with the fewest test errors, as the paper did"
    )
    part.add_argument("--allow-missing", action="store_true", help="leave out runs that are not trained yet")
    part.add_argument("--no-plots", action="store_true", help="no pictures (they need matplotlib)")
    part.add_argument("--command", metavar="TEXT", help="the command that repeats the run")


def run(args: argparse.Namespace) -> int:
    """Estimates, trains, or reports."""
    from asr_distill.base import UserError, load_config
    from asr_distill.images.mnist import MnistConfig, locate_mnist, plan

    config = load_config(MnistConfig, args.config)
    data = locate_mnist(args.data, Path(__file__).resolve().parents[3])
    if args.part == "report":
        return _report(args, config, data)
    for name in ("threads", "jobs"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: expected 1 or more")
    runs = plan(config, args.threads)
    return (_estimate if args.part == "estimate" else _train)(args, config, data, runs)


def _estimate(args: argparse.Namespace, config: Any, data: Path, runs: list[Any]) -> int:
    import logging

    from asr_distill.cli.main import emit
    from asr_distill.images.mnist import estimate, read_mnist

    logging.getLogger("asr_distill").setLevel(logging.WARNING)
    found = estimate(config, read_mnist(data, train_images=config.train_images)[0], args.root, runs, args.jobs)
    lines = [f"{'experiment':16}{'runs':>6}{'minutes of one job':>20}"]
    for row in found["experiments"]:
        lines.append(f"{row['experiment']:16}{row['runs']:6d}{row['seconds'] / 60:20.1f}")
    jobs = f"{args.jobs} job{'s' if args.jobs > 1 else ''} of {args.threads} thread{'s' if args.threads > 1 else ''}"
    lines.append(f"estimated time left: {_duration(found['seconds'])} with {jobs}, on this machine as busy as it is now")
    emit(args, found, "\n".join(lines))
    return 0


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.1f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def _train(args: argparse.Namespace, config: Any, data: Path, runs: list[Any]) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.images.mnist import read_mnist, run_all

    read_mnist(data, train_images=config.train_images)  # what is wrong with the data is said before anything is trained
    seconds = run_all(config, data, args.root, runs, args.jobs)
    text = f"{len(runs)} runs in {args.root}, {_duration(seconds)}"
    emit(args, {"runs": [run.name for run in runs], "seconds": seconds}, text)
    return 0


def _report(args: argparse.Namespace, config: Any, data: Path) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.cli.mnist.publishing import publish
    from asr_distill.images.mnist import collect, read_mnist
    from asr_distill.images.mnist.plots import plot_all

    folder = args.publish or args.root
    train, test = read_mnist(data, train_images=config.train_images)
    options = {"paper_protocol": args.paper_protocol, "allow_missing": args.allow_missing}
    figures = collect(config, train, test, args.root, **options)
    plots = [] if args.no_plots else plot_all(figures, test, args.root, folder / "plots")
    counts = {"train": len(train), "test": len(test), "held_out": min(config.held_out, len(train) // 4)}
    results, written = publish(figures, config, counts, args.root, folder, args.command, plots)
    headline = "\n".join(f"{name:44}{value:10.2f}" for name, value in results["headline"].items() if value is not None)
    emit(args, results, headline + "\n\n" + "\n".join(f"wrote {path}" for path in [*written, *plots]))
    return 0

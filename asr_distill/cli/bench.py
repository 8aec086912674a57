"""``asr-distill bench``: training, features, soft targets and search against named references; what specialists cost."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_distill.cli.main import answer_options

if TYPE_CHECKING:
    from asr_distill.bench import BenchConfig

EXAMPLE = "asr-distill bench all --config recipes/bench/conf/full.yaml --output exp/bench/bench.json"
# Measured into one file, part by part or all at once; parts that the file has already are not measured again by `all`.
PARTS = {
    "train": "the training loop against the same steps on resident data and against its matrix products",
    "features": "filterbanks against a bare kaldi-native-fbank loop",
    "soft-targets": "stored soft targets read and softened against the student's training step and the ensemble",
    "specialists": "clusters and combined predictions at 15,000 classes: time and memory",
    "search": "k2 against kaldi-decoder on the same graphs and simulated scores, at equal word error rate",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parts = parser.add_subparsers(dest="part", metavar="WHAT", required=True)
    for name, summary in (*PARTS.items(), ("all", "all of these")):
        part = parts.add_parser(name, help=summary, description=f"Measures {summary}.")
        part.add_argument("--output", type=Path, required=True, metavar="JSON", help="where the figures go")
        part.add_argument("--config", type=Path, metavar="YAML", help="what to measure (default: everything, at full size)")
        part.add_argument(
            "--threads", type=int, metavar="N", help="CPU threads (default: the configuration's, else torch's choice)"
        )
        part.add_argument(
            "--work-dir", type=Path, metavar="DIR", help="keep stores, graphs and scores here (default: temporary)"
        )
        if name in ("train", "all"):
            part.add_argument("--store", type=Path, metavar="DIR", help="train on this frame store instead of random frames")
        answer_options(part)
    publish = parts.add_parser("publish", help="results.json and RESULTS.md from the figures of all parts")
    publish.add_argument("--input", type=Path, required=True, metavar="JSON", help="what `asr-distill bench all` wrote")
    publish.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="where the two files go, such as recipes/bench"
    )
    publish.add_argument("--command", metavar="TEXT", help="the command that repeats the run")
    answer_options(publish)


def run(args: argparse.Namespace) -> int:
    """Measures, or publishes."""
    return _publish(args) if args.part == "publish" else _measure(args)


def _measure(args: argparse.Namespace) -> int:
    import tempfile
    from contextlib import ExitStack
    from dataclasses import replace

    import torch

    from asr_distill.base import UserError, load_config, to_mapping, write_json
    from asr_distill.bench import (
        BenchConfig,
        bench_search,
        bench_soft_targets,
        bench_specialists_with_memory,
        bench_table,
        bench_training,
        machine,
    )
    from asr_distill.cli.main import emit
    from asr_distill.report.environment import commit, today

    config = load_config(BenchConfig, args.config) if args.config else BenchConfig()
    if args.threads is not None and args.threads < 1:
        raise UserError(f"--threads {args.threads}: expected 1 or more")
    threads = args.threads or config.threads or torch.get_num_threads()
    config = replace(config, threads=threads)
    bench: dict[str, Any] = {"environment": machine(threads), "commit": commit(), "date": today(), "config": to_mapping(config)}
    bench |= _measured_before(args.output, bench)
    with ExitStack() as stack:
        folder = args.work_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="asr-distill-bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        chosen = [args.part] if args.part != "all" else list(PARTS)
        shared = {"threads": threads, "seed": config.seed}
        measures: dict[str, Callable[[], Any]] = {
            "train": lambda: [bench_training(case, folder, store=args.store, **shared) for case in config.train],
            "features": lambda: _features(config, folder, shared),
            "soft-targets": lambda: [bench_soft_targets(case, folder, **shared) for case in config.soft_targets],
            "specialists": lambda: [bench_specialists_with_memory(case, threads=threads) for case in config.specialists],
            "search": lambda: [bench_search(case, folder, **shared) for case in config.search],
        }
        for part in chosen:
            key = part.replace("-", "_")
            if args.part != "all" or key not in bench:
                bench[key] = measures[part]()
                write_json(args.output, bench)  # a run that is cut short keeps the parts that it measured
    emit(args, bench, f"{bench_table(bench)}\n\nwrote {args.output}")
    return 0


def _features(config: BenchConfig, folder: Path, shared: dict[str, Any]) -> Any:
    import tempfile

    from asr_distill.bench import bench_features

    with tempfile.TemporaryDirectory(dir=folder) as inner:
        return bench_features(config.features, inner, **shared)


def _measured_before(output: Path, bench: dict[str, Any]) -> dict[str, Any]:
    """The parts in ``output`` if they were measured by the same code at the same settings; nothing otherwise."""
    from asr_distill.base import read_json

    earlier = read_json(output) if output.is_file() else {}
    if not isinstance(earlier, dict) or any(earlier.get(key) != bench[key] for key in ("commit", "config")):
        return {}
    return {key: value for part in PARTS if (key := part.replace("-", "_")) in earlier for value in [earlier[key]]}


def _publish(args: argparse.Namespace) -> int:
    from asr_distill.base import UserError, read_json, write_json, write_text, written_together
    from asr_distill.bench import bench_results
    from asr_distill.cli.main import emit
    from asr_distill.report import check_results, markdown_page, results_page
    from asr_distill.report.publish import check_publishable

    bench = read_json(args.input)
    keys = ("environment", *(part.replace("-", "_") for part in PARTS))
    missing = [key for key in keys if key not in bench] if isinstance(bench, dict) else ["environment"]
    if missing:
        raise UserError(f"{args.input} has no {', '.join(missing)}: run `asr-distill bench all --output {args.input}` first")
    results = bench_results(bench, args.command)
    check_results(results)
    check_publishable(args.output)
    with written_together():
        write_json(args.output / "results.json", results)
        write_text(args.output / "RESULTS.md", markdown_page(results_page(results)))
    emit(args, results, f"wrote {args.output / 'results.json'} and {args.output / 'RESULTS.md'}")
    return 0

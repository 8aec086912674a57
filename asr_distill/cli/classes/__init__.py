"""``asr-distill classes``: a large label set, a generalist, its specialists, and what the same cost buys otherwise."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asr_distill.cli.main import answer_options

EXAMPLE = "asr-distill classes train --config recipes/omniglot/conf/full.yaml --run exp/omniglot-full --threads 1 --jobs 2"
PARTS = {
    "data": "find or fetch the images, or what they are rendered from",
    "plan": "what is to be trained, and what it costs",
    "train": "generalist, clusters, specialists, controls: what is not trained yet",
    "predict": "what every trained system says about the test images",
    "scale": "time and memory of clusters and of Eq. 5 at the paper's size, on random predictions",
    "report": "results.json, per_utterance.jsonl, RESULTS.md and a page of clusters",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parts = parser.add_subparsers(dest="part", metavar="WHAT", required=True)
    for name, summary in PARTS.items():
        part = parts.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        add = part.add_argument
        add("--config", type=Path, required=True, metavar="YAML", help="such as recipes/omniglot/conf/full.yaml")
        add("--run", dest="root", type=Path, required=True, metavar="DIR", help="the folder of the runs")
        answer_options(part)
        if name == "data":
            add("--downloads", type=Path, default=Path("downloads"), metavar="DIR", help="default: %(default)s")
        if name in ("plan", "train", "scale"):
            add("--threads", type=int, default=1, metavar="N", help="CPU threads of each run (default: %(default)s)")
        if name in ("train", "predict"):
            add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda (default: %(default)s)")
        if name == "train":
            add("--jobs", type=int, default=1, metavar="N", help="specialists and controls at a time (default: %(default)s)")
            add("--systems", metavar="LIST", help="only these, such as generalist,specialists (default: all)")
        if name == "scale":
            add("--num-classes", type=int, default=15_000, metavar="C", help="default: %(default)s")
            add("--num-clusters", type=int, default=61, metavar="K", help="of 300 classes each (default: %(default)s)")
        if name == "report":
            add("--publish", type=Path, metavar="DIR", help="write the files here (default: --run)")
            add("--no-plots", action="store_true", help="no page of clusters (it needs matplotlib)")
            add("--command", metavar="TEXT", help="the command that repeats the run")


def run(args: argparse.Namespace) -> int:
    """One part."""
    from asr_distill.base import UserError, load_config
    from asr_distill.images.large_labels.configuration import LargeLabelConfig

    config = load_config(LargeLabelConfig, args.config)
    for name in ("threads", "jobs"):
        if getattr(args, name, 1) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: expected 1 or more")
    parts = {"data": _data, "plan": _plan, "train": _train, "predict": _predict, "scale": _scale, "report": _report}
    return parts[args.part](args, config)


def _data(args: argparse.Namespace, config: Any) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.images.large_labels.data import open_data, prepare_data

    prepare_data(config, args.root, args.downloads)
    data = open_data(config, args.root)
    sizes = {"classes": len(data.class_names), **{part: len(data.part(part)) for part in ("dev", *data.test_parts)}}
    sizes["train"] = data.train()[0].num_examples
    emit(args, sizes, ", ".join(f"{count:,} {name}" for name, count in sizes.items()))
    return 0


def _plan(args: argparse.Namespace, config: Any) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.images.large_labels.plan import budget
    from asr_distill.images.large_labels.running import plan_of

    runs = plan_of(config, args.root, args.threads)
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        row = rows.setdefault(run.system, {"system": run.system, "networks": 0, "images": 0, "teramacs": 0.0})
        row["networks"] += 1
        row["images"] += run.images
        row["teramacs"] += run.cost / 1e12
    lines = [f"{'system':18}{'networks':>9}{'images':>13}{'10^12 multiply-accumulates':>29}"]
    lines += [f"{r['system']:18}{r['networks']:9d}{r['images']:13,}{r['teramacs']:29,.1f}" for r in rows.values()]
    lines.append(f"budget of the controls (generalist and specialists): {budget(runs) / 1e12:,.1f}")
    emit(args, {"systems": list(rows.values()), "budget": budget(runs) / 1e12}, "\n".join(lines))
    return 0


def _train(args: argparse.Namespace, config: Any) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.images.large_labels.running import train_all

    systems = args.systems.split(",") if args.systems else None
    rows = train_all(config, args.root, systems, threads=args.threads, jobs=args.jobs, device=args.device)
    seconds = sum(row["seconds"] for row in rows)
    emit(args, {"runs": rows}, f"{len(rows)} networks in {args.root / 'models'}, {seconds / 60:.1f} minutes of training")
    return 0


def _predict(args: argparse.Namespace, config: Any) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.images.large_labels.clusters import load_clusters
    from asr_distill.images.large_labels.data import open_data
    from asr_distill.images.large_labels.predicting import predict_all
    from asr_distill.training.precision import choose_device

    data = open_data(config, args.root)
    parts = {name: data.part(name) for name in ("dev", *data.test_parts)}
    clusters, _ = load_clusters(args.root)
    names = predict_all(
        args.root / "models", args.root / "predictions", clusters, parts, config.top_n, choose_device(args.device)
    )
    emit(args, {"systems": names}, f"predictions of {', '.join(names)} in {args.root / 'predictions'}")
    return 0


def _scale(args: argparse.Namespace, config: Any) -> int:
    import torch

    from asr_distill.base import check_own, write_json
    from asr_distill.bench.specialists import SpecialistCase, bench_specialists
    from asr_distill.cli.classes.publishing import SCALE
    from asr_distill.cli.main import emit

    check_own(args.root / SCALE)
    torch.set_num_threads(args.threads)
    found = bench_specialists(SpecialistCase(args.num_classes, args.num_clusters))
    write_json(args.root / SCALE, found, listed=True)
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in found["seconds"].items())
    emit(args, found, f"{args.num_classes:,} classes: {seconds}; {found['peak_mb']:,.0f} MiB at most")
    return 0


def _report(args: argparse.Namespace, config: Any) -> int:
    from asr_distill.cli.classes.publishing import publish
    from asr_distill.cli.main import emit

    results, written = publish(config, args.root, args.publish or args.root, args.command, plots=not args.no_plots)
    headline = "\n".join(f"{name:44}{value:10.2f}" for name, value in results["headline"].items() if value is not None)
    emit(args, results, headline + "\n\n" + "\n".join(f"wrote {path}" for path in written))
    return 0

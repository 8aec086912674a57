"""What the three actions do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import UserError, write_json, write_jsonl
from asr_distill.cli.main import emit
from asr_distill.cli.runs import threads_of_each
from asr_distill.cli.specialists.figures import gain_table, split_figures, split_table, utterance_rows
from asr_distill.data import FrameStore
from asr_distill.specialists import in_parallel
from asr_distill.student import load_model
from asr_distill.student.senone_clusters import SenoneClusters, cluster_text, find_senone_clusters
from asr_distill.student.senone_specialists import SpecialistRun, begin_folder, load_generalist, train_senone_specialist
from asr_distill.student.specialist_combination import Rule, SenoneSpecialists, check_together, specialist_outcomes

_OF_SOFT_TARGETS = ("temperature", "soft_weight", "own_soft_weight")  # left out: as `SpecialistRun` has them


def run_cluster(args: argparse.Namespace) -> int:
    """Writes the clusters and prints their senones."""
    model = load_model(args.model, device=args.device, autocast=args.autocast)
    clusters = find_senone_clusters(
        *(model, FrameStore.open(args.frames), args.num_clusters),
        size=None if args.partition else args.size,
        partition=args.partition,
        columns=args.columns,
        num_frames=args.num_frames,
        seed=args.seed,
        restarts=args.restarts,
        passes=args.passes,
    )
    clusters.save(args.output)
    covered = torch.bincount(clusters.classes.coverage()).tolist()
    result = {
        "output": str(args.output),
        "hash": clusters.hash,
        "coverage": covered,
        "inertia": clusters.classes.inertia,
        "clusters": [cluster_text(names) for names in clusters.names],
        **clusters.source,
    }
    lines = [f"{len(clusters.classes)} clusters of {model.num_senones} senones, from {clusters.source['frames']:,} frames"]
    lines += [f"{number:>4}  {text}" for number, text in enumerate(result["clusters"])]
    lines.append("senones by the number of clusters they are in: " + ", ".join(f"{n}: {c}" for n, c in enumerate(covered) if c))
    emit(args, result, "\n".join(lines))
    return 0


def run_train(args: argparse.Namespace) -> int:
    """Trains every specialist that is not trained yet, and prints what each reached."""
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: expected 1 or more")
    soft = {name: getattr(args, name) for name in _OF_SOFT_TARGETS if getattr(args, name) is not None}
    if soft and args.targets != "soft":
        options = ", ".join(f"--{name.replace('_', '-')}" for name in soft)
        raise UserError(
            f"{options}: of soft targets only, and --targets is {args.targets}. Next: leave it out, or add --targets soft"
        )
    clusters = SenoneClusters.load(args.clusters)
    load_generalist(args.generalist, clusters)
    settings = [*args.set, *([f"device={args.device}"] if args.device is not None else [])]
    if args.threads is not None or args.jobs > 1:
        settings.append(f"threads={threads_of_each(args.threads, args.jobs)}")
    begin_folder(args.output, clusters)
    runs = [
        SpecialistRun(
            number,
            args.output,
            args.generalist,
            args.train,
            dev=args.dev,
            config=args.config,
            settings=tuple(settings),
            targets=args.targets,
            outputs=args.outputs or ("dustbin" if args.targets == "hard" else "all"),
            epoch_frames=args.epoch_frames,
            allow_shared_speakers=args.allow_shared_speakers,
            **soft,
        )
        for number in range(len(clusters.classes))
    ]
    rows = [row for _, row in in_parallel(train_senone_specialist, runs, args.jobs)]
    result = {"output": str(args.output), "targets": args.targets, "specialists": rows}
    emit(args, result, _training_table(rows, clusters, args.output))
    return 0


def _training_table(rows: Sequence[dict[str, Any]], clusters: SenoneClusters, output: Path) -> str:
    """Per specialist: the epoch kept, accuracies on half special and half other frames in per cent, seconds, senones."""
    lines = [f"{'':>4}{'kept':>6}{'train acc':>11}{'dev acc':>9}{'seconds':>9}  senones"]
    for row in rows:
        train, dev = ("-" if row[name] is None else f"{row[name]:.2f}" for name in ("train_accuracy", "dev_accuracy"))
        text = cluster_text(clusters.names[row["cluster"]])
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        kept, seconds = row["kept_epoch"], row["seconds"]
        lines.append(f"{row['cluster']:>4}{kept:>6}{train:>11}{dev:>9}{seconds:>9.1f}  {shown}")
    return "\n".join([*lines, f"{rows[0]['parameters']:,} parameters each; specialists in {output}"])


def run_combine(args: argparse.Namespace) -> int:
    """Measures every system on every store."""
    names = [path.name for path in args.frames]
    if len(set(names)) != len(names):
        raise UserError(f"--frames: two stores have the same name ({', '.join(names)}); measure them one after the other")
    generalist = load_model(args.generalist, device=args.device, autocast=args.autocast)
    groups = [SenoneSpecialists.load(folder, generalist) for folder in args.specialists]
    check_together(groups)
    stores = [FrameStore.open(path) for path in args.frames]
    rule = Rule(args.top_n, args.solver, args.divergence)
    found = {name: specialist_outcomes(generalist, groups, store, rule) for name, store in zip(names, stores, strict=True)}
    order = [group.name for group in groups]
    splits = {name: split_figures(outcomes, order, args.samples, args.seed) for name, outcomes in found.items()}
    clusters = groups[0].clusters
    result = {
        "generalist": generalist.hash,
        "senones_hash": generalist.inventory.hash,
        "top_n": args.top_n,
        "solver": args.solver,
        "divergence": args.divergence,
        "clusters": {
            "hash": clusters.hash,
            "number": len(clusters.classes),
            "sizes": [len(ids) for ids in clusters.classes],
            "coverage": torch.bincount(clusters.classes.coverage()).tolist(),
        },
        "specialists": {group.name: group.describe() for group in groups},
        "samples": args.samples,
        "splits": splits,
    }
    if args.per_utterance:
        seed = int(generalist.config.training.get("seed", 0))
        write_jsonl(
            args.per_utterance, (row for name, one in found.items() for row in utterance_rows(one, name, seed)), listed=True
        )
    write_json(args.output, result, listed=True)
    tables = [text for name, figures in splits.items() for text in (split_table(name, figures), gain_table(name, figures))]
    emit(args, result, "\n\n".join(tables))
    return 0

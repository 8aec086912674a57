"""``asr-distill specialists``: clusters of senones that a generalist confuses, a specialist for each, and what they add."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_distill.cli.main import answer_options

EXAMPLE = "asr-distill specialists cluster --model models/baseline/seed0 --frames frames/train --output clusters.json"
_EXAMPLES = {
    "cluster": EXAMPLE,
    "train": "asr-distill specialists train --clusters clusters.json --generalist models/baseline/seed0 --config"
    " recipes/conf/specialist.yaml --train frames/train --dev frames/dev --targets soft --output models/specialists/soft",
    "combine": "asr-distill specialists combine --generalist models/baseline/seed0 --specialists models/specialists/hard"
    " models/specialists/soft --frames frames/dev frames/test --output combined.json",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the three actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _cluster(_action(actions, "cluster", "cluster senones by the covariance of a model's posteriors, without labels"))
    _train(_action(actions, "train", "train a specialist for each cluster, starting from the generalist's weights"))
    _combine(_action(actions, "combine", "frame accuracy of generalist and specialists together, against the generalist"))


def run(args: argparse.Namespace) -> int:
    """Runs the action that was asked for."""
    from asr_distill.cli.specialists import actions

    runs = {"cluster": actions.run_cluster, "train": actions.run_train, "combine": actions.run_combine}
    return runs[args.action](args)


def _action(actions: argparse._SubParsersAction, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example: {_EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    answer_options(parser)
    return parser


def _cluster(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help="the generalist: model bundle or ensemble")
    add(
        "--frames",
        type=Path,
        required=True,
        metavar="STORE",
        help="frame store whose posteriors are taken; labels are not read",
    )
    add("--output", type=Path, required=True, metavar="JSON", help="where the clusters go")
    add("--num-clusters", type=int, default=20, metavar="K", help="default: %(default)s")
    add("--size", type=int, default=30, metavar="M", help="senones of each cluster; clusters overlap (default: %(default)s)")
    add("--partition", action="store_true", help="each senone in one cluster, of whatever size it gets, instead of --size")
    add(
        "--columns",
        choices=("correlation", "unit", "covariance"),
        default="correlation",
        help="columns of the correlation or of the covariance, divided by their length, or as they are (default: %(default)s)",
    )
    add("--num-frames", type=int, metavar="N", help="so many frames, evenly spread over the store (default: all)")
    add("--seed", type=int, default=0, metavar="N", help="of k-means (default: %(default)s)")
    add("--restarts", type=int, default=3, metavar="N", help="of k-means, the best counts (default: %(default)s)")
    add("--passes", type=int, default=10, metavar="N", help="of k-means over the columns (default: %(default)s)")
    _place(parser)


def _train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--clusters", type=Path, required=True, metavar="JSON", help="what `specialists cluster` wrote")
    add("--generalist", type=Path, required=True, metavar="DIR", help="the model bundle that each specialist begins with")
    add("--train", type=Path, required=True, metavar="STORE", help="frame store to train on")
    add("--dev", type=Path, metavar="STORE", help="frame store that decides the best epoch of each")
    add("--output", type=Path, required=True, metavar="DIR", help="gets clusters.json and a folder for each specialist")
    add("--config", type=Path, metavar="YAML", help="training configuration; network and window are the generalist's")
    add(*("--set", "-s"), action="append", default=[], metavar="KEY=VALUE", help="one option over the configuration")
    add(
        "--targets",
        choices=("hard", "soft"),
        default="hard",
        help="soft: the generalist's for all but the specialist's own senones, section 6.1 (default: %(default)s)",
    )
    add(
        "--outputs",
        choices=("dustbin", "all"),
        help="its senones and a dustbin, or all senones (default: dustbin with hard targets, all with soft ones)",
    )
    add("--epoch-frames", type=int, metavar="N", help="half of them special (default: each special frame once an epoch)")
    add("--temperature", "-T", type=float, metavar="T", help="of soft targets (default: 2)")
    add("--soft-weight", type=float, metavar="W", help="of soft targets, times T^2 (default: 1)")
    add(
        "--own-soft-weight",
        type=float,
        metavar="W",
        help="of soft targets for frames of the specialist's own senones, beside their labels (default: 0)",
    )
    add("--allow-shared-speakers", action="store_true", help="train and dev may have speakers in common")
    add("--device", metavar="NAME", help="auto, cpu, cuda (default: the configuration's)")
    add("--threads", type=int, metavar="N", help="CPU threads of each job (default: torch's choice)")
    add("--jobs", type=int, default=1, metavar="N", help="specialists trained at a time, each in a process")


def _combine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--generalist", type=Path, required=True, metavar="DIR", help="the model bundle that the specialists began with")
    add(
        "--specialists",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="what `specialists train` wrote; several folders of the same clusters, named as the systems shall be",
    )
    add("--frames", type=Path, nargs="+", required=True, metavar="STORE", help="labelled frame stores")
    add("--output", type=Path, required=True, metavar="JSON", help="where the figures go")
    add("--per-utterance", type=Path, metavar="JSONL", help="counts of each cut and system, for bootstraps over speakers")
    add("--top-n", type=int, default=1, metavar="N", help="of the generalist's senones call specialists (default: %(default)s)")
    add(
        "--solver",
        choices=("fixed_point", "gradient"),
        default="fixed_point",
        help="of Eq. 5; gradient descends on the logits as the paper does (default: %(default)s)",
    )
    add(
        "--divergence",
        choices=("forward", "reverse"),
        default="forward",
        help="KL(p, q), the paper's, or KL(q, p) (default: %(default)s)",
    )
    add("--samples", type=int, default=10_000, metavar="N", help="of the bootstrap (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: %(default)s)")
    _place(parser)


def _place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", metavar="NAME", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument(
        "--autocast", default="off", choices=("auto", "bf16", "off"), help="precision of the generalist (default: %(default)s)"
    )

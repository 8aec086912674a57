"""``asr-distill graph``: build HCLG, build a phone loop, check that a graph fits a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_distill.cli.main import answer_options

BUILD_EXAMPLE = "asr-distill graph build --lang lang --g lang/G.fst --inventory senones/senones.json --output graph/bigram"
LOOP_EXAMPLE = (
    "asr-distill graph phone-loop --lang lang --inventory senones/senones.json"
    " --alignments labels/alignments_train.jsonl.gz --output graph/phones"
)
CHECK_EXAMPLE = "asr-distill graph check graph/bigram --model models/baseline/seed0"
EXAMPLE = "\n         ".join((BUILD_EXAMPLE, LOOP_EXAMPLE, CHECK_EXAMPLE))


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="compose HCLG for words and convert it for k2")
    build.add_argument("--g", type=Path, required=True, metavar="FST", help="G, written by `asr-distill lang`")
    build.add_argument(
        "--g-words", type=Path, metavar="FILE", help="the words.txt that G was made with, where G itself does not say it"
    )
    loop = actions.add_parser("phone-loop", help="a graph whose words are phones, for the phone error rate")
    loop.add_argument(
        "--alignments", type=Path, metavar="JSONL", help="alignments to estimate a phone bigram from (default: uniform)"
    )
    loop.add_argument("--lm-scale", type=float, default=1.0, help="scale of the phone bigram (default: %(default)s)")
    loop.add_argument("--insertion-penalty", type=float, default=0.0, help="cost of each phone (default: %(default)s)")
    for action in (build, loop):
        action.add_argument("--lang", type=Path, required=True, metavar="DIR", help="lang directory")
        action.add_argument("--inventory", type=Path, required=True, metavar="JSON", help="senones.json")
        action.add_argument("--output", type=Path, required=True, metavar="DIR", help="the graph folder to write")
        action.add_argument("--transition-scale", type=float, default=1.0, help="scale of transitions (default: %(default)s)")
        action.add_argument("--self-loop-scale", type=float, default=0.1, help="scale of self-loops (default: %(default)s)")
    check = actions.add_parser("check", help="refuse a graph that k2 must not see, or that is not the model's")
    check.add_argument("graph", type=Path, metavar="DIR", help="a graph folder")
    for action, example in ((build, BUILD_EXAMPLE), (loop, LOOP_EXAMPLE), (check, CHECK_EXAMPLE)):
        action.epilog, action.formatter_class = f"example: {example}", argparse.RawDescriptionHelpFormatter
        answer_options(action)
    check.add_argument("--model", type=Path, metavar="DIR", help="a model directory (its senones.json is compared)")


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from asr_distill.cli.main import emit
    from asr_distill.graph import build_hclg, load_graph, phone_loop_graph
    from asr_distill.senones import SenoneInventory, read_alignments

    if args.action == "check":
        graph = load_graph(args.graph)
        inventory = SenoneInventory.load(args.model / "senones.json") if args.model else graph.inventory
        graph.check(inventory.num_senones, inventory.hash, str(args.model or graph.path / "senones.json"))
        emit(
            args, graph.info, f"{graph.describe()}\n  fits {args.model or 'its own inventory'}: {inventory.num_senones} senones"
        )
        return 0
    inventory = SenoneInventory.load(args.inventory)
    scales = {"transition_scale": args.transition_scale, "self_loop_scale": args.self_loop_scale}
    if args.action == "build":
        graph = build_hclg(args.lang, args.g, inventory, args.output, g_words=args.g_words, **scales)
    else:
        sequences = None
        if args.alignments:
            sequences = [alignment.phones for alignment in read_alignments(args.alignments).values()]
        graph = phone_loop_graph(
            args.lang,
            inventory,
            args.output,
            phone_sequences=sequences,
            lm_scale=args.lm_scale,
            insertion_penalty=args.insertion_penalty,
            **scales,
        )
    emit(args, graph.info, graph.describe())
    return 0

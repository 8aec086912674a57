"""``asr-distill SUBCOMMAND``: parses, dispatches, and turns a `UserError` into one line and exit status 1."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Any

from asr_distill import __version__
from asr_distill.base import (
    OptionParser,
    end_with_parent,
    json_line,
    printable,
    refuse_missing,
    refuse_overwriting,
    run_as_command,
)
from asr_distill.base.processor import use_fast_products
from asr_distill.base.terminal import PrintableFormatter

# name -> one line of help; the module of the same name (dashes as underscores) is imported when it is asked for, so that
# `asr-distill --help` answers without importing torch.
SUBCOMMANDS = {
    "doctor": "check the environment: versions, search engines, bf16, disk, data folders",
    "features": "compute filterbank features of a CutSet and write them with lhotse's writers",
    "frames": "gather features and senone labels into a memory-mapped frame store",
    "lang": "lexicon, subwords, n-gram language model and G",
    "align": "flat-start GMM, forced alignment with any model, show and compare alignments",
    "tree": "grow the phonetic decision tree: senone inventory, labels and priors",
    "train": "train senone networks",
    "soft-targets": "store what a teacher says about every frame, once, for any student",
    "distill": "train a student on the soft targets of an ensemble, at one temperature or swept over several",
    "ensemble": "combine bundles into one model, and measure what each further member adds",
    "specialists": "clusters of senones that a model confuses, a specialist for each, and what they add",
    "bundle": "what a model bundle holds; write its tuned acoustic scale",
    "accuracy": "frame accuracy and cross-entropy of a model on frame stores",
    "graph": "compose HCLG and convert it for k2",
    "decode": "search a test set: hypotheses, word times, real-time factor",
    "score": "word error rate, frame accuracy, confidence intervals",
    "compare": "paired comparison of two systems",
    "run": "make the systems of a systems.yaml: train, combine, store, distil, decode",
    "once": "run a command unless its output is complete for the same words and inputs",
    "report": "results.json, RESULTS.md and plots of a finished run",
    "mnist": "the paper's experiments on MNIST: estimate, train, report",
    "classes": "a large label set: generalist, specialists, and what the same cost buys otherwise",
    "verify": "compare every file that this toolkit wrote with its digest",
    "bench": "ratios against named references: training, features, soft targets, search",
}
# what commands of ours begin, not people
HIDDEN = "worker"
# those that build networks or open bundles, which may be of the user's own kind
OPEN_NETWORKS = frozenset(
    ("align", "train", "soft-targets", "distill", "ensemble", "specialists", "bundle", "accuracy", "decode", "run", HIDDEN)
)
READ_CUTS = frozenset(("features", "frames", "lang", "align", "tree", "decode"))
# the options whose paths a command writes, or looks at one by one; all others must be there before any work
WRITTEN = frozenset(("--output", "--out", "--publish", "--html", "--plots", "--plot", "--listing", "--missing-words"))
ALSO_WRITTEN = {
    "accuracy": ("--per-utterance",),
    "bench": ("--work-dir",),
    "classes": ("--run", "--downloads"),
    "decode": ("--audio",),
    "mnist": ("--run",),
    "once": ("--records", "--writes"),
    "run": ("--exp",),
    "specialists": ("--per-utterance",),
    "tree": ("--priors",),
}


def build_parser(only: str | None = None) -> OptionParser:
    """The parser; with ``only``, that subcommand's options are filled in (the others stay names with a line of help)."""
    parser = OptionParser(
        prog="asr-distill",
        description="Distil an ensemble of senone acoustic models into one and decode it with k2.",
        epilog="example: asr-distill doctor",
    )
    parser.add_argument("--version", action="version", version=f"asr-distill {__version__}")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    hidden = {HIDDEN: "run a job of another command"} if only == HIDDEN else {}
    for name, summary in {**SUBCOMMANDS, **hidden}.items():
        subparser = subparsers.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == only:
            module = importlib.import_module(f"asr_distill.cli.{name.replace('-', '_')}")
            subparser.epilog = f"example: {module.EXAMPLE}"
            answer_options(subparser, default=False)
            if name in OPEN_NETWORKS:
                subparser.add_argument(
                    "--import",
                    dest="imports",
                    action="append",
                    default=[],
                    metavar="FILE.py",
                    help="Python that registers networks of your own (or a module's name); may be repeated",
                )
            if name in READ_CUTS:
                subparser.add_argument(
                    "--allow-commands",
                    action="store_true",
                    help="run the shell commands that CutSets name for audio: only for manifests that you have read",
                )
            module.configure(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def answer_options(parser: argparse.ArgumentParser, default: bool | str = argparse.SUPPRESS) -> None:
    """``--json`` and ``--quiet``, of a subcommand and of each of its actions.

    They may stand before or behind the action: without a ``default`` an action leaves alone what was not given to itself.
    """
    add = parser.add_argument
    add("--json", action="store_true", default=default, help="print one JSON object on standard output")
    add("--quiet", action="store_true", default=default, help="no log lines on standard error, only errors")


def emit(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    """Prints ``result`` as one JSON object with ``--json``, else ``text`` for people."""
    print(json_line(result) if args.json else printable(text))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit status of `run_as_command`; 2 for wrong usage.

    Where another command of this toolkit, or a recipe, began this process, it ends with that one.
    """
    of_other = end_with_parent()
    use_fast_products()
    argv = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    args = build_parser(chosen).parse_args(argv)
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(PrintableFormatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[lines])
    logging.getLogger("asr_distill").setLevel(logging.WARNING if args.quiet else logging.INFO)
    return run_as_command(f"asr-distill {args.subcommand}", lambda: _run(args), of_other=of_other)


def _run(args: argparse.Namespace) -> int:
    written = {*WRITTEN, *ALSO_WRITTEN.get(args.subcommand, ())}
    refuse_missing(args.given_paths, written)
    refuse_overwriting(args.given_paths, written)
    if getattr(args, "imports", None):
        from asr_distill.models import import_networks

        import_networks(args.imports)
    if getattr(args, "allow_commands", False):
        from asr_distill.features.sources import commands_allowed

        with commands_allowed():
            return int(args.run(args) or 0)
    return int(args.run(args) or 0)


if __name__ == "__main__":
    from asr_distill.__main__ import main as quiet_main

    sys.exit(quiet_main())

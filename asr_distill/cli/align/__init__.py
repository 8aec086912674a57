"""``asr-distill align``: flat-start monophones, forced alignment by any model, and looking at what came out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asr_distill.cli.main import answer_options

MONO_EXAMPLE = "asr-distill align mono --cuts fbank/cuts_train.jsonl.gz --lang lang --output mono"
TRIPHONE_EXAMPLE = (
    "asr-distill align triphone --cuts fbank/cuts_train.jsonl.gz --lang lang --inventory senones/senones.json"
    " --alignments mono/alignments_train.jsonl.gz --output triphone"
)
FORCED_EXAMPLE = (
    "asr-distill align forced --cuts fbank/cuts_dev.jsonl.gz --lang lang --scores-from models/baseline/seed0"
    " --output align/alignments_dev.jsonl.gz"
)
SHOW_EXAMPLE = "asr-distill align show an253-fash-b --alignments mono/alignments_train.jsonl.gz --lang lang"
PLOT_EXAMPLE = f"{SHOW_EXAMPLE.replace(' show ', ' plot ')} --cuts fbank/cuts_train.jsonl.gz --output an253-fash-b.png"
COMPARE_EXAMPLE = "asr-distill align compare --alignments mono/alignments_train.jsonl.gz --lang lang --reference other.mlf"
EXAMPLE = "\n         ".join((MONO_EXAMPLE, FORCED_EXAMPLE, SHOW_EXAMPLE, COMPARE_EXAMPLE))


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    actions = parser.add_subparsers(dest="action", metavar="mono|triphone|forced|show|plot|compare", required=True)

    mono = _action(actions, "mono", "train a monophone GMM from transcripts and a lexicon, and align with it", MONO_EXAMPLE)
    _add_input(mono)
    mono.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets the model and alignments_NAME.jsonl.gz")
    mono.add_argument("--split", metavar="NAME", help="name of the alignments (default: that of the cuts)")
    mono.add_argument("--config", type=Path, metavar="YAML", help="schedule and cepstra (default: as Kaldi's train_mono.sh)")
    _add_schedule(mono)
    for name in ("--beam", "--retry-beam"):
        mono.add_argument(name, type=float, metavar="NATS", help="of the alignments (default: the configuration's)")

    triphone = _action(actions, "triphone", "train a GMM on the leaves of a tree, and realign", TRIPHONE_EXAMPLE)
    _add_input(triphone)
    triphone.add_argument("--inventory", type=Path, required=True, metavar="FILE", help="senones.json of the tree")
    triphone.add_argument("--alignments", type=Path, required=True, metavar="FILE", help="alignments to begin with")
    triphone.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="gets the model and alignments_NAME.jsonl.gz"
    )
    triphone.add_argument("--split", metavar="NAME", help="name of the alignments (default: that of the cuts)")
    triphone.add_argument("--config", type=Path, metavar="YAML", help="schedule and cepstra")
    _add_schedule(triphone)

    forced = _action(
        actions, "forced", "align by the scores of a model, exactly; a cut without words as silence", FORCED_EXAMPLE
    )
    _add_input(forced)
    forced.add_argument(
        "--scores-from", type=Path, required=True, metavar="DIR", help="a monophone GMM's folder or a model bundle"
    )
    forced.add_argument("--inventory", type=Path, metavar="FILE", help="senones.json that the model must have been made with")
    forced.add_argument("--output", type=Path, required=True, metavar="FILE", help="alignments_NAME.jsonl.gz")
    for name, value, text in (
        ("--acoustic-scale", 0.1, "factor of the scores"),
        ("--transition-scale", 1.0, "factor of transitions between states"),
        ("--self-loop-scale", 0.1, "factor of self-loops"),
    ):
        forced.add_argument(name, type=float, default=value, metavar="X", help=f"{text} (default: %(default)s)")
    forced.add_argument("--device", default="cpu", help="for the network and the search (default: %(default)s)")
    forced.add_argument("--batch-size", type=int, default=32, metavar="N", help="utterances together (default: %(default)s)")

    show = _action(actions, "show", "print the words, phones and times of one cut", SHOW_EXAMPLE)
    plot = _action(actions, "plot", "draw the filterbanks of one cut with its phones", PLOT_EXAMPLE)
    compare = _action(actions, "compare", "phone boundaries against another's alignment (HTK label file)", COMPARE_EXAMPLE)
    for action in (show, plot):
        action.add_argument("cut", metavar="CUT", help="cut id")
    for action in (show, plot, compare):
        action.add_argument("--alignments", type=Path, required=True, metavar="FILE", help="alignments_NAME.jsonl.gz")
        action.add_argument("--lang", type=Path, required=True, metavar="DIR", help="lang directory it was aligned with")
    plot.add_argument("--cuts", type=Path, required=True, metavar="CUTS", help="lhotse CutSet with features")
    plot.add_argument("--output", type=Path, metavar="PNG", help="(default: CUT.png)")
    compare.add_argument("--reference", type=Path, required=True, metavar="MLF", help="HTK master label file")
    compare.add_argument(
        "--offset-ms",
        type=float,
        default=7.5,
        metavar="MS",
        help="how much later the reference's frames lie; 7.5 where its tool snips edges (default: %(default)s)",
    )
    compare.add_argument("--output", type=Path, metavar="JSON", help="also write the figures here")


def _action(actions: Any, name: str, text: str, example: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,  # else the example is wrapped, and cannot be pasted
    )
    answer_options(parser)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cuts", type=Path, required=True, metavar="CUTS", help="lhotse CutSet with features and transcripts")
    parser.add_argument("--lang", type=Path, required=True, metavar="DIR", help="lang directory")
    parser.add_argument(
        "--unknown-word", metavar="WORD", help="of the lexicon, said for words that it lacks (default: they fail)"
    )
    parser.add_argument(
        "--max-failed-share",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of utterances (0 to 1) that may fail to align; they are reported by id (default: %(default)s)",
    )


def _add_schedule(parser: argparse.ArgumentParser) -> None:
    for name, text in (
        ("--iterations", "passes of estimation"),
        ("--total-gaussians", "in the end"),
        ("--seed", "of the splitting of Gaussians"),
    ):
        parser.add_argument(name, type=int, metavar="N", help=f"{text} (default: the configuration's)")


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from asr_distill.cli.align import looking, training

    actions = {
        "mono": training.mono,
        "triphone": training.triphone,
        "forced": training.forced,
        "show": looking.show,
        "plot": looking.plot,
        "compare": looking.compare,
    }
    return actions[args.action](args)

"""``asr-distill tree``: options, and all but growing.

It grows the phonetic decision tree; ``label`` writes labels and priors, ``roots`` checks a number of leaves, ``show`` prints
senones.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asr_distill.cli.main import answer_options

EXAMPLE = (
    "asr-distill tree --lang lang --alignments mono/alignments_train.jsonl.gz --cuts fbank/cuts_train.jsonl.gz"
    " --num-leaves 500 --output senones"
)
LABEL_EXAMPLE = (
    "asr-distill tree label --inventory senones/senones.json --alignments mono/alignments_train.jsonl.gz"
    " --cuts fbank/cuts_train.jsonl.gz --output labels/cuts_train.jsonl.gz --priors senones/priors.json"
)
ROOTS_EXAMPLE = "asr-distill tree roots --lang lang --num-leaves 500"
SHOW_EXAMPLE = "asr-distill tree show --inventory senones/senones.json --phone AH"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("--lang", type=Path, metavar="DIR", help="lang directory that the alignments were made with")
    parser.add_argument("--alignments", type=Path, metavar="FILE", help="state alignments (alignments_NAME.jsonl.gz)")
    parser.add_argument("--cuts", type=Path, metavar="CUTS", help="lhotse CutSet with features")
    parser.add_argument("--output", type=Path, metavar="DIR", help="gets senones.json and tree.json (how it was grown)")
    parser.add_argument(
        "--num-leaves",
        type=_leaves,
        default=500,
        metavar="N",
        help="senones, silence included; auto: 360 times the root of the hours aligned, or the roots (default: %(default)s)",
    )
    parser.add_argument("--monophone", action="store_true", help="no tree: one senone per phone and state")
    parser.add_argument(
        "--min-gain", type=float, default=100.0, metavar="NATS", help="least gain of a split (default: %(default)s)"
    )
    parser.add_argument(
        "--min-count", type=float, default=50.0, metavar="FRAMES", help="fewest frames of a leaf (default: %(default)s)"
    )
    parser.add_argument(
        "--merge-threshold",
        type=float,
        default=0.0,
        metavar="NATS",
        help="then merge leaves of one root at up to this loss (default: none)",
    )
    parser.add_argument(
        "--cepstra", type=int, default=13, metavar="N", help="cosine transform of the features; 0: none (default: %(default)s)"
    )
    parser.add_argument("--delta-order", type=int, default=2, metavar="N", help="time derivatives (default: %(default)s)")
    parser.add_argument(
        "--silence-pdf-classes", type=int, default=1, metavar="N", help="1: one silence senone; 5: one per state (default: 1)"
    )
    _add_missing_share(parser)
    actions = parser.add_subparsers(dest="action", metavar="label|roots|show")

    raw = argparse.RawDescriptionHelpFormatter  # else the example is wrapped, and cannot be pasted
    label = actions.add_parser(
        "label", help="write senone labels onto cuts, and priors", epilog=f"example: {LABEL_EXAMPLE}", formatter_class=raw
    )
    label.add_argument("--inventory", type=Path, required=True, metavar="FILE", help="senones.json")
    label.add_argument("--alignments", type=Path, required=True, metavar="FILE", help="state alignments")
    label.add_argument("--cuts", type=Path, required=True, metavar="CUTS", help="lhotse CutSet with features")
    label.add_argument("--output", type=Path, required=True, metavar="CUTS", help="the labelled CutSet (cuts_NAME.jsonl.gz)")
    label.add_argument("--priors", type=Path, metavar="FILE", help="also write the senones' priors here")
    label.add_argument(
        "--prior-floor", type=float, default=0.01, metavar="SHARE", help="least prior, as a share of 1/C (default: %(default)s)"
    )
    _add_missing_share(label)

    roots = actions.add_parser(
        "roots",
        help="count the roots of a lang directory's tree; refuse fewer leaves",
        epilog=f"example: {ROOTS_EXAMPLE}",
        formatter_class=raw,
    )
    roots.add_argument("--lang", type=Path, required=True, metavar="DIR", help="lang directory")
    roots.add_argument("--num-leaves", type=_leaves, metavar="N", help="leaves that will be asked for, or auto")
    roots.add_argument("--silence-pdf-classes", type=int, default=1, metavar="N", help="as in growing (default: 1)")

    show = actions.add_parser("show", help="print senones in words", epilog=f"example: {SHOW_EXAMPLE}", formatter_class=raw)
    show.add_argument("--inventory", type=Path, required=True, metavar="FILE", help="senones.json")
    show.add_argument("--phone", metavar="NAME", help="only senones of this phone")
    for action in (label, roots, show):
        answer_options(action)


def _leaves(text: str) -> int | None:
    """A number, or None for auto (an argparse type)."""
    if text != "auto" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of leaves or auto")
    return None if text == "auto" else int(text)


def _add_missing_share(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-missing-share",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of cuts (0 to 1) that may lack an alignment (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from asr_distill.cli.tree_growth import grow

    return {None: grow, "label": _label, "roots": _roots, "show": _show}[args.action](args)


def _label(args: argparse.Namespace) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.data.checks import load_utterances
    from asr_distill.senones import SenoneInventory, SenonePriors, read_alignments, write_labels

    inventory = SenoneInventory.load(args.inventory)
    report = write_labels(
        load_utterances(args.cuts),
        read_alignments(args.alignments),
        inventory,
        args.output,
        max_missing_share=args.max_missing_share,
    )
    unseen = int((report.counts == 0).sum())
    result: dict[str, Any] = {
        "cuts": report.num_cuts,
        "frames": report.num_frames,
        "senones": inventory.num_senones,
        "senones_without_frames": unseen,
        "senones_hash": inventory.hash,
        "cuts_without_alignment": list(report.without_alignment),
    }
    text = (
        f"{report.num_cuts} cuts, {report.num_frames} frames labelled in {args.output}; {unseen} of {inventory.num_senones}"
        " senones have no frame"
    )
    if report.without_alignment:
        text += (
            f"\n{len(report.without_alignment)} cuts without an alignment left out: {' '.join(report.without_alignment[:10])}"
        )
    if args.priors is not None:
        priors = SenonePriors(report.counts, inventory.hash, relative_floor=args.prior_floor)
        priors.save(args.priors)
        result |= {"priors_hash": priors.hash, "priors_at_floor": priors.num_floored}
        text += f"\npriors in {args.priors} (hash {priors.hash[:12]}), {priors.num_floored} at the floor"
    emit(args, result, text)
    return 0


def _roots(args: argparse.Namespace) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.senones import check_num_leaves, topology_of_lang

    topology = topology_of_lang(args.lang, silence_pdf_classes=args.silence_pdf_classes)
    roots = check_num_leaves(args.num_leaves, topology)
    phones = len(topology.base_phones)
    emit(args, {"roots": roots, "phones": phones}, f"{roots} roots, the states of {phones} phones: the fewest leaves of a tree")
    return 0


def _show(args: argparse.Namespace) -> int:
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.senones import SenoneInventory

    inventory = SenoneInventory.load(args.inventory)
    phones = inventory.topology.base_phones
    if args.phone is not None and args.phone not in phones:
        raise UserError(f"--phone {args.phone}: the inventory has {' '.join(phones)}")
    chosen = [s for s in range(inventory.num_senones) if args.phone in (None, inventory.tree.senone_info(s)[0])]
    lines = {senone: inventory.describe(senone) for senone in chosen}
    emit(
        args,
        {"hash": inventory.hash, "senones": [{"id": senone, "description": line} for senone, line in lines.items()]},
        "\n".join(f"{senone:5d}  {line}" for senone, line in lines.items()),
    )
    return 0

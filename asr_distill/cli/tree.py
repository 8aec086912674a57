"""``asr-distill tree`` grows the phonetic decision tree; ``label`` writes labels and priors; ``show`` prints senones."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
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
        help="senones, silence included; auto: 360 times the root of the hours aligned (default: %(default)s)",
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
    actions = parser.add_subparsers(dest="action", metavar="label|show")

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

    show = actions.add_parser("show", help="print senones in words", epilog=f"example: {SHOW_EXAMPLE}", formatter_class=raw)
    show.add_argument("--inventory", type=Path, required=True, metavar="FILE", help="senones.json")
    show.add_argument("--phone", metavar="NAME", help="only senones of this phone")
    for action in (label, show):
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
    return {None: _grow, "label": _label, "show": _show}[args.action](args)


def _grow(args: argparse.Namespace) -> int:
    import time

    from asr_distill.base import UserError, write_json
    from asr_distill.cli.main import emit
    from asr_distill.senones import (
        SenoneInventory,
        accumulate_triphone_statistics,
        cluster_phone_questions,
        grow_tree,
        leaves_for,
        monophone_tree,
        read_alignments,
        topology_of_lang,
    )

    needed = ["lang", "output"] if args.monophone else ["lang", "alignments", "cuts", "output"]
    absent = [f"--{name}" for name in needed if getattr(args, name) is None]
    if absent:
        raise UserError(f"missing {', '.join(absent)}; example: {EXAMPLE}")
    topology = topology_of_lang(args.lang, silence_pdf_classes=args.silence_pdf_classes)
    if args.monophone:
        inventory = SenoneInventory(topology, monophone_tree(topology))
        inventory.save(args.output / "senones.json")
        emit(
            args,
            {"senones": inventory.num_senones, "hash": inventory.hash},
            f"{inventory.num_senones} monophone senones in {args.output / 'senones.json'} (hash {inventory.hash[:12]})",
        )
        return 0

    start = time.monotonic()
    alignments = read_alignments(args.alignments)
    cuts = _load_cuts(args.cuts)
    missing = [cut.id for cut in cuts if cut.id not in alignments]
    if len(missing) > args.max_missing_share * len(cuts):
        raise UserError(
            f"{len(missing)} of {len(cuts)} cuts of {args.cuts} have no alignment in {args.alignments} (first: {missing[0]});"
            " allow more with --max-missing-share"
        )
    features = _tree_features((cut for cut in cuts if cut.id in alignments), args)
    stats = accumulate_triphone_statistics(alignments, features, topology)
    gathered = time.monotonic()
    questions = cluster_phone_questions(stats, topology)
    hours = sum(cut.duration for cut in cuts if cut.id in alignments) / 3600
    num_leaves = leaves_for(hours, topology) if args.num_leaves is None else args.num_leaves
    tree, report = grow_tree(
        stats,
        topology,
        questions,
        num_leaves=num_leaves,
        min_gain=args.min_gain,
        min_count=args.min_count,
        merge_threshold=args.merge_threshold,
    )
    grown = time.monotonic()
    inventory = SenoneInventory(topology, tree)
    inventory.save(args.output / "senones.json")
    result = {
        "senones": inventory.num_senones,
        "hash": inventory.hash,
        "num_leaves": num_leaves,
        "hours": round(hours, 4),
        "roots": report.roots,
        "leaves_grown": report.leaves_grown,
        "stopped_by": report.stopped_by,
        "frames": stats.num_frames,
        "contexts": len(stats),
        "features": {"cepstra": args.cepstra, "delta_order": args.delta_order, "dimension": stats.dimension},
        "questions": len(questions.context) + len(questions.centre),
        "log_likelihood_per_frame_roots": report.log_likelihood_roots,
        "log_likelihood_per_frame_senones": report.log_likelihood_leaves,
        "last_gain": report.gains[-1] if report.gains else None,
        "smallest_leaf": report.smallest_leaf,
        "unseen_roots": [f"{phone}[{pdf_class}]" for phone, pdf_class in report.unseen_roots],
        "cuts_without_alignment": missing,
        "seconds": {"statistics": round(gathered - start, 3), "tree": round(grown - gathered, 3)},
    }
    write_json(args.output / "tree.json", result)
    emit(args, result, _growth_text(result, args.output / "senones.json"))
    return 0


def _growth_text(result: dict[str, Any], path: Path) -> str:
    roots, senones = result["log_likelihood_per_frame_roots"], result["log_likelihood_per_frame_senones"]
    lines = [
        f"{result['senones']} senones in {path} (hash {result['hash'][:12]}): {result['roots']} roots, grown to"
        f" {result['leaves_grown']} leaves"
        + (", where no split was worth it any more" if result["stopped_by"] == "thresholds" else ""),
        f"log-likelihood per frame {roots:.3f} -> {senones:.3f} nats (+{senones - roots:.3f}) over {result['frames']} frames,"
        f" {result['contexts']} triphone states, {result['questions']} questions;"
        f" smallest leaf {result['smallest_leaf']:.0f} frames",
        f"statistics {result['seconds']['statistics']:.1f} s, tree {result['seconds']['tree']:.1f} s",
    ]
    if result["unseen_roots"]:
        lines.append(f"never seen in the alignments: {' '.join(result['unseen_roots'])}")
    if result["cuts_without_alignment"]:
        named = " ".join(result["cuts_without_alignment"][:10])
        lines.append(f"{len(result['cuts_without_alignment'])} cuts without an alignment were left out: {named}")
    return "\n".join(lines)


def _load_cuts(path: Path) -> Any:
    from asr_distill.data.checks import load_cuts

    return load_cuts(path)


def _tree_features(cuts: Iterator[Any], args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """``(cut id, (T, D))``: cepstra, normalised per speaker (per cut where it has none), with deltas."""
    from asr_distill.base import UserError, track
    from asr_distill.data.cut_features import load_features
    from asr_distill.senones.tree_features import add_deltas, cepstra, normalised_by_speaker

    if args.delta_order < 0:
        raise UserError(f"--delta-order {args.delta_order}: expected 0 or more")
    cuts_list = list(cuts)

    def utterances() -> Iterator[tuple[str, str, Any]]:
        for cut in cuts_list:
            if not cut.has_features:
                raise UserError(f"cut {cut.id!r} of {args.cuts} has no features; compute them first: asr-distill features")
            speaker = next((supervision.speaker for supervision in cut.supervisions if supervision.speaker), cut.id)
            try:
                yield cut.id, speaker, cepstra(load_features(cut), args.cepstra)
            except ValueError as error:
                raise UserError(f"--cepstra: {error}") from None

    normalised = normalised_by_speaker(utterances)
    for key, features in track(normalised, "triphone statistics", total=len(cuts_list), unit="cuts"):
        yield key, add_deltas(features, args.delta_order)


def _label(args: argparse.Namespace) -> int:
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.senones import SenoneInventory, SenonePriors, read_alignments, write_labels

    if args.output.resolve() == args.cuts.resolve():
        raise UserError(f"--output {args.output} is the CutSet that is read; choose another name")
    inventory = SenoneInventory.load(args.inventory)
    report = write_labels(
        _load_cuts(args.cuts),
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

"""Growing the tree for ``asr-distill tree``: what is read, what is written, and what is said of a poor tree."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, check_own, only_writer, track, write_json, written_together
from asr_distill.cli.main import emit
from asr_distill.cli.tree import EXAMPLE
from asr_distill.data.checks import load_utterances
from asr_distill.data.cut_features import load_features
from asr_distill.features.frame_counts import num_frames_of
from asr_distill.senones import (
    FrameAlignment,
    GrowthReport,
    SenoneInventory,
    accumulate_triphone_statistics,
    check_num_leaves,
    cluster_phone_questions,
    grow_tree,
    leaves_for,
    monophone_tree,
    read_alignments,
    topology_of_lang,
)
from asr_distill.senones.tree_features import add_deltas, cepstra, normalised_by_speaker

_SENONES, _FACTS = "senones.json", "tree.json"
_log = logging.getLogger("asr_distill")


def grow(args: argparse.Namespace) -> int:
    """Grows a tree from alignments, or writes the one without contexts; refuses too few leaves before it reads anything."""
    needed = ["lang", "output"] if args.monophone else ["lang", "alignments", "cuts", "output"]
    absent = [f"--{name}" for name in needed if getattr(args, name) is None]
    if absent:
        raise UserError(f"missing {', '.join(absent)}; example: {EXAMPLE}")
    check_own(args.output / _SENONES, *(() if args.monophone else (args.output / _FACTS,)))
    topology = topology_of_lang(args.lang, silence_pdf_classes=args.silence_pdf_classes)
    if args.monophone:
        inventory = SenoneInventory(topology, monophone_tree(topology))
        inventory.save(args.output / _SENONES)
        emit(
            args,
            {"senones": inventory.num_senones, "hash": inventory.hash},
            f"{inventory.num_senones} monophone senones in {args.output / 'senones.json'} (hash {inventory.hash[:12]})",
        )
        return 0

    check_num_leaves(args.num_leaves, topology)
    start = time.monotonic()
    alignments = read_alignments(args.alignments)
    cuts = load_utterances(args.cuts)
    fitting = [cut for cut in cuts if cut.id in alignments and (not cut.has_features or _fits(cut, alignments[cut.id]))]
    found = {cut.id for cut in fitting}
    missing = [cut.id for cut in cuts if cut.id not in found]
    if len(missing) > args.max_missing_share * len(cuts):
        raise UserError(
            f"{len(missing)} of {len(cuts)} cuts of {args.cuts} have no alignment in {args.alignments}, or one of other length"
            f" (first: {missing[0]}); align again on these features, or allow more with --max-missing-share"
        )
    features = _tree_features(iter(fitting), args)
    stats = accumulate_triphone_statistics(alignments, features, topology)
    gathered = time.monotonic()
    questions = cluster_phone_questions(stats, topology)
    hours = sum(cut.duration for cut in fitting) / 3600
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
        "unseen_roots": _named(report.unseen_roots),
        "cuts_without_alignment": missing,
        "seconds": {"statistics": round(gathered - start, 3), "tree": round(grown - gathered, 3)},
    }
    with only_writer(args.output / _SENONES), written_together():
        write_json(args.output / _FACTS, result, listed=True)
        inventory.save(args.output / _SENONES)
    _warn_of_a_poor_tree(report, hours, automatic=args.num_leaves is None)
    emit(args, result, _growth_text(result, args.output / _SENONES))
    return 0


def _warn_of_a_poor_tree(report: GrowthReport, hours: float, *, automatic: bool) -> None:
    if not report.gains:
        if report.stopped_by == "thresholds":
            reason, remedy = "no split was worth it", "ask for less with --min-count and --min-gain"
        else:
            reason = "auto asks for no more leaves with so little speech" if automatic else "no more leaves were asked for"
            remedy = f"ask for more than {report.roots} with --num-leaves"
        _log.warning(
            "the tree has no split: each of its %d leaves is a root, a phone's state whatever its context, for %s (%.1f"
            " minutes aligned). Next: align more data, or merge rare phones in the lexicon to have fewer roots, or %s",
            *(report.roots, reason, 60 * hours, remedy),
        )
    if report.unseen_roots:
        _log.warning(
            "%d of %d roots have no frames, and no network learns these leaves: %s. Next: align data that has these phones, or"
            " write others for them in the lexicon, or leave out the words that have them",
            *(len(report.unseen_roots), report.roots, " ".join(_named(report.unseen_roots))),
        )


def _named(roots: Sequence[tuple[str, int]]) -> list[str]:
    return [f"{phone}[{pdf_class}]" for phone, pdf_class in roots]


def _growth_text(result: dict[str, Any], path: Path) -> str:
    roots, senones = result["log_likelihood_per_frame_roots"], result["log_likelihood_per_frame_senones"]
    lines = [
        f"{result['senones']} senones in {path} (hash {result['hash'][:12]}): {result['roots']} roots, grown to"
        f" {result['leaves_grown']} leaves"
        + (", where no split was worth it any more" if result["stopped_by"] == "thresholds" else ""),
        f"log-likelihood per frame {roots:.3f} -> {senones:.3f} nats (+{senones - roots:.3f}) over {result['frames']} frames,"
        f" {result['contexts']} triphone states, {result['questions']} questions"
        + (f"; smallest leaf {result['smallest_leaf']:.0f} frames" if result["last_gain"] is not None else ""),
        f"statistics {result['seconds']['statistics']:.1f} s, tree {result['seconds']['tree']:.1f} s",
    ]
    if result["cuts_without_alignment"]:
        named = " ".join(result["cuts_without_alignment"][:10])
        lines.append(f"{len(result['cuts_without_alignment'])} cuts without an alignment were left out: {named}")
    return "\n".join(lines)


def _fits(cut: Any, alignment: FrameAlignment) -> bool:
    return len(alignment) == num_frames_of(cut)


def _tree_features(cuts: Iterator[Any], args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """``(cut id, (T, D))``: cepstra, normalised per speaker (per cut where it has none), with deltas."""
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

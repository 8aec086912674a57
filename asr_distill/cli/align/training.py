"""The actions of ``asr-distill align`` that make alignments."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from asr_distill.alignment import AlignmentReport
    from asr_distill.senones import SenoneInventory

Config = TypeVar("Config")


def mono(args: argparse.Namespace) -> int:
    """Flat start."""
    from asr_distill.alignment import MonophoneConfig, train_monophone
    from asr_distill.base import read_json
    from asr_distill.data.checks import load_utterances
    from asr_distill.lang.directory import Lang

    config = _config(MonophoneConfig, args, ("iterations", "total_gaussians", "seed", "beam", "retry_beam", "unknown_word"))
    split = args.split or _name_of(args.cuts)
    report = train_monophone(
        load_utterances(args.cuts),
        Lang.load(args.lang),
        args.output,
        config,
        split=split,
        max_failed_share=args.max_failed_share,
    )
    return _emit_training(args, "monophone", read_json(args.output / "mono.json"), report, split)


def triphone(args: argparse.Namespace) -> int:
    """Mixtures on the leaves of a tree."""
    from asr_distill.alignment.triphone import TriphoneConfig, train_triphone
    from asr_distill.base import read_json
    from asr_distill.data.checks import load_utterances
    from asr_distill.lang.directory import Lang
    from asr_distill.senones import SenoneInventory, read_alignments

    config = _config(TriphoneConfig, args, ("iterations", "total_gaussians", "seed", "unknown_word"))
    split = args.split or _name_of(args.cuts)
    report = train_triphone(
        load_utterances(args.cuts),
        Lang.load(args.lang),
        SenoneInventory.load(args.inventory),
        read_alignments(args.alignments),
        args.output,
        config,
        split=split,
        max_failed_share=args.max_failed_share,
    )
    return _emit_training(args, "triphone", read_json(args.output / "triphone.json"), report, split)


def _config(cls: type[Config], args: argparse.Namespace, names: Sequence[str]) -> Config:
    """The configuration file, if there is one, under the options that were given."""
    from asr_distill.base import from_mapping, load_config

    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return load_config(cls, args.config, given) if args.config else from_mapping(cls, given, "options")


def _emit_training(args: argparse.Namespace, kind: str, facts: Mapping[str, Any], report: AlignmentReport, split: str) -> int:
    from asr_distill.cli.main import emit

    path = args.output / f"alignments_{split}.jsonl.gz"
    result = {
        "aligned": len(report.alignments),
        "failed": len(report.failures),
        "failed_ids": list(report.failures),
        **{name: facts[name] for name in ("gaussians", "senones", "senones_hash", "log_likelihood_per_frame")},
        "alignments": str(path),
    }
    text = (
        f"{kind} GMM: {facts['senones']} senones, {facts['gaussians']} Gaussians,"
        f" {facts['log_likelihood_per_frame']:.3f} nats a frame; {_counts(report.alignments, report.failures)} -> {path}"
    )
    emit(args, result, text)
    return 0


def forced(args: argparse.Namespace) -> int:
    """Alignment by the scores of a model."""
    from asr_distill.alignment import TranscriptReader, forced_align
    from asr_distill.alignment.cepstra import transcript_of
    from asr_distill.base import UserError, check_own, only_writer, write_json, written_together
    from asr_distill.cli.main import emit
    from asr_distill.data.checks import load_utterances
    from asr_distill.lang.directory import Lang
    from asr_distill.senones import SenoneInventory, check_same, write_alignments

    failures = args.output.parent / f"failures_{_name_of(args.output)}.json"
    check_own(failures)
    with only_writer(args.output):
        cuts = list(load_utterances(args.cuts))
        inventory, scores = _model_scores(args.scores_from, cuts, args.device)
        if args.inventory is not None:
            check_same(SenoneInventory.load(args.inventory).hash, inventory.hash, str(args.inventory), str(args.scores_from))
        if args.batch_size < 1 or args.acoustic_scale <= 0:
            raise UserError("--batch-size must be 1 or more and --acoustic-scale above 0")
        transcripts = {cut.id: transcript_of(cut) for cut in cuts}
        report = forced_align(
            transcripts,
            scores,
            inventory,
            TranscriptReader.of_lang(Lang.load(args.lang), unknown_word=args.unknown_word),
            max_failed_share=args.max_failed_share,
            total=len(cuts),
            acoustic_scale=args.acoustic_scale,
            transition_scale=args.transition_scale,
            self_loop_scale=args.self_loop_scale,
            device=args.device,
            batch_size=args.batch_size,
        )
        ordered = {key: report.alignments[key] for key in transcripts if key in report.alignments}
        with written_together():
            write_alignments(args.output, ordered)
            write_json(failures, report.failures, listed=True)
    frames = sum(map(len, ordered.values()))
    likelihood = sum(alignment.log_likelihood or 0.0 for alignment in ordered.values()) / max(frames, 1)
    result = {
        "aligned": len(ordered),
        "failed": len(report.failures),
        "failed_ids": list(report.failures),
        "frames": frames,
        "log_likelihood_per_frame": likelihood,
        "senones_hash": inventory.hash,
        "alignments": str(args.output),
    }
    emit(args, result, f"{_counts(ordered, report.failures)}, {likelihood:.3f} a frame -> {args.output}")
    return 0


def _model_scores(folder: Path, cuts: list[Any], device: str) -> tuple[SenoneInventory, Iterator[tuple[str, Any]]]:
    """The inventory of a GMM or of a network bundle, and its scores by cut id."""
    from asr_distill.alignment import GmmModel

    if (folder / "gmm.json").is_file():
        gmm = GmmModel.load(folder)
        return gmm.inventory, ((cut.id, matrix) for cut, matrix in gmm.scores(cuts))
    from asr_distill.student import load_model

    student = load_model(folder, device=device)
    return student.inventory, ((scored[0].id, scored[1]) for scored in student.scores(cuts))


def _counts(alignments: Mapping[str, Any], failures: Mapping[str, str]) -> str:
    total = len(alignments) + len(failures)
    return f"{len(alignments)} of {total} utterances aligned" + (
        f", failed: {' '.join(list(failures)[:10])}" if failures else ""
    )


def _name_of(path: Path) -> str:
    return path.name.split(".")[0].removeprefix("cuts_").removeprefix("alignments_")

"""``asr-distill align``: flat-start monophones, forced alignment by any model, and looking at what came out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_distill.lang.directory import Lang
    from asr_distill.senones import FrameAlignment, SenoneInventory

MONO_EXAMPLE = "asr-distill align mono --cuts fbank/cuts_train.jsonl.gz --lang lang --output mono"
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
    actions = parser.add_subparsers(dest="action", metavar="mono|forced|show|plot|compare", required=True)

    mono = _action(actions, "mono", "train a monophone GMM from transcripts and a lexicon, and align with it", MONO_EXAMPLE)
    _add_input(mono)
    mono.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets the model and alignments_NAME.jsonl.gz")
    mono.add_argument("--split", metavar="NAME", help="name of the alignments (default: that of the cuts)")
    mono.add_argument("--config", type=Path, metavar="YAML", help="schedule and cepstra (default: as Kaldi's train_mono.sh)")
    for name, text in (
        ("--iterations", "passes of estimation"),
        ("--total-gaussians", "in the end"),
        ("--seed", "of the splitting of Gaussians"),
    ):
        mono.add_argument(name, type=int, metavar="N", help=f"{text} (default: the configuration's)")
    for name in ("--beam", "--retry-beam"):
        mono.add_argument(name, type=float, metavar="NATS", help="of the alignments (default: the configuration's)")

    forced = _action(actions, "forced", "align by the scores of a model, exactly", FORCED_EXAMPLE)
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
    parser = actions.add_parser(name, help=text, description=text, epilog=f"example: {example}")
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", default=argparse.SUPPRESS, help="only errors on standard error")
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


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    actions = {"mono": _mono, "forced": _forced, "show": _show, "plot": _plot, "compare": _compare}
    return actions[args.action](args)


def _mono(args: argparse.Namespace) -> int:
    from asr_distill.alignment import MonophoneConfig, train_monophone
    from asr_distill.base import from_mapping, load_config, read_json
    from asr_distill.cli.main import emit
    from asr_distill.data.checks import load_cuts
    from asr_distill.lang.directory import Lang

    names = ("iterations", "total_gaussians", "seed", "beam", "retry_beam", "unknown_word")
    overrides = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    where = "options of align mono"
    config = (
        load_config(MonophoneConfig, args.config, overrides)
        if args.config
        else from_mapping(MonophoneConfig, overrides, where=where)
    )
    split = args.split or _name_of(args.cuts)
    report = train_monophone(
        load_cuts(args.cuts), Lang.load(args.lang), args.output, config, split=split, max_failed_share=args.max_failed_share
    )
    facts = read_json(args.output / "mono.json")
    result = {
        "aligned": len(report.alignments),
        "failed": len(report.failures),
        "failed_ids": list(report.failures),
        "gaussians": facts["gaussians"],
        "senones": facts["senones"],
        "senones_hash": facts["senones_hash"],
        "log_likelihood_per_frame": facts["log_likelihood_per_frame"],
        "alignments": str(args.output / f"alignments_{split}.jsonl.gz"),
    }
    text = (
        f"monophone GMM: {facts['senones']} senones, {facts['gaussians']} Gaussians,"
        f" {facts['log_likelihood_per_frame']:.3f} nats a frame; {_counts(report.alignments, report.failures)}"
        f" -> {result['alignments']}"
    )
    emit(args, result, text)
    return 0


def _forced(args: argparse.Namespace) -> int:
    from asr_distill.alignment import TranscriptReader, forced_align
    from asr_distill.alignment.cepstra import transcript_of
    from asr_distill.base import UserError, write_json
    from asr_distill.cli.main import emit
    from asr_distill.data.checks import load_cuts
    from asr_distill.lang.directory import Lang
    from asr_distill.senones import SenoneInventory, check_same, write_alignments

    cuts = list(load_cuts(args.cuts))
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
    write_alignments(args.output, ordered)
    failures = args.output.parent / f"failures_{_name_of(args.output)}.json"
    write_json(failures, report.failures)
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
    from asr_distill.student import Student

    student = Student.load(folder, device=device)
    return student.inventory, ((scored[0].id, scored[1]) for scored in student.scores(cuts))


def _show(args: argparse.Namespace) -> int:
    from asr_distill.alignment.show import rows, text_table
    from asr_distill.cli.main import emit

    alignment, lang = _one_alignment(args)
    result = {
        "id": args.cut,
        "frames": len(alignment),
        "log_likelihood": alignment.log_likelihood,
        "words": [list(word) for word in alignment.word_segments()],
        "phones": rows(alignment, lang.real_phones),
    }
    emit(args, result, text_table(args.cut, alignment, lang.real_phones))
    return 0


def _plot(args: argparse.Namespace) -> int:
    from asr_distill.alignment.cepstra import load_fbank
    from asr_distill.alignment.plot import plot_alignment
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.data.checks import load_cuts

    alignment, lang = _one_alignment(args)
    cut = next((cut for cut in load_cuts(args.cuts) if cut.id == args.cut), None)
    if cut is None:
        raise UserError(f"there is no cut {args.cut!r} in {args.cuts}")
    output = args.output or Path(f"{args.cut}.png")
    plot_alignment(output, args.cut, load_fbank(cut), alignment, lang.real_phones, lang.silence_phones)
    emit(args, {"id": args.cut, "plot": str(output)}, f"{args.cut} -> {output}")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from asr_distill.alignment import alignment_segments, compare_boundaries, read_mlf
    from asr_distill.alignment.show import check_phones
    from asr_distill.base import write_json
    from asr_distill.cli.main import emit
    from asr_distill.lang.directory import Lang
    from asr_distill.senones import read_alignments

    lang = Lang.load(args.lang)
    alignments = read_alignments(args.alignments)
    for key, alignment in alignments.items():
        check_phones(alignment, lang.real_phones, f"the alignment of {key!r}")
    comparison = compare_boundaries(
        {key: alignment_segments(alignment, lang.real_phones) for key, alignment in alignments.items()},
        read_mlf(args.reference, offset=args.offset_ms / 1000),
        silence=("sil", "sp", *lang.silence_phones),
    )
    result = comparison.to_dict()
    if args.output:
        write_json(args.output, result)
    text = (
        f"{result['matched_phones']} of {result['phones']} phones matched in {result['utterances']} utterances"
        f" ({result['not_in_reference']} not in the reference)\n"
        f"boundary difference: median {result['median_ms']} ms, mean {result['mean_ms']} ms"
        f" (signed, ours - theirs: median {result['signed_median_ms']} ms, mean {result['signed_mean_ms']} ms)\n"
        f"percentiles in ms: {', '.join(f'{p} %: {ms}' for p, ms in result['percentiles_ms'].items())}\n"
        f"within 20 ms: {100 * result['share_within_20_ms']:.1f} %; frames with the same phone:"
        f" {100 * result['frame_agreement']:.1f} % ({100 * result['speech_frame_agreement']:.1f} % where both have speech)"
    )
    emit(args, result, text)
    return 0


def _one_alignment(args: argparse.Namespace) -> tuple[FrameAlignment, Lang]:
    import difflib

    from asr_distill.alignment.show import check_phones
    from asr_distill.base import UserError
    from asr_distill.lang.directory import Lang
    from asr_distill.senones import read_alignments

    alignments, lang = read_alignments(args.alignments), Lang.load(args.lang)
    if args.cut not in alignments:
        near = difflib.get_close_matches(args.cut, alignments, n=3)
        raise UserError(f"{args.alignments} has no cut {args.cut!r}" + (f"; near: {', '.join(near)}" if near else ""))
    check_phones(alignments[args.cut], lang.real_phones, f"the alignment of {args.cut!r}")
    return alignments[args.cut], lang


def _counts(alignments: Mapping[str, Any], failures: Mapping[str, str]) -> str:
    total = len(alignments) + len(failures)
    return f"{len(alignments)} of {total} utterances aligned" + (
        f", failed: {' '.join(list(failures)[:10])}" if failures else ""
    )


def _name_of(path: Path) -> str:
    return path.name.split(".")[0].removeprefix("cuts_").removeprefix("alignments_")

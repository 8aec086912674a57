"""``asr-distill score``: word error rate with intervals, frame accuracy, aligned listing; or figures recomputed."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from asr_distill.scoring.transcript_formats import FORMATS

EXAMPLE = "asr-distill score exp/an4/decode/baseline_uniform/test --training-cuts exp/an4/manifests/cuts_train.jsonl.gz"

_log = logging.getLogger("asr_distill")


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``score``."""
    parser.add_argument(
        "decode", nargs="?", metavar="DECODE_DIR", help="directory with hypotheses.jsonl; score.json goes there"
    )
    parser.add_argument("--ref", metavar="FILE", help="references: sclite's .trn or .stm, or Kaldi text")
    parser.add_argument("--hyp", metavar="FILE", help="hypotheses: sclite's .trn or .ctm, or Kaldi text (with --ref)")
    for side in ("ref", "hyp"):
        parser.add_argument(
            f"--{side}-format",
            choices=FORMATS,
            default="auto",
            help=f"of --{side}; auto: as its name and its lines say, or an error",
        )
    parser.add_argument("--utt2spk", metavar="FILE", help="speaker of each utterance, for --ref and --hyp")
    parser.add_argument("--unit", choices=["speaker", "utterance"], help="what is resampled for the first interval")
    parser.add_argument("--samples", type=int, default=10_000, help="bootstrap samples (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default %(default)s)")
    parser.add_argument("--listing", metavar="FILE", help="write aligned references and hypotheses here ('-' prints them)")
    parser.add_argument("--out", metavar="FILE", help="write score.json here (default: in DECODE_DIR)")
    parser.add_argument("--training-text", metavar="FILE", help="training sentences: utterances with such a text stand apart")
    parser.add_argument("--training-cuts", metavar="CUTS", help="the same from the transcripts of a lhotse CutSet")
    parser.add_argument("--words", metavar="FILE", help="vocabulary (words.txt, lexicon): count words outside it")
    parser.add_argument("--case", choices=["none", "lower", "upper"], default="none", help="normalise case (default: as it is)")
    parser.add_argument("--remove", nargs="+", default=[], metavar="WORD", help="words taken out of both sides first")
    parser.add_argument(
        "--max-mismatch",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="refuse where more than this share of references lack a hypothesis, or the reverse (default %(default)s)",
    )
    parser.add_argument("--per-utterance", metavar="FILE", help="recompute the figures of a published per_utterance.jsonl")
    parser.add_argument("--results", metavar="FILE", help="results.json to compare with (default: beside --per-utterance)")


def run(args: argparse.Namespace) -> int:
    """Scores a decode directory or a pair of files, or checks published figures."""
    from asr_distill.base import UserError

    given = [args.decode is not None and args.hyp is None, args.hyp is not None, args.per_utterance is not None]
    if sum(given) != 1 or (args.hyp and (args.decode or not args.ref)):
        raise UserError(
            "give DECODE_DIR (with --ref FILE to replace its references), or --ref FILE --hyp FILE, or --per-utterance"
        )
    return _recompute(args) if args.per_utterance else _score(args)


def _score(args: argparse.Namespace) -> int:
    from asr_distill.base import UserError, check_own, hash_of_file, normalise_text, write_json, write_text
    from asr_distill.cli.main import emit
    from asr_distill.scoring import (
        Normalisation,
        Utterance,
        aligned_listing,
        pair_transcripts,
        read_hypotheses,
        read_references,
        read_training_texts,
        read_utterance_speakers,
        read_vocabulary,
        score_table,
        score_utterances,
    )
    from asr_distill.scoring.segments import pair_timed
    from asr_distill.scoring.timed import read_ctm, read_stm
    from asr_distill.scoring.transcripts import format_of, read_transcripts
    from asr_distill.scoring.utterances import with_references, with_speakers

    normalise = Normalisation(args.case, tuple(map(normalise_text, args.remove)))
    unknown: list[str] = []
    utterances: list[Utterance]
    if args.ref and format_of(args.ref, args.ref_format) == "stm":
        hypotheses = args.hyp or _ctm_of(args.decode)
        utterances, unknown = pair_timed(read_stm(args.ref), read_ctm(hypotheses), normalise)
    elif args.hyp:
        references = read_references(args.ref, args.ref_format)
        utterances, unknown = pair_transcripts(references, read_transcripts(args.hyp, args.hyp_format), normalise)
    else:
        utterances = read_hypotheses(args.decode, normalise, need_reference=not args.ref)
        if args.ref:
            utterances, unknown = with_references(utterances, read_references(args.ref, args.ref_format), normalise)
    if args.utt2spk:
        utterances = with_speakers(utterances, read_utterance_speakers(args.utt2spk))
    _check_mismatch([u.id for u in utterances if u.hypothesis is None], len(utterances), unknown, args.max_mismatch)
    if args.samples < 1:
        raise UserError(f"--samples {args.samples}; expected at least 1")
    training = None
    if args.training_text or args.training_cuts:
        training = read_training_texts(args.training_text, args.training_cuts, normalise)
    destination = args.out
    if not args.out and args.decode and Path(args.decode).is_dir():
        destination = Path(args.decode) / "score.json"
        check_own(destination)
    score = score_utterances(
        utterances,
        unknown=unknown,
        training=training,
        vocabulary=read_vocabulary(args.words) if args.words else None,
        unit=args.unit,
        samples=args.samples,
        seed=args.seed,
    )
    score["normalisation"] = {"case": args.case, "remove": list(args.remove)}
    if args.decode:
        source = Path(args.decode)
        score["hypotheses_sha256"] = hash_of_file(source / "hypotheses.jsonl" if source.is_dir() else source)
    if destination:
        write_json(destination, score, listed=not args.out)
        _log.info("wrote %s", destination)
    text = score_table(score)
    if args.listing == "-":
        text = f"{aligned_listing(utterances)}\n{text}"
    elif args.listing:
        write_text(args.listing, aligned_listing(utterances))
        _log.info("wrote %s", args.listing)
    emit(args, score, text)
    return 0


def _ctm_of(decode: str) -> Path:
    """The words with times that a decode directory has beside hypotheses.jsonl."""
    folder = Path(decode) if Path(decode).is_dir() else Path(decode).parent
    return folder / "hyp.ctm"


def _check_mismatch(missing: list[str], total: int, unknown: list[str], share: float) -> None:
    from asr_distill.base import UserError

    for ids, what in ((missing, "references have no hypothesis"), (unknown, "hypotheses have no reference")):
        if len(ids) > share * total:
            raise UserError(
                f"{len(ids)} {what} ({', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}) beside {total} references: more"
                f" than the share of {share:g} that --max-mismatch allows. Are these the same utterances, with the same ids?"
            )


def _recompute(args: argparse.Namespace) -> int:
    from asr_distill.cli.main import emit
    from asr_distill.report import recompute

    results = args.results or str(Path(args.per_utterance).parent / "results.json")
    rows: list[dict[str, Any]] = recompute(args.per_utterance, results)
    text = "\n".join(
        f"{'same' if row['same'] else 'DIFFERS'}  {row['system']:<24} {row['figure']:<24} published {_show(row['published'])},"
        f" recomputed {_show(row['recomputed'])}"
        for row in rows
    )
    different = sum(not row["same"] for row in rows)
    text += f"\n{len(rows)} figures recomputed from {args.per_utterance}: {different} differ from {results}"
    emit(args, {"figures": rows, "different": different}, text)
    return 1 if different else 0


def _show(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)

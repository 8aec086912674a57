"""The actions of ``asr-distill align`` that look at alignments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr_distill.lang.directory import Lang
    from asr_distill.senones import FrameAlignment


def show(args: argparse.Namespace) -> int:
    """Words, phones and times of one cut."""
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


def plot(args: argparse.Namespace) -> int:
    """A picture of one cut."""
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


def compare(args: argparse.Namespace) -> int:
    """Phone boundaries against a reference."""
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
        {
            key: alignment_segments(alignment, lang.real_phones, position_dependent=lang.position_dependent)
            for key, alignment in alignments.items()
        },
        read_mlf(args.reference, offset=args.offset_ms / 1000),
        silence=("sil", "sp", *lang.silence_phones),
    )
    result = comparison.to_dict()
    if args.output:
        write_json(args.output, result, listed=True)
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

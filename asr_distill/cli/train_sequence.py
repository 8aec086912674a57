"""The options of ``asr-distill train`` for sequence training, and what they become: examples and an objective."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_distill.student.senone_task import SenoneTask
    from asr_distill.training import TrainingConfig
    from asr_distill.training.lattice_free import LatticeFree
    from asr_distill.training.utterance_examples import UtteranceExamples

OBJECTIVES = ("hard", "lfmmi", "smbr")
_DEFAULT_SCALE = 0.15
_DEFAULTS: dict[str, Any] = {
    "frame_weight": 0.1,
    "boost": 0.0,
    "margin": 0.05,
    "tolerance": 5,
    "lm_order": 3,
    "lm_states": 1000,
    "lm_scale": 1.0,
    "lattice_beam": 15.0,
    "max_frames": 2000,
    "max_failed_share": 0.05,
}
_OPTIONS = ("alignments", "lang", "acoustic_scale", *_DEFAULTS)
# The other objective's loss does not have it: that of smbr uses no numerators.
_ONLY_OF = {"boost": "lfmmi", "lang": "lfmmi", "tolerance": "lfmmi", "margin": "smbr"}


def configure_sequence(parser: argparse.ArgumentParser) -> None:
    """Adds the options; `complete_sequence_options` refuses them where ``--objective`` is ``hard``."""
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="hard",
        help="hard: frames with aligned labels; lfmmi, smbr: whole utterances, fine-tuning --initial-model (default: hard)",
    )
    group = parser.add_argument_group("sequence training (--objective lfmmi or smbr)")
    group.add_argument("--alignments", type=Path, metavar="JSONL", help="of the training cuts; the store's labels come from it")
    group.add_argument(
        "--lang", type=Path, metavar="DIR", help="of lfmmi: numerators from transcripts with this lexicon, not from phones"
    )
    group.add_argument("--acoustic-scale", type=float, metavar="K", help=f"default: the model's own, else {_DEFAULT_SCALE}")
    group.add_argument("--frame-weight", type=float, metavar="H", help="of cross-entropy, 0 to 1 (default: 0.1)")
    group.add_argument("--boost", type=float, metavar="B", help="of lfmmi: boosted MMI, nats a wrong frame (default: 0)")
    group.add_argument("--margin", type=float, metavar="M", help="of smbr, nats a frame (default: 0.05)")
    group.add_argument(
        "--tolerance",
        type=int,
        metavar="T",
        help="of lfmmi: frames that numerators may leave the alignment; -1: all (default: 5)",
    )
    group.add_argument("--lm-order", type=int, metavar="N", help="of the phone n-gram (default: 3)")
    group.add_argument("--lm-states", type=int, metavar="N", help="it has at most (default: 1000)")
    group.add_argument("--lm-scale", type=float, metavar="S", help="of its log-probabilities (default: 1)")
    group.add_argument("--lattice-beam", type=float, metavar="B", help="of the log-sums, nats (default: 15)")
    group.add_argument("--max-frames", type=int, metavar="T", help="longer utterances are left out (default: 2000)")
    group.add_argument("--max-failed-share", type=float, metavar="S", help="of utterances without numerator (default: 0.05)")


def complete_sequence_options(args: argparse.Namespace) -> None:
    """Gives options that were left out their defaults.

    Raises `UserError` for any that was given and would have no effect: all with ``--objective hard``; ``--boost``, and
    ``--lang`` and ``--tolerance``, which are of numerators, with smbr; ``--margin`` with lfmmi.
    """
    from asr_distill.base import UserError

    given = [f"--{name.replace('_', '-')}" for name in _OPTIONS if getattr(args, name) is not None]
    if args.objective == "hard" and given:
        raise UserError(
            f"{', '.join(given)}: sequence training only, and --objective is hard. Next: leave it out, or add --objective lfmmi"
        )
    for name, objective in _ONLY_OF.items():
        if getattr(args, name) is not None and args.objective != objective:
            raise UserError(
                f"--{name} belongs to --objective {objective}, found --objective {args.objective}, whose loss does not use it."
                f" Next: leave it out, or train with --objective {objective}"
            )
    for name, value in _DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def sequence_options(args: argparse.Namespace) -> list[str]:
    """The options as words of a command line, for a process that trains one seed."""
    if args.objective == "hard":
        return []
    read = [name for name in _OPTIONS if _ONLY_OF.get(name, args.objective) == args.objective]
    given = [(name, getattr(args, name)) for name in ("objective", *read) if getattr(args, name) is not None]
    return [f"--{name.replace('_', '-')}={value}" for name, value in given]


def sequence_task(args: argparse.Namespace, config: TrainingConfig, task: SenoneTask) -> tuple[UtteranceExamples, LatticeFree]:
    """Denominator from the alignments of the utterances in ``task``, their numerators, examples and objective.

    Raises `UserError` where an option is missing, k2 is not installed, or parts belong to different senones.
    """
    import numpy as np

    from asr_distill.alignment import TranscriptReader
    from asr_distill.base import UserError
    from asr_distill.data.utterance_share import frames_of_share
    from asr_distill.lang.directory import Lang
    from asr_distill.senones import SenonePriors, read_alignments
    from asr_distill.sequence import LatticeFreeLoss, NumeratorBuilder, build_denominator, check_k2, estimate_phone_lm
    from asr_distill.training.lattice_free import LatticeFree, make_numerators
    from asr_distill.training.precision import choose_device
    from asr_distill.training.utterance_examples import UtteranceExamples

    check_k2()
    if args.alignments is None or args.initial_model is None:
        raise UserError(
            f"--objective {args.objective} needs --alignments (the phone sequences) and --initial-model (a trained network)"
        )
    store, inventory, device = task.store, task.inventory, choose_device(config.device)
    priors = SenonePriors.load(args.priors, inventory.hash)
    alignments = read_alignments(args.alignments)
    frames = frames_of_share(store, args.share)
    chosen = np.unique(np.searchsorted(store.offsets, frames, side="right") - 1).tolist()
    sequences = [alignments[store.cut_ids[cut]].phones.tolist() for cut in chosen if store.cut_ids[cut] in alignments]
    if not sequences:
        raise UserError(f"{args.alignments} has no alignment of any cut of {store.path}; give those its labels were made of")
    lm = estimate_phone_lm(sequences, order=args.lm_order, max_states=args.lm_states)
    denominator = build_denominator(lm, inventory, lm_scale=args.lm_scale)
    tolerance = None if args.tolerance < 0 else args.tolerance
    loss = LatticeFreeLoss(
        denominator,
        criterion="smbr" if args.objective == "smbr" else "mmi",
        acoustic_scale=_own_scale(args.initial_model) if args.acoustic_scale is None else args.acoustic_scale,
        boost=args.boost,
        margin=args.margin,
        tolerance=tolerance,
        beam=args.lattice_beam,
        device=device,
    )
    reader = TranscriptReader.of_lang(Lang.load(args.lang)) if args.lang is not None else None
    limits: dict[str, Any] = {"max_frames": args.max_frames, "max_failed_share": args.max_failed_share}
    numerators = make_numerators(
        *(store, alignments, inventory, NumeratorBuilder(denominator, inventory, reader)),
        chosen=chosen,
        transcripts=reader is not None,
        keeps_times=tolerance is not None,
        **limits,
    )
    examples = UtteranceExamples(task.train, numerators.cuts)
    objective = LatticeFree(
        *(loss, numerators.graphs),
        priors=priors,
        frame_weight=args.frame_weight,
        names=store.cut_ids,
        max_failed_share=args.max_failed_share,
    )
    return examples, objective


def _own_scale(bundle: Path) -> float:
    from asr_distill.student import BundleConfig

    return BundleConfig.load(bundle).acoustic_scale or _DEFAULT_SCALE

"""The options of ``asr-distill train`` for sequence training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr_distill.experiments.training_job import SequenceObjective

OBJECTIVES = ("hard", "lfmmi", "smbr")
_OPTIONS = "alignments lang acoustic_scale frame_weight boost margin tolerance lm_order lm_states lm_scale".split()
_OPTIONS += "lattice_beam max_frames max_failed_share".split()
# The other objective's loss does not have it: that of smbr uses no numerators.
_ONLY_OF = {"boost": "lfmmi", "lang": "lfmmi", "tolerance": "lfmmi", "margin": "smbr"}


def configure_sequence(parser: argparse.ArgumentParser) -> None:
    """Add the options; `sequence_objective` refuses them where ``--objective`` is ``hard``."""
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
    group.add_argument("--acoustic-scale", type=float, metavar="K", help="default: the model's own, else 0.15")
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


def sequence_objective(args: argparse.Namespace) -> SequenceObjective | None:
    """Return what the options ask for, None where ``--objective`` is ``hard``.

    Raises:
        UserError: an option is missing, or was given and would have no effect: all with ``--objective hard``; ``--boost``,
            ``--lang`` and ``--tolerance``, which are of numerators, with smbr; ``--margin`` with lfmmi.
    """
    from asr_distill.base import UserError
    from asr_distill.experiments.training_job import SequenceObjective

    given = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    if args.objective == "hard":
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UserError(
                f"{options}: sequence training only, and --objective is hard. Next: leave it out, or add --objective lfmmi"
            )
        return None
    for name, objective in _ONLY_OF.items():
        if name in given and args.objective != objective:
            raise UserError(
                f"--{name} belongs to --objective {objective}, found --objective {args.objective}, whose loss does not use it."
                f" Next: leave it out, or train with --objective {objective}"
            )
    if args.alignments is None or args.initial_model is None:
        raise UserError(
            f"--objective {args.objective} needs --alignments (the phone sequences) and --initial-model (a trained network)"
        )
    return SequenceObjective(args.objective, **given)

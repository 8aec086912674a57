"""Sequence-level objectives: whole utterances scored against all that could have been said, through k2's intersection.

Comes in: phone sequences (for the denominator's phone n-gram), alignments or transcripts (for the numerators) and the scores of
a network; goes out: a differentiable loss per utterance, lattice-free MMI, boosted MMI or expected frame errors. Open
``loss.py`` first, then ``denominator.py`` and ``numerator.py``.
"""

from asr_distill.sequence.denominator import Denominator, build_denominator
from asr_distill.sequence.loss import CRITERIA, LatticeFreeLoss, UtteranceLosses, check_k2
from asr_distill.sequence.numerator import NoNumerator, NumeratorBuilder, senones_within
from asr_distill.sequence.phone_lm import PhoneLm, estimate_phone_lm

__all__ = [
    "CRITERIA",
    "Denominator",
    "LatticeFreeLoss",
    "NoNumerator",
    "NumeratorBuilder",
    "PhoneLm",
    "UtteranceLosses",
    "build_denominator",
    "check_k2",
    "estimate_phone_lm",
    "senones_within",
]

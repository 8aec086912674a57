"""Alignment: which phone and HMM state each frame of a transcribed utterance is.

Transcripts, a lang directory and either filterbanks (flat-start monophone GMM) or any frame scores (exact forced alignment)
come in; the `FrameAlignment` of every utterance and a list of those that failed go out. Open ``monophone.py`` for the flat
start, ``forced.py`` for alignment by scores.
"""

from asr_distill.alignment.cepstra import Cepstra, CepstraConfig
from asr_distill.alignment.forced import AlignmentReport, ForcedAligner, forced_align
from asr_distill.alignment.gmm_model import GmmModel, gmm_log_likelihoods
from asr_distill.alignment.monophone import MonophoneConfig, monophone_inventory, train_monophone
from asr_distill.alignment.phone_lattice import TranscriptReader, UnknownWords
from asr_distill.alignment.reference import alignment_segments, compare_boundaries, read_mlf
from asr_distill.alignment.triphone import TriphoneConfig, train_triphone

__all__ = [
    "AlignmentReport",
    "Cepstra",
    "CepstraConfig",
    "ForcedAligner",
    "GmmModel",
    "MonophoneConfig",
    "TranscriptReader",
    "TriphoneConfig",
    "UnknownWords",
    "alignment_segments",
    "compare_boundaries",
    "forced_align",
    "gmm_log_likelihoods",
    "monophone_inventory",
    "read_mlf",
    "train_monophone",
    "train_triphone",
]

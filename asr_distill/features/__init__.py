"""Features: 40-dimensional log-Mel filterbanks, their normalisation, and the 26-frame window of the networks.

Comes in: audio of cuts. Goes out: ``(T, 40)`` float32 per cut through lhotse's writers, ``(T, 1040)`` inputs from a window.
Open ``fbank.py`` first, then ``extraction.py`` for whole corpora.
"""

from asr_distill.features.audio import recording_of
from asr_distill.features.extraction import ExtractionReport, extract_features, speed_copies
from asr_distill.features.fbank import Fbank40, Fbank40Config, config_difference
from asr_distill.features.normalisation import Moments, Normalisation, NormalisationAccumulator, NormalisationKind
from asr_distill.features.specaugment import SpecAugment, SpecAugmentConfig
from asr_distill.features.window import ContextWindow

__all__ = [
    "ContextWindow",
    "ExtractionReport",
    "Fbank40",
    "Fbank40Config",
    "Moments",
    "Normalisation",
    "NormalisationAccumulator",
    "NormalisationKind",
    "SpecAugment",
    "SpecAugmentConfig",
    "config_difference",
    "extract_features",
    "recording_of",
    "speed_copies",
]

"""Search: scaled scores of a batch and a graph come in; words, score and the senone of each frame go out.

Two engines with one interface; open ``result.py`` first for what they return, then ``k2_decoder.py`` and ``kaldi_decoder.py``.
"""

from asr_distill.decoding.k2_decoder import K2Decoder
from asr_distill.decoding.kaldi_decoder import KaldiDecoder
from asr_distill.decoding.result import Decoder, DecodeResult, Hypothesis

__all__ = ["DecodeResult", "Decoder", "Hypothesis", "K2Decoder", "KaldiDecoder"]

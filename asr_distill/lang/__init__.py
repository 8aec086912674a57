"""Lexicons, subword units, n-gram models, and what they become for a graph: a lang directory and G.

Comes in: dictionaries (or none) and training text. Goes out: a lang directory (phones, words, L) and G as a transducer over its
words. Open ``lexicon.py`` first, then ``directory.py``, ``ngram.py`` and ``grammar.py``.
"""

from asr_distill.lang.arpa import Arpa, perplexity
from asr_distill.lang.directory import Lang
from asr_distill.lang.grammar import build_g, uncovered_words, write_g
from asr_distill.lang.lexicon import Lexicon, Pronunciation
from asr_distill.lang.ngram import estimate_ngram
from asr_distill.lang.phone_set import PhoneSet, base_phone
from asr_distill.lang.subwords import Subwords, join_pieces
from asr_distill.lang.symbols import SymbolTable

__all__ = [
    "Arpa",
    "Lang",
    "Lexicon",
    "PhoneSet",
    "Pronunciation",
    "Subwords",
    "SymbolTable",
    "base_phone",
    "build_g",
    "estimate_ngram",
    "join_pieces",
    "perplexity",
    "uncovered_words",
    "write_g",
]

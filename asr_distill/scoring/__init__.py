"""Scoring: word, sentence and phone error rate, frame accuracy, and how sure one may be of them.

References and hypotheses come in (a decode directory, sclite's trn, ctm and stm, Kaldi text); counts, intervals, paired
comparisons and aligned listings go out. Open ``utterances.py`` first, then ``metrics.py`` and ``bootstrap.py``.
"""

from asr_distill.scoring.bootstrap import (
    Comparison,
    GainTransferred,
    Interval,
    bootstrap_interval,
    gain_transferred,
    named_unit,
    paired_comparison,
    resampled_unit,
)
from asr_distill.scoring.errors import ErrorCounts, align_words, count_errors
from asr_distill.scoring.listing import aligned_listing
from asr_distill.scoring.metrics import METRICS, MetricCounts, metric_counts
from asr_distill.scoring.score import score_table, score_utterances
from asr_distill.scoring.training_text import read_training_texts
from asr_distill.scoring.transcripts import (
    Normalisation,
    read_references,
    read_transcripts,
    read_utterance_speakers,
    read_vocabulary,
)
from asr_distill.scoring.utterances import Utterance, pair_transcripts, read_hypotheses

__all__ = [
    "METRICS",
    "Comparison",
    "ErrorCounts",
    "GainTransferred",
    "Interval",
    "MetricCounts",
    "Normalisation",
    "Utterance",
    "align_words",
    "aligned_listing",
    "bootstrap_interval",
    "count_errors",
    "gain_transferred",
    "metric_counts",
    "named_unit",
    "pair_transcripts",
    "paired_comparison",
    "read_hypotheses",
    "read_references",
    "read_training_texts",
    "read_transcripts",
    "read_utterance_speakers",
    "read_vocabulary",
    "resampled_unit",
    "score_table",
    "score_utterances",
]

"""How fast the parts are, as ratios: each against a named reference, both measured in turn within one run.

Comes in: a `BenchConfig`; goes out: plain rows with the ratio (median, lowest, highest of the pairs), both speeds, what each
side did, batch sizes, threads and peak memory. Open ``pairs.py`` first, then ``training.py``, ``features.py``, ``search.py``.
"""

from asr_distill.bench.configuration import (
    BenchConfig,
    FeatureCase,
    SearchCase,
    SoftTargetCase,
    SpecialistCase,
    TrainingCase,
)
from asr_distill.bench.features import bench_features
from asr_distill.bench.pairs import Ratio, interleave
from asr_distill.bench.publish import bench_results, bench_table, machine
from asr_distill.bench.search import bench_search
from asr_distill.bench.soft_targets import bench_soft_targets
from asr_distill.bench.specialists import bench_specialists_with_memory
from asr_distill.bench.training import bench_training

__all__ = [
    "BenchConfig",
    "FeatureCase",
    "Ratio",
    "SearchCase",
    "SoftTargetCase",
    "SpecialistCase",
    "TrainingCase",
    "bench_features",
    "bench_results",
    "bench_search",
    "bench_soft_targets",
    "bench_specialists_with_memory",
    "bench_table",
    "bench_training",
    "interleave",
    "machine",
]

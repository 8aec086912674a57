"""Clusters and combined predictions at the paper's size, 15,000 classes and 61 specialists of 300: time and memory.

Random predictions stand in for a generalist's: the work does not depend on what they say, but for the iterations of the
combination, which are reported.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from asr_distill.base import from_mapping, to_mapping
from asr_distill.bench.configuration import SpecialistCase
from asr_distill.bench.memory import high_water_mark, peak_memory
from asr_distill.specialists import PredictionCovariance, cluster_classes, combine

SIDES = {
    "covariance": "predictions accumulated in the covariance matrix, batch by batch",
    "clustering": "online k-means over the columns of that matrix",
    "combination": "Eq. 5 by the fixed point, each row to its minimum",
}


def bench_specialists_with_memory(case: SpecialistCase, *, threads: int) -> dict[str, Any]:
    """`bench_specialists` with so many threads, and ``memory``, that of a process of its own.

    That process takes fewer predictions and one pass of k-means: these need time, not memory.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = bench_specialists(case)
    finally:
        torch.set_num_threads(before)
    shorter = replace(case, predictions=min(case.predictions, 2048), passes=1, restarts=1)
    return {**found, "memory": peak_memory("specialists", {"case": to_mapping(shorter), "threads": threads})}


def specialists_alone(case: dict[str, Any], threads: int) -> None:
    """All parts once, for their memory."""
    torch.set_num_threads(threads)
    bench_specialists(from_mapping(SpecialistCase, case))


def bench_specialists(case: SpecialistCase) -> dict[str, Any]:
    """Seconds of each part, predictions and rows a second, iterations, and the process's largest resident set so far (MiB).

    Run it in a process of its own where the memory is to be that of the work alone.
    """
    generator = torch.Generator().manual_seed(case.seed)
    covariance = PredictionCovariance(case.num_classes)
    seconds = {"covariance": 0.0}
    for probs in _predictions(case, generator):
        start = time.perf_counter()
        covariance.update(probs)
        seconds["covariance"] += time.perf_counter() - start
    start = time.perf_counter()
    clusters = cluster_classes(
        covariance,
        case.num_clusters,
        size=case.size,
        passes=case.passes,
        restarts=case.restarts,
        seed=case.seed,
    )
    seconds["clustering"] = time.perf_counter() - start
    del covariance
    # Classes that specialists know are predicted more often than not, or there would be nothing to combine.
    logits = 3 * torch.randn(case.rows, case.num_classes, generator=generator)
    logits[torch.arange(case.rows), clusters[0][torch.randint(case.size, (case.rows,), generator=generator)]] += 15
    tables = []
    for ids in clusters:
        scores = 3 * torch.randn(case.rows, len(ids) + 1, generator=generator)
        scores[:, -1] += math.log(case.num_classes)
        tables.append((ids, scores.log_softmax(dim=1)))
    log_probs = logits.log_softmax(dim=1)
    start = time.perf_counter()
    _, info = combine(log_probs, tables, case.top_n, return_info=True)
    seconds["combination"] = time.perf_counter() - start
    return {
        "num_classes": case.num_classes,
        "num_clusters": case.num_clusters,
        "size": case.size,
        "predictions": case.predictions,
        "rows": case.rows,
        "passes": case.passes,
        "restarts": case.restarts,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "rows_per_second": case.rows / seconds["combination"],
        "active_specialists": float(info.active.float().mean()),
        "iterations": int(info.iterations.max()),
        "converged": int(info.converged.sum()),
        "largest_excess": float(info.excess.max()),
        "covariance_mb": case.num_classes**2 * 4 / 2**20,
        "peak_mb": round(high_water_mark(), 1),
    }


def _predictions(case: SpecialistCase, generator: torch.Generator) -> Iterator[torch.Tensor]:
    done = 0
    while done < case.predictions:
        count = min(1024, case.predictions - done)
        yield torch.softmax(3 * torch.randn(count, case.num_classes, generator=generator), dim=1)
        done += count

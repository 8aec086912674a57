"""The two search engines on the same graph and scores, their beams narrowed until the word error rate would change."""

from __future__ import annotations

import functools
import importlib.util
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from asr_distill.base import UserError
from asr_distill.bench.configuration import SearchCase
from asr_distill.bench.memory import peak_memory
from asr_distill.bench.pairs import compare, interleave
from asr_distill.bench.search_task import SearchTask, make_task
from asr_distill.decoding import Decoder, DecodeResult, K2Decoder, KaldiDecoder
from asr_distill.scoring import ErrorCounts, count_errors

K2, KALDI = "k2", "kaldi"
TOLERANCE = 0.1  # percentage points of word error rate within which two searches count as equally accurate
SIDES = {
    K2: "K2Decoder.decode on padded batches that lie in memory, best path only",
    KALDI: "KaldiDecoder.decode on the same, one utterance after the other in one thread, best path only",
}
_log = logging.getLogger("asr_distill")


def bench_search(case: SearchCase, folder: str | Path, *, threads: int, seed: int = 0) -> dict[str, Any]:
    """Search speed of k2 against kaldi-decoder for one vocabulary, at word error rates within `TOLERANCE` of each other.

    Each engine gets its fastest pruning at one word error rate (see `match`), k2 then its fastest batch size; these two
    settings are measured in turn. ``ratio`` is of elapsed time, ``cpu_ratio`` of processor time (k2 prunes lattices in a second
    thread). Where k2 is not installed, or no error rate is reached by both, ``vs_kaldi`` is None and ``reason`` says why.
    """
    torch.set_num_threads(threads)
    task = make_task(case, Path(folder) / f"search{case.words}", seed)
    engines = [KALDI, K2] if importlib.util.find_spec("k2") else [KALDI]
    widest = decode(task, Pruning(KALDI, case.wide_beam, max(case.max_active)).decoder(task), 16)
    tried = {engine: try_all(case, engine, task) for engine in engines}
    target = next(a.wer for a in tried[KALDI] if a.pruning == Pruning(KALDI, case.reference_beam, max(case.max_active)))
    candidates = match(tried[KALDI], tried.get(K2), target)
    chosen = {engine: fastest_pruning(case, found, task) for engine, found in candidates.items()}
    sizes = {KALDI: 1, K2: fastest_batch_size(case, chosen[K2], task) if K2 in engines else 1}
    tuned = {engine: (chosen[engine], sizes[engine]) for engine in engines}
    seconds, processor = _in_turn(case, task, tuned)
    rows = {}
    for engine, (pruning, batch_size) in tuned.items():
        results = decode(task, pruning.decoder(task), batch_size)
        settings = {"folder": str(task.folder), "pruning": vars(pruning), "batch_size": batch_size}
        rows[engine] = {
            **vars(pruning),
            "batch_size": batch_size,
            **score(task, results),
            "worse_paths": worse_paths(widest, results),
            "rtf": median(seconds[engine]) / task.audio_seconds,
            "cpu_rtf": median(processor[engine]) / task.audio_seconds,
            "tried": [{**vars(a.pruning), "wer": a.wer, "rtf": a.rtf} for a in tried[engine]],
            "memory": peak_memory("search", settings),
            "is": SIDES[engine],
        }
    result: dict[str, Any] = {
        "words": case.words,
        "threads": threads,
        "utterances": len(task.scores),
        "audio_seconds": task.audio_seconds,
        "data": "simulated scores",
        "target": {"beam": case.reference_beam, "max_active": max(case.max_active), "wer": target},
        "widest": {"beam": case.wide_beam, "max_active": max(case.max_active), "wer": score(task, widest)["wer"]},
        "task": task.info,
        "engines": rows,
        "vs_kaldi": None,
        "reason": "k2 is not installed",
    }
    if K2 in engines:
        # At unequal error rates the two do different work, so their ratio is withheld.
        difference = abs(rows[K2]["wer"] - rows[KALDI]["wer"])
        equal = difference <= TOLERANCE
        result["reason"] = None if equal else f"word error rates differ by {difference:.2f} points"
        if equal:
            compared = compare(seconds, K2, KALDI, task.audio_seconds, "s of audio", case.goal)
            cpu = compare(processor, K2, KALDI, task.audio_seconds, "s of audio", None)
            result["vs_kaldi"] = {**compared, "cpu_ratio": cpu["ratio"], "ours_is": SIDES[K2], "reference_is": SIDES[KALDI]}
    return result


@dataclass(frozen=True)
class Pruning:
    """An engine and how it prunes; ``output_beam`` and ``min_active`` are k2's alone."""

    engine: str
    beam: float
    max_active: int
    output_beam: float = 0.5
    min_active: int = 0

    def decoder(self, task: SearchTask) -> Decoder:
        """The engine on the task's graph."""
        if self.engine == KALDI:
            return KaldiDecoder(task.graph, beam=self.beam, max_active=self.max_active)
        if self.engine == K2:
            return K2Decoder(
                task.graph,
                search_beam=self.beam,
                output_beam=self.output_beam,
                min_active=self.min_active,
                max_active=self.max_active,
            )
        raise UserError(f"bench: engine {self.engine!r} is unknown; expected {K2} or {KALDI}")


@dataclass(frozen=True)
class Attempt:
    """A pruning with its word error rate (per cent) and the real-time factor of one pass."""

    pruning: Pruning
    wer: float
    rtf: float


def try_all(case: SearchCase, engine: str, task: SearchTask) -> list[Attempt]:
    """One pass with every beam and every ``max_active``."""
    options = (case.output_beam, case.min_active) if engine == K2 else ()
    size = sorted(case.batch_sizes)[len(case.batch_sizes) // 2]
    attempts = []
    for max_active in sorted(case.max_active):
        for beam in sorted(case.beams):
            pruning = Pruning(engine, beam, max_active, *options)
            rtf, results = _timed(task, pruning.decoder(task), size)
            attempts.append(Attempt(pruning, score(task, results)["wer"], rtf))
            _log.info("bench: %d words, %s: WER %.2f %%, RTF %.5f", case.words, pruning, attempts[-1].wer, rtf)
    return attempts


def match(kaldi: Sequence[Attempt], k2: Sequence[Attempt] | None, target: float) -> dict[str, list[Pruning]]:
    """For each engine the three fastest prunings at one word error rate, the fastest first.

    A rate will do where neither engine is faster at a better one, and both reach it within half of `TOLERANCE`; of such rates
    it is the one nearest to ``target``. Where there is none, or no k2, each engine has the rate of its own that is nearest.
    """

    def at(attempts: Sequence[Attempt], wer: float) -> list[Pruning]:
        margin = TOLERANCE / 2 + 1e-9
        fastest = sorted((a for a in attempts if a.wer <= wer + margin), key=lambda a: a.rtf)
        if not fastest or fastest[0].wer < wer - margin:
            return []
        return [a.pruning for a in fastest if a.wer >= wer - margin][:3]

    def by_distance(*engines: Sequence[Attempt]) -> list[float]:
        return sorted({a.wer for attempts in engines for a in attempts}, key=lambda wer: abs(wer - target))

    if k2 is not None:
        for wer in by_distance(kaldi, k2):
            if at(kaldi, wer) and at(k2, wer):
                return {KALDI: at(kaldi, wer), K2: at(k2, wer)}
    alone = {KALDI: kaldi} if k2 is None else {KALDI: kaldi, K2: k2}
    return {name: next(at(tried, wer) for wer in by_distance(tried) if at(tried, wer)) for name, tried in alone.items()}


def fastest_pruning(case: SearchCase, candidates: Sequence[Pruning], task: SearchTask) -> Pruning:
    """Of the candidates, by the better of two more passes each."""
    size = sorted(case.batch_sizes)[len(case.batch_sizes) // 2]
    return min(candidates, key=lambda pruning: min(_timed(task, pruning.decoder(task), size)[0] for _ in range(2)))


def fastest_batch_size(case: SearchCase, pruning: Pruning, task: SearchTask) -> int:
    """Of the case's batch sizes, by the better of two passes each."""
    decoder = pruning.decoder(task)
    times = {size: min(_timed(task, decoder, size)[0] for _ in range(2)) for size in case.batch_sizes}
    return min(times, key=lambda size: times[size])


def _timed(task: SearchTask, decoder: Decoder, batch_size: int) -> tuple[float, list[DecodeResult]]:
    start = time.perf_counter()
    results = decode(task, decoder, batch_size)
    return (time.perf_counter() - start) / task.audio_seconds, results


def decode(task: SearchTask, decoder: Decoder, batch_size: int) -> list[DecodeResult]:
    """One pass over the task: results in the order of its batches, which is the same for every size."""
    return [result for scores, lengths in task.batches(batch_size) for result in decoder.decode(scores, lengths)]


def worse_paths(widest: Sequence[DecodeResult], results: Sequence[DecodeResult]) -> int:
    """Utterances whose best path is worse than that of the widest search: search errors, whether words differ or not."""
    return sum(
        found.score < wide.score - 1e-4 * abs(wide.score) or found.reached_final < wide.reached_final
        for wide, found in zip(widest, results, strict=True)
    )


def score(task: SearchTask, results: Sequence[DecodeResult]) -> dict[str, Any]:
    """Word error rate of results in the order of the task's batches."""
    counts = ErrorCounts()
    for index, result in zip(task.order, results, strict=True):
        counts += count_errors(task.references[index], result.words)
    return {"wer": counts.rate, "no_final_state": sum(not result.reached_final for result in results)}


def engine_alone(folder: str, pruning: dict[str, Any], batch_size: int) -> None:
    """One pass with one engine, for its memory: graph, scores and search."""
    task = SearchTask(Path(folder))
    decode(task, Pruning(**pruning).decoder(task), batch_size)


def _in_turn(
    case: SearchCase, task: SearchTask, tuned: Mapping[str, tuple[Pruning, int]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Elapsed and processor seconds of each engine's passes, engines in turn."""
    processor: dict[str, list[float]] = {engine: [] for engine in tuned}
    decoders = {engine: pruning.decoder(task) for engine, (pruning, _) in tuned.items()}
    batches = {engine: task.batches(size) for engine, (_, size) in tuned.items()}

    def work(engine: str) -> None:
        start = time.process_time()
        for scores, lengths in batches[engine]:
            decoders[engine].decode(scores, lengths)
        processor[engine].append(time.process_time() - start)

    seconds = interleave({engine: functools.partial(work, engine) for engine in tuned}, case.pairs)
    return seconds, {engine: values[-case.pairs :] for engine, values in processor.items()}

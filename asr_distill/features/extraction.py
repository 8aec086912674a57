"""Features of a whole CutSet, stored by a lossless lhotse writer: several threads, resumable, bad audio reported by id."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet
from lhotse.features.base import Features
from lhotse.utils import fastcopy

from asr_distill.base import DiskError, UserError, check_space, hash_of_object, track
from asr_distill.features.array_files import ArrayFiles
from asr_distill.features.audio import audio_files, name_of, pick_channel, read_samples
from asr_distill.features.fbank import Fbank40, Fbank40Config
from asr_distill.features.frame_counts import frames_of_samples
from asr_distill.features.resampling import change_speed

_log = logging.getLogger("asr_distill")
_LISTED = 20  # bad utterances named in one message


@dataclass
class ExtractionReport:
    """cuts: with features, in the order they came; bad: cut id to what is wrong with it; the rest are numbers of cuts."""

    cuts: CutSet
    bad: dict[str, str] = field(default_factory=dict)
    computed: int = 0
    reused: int = 0
    resampled: int = 0
    num_frames: int = 0


def speed_copies(cut: Any, factors: Sequence[float]) -> list[tuple[float, Any]]:
    """The cut at each speed. Ids end in ``_sp0.9`` as in lhotse; a copy keeps its speaker and notes ``custom["speed"]``."""
    copies = []
    for factor in factors:
        if factor == 1.0:
            copies.append((factor, cut))
            continue
        copy = cut.perturb_speed(factor)
        copies.append((factor, fastcopy(copy, custom={**(copy.custom or {}), "speed": factor})))
    return copies


def extract_features(
    cuts: Iterable[Any],
    folder: str | Path,
    config: Fbank40Config,
    *,
    jobs: int = 1,
    speeds: Sequence[float] = (1.0,),
    channel: int | None = None,
    max_bad_share: float = 0.0,
) -> ExtractionReport:
    """Computes the features of every cut and stores each under ``folder`` as a float32 numpy file (see `array_files`).

    A cut whose features are there already (same audio file, span, speed and configuration) is not computed again.
    jobs: threads. speeds: each cut is stored once for each. channel: which one of a recording with several.
    max_bad_share: the share of cuts (0 to 1) that may be bad; they are left out and reported.
    Raises `UserError` naming the bad cuts where their share is larger, or where no cut is good.
    """
    if not 0 <= max_bad_share <= 1:
        raise UserError(f"max_bad_share {max_bad_share} is not between 0 and 1")
    for factor in speeds:
        if not 0.5 <= factor <= 2 or abs(config.sampling_rate * factor - round(config.sampling_rate * factor)) > 1e-6:
            raise UserError(f"speed {factor}: expected a factor from 0.5 to 2 that gives a whole sampling rate")
    pending = list(cuts)
    occurrences = Counter(cut.id for cut in pending)
    if len(occurrences) < len(pending):
        twice = next(cut for cut in pending if occurrences[cut.id] > 1)
        raise UserError(f"{name_of(twice)} occurs twice; give each cut an id of its own")
    done: list[Any] = []
    report = ExtractionReport(CutSet.from_cuts([]))
    rates: Counter[int] = Counter()
    check_space(folder, _bytes_to_come(pending, Path(folder), config, speeds), "the features")
    with ArrayFiles(Path(folder).resolve()) as arrays:  # manifests name it, and are read from other working directories
        worker = _Worker(arrays, config, tuple(dict.fromkeys(speeds)), channel)
        for cut, outcome in track(_in_threads(worker, pending, jobs), f"features to {folder}", len(pending), "cuts"):
            if isinstance(outcome, UserError):
                report.bad[cut.id] = str(outcome)
                continue
            for stored, was_there in outcome:
                done.append(stored)
                report.reused += was_there
                report.computed += not was_there
                report.num_frames += stored.features.num_frames
            if cut.sampling_rate != config.sampling_rate:
                rates[int(cut.sampling_rate)] += 1
    for rate, count in sorted(rates.items()):
        _log.info("resampled %d cuts from %d Hz to %d Hz", count, rate, config.sampling_rate)
        if rate <= 8000 < config.sampling_rate:
            _log.info(
                "speech of %d Hz alone is better served by bands that end where it does: recipes/conf/fbank_8khz.yaml", rate
            )
    report.resampled = sum(rates.values())
    _judge(report, len(pending), max_bad_share)
    report.cuts = CutSet.from_cuts(done)
    return report


def _bytes_to_come(cuts: Sequence[Any], folder: Path, config: Fbank40Config, speeds: Sequence[float]) -> float:
    """Estimated from durations; arrays that are there already are taken to be some of these."""
    seconds = sum(cut.duration for cut in cuts) * sum(1 / speed for speed in speeds)
    there = sum(path.stat().st_size for path in folder.glob("?/*.npy"))
    return max(0.0, seconds / config.frame_shift * config.num_mel_bins * 4 - there)


def _in_threads(worker: _Worker, cuts: Sequence[Any], jobs: int) -> Iterator[tuple[Any, Any]]:
    """Pairs of cut and outcome, in order; the native filterbank lets go of Python's lock, so threads are enough."""
    if jobs <= 1:
        yield from ((cut, worker(cut)) for cut in cuts)
        return
    pool = ThreadPoolExecutor(jobs)
    try:
        yield from zip(cuts, pool.map(worker, cuts), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _judge(report: ExtractionReport, total: int, max_bad_share: float) -> None:
    if not report.bad and total:
        return
    lines = [f"  {reason}" for reason in list(report.bad.values())[:_LISTED]]
    if len(report.bad) > _LISTED:
        lines.append(f"  and {len(report.bad) - _LISTED} more")
    listing = "\n".join(lines)
    if total == 0:
        raise UserError("the CutSet has no cuts; run the stage that prepares the corpus again")
    if len(report.bad) / total > max_bad_share or len(report.bad) == total:
        raise UserError(
            f"{len(report.bad)} of {total} cuts are bad, more than the share of {max_bad_share:g} that is allowed"
            f" (--max-bad-share):\n{listing}"
        )
    _log.warning("%d of %d cuts are bad and were left out:\n%s", len(report.bad), total, listing)


class _Worker:
    """Features of one cut at every speed; a `UserError` is handed back, since one bad utterance must not stop the rest."""

    def __init__(self, arrays: ArrayFiles, config: Fbank40Config, speeds: tuple[float, ...], channel: int | None) -> None:
        self.writer = arrays
        self.config = config
        self.speeds = speeds
        self.channel = channel
        self.extractor = Fbank40(config)

    def __call__(self, cut: Any) -> list[tuple[Any, bool]] | UserError:
        try:
            return self._store(pick_channel(cut, self.channel))
        except DiskError:
            raise
        except UserError as error:
            return error

    def _store(self, cut: Any) -> list[tuple[Any, bool]]:
        rate = self.config.sampling_rate
        if cut.recording is None:
            raise UserError(f"{name_of(cut)} has no recording; give a CutSet with recordings, for features are computed anew")
        target = cut if cut.sampling_rate == rate else cut.resample(rate)
        samples: np.ndarray | None = None
        stored = []
        for factor, copy in speed_copies(target, self.speeds):
            key = self._key(cut, factor)
            num_frames = frames_of_samples(cut.num_samples, int(cut.sampling_rate), self.config, factor)
            there = self.writer.holds(key, (num_frames, self.config.num_mel_bins))
            if not there:
                if samples is None:
                    samples = read_samples(cut, rate)
                try:
                    features = self.extractor.extract(change_speed(samples, rate, factor), rate)
                except UserError as error:
                    raise UserError(f"{name_of(cut)}: {error}") from None
                self.writer.write(key, features)
            stored.append((self._attach(copy, key, num_frames), there))
        return stored

    def _key(self, cut: Any, factor: float) -> str:
        stats = [(path, Path(path).stat()) for path in audio_files(cut) if Path(path).is_file()]
        identity = {
            "id": cut.id,
            "config": self.config.to_dict(),
            "audio": [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats],
            "span": [cut.start, cut.duration, cut.channel],
            "transforms": repr(cut.recording.transforms),
            "speed": factor,
        }
        return hash_of_object(identity)[:32]

    def _attach(self, cut: Any, key: str, num_frames: int) -> Any:
        features = Features(
            type=Fbank40.name,
            num_frames=num_frames,
            num_features=self.config.num_mel_bins,
            frame_shift=self.config.frame_shift,
            sampling_rate=self.config.sampling_rate,
            start=cut.start,
            duration=cut.duration,
            storage_type=self.writer.name,
            storage_path=str(self.writer.storage_path),
            storage_key=self.writer.storage_key(key),
            recording_id=cut.recording_id,
            channels=cut.channel,
        )
        return fastcopy(cut, features=features)

"""Filterbanks by the toolkit against a bare loop over kaldi-native-fbank, on the same waveforms with the same options."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import numpy as np
import soundfile
from lhotse import MonoCut, Recording
from lhotse.audio import AudioSource

from asr_distill.base import from_mapping, to_mapping
from asr_distill.bench.configuration import FeatureCase
from asr_distill.bench.memory import peak_memory
from asr_distill.bench.pairs import compare, interleave
from asr_distill.features import Fbank40, Fbank40Config, extract_features

RATE = 16000
NATIVE, EXTRACT, STORE = "native", "extract", "store"
SIDES = {
    EXTRACT: "Fbank40.extract on waveforms in memory: checks of rate, channels, length and finite samples, the native"
    " filterbank, a (T, 40) array, check of the frame count",
    STORE: "extract_features: 16-bit FLAC files read, cuts checked, Fbank40.extract, one numpy file an utterance written, cuts"
    " with features",
    NATIVE: "for each waveform in memory: OnlineFbank, accept_waveform, input_finished, numpy.stack over get_frame, which gives"
    " a (T, 40) array",
}


def bench_features(case: FeatureCase, folder: str | Path, *, threads: int, seed: int = 0) -> dict[str, Any]:
    """Seconds of audio per second for `Fbank40.extract` and for `extract_features`, each against the bare native loop.

    The bare loop and `Fbank40.extract` use one thread; `extract_features` is measured with one thread and with ``threads``.
    Raises RuntimeError where the two sides do not give the same features.
    """
    folder = Path(folder)
    waves = random_waves(case, seed)
    cuts = write_cuts(waves, folder / "audio")
    extractor, options = Fbank40(Fbank40Config()), native_options()
    for wave in waves[:3]:
        if not np.allclose(extractor.extract(wave, RATE), native_fbank(wave, options), atol=1e-4):
            raise RuntimeError("bench: Fbank40 and the bare loop over kaldi-native-fbank differ; their ratio would say nothing")
    number = itertools.count()  # a folder of its own each time, for features that are there already are not computed again

    def store(jobs: int) -> None:
        extract_features(cuts, folder / f"fbank{next(number)}", Fbank40Config(), jobs=jobs)

    works = {
        EXTRACT: lambda: [extractor.extract(wave, RATE) for wave in waves],
        NATIVE: lambda: [native_fbank(wave, options) for wave in waves],
        STORE: lambda: store(1),
    }
    if threads > 1:
        works["store_threads"] = lambda: store(threads)
    seconds = interleave(works, case.pairs)
    audio = sum(len(wave) for wave in waves) / RATE

    def row(ours: str, goal: float | None, jobs: int) -> dict[str, Any]:
        compared = compare(seconds, ours, NATIVE, audio, "s of audio", goal)
        return {**compared, "threads": jobs, "ours_is": SIDES[ours.split("_")[0]], "reference_is": SIDES[NATIVE]}

    settings = {"case": to_mapping(case), "seed": seed}
    return {
        "utterances": len(waves),
        "audio_seconds": audio,
        "data": "synthetic waveforms",
        "extract_vs_native": row(EXTRACT, case.goal, 1),
        "store_vs_native": row(STORE, None, 1),
        "store_threads_vs_native": row("store_threads", None, threads) if threads > 1 else None,
        "memory": {name: peak_memory(f"features_{name}", settings) for name in ("ours", "native")},
    }


def random_waves(case: FeatureCase, seed: int) -> list[np.ndarray]:
    """Float32 waveforms in +-1: a buzz that glides, with noise."""
    generator = np.random.default_rng(seed)
    waves = []
    for _ in range(case.utterances):
        time = np.arange(int(generator.uniform(case.shortest, case.longest) * RATE)) / RATE
        phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time)) / RATE
        buzz = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 8))
        waves.append((0.1 * buzz + 0.01 * generator.standard_normal(len(time))).astype(np.float32))
    return waves


def native_options() -> knf.FbankOptions:
    """The options of `Fbank40Config`'s defaults, set without the toolkit."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = RATE
    options.frame_opts.snip_edges = False
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 40
    options.energy_floor = 0.0
    return options


def native_fbank(wave: np.ndarray, options: knf.FbankOptions) -> np.ndarray:
    """``(T, 40)`` features by kaldi-native-fbank and nothing else."""
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(RATE, wave)
    fbank.input_finished()
    return np.stack([fbank.get_frame(index) for index in range(fbank.num_frames_ready)])


def write_cuts(waves: Sequence[np.ndarray], folder: Path) -> list[MonoCut]:
    """The waveforms as 16-bit FLAC files, one cut each."""
    folder.mkdir(parents=True, exist_ok=True)
    cuts = []
    for index, wave in enumerate(waves):
        path = folder / f"{index:05d}.flac"
        soundfile.write(path, wave, RATE, subtype="PCM_16")
        recording = Recording(
            id=path.stem,
            sources=[AudioSource("file", [0], str(path))],
            sampling_rate=RATE,
            num_samples=len(wave),
            duration=len(wave) / RATE,
        )
        cuts.append(MonoCut(id=path.stem, start=0.0, duration=recording.duration, channel=0, recording=recording))
    return cuts


def ours_alone(case: dict[str, Any], seed: int) -> None:
    """One pass of `Fbank40.extract`, for its memory."""
    extractor = Fbank40(Fbank40Config())
    for wave in random_waves(from_mapping(FeatureCase, case), seed):
        extractor.extract(wave, RATE)


def native_alone(case: dict[str, Any], seed: int) -> None:
    """One pass of the bare loop, for its memory."""
    options = native_options()
    for wave in random_waves(from_mapping(FeatureCase, case), seed):
        native_fbank(wave, options)

"""One pass over a CutSet: features read or computed, normalised per speaker, the network run on several cuts at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError
from asr_distill.data.checks import check_utterance
from asr_distill.data.cut_features import feature_config_file, load_features, normalisation_speaker
from asr_distill.features import (
    ContextWindow,
    Fbank40,
    Fbank40Config,
    Moments,
    Normalisation,
    NormalisationAccumulator,
    config_difference,
)
from asr_distill.features.audio import name_of, pick_channel, read_samples
from asr_distill.features.audio_signs import hears_upper_band, is_constant, lacks_upper_band
from asr_distill.student.pauses import pieces_of

_log = logging.getLogger("asr_distill")
OnBad = Callable[[Any, UserError], None]  # is told of a cut that cannot be read, and why


@dataclass(frozen=True)
class Timings:
    """Seconds that one cut's features and network took, and its duration in seconds: quotients are real-time factors."""

    features: float
    network: float
    duration: float


class CutFeatures:
    """Features of lhotse cuts as a network takes them: of its filterbank, normalised as in its training."""

    def __init__(self, fbank: Fbank40, normalisation: Normalisation) -> None:
        self.fbank, self.normalisation = fbank, normalisation
        self._checked: set[str] = set()  # storages whose configuration is the filterbank's
        self._alone: set[str] = set()  # ids of cuts without a speaker that the log has told of
        self.narrow: dict[
            str, None
        ] = {}  # what was read and has nothing in the upper half of the band that the filterbank takes
        self.silent: dict[str, None] = {}  # what was read and is digital silence
        self._told: set[str] = set()

    def read(self, cut: Any) -> np.ndarray:
        """``(T, 40)`` float32 of a cut, not normalised: what is stored with it, else from its audio.

        Raises `UserError` naming a cut that is no utterance (`check_cuts`), whose stored features are of another kind, or whose
        audio cannot be read.
        """
        check_utterance(cut)
        stored, config = getattr(cut, "features", None), self.fbank.config
        if stored is None:
            samples = read_samples(pick_channel(cut, None), config.sampling_rate)
            try:
                features = self.fbank.extract(samples, config.sampling_rate)
            except UserError as error:
                raise UserError(f"{name_of(cut)}: {error}") from None
            self.listen(cut.id, samples, features, int(cut.sampling_rate))
            return features
        found = (stored.type, stored.num_features, round(stored.frame_shift, 6), stored.sampling_rate)
        expected = (Fbank40.name, config.num_mel_bins, round(config.frame_shift, 6), config.sampling_rate)
        if found != expected:
            raise UserError(
                f"{name_of(cut)}: stored features {found} (kind, bins, frame shift, rate), the model takes {expected};"
                " compute them with the model's configuration, or give cuts without features"
            )
        if stored.storage_path not in self._checked:
            _check_configuration(cut, config)
            self._checked.add(stored.storage_path)
        features = load_features(cut)
        self.listen(cut.id, None, features, config.sampling_rate)
        return features

    def listen(self, name: str, samples: np.ndarray | None, features: np.ndarray, recorded_at: int) -> None:
        """Notes telephone speech and digital silence, for `tell`; ``samples``, if any, are at the filterbank's rate."""
        config = self.fbank.config
        if is_constant(features):
            self.silent[name] = None
            return
        slow = recorded_at <= config.sampling_rate / 2
        if samples is not None and hears_upper_band(config) and (slow or lacks_upper_band(samples, config.sampling_rate)):
            self.narrow[name] = None

    def tell(self) -> None:
        """Says in a line each what was noted and has not been said."""
        rate = self.fbank.config.sampling_rate
        for names, text in (
            (self.silent, "digital silence, every sample alike: %d, the first %s; there are no words in it"),
            (
                self.narrow,
                "nothing above 4 kHz, as telephone speech: %d, the first %s; the model hears audio of "
                f"{rate} Hz, and errs more on these unless it was trained on such speech too",
            ),
        ):
            if new := [name for name in names if name not in self._told]:
                self._told.update(new)
                _log.warning(text, len(new), new[0])

    def normalised(
        self, cuts: Iterable[Any], on_bad: OnBad | None = None, few: bool = False
    ) -> Iterator[tuple[Any, torch.Tensor, float]]:
        """Yields cut, normalised features ``(T, 40)`` and the seconds that they took; a speaker's cuts come together.

        Where the normalisation is per speaker, a cut without one stands alone (`Normalisation.alone`); the log says so.
        on_bad: is told of cuts that cannot be read, which are left out. few: a speaker that is named may have few cuts as well,
        and is drawn towards a typical training speaker like those that stand alone.
        """
        if self.normalisation.kind != "speaker":
            for cut in cuts:
                start = time.perf_counter()
                if (raw := self._read_good(cut, on_bad)) is not None:
                    yield cut, self.normalisation.apply(torch.from_numpy(raw)), time.perf_counter() - start
            return
        groups: dict[str | int, list[Any]] = {}
        for place, cut in enumerate(cuts):
            groups.setdefault(normalisation_speaker(cut) or place, []).append(cut)
        self._tell_of([cut for key, (cut, *_) in groups.items() if isinstance(key, int)])
        for key, members in groups.items():
            prior = self.normalisation.prior if few or isinstance(key, int) else None
            yield from self._one_speaker(str(key), members, on_bad, prior)

    def _tell_of(self, cuts: list[Any]) -> None:
        new = [cut.id for cut in cuts if cut.id not in self._alone]
        if new:
            self._alone.update(new)
            typical = "" if self.normalisation.prior is None else " and those of a typical training speaker"
            _log.info(
                "cuts without a speaker: %d, the first %s; each is normalised by its own statistics%s; with names of speakers"
                " those of a speaker's cuts are pooled, which is better",
                *(len(new), new[0], typical),
            )
            if self.normalisation.prior is None:
                _log.info(
                    "the model does not know a typical training speaker; next: asr-distill bundle prior MODEL --frames STORE"
                )

    def _read_good(self, cut: Any, on_bad: OnBad | None) -> np.ndarray | None:
        try:
            return self.read(cut)
        except UserError as error:
            if on_bad is None:
                raise
            on_bad(cut, error)
            return None

    def _one_speaker(
        self, speaker: str, cuts: list[Any], on_bad: OnBad | None, prior: Moments | None
    ) -> Iterator[tuple[Any, torch.Tensor, float]]:
        gathered = NormalisationAccumulator("speaker", self.normalisation.variance)
        good = []
        for cut in cuts:
            start = time.perf_counter()
            if (raw := self._read_good(cut, on_bad)) is not None:
                gathered.update(raw, speaker)
                good.append((cut, raw, time.perf_counter() - start))
        if not good:
            return
        normalisation: Normalisation = gathered.finish()
        if prior is not None:
            normalisation.moments[speaker] = prior + normalisation.moments[speaker]
        for cut, raw, spent in good:
            start = time.perf_counter()
            normalised = normalisation.apply(torch.from_numpy(raw), speaker)
            yield cut, normalised, spent + time.perf_counter() - start


def _check_configuration(cut: Any, config: Fbank40Config) -> None:
    """Stored features say little of how they were made, but ``fbank.json`` beside them does."""
    file = feature_config_file(cut)
    difference = "" if file is None else config_difference(Fbank40Config.load(file), config)
    if difference:
        raise UserError(
            f"{name_of(cut)}: {file} says that its features are others than the model takes ({difference}); compute them with"
            " the model's configuration, or give cuts without features"
        )


@dataclass(frozen=True, eq=False)
class Piece:
    """Scores of consecutive frames of a cut: of all of them, unless the cut is longer than one search shall take.

    scores: ``(t, C)``. begin: the first of the frames. total: frames of the whole cut.
    """

    cut: Any
    scores: torch.Tensor
    timings: Timings
    begin: int
    total: int


def scored_cuts(
    features: CutFeatures,
    window: ContextWindow,
    log_posteriors: Callable[[torch.Tensor], torch.Tensor],
    cuts: Iterable[Any],
    chunk_frames: int,
    on_bad: OnBad | None = None,
    few: bool = False,
    *,
    silence: np.ndarray,
    longest: int | None = None,
) -> Iterator[Piece]:
    """Yields each cut with its log-posteriors ``(T, C)``, in the order of `CutFeatures.normalised`, which has ``few``.

    log_posteriors: network inputs ``(N, D)`` on the CPU to ``(N, C)`` on the network's device. Short cuts go through it
    together, up to ``chunk_frames`` frames: in bf16 each call converts the weights. A cut of more than ``longest`` frames comes
    in pieces, cut at pauses by ``silence`` (`pieces_of`).
    """
    waiting: list[tuple[Any, torch.Tensor, float]] = []
    frames = 0
    for cut, normalised, seconds in features.normalised(cuts, on_bad, few):
        if longest is not None and len(normalised) > longest:
            yield from _network_pass(log_posteriors, waiting)
            waiting, frames = [], 0
            yield from _in_pieces(cut, normalised, seconds, window, log_posteriors, silence, longest)
            continue
        start = time.perf_counter()
        inputs = window(normalised)
        waiting.append((cut, inputs, seconds + time.perf_counter() - start))
        frames += len(inputs)
        if frames >= chunk_frames:
            yield from _network_pass(log_posteriors, waiting)
            waiting, frames = [], 0
    yield from _network_pass(log_posteriors, waiting)
    features.tell()


def _in_pieces(
    cut: Any,
    normalised: torch.Tensor,
    seconds: float,
    window: ContextWindow,
    log_posteriors: Callable[[torch.Tensor], torch.Tensor],
    silence: np.ndarray,
    longest: int,
) -> Iterator[Piece]:
    total, start = len(normalised), time.perf_counter()
    for begin, rows in pieces_of(normalised, window, log_posteriors, silence, longest):
        spent = time.perf_counter() - start
        yield Piece(cut, rows, Timings(seconds, spent, cut.duration * len(rows) / total), begin, total)
        seconds, start = 0.0, time.perf_counter()


def _network_pass(
    log_posteriors: Callable[[torch.Tensor], torch.Tensor], waiting: list[tuple[Any, torch.Tensor, float]]
) -> Iterator[Piece]:
    if not waiting:
        return
    start = time.perf_counter()
    lengths = [len(inputs) for _, inputs, _ in waiting]
    posteriors = log_posteriors(torch.cat([inputs for _, inputs, _ in waiting]))
    if posteriors.device.type == "cuda":
        torch.cuda.synchronize(posteriors.device)
    per_frame = (time.perf_counter() - start) / sum(lengths)
    for (cut, inputs, seconds), rows in zip(waiting, posteriors.split(lengths), strict=True):
        yield Piece(cut, rows, Timings(seconds, per_frame * len(inputs), cut.duration), 0, len(rows))

"""Mean and variance normalisation per corpus, speaker or utterance; the choice and its statistics travel with the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch

from asr_distill.base import UserError, hash_of_object, read_json, read_tensors, write_json, write_tensors

NormalisationKind = Literal["none", "corpus", "speaker", "utterance"]
UnknownSpeaker = Literal["error", "utterance"]
KINDS: tuple[str, ...] = get_args(NormalisationKind)
Array = TypeVar("Array", np.ndarray, torch.Tensor)

_CORPUS = "corpus"  # the one key of corpus statistics
PRIOR_FRAMES = 200
"""Frames that a typical speaker of the training data counts as, beside the frames of a recording that stands alone."""
# A bin that never changes (digital silence) has no scale: below this the deviation is taken as this, in nats.
_SMALLEST_DEVIATION = 1e-2


@dataclass(frozen=True)
class Moments:
    """Frames seen, their mean ``(D,)`` and their sum of squared deviations from it ``(D,)``, float64."""

    count: int
    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def of(features: np.ndarray) -> Moments:
        """The moments of ``(T, D)`` features."""
        values = np.asarray(features, dtype=np.float64)
        mean = values.mean(axis=0)
        return Moments(len(values), mean, np.square(values - mean).sum(axis=0))

    def __add__(self, other: Moments) -> Moments:
        """Pooled moments, by the update of Chan, Golub and LeVeque (1983), which does not cancel."""
        count = self.count + other.count
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.count / count)
        return Moments(
            count, mean, self.deviation + other.deviation + np.square(difference) * (self.count * other.count / count)
        )

    def scale(self) -> np.ndarray:
        """Standard deviation ``(D,)``, kept above a floor."""
        return np.maximum(np.sqrt(self.deviation / self.count), _SMALLEST_DEVIATION)


@dataclass(frozen=True)
class Normalisation:
    """How features are normalised, with its statistics.

    kind: ``none``, ``corpus`` (one mean and variance), ``speaker`` (one per speaker), ``utterance`` (from the features given).
    variance: whether the variance is normalised as well as the mean.
    unknown_speaker: with ``speaker``, what a speaker without statistics gets: an error, or the utterance's own.
    moments: by speaker name, or the one of the corpus.
    prior: statistics that those of an utterance are added to, as if it had these frames as well.
    """

    kind: NormalisationKind = "none"
    variance: bool = True
    unknown_speaker: UnknownSpeaker = "error"
    moments: dict[str, Moments] = field(default_factory=dict)
    prior: Moments | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"normalisation {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.unknown_speaker not in get_args(UnknownSpeaker):
            raise UserError(f"unknown_speaker {self.unknown_speaker!r} is not one of {', '.join(get_args(UnknownSpeaker))}")
        if self.kind == "corpus" and set(self.moments) != {_CORPUS}:
            raise UserError("corpus normalisation needs the statistics of a corpus: accumulate them first")

    @property
    def hash(self) -> str:
        """SHA-256 over the choice and the statistics."""
        statistics = {
            key: [m.count, m.mean.astype("<f8").tobytes().hex(), m.deviation.astype("<f8").tobytes().hex()]
            for key, m in self.moments.items()
        }
        return hash_of_object([self.kind, self.variance, statistics])

    def apply(self, features: Array, speaker: str | None = None) -> Array:
        """``(T, D)`` features of one utterance, normalised: ``(x - mean) / deviation``; type, dtype and device are kept.

        Raises `UserError` for a speaker without statistics (unless ``unknown_speaker`` is ``utterance``) and for features of
        another dimension than the statistics.
        """
        if self.kind == "none" or len(features) == 0:
            return features
        moments = self._moments_for(speaker)
        if moments is None:
            own = Moments.of(features.detach().cpu().numpy() if isinstance(features, torch.Tensor) else features)
            moments = own if self.prior is None else self.prior + own
        if moments.mean.shape != tuple(features.shape[1:]):
            raise UserError(f"features {tuple(features.shape)} met normalisation statistics of {moments.mean.shape[0]} bins")
        mean, scale = moments.mean, moments.scale() if self.variance else np.ones_like(moments.mean)
        if isinstance(features, torch.Tensor):
            shift, spread = (torch.from_numpy(value).to(features.device, torch.float32) for value in (mean, scale))
            return ((features - shift) / spread).to(features.dtype)
        return ((features - mean.astype(np.float32)) / scale.astype(np.float32)).astype(features.dtype)

    def _moments_for(self, speaker: str | None) -> Moments | None:
        if self.kind == "utterance":
            return None
        if self.kind == "corpus":
            return self.moments[_CORPUS]
        if speaker is not None and speaker in self.moments:
            return self.moments[speaker]
        if self.unknown_speaker == "utterance":
            return None
        known = ", ".join(sorted(self.moments)[:5]) + (", ..." if len(self.moments) > 5 else "")
        raise UserError(
            f"speaker {speaker!r} has no normalisation statistics ({len(self.moments)} known: {known}); accumulate them from"
            " the speaker's utterances, or set unknown_speaker to 'utterance' to use each utterance's own"
        )

    def typical_speaker(self, frames: int = PRIOR_FRAMES) -> Moments | None:
        """Return the mean over speakers of their means and their pooled variance, counted as ``frames`` frames.

        That is the expected value of a speaker's statistics, whatever each of them has said. None without speakers.
        """
        if self.kind != "speaker" or not self.moments:
            return None
        every = list(self.moments.values())
        mean = np.mean([one.mean for one in every], axis=0)
        variance = np.sum([one.deviation for one in every], axis=0) / sum(one.count for one in every)
        return Moments(frames, mean, frames * variance)

    def alone(self) -> Normalisation:
        """Return what normalises a recording of which no other of the speaker is known.

        Per speaker in training, it gets its own statistics, drawn towards those of a typical training speaker (maximum a
        posteriori, as far as the bundle has them): half a second says little of a voice. Other kinds are as in training.
        """
        return Normalisation("utterance", self.variance, prior=self.prior) if self.kind == "speaker" else self

    def save(self, folder: str | Path) -> None:
        """Writes ``normalisation.json`` (choice, speakers) and ``normalisation.safetensors`` (count, mean, deviation)."""
        folder = Path(folder)
        keys = sorted(self.moments)
        rows = [self.moments[key] for key in keys]
        tensors = {
            "count": np.array([row.count for row in rows], dtype=np.int64),
            "mean": np.stack([row.mean for row in rows]) if rows else np.zeros((0, 0)),
            "deviation": np.stack([row.deviation for row in rows]) if rows else np.zeros((0, 0)),
            **({} if self.prior is None else {"prior": np.stack([self.prior.mean, self.prior.deviation])}),
        }
        write_tensors(folder / "normalisation.safetensors", tensors, listed=True)
        said = {} if self.prior is None else {"prior_frames": self.prior.count}
        write_json(folder / "normalisation.json", {**self.describe(), **said, "keys": keys}, listed=True)

    @staticmethod
    def load(folder: str | Path) -> Normalisation:
        """The reverse of `save`. Raises `UserError` where the files are absent, damaged, or do not belong together."""
        folder = Path(folder)
        description = read_json(folder / "normalisation.json")
        path = folder / "normalisation.safetensors"
        tensors, _ = read_tensors(path)
        try:
            moments = {
                key: Moments(int(count), mean, deviation)
                for key, count, mean, deviation in zip(
                    description["keys"], tensors["count"], tensors["mean"], tensors["deviation"], strict=True
                )
            }
            frames = description.get("prior_frames")
            prior = None if frames is None else Moments(int(frames), *tensors["prior"])
            loaded = Normalisation(description["kind"], description["variance"], description["unknown_speaker"], moments, prior)
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{folder / 'normalisation.json'} and {path.name} do not belong together: {error!r}") from None
        if loaded.hash != description["hash"]:
            raise UserError(
                f"{path} is not what {folder / 'normalisation.json'} describes; run the stage that writes them again"
            )
        return loaded

    def describe(self) -> dict[str, Any]:
        """The choice without the statistics, as plain values."""
        return {
            "kind": self.kind,
            "variance": self.variance,
            "unknown_speaker": self.unknown_speaker,
            "num_keys": len(self.moments),
            "hash": self.hash,
        }


class NormalisationAccumulator:
    """Gathers the statistics of a `Normalisation`, one utterance at a time; what is kept does not grow with the audio."""

    def __init__(self, kind: NormalisationKind, variance: bool = True, unknown_speaker: UnknownSpeaker = "error") -> None:
        self.kind: NormalisationKind = kind
        self.variance = variance
        self.unknown_speaker: UnknownSpeaker = unknown_speaker
        self.moments: dict[str, Moments] = {}

    def update(self, features: np.ndarray, speaker: str | None = None) -> None:
        """Adds the ``(T, D)`` features of one utterance. Raises `UserError` where speakers matter and there is none."""
        if self.kind in ("none", "utterance") or len(features) == 0:
            return
        if self.kind == "speaker" and not speaker:
            raise UserError("normalisation per speaker needs a speaker for every utterance; choose corpus or utterance instead")
        key = _CORPUS if self.kind == "corpus" else str(speaker)
        new = Moments.of(features)
        self.moments[key] = self.moments[key] + new if key in self.moments else new

    def merge(self, other: NormalisationAccumulator) -> None:
        """Adds what another accumulator of the same kind has gathered."""
        if other.kind != self.kind:
            raise UserError(f"statistics of kind {other.kind!r} cannot be added to {self.kind!r}")
        for key, moments in other.moments.items():
            self.moments[key] = self.moments[key] + moments if key in self.moments else moments

    def finish(self) -> Normalisation:
        """The normalisation with what was gathered. Raises `UserError` where a corpus had no frames."""
        return Normalisation(self.kind, self.variance, self.unknown_speaker, dict(self.moments))

"""`Student`: a bundle ready to score speech."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from lhotse import Recording
from lhotse.cut import Cut
from torch import nn

from asr_distill.base import UserError, missing_package
from asr_distill.features import ContextWindow, Fbank40, Normalisation
from asr_distill.features.audio import recording_of
from asr_distill.features.audio_files import LOUDEST
from asr_distill.graph import senone_graph
from asr_distill.models import load_network
from asr_distill.senones import SenoneInventory, SenonePriors, check_same
from asr_distill.student.bundle import PRIORS_FILE, SENONES_FILE, BundleConfig
from asr_distill.student.identity import model_hash
from asr_distill.student.scoring_pass import CutFeatures, OnBad, Piece, Timings, scored_cuts
from asr_distill.training.precision import choose_bf16, choose_device, precision

Signal = np.ndarray | torch.Tensor
Audio: TypeAlias = Recording | Cut | str | Path
_NATIVE = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.int64}


class Student:
    """A senone network with everything it needs to score speech: filterbank, normalisation, window, priors, inventory.

    Whether it was distilled or trained on hard labels makes no difference here. Load one with `Student.load`.
    """

    def __init__(
        self,
        config: BundleConfig,
        network: nn.Module,
        normalisation: Normalisation,
        priors: SenonePriors,
        inventory: SenoneInventory,
        *,
        device: str = "cpu",
        autocast: str = "off",
    ) -> None:
        self.device = choose_device(device)
        self.config, self.normalisation, self.priors, self.inventory = config, normalisation, priors, inventory
        self.network = network.to(self.device).eval()
        self.window: ContextWindow = config.window
        self.fbank = Fbank40(config.features)
        self.num_senones = inventory.num_senones
        self.acoustic_scale = config.acoustic_scale
        self._cut_features = CutFeatures(self.fbank, normalisation)
        self._bf16 = choose_bf16(autocast, self.device)
        self._log_priors = torch.from_numpy(priors.log_priors).to(self.device)

    @classmethod
    def load(cls, bundle: str | Path, *, device: str = "cpu", autocast: str = "off") -> Student:
        """Loads a bundle, the model directory that training or distillation leaves.

        device: ``cpu``, ``cuda`` or ``auto``. autocast: ``off`` computes in float32; ``bf16``, or ``auto`` where the processor
        has it, is faster and rounds log-posteriors to about three digits.
        Raises `UserError` where a file is missing or altered, or its parts belong to different senone inventories.
        """
        bundle = Path(bundle)
        config = BundleConfig.load(bundle)
        network, _ = load_network(bundle)
        inventory = SenoneInventory.load(bundle / SENONES_FILE)
        check_same(config.senones_hash, inventory.hash, f"{bundle / 'config.json'}", f"{bundle / SENONES_FILE}")
        priors = SenonePriors.load(bundle / PRIORS_FILE, inventory.hash)
        normalisation = Normalisation.load(bundle)
        for name, found, expected in (
            (PRIORS_FILE, priors.hash, config.priors_hash),
            ("normalisation.json", normalisation.hash, config.normalisation.get("hash")),
        ):
            if found != expected:
                raise UserError(f"{bundle / name} hashes to {found}, config.json says {expected}; copy the whole bundle again")
        outputs = config.network["num_senones"]
        if outputs != inventory.num_senones:
            raise UserError(f"{bundle}: the network has {outputs} outputs for {inventory.num_senones} senones; train it again")
        return cls(config, network, normalisation, priors, inventory, device=device, autocast=autocast)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over everything that decides a posterior; the acoustic scale and notes about the training do not."""
        return model_hash(self.config, self.network)

    def describe(self) -> dict[str, Any]:
        """Plain values that say whose answers these are."""
        return {"hash": self.hash, "members": [self.hash], "mode": None}

    def check_senones(self, senones_hash: str | None, what: str) -> None:
        """Raises `UserError` with both hashes unless ``what`` (a graph, labels, a model) has the senones of this model."""
        check_same(senones_hash, self.inventory.hash, what, "the model")

    def senone(self, left: str | None, phone: str, right: str | None, state: int = 0) -> int:
        """The output that scores one HMM state of a phone in context; see `SenoneInventory.senone`."""
        return self.inventory.senone(left, phone, right, state)

    def graph(self, lg: Any, phones: Mapping[str, int], **scales: float) -> Any:
        """The decodable `k2.Fsa` of an L o G of the user's own; see `asr_distill.graph.senone_graph`."""
        return senone_graph(lg, phones, self.inventory, **scales)

    @property
    def sampling_rate(self) -> int:
        """Hertz, of the audio that the filterbank takes."""
        return self.config.features.sampling_rate

    def features(self, speech: Signal | Audio, sampling_rate: int | None = None) -> np.ndarray:
        """Filterbank features ``(T, 40)`` float32, not normalised.

        speech: the path of an audio file, or a lhotse recording or cut, of one channel, which says its rate and is resampled as
          `scores` does; or ``(n,)`` samples in +-1. An array says nothing of its rate: it is taken to be at the bundle's,
          `Student.sampling_rate`, and never resampled.
        sampling_rate: of an array, where it is known: another than the bundle's is refused instead of misread.
        Raises `UserError` for such an array, samples that are whole numbers or as large, audio that cannot be read, and what
        `Fbank40.extract` refuses.
        """
        if isinstance(speech, (str, Path)):
            speech = recording_of(speech)
        if isinstance(speech, (Recording, Cut)):
            features = self._cut_features.read(speech.to_cut() if isinstance(speech, Recording) else speech)
            self._cut_features.tell()
            return features
        given = _as_tensor(speech)
        found = f"are {str(given.dtype).removeprefix('torch.')}"
        if given.is_floating_point():
            largest = float(given.abs().max()) if given.numel() else 0.0
            found = f"reach {largest:g}" if LOUDEST < largest < math.inf else ""
        if found:
            raise UserError(f"samples {found}, expected floats in +-1; divide 16-bit samples by 32768")
        features = self.fbank.extract(given, self.sampling_rate if sampling_rate is None else sampling_rate)
        self._cut_features.listen("the samples given", given.detach().cpu().numpy().reshape(-1), features, self.sampling_rate)
        self._cut_features.tell()
        return features

    @property
    def silent(self) -> list[str]:
        """Ids of what was read so far and is digital silence."""
        return list(self._cut_features.silent)

    @property
    def narrow(self) -> list[str]:
        """Ids of the audio read so far that has nothing above 4 kHz, where the filterbank takes more."""
        return list(self._cut_features.narrow)

    def normalise(self, features: Signal) -> torch.Tensor:
        """Normalises ``(T, 40)`` features of one utterance that stands alone, as float32 on the CPU.

        As the training data were, but for normalisation per speaker: the utterance is all that is known of its speaker, so its
        own statistics are used, drawn towards those of a typical training speaker (`Normalisation.alone`); `scores` pools all
        cuts of a speaker and is better.
        """
        return self.normalisation.alone().apply(_as_tensor(features).to("cpu", torch.float32))

    def log_posteriors(self, speech: Signal | Audio, *, normalised: bool = False, chunk_frames: int = 4096) -> torch.Tensor:
        """Natural log of the senone posteriors ``(T, C)`` float32 on the CPU, each row normalised.

        speech: the path of an audio file, or a lhotse recording or cut, resampled where its rate is not the bundle's; ``(n,)``
          samples in +-1, taken to be at the bundle's rate, `Student.sampling_rate` (hertz), since an array does not say;
          ``(T, 40)`` filterbank features; or ``(T, 1040)`` network inputs, used as given. All but the last are normalised as
          `normalise` does, features unless ``normalised`` says that they are already.
        chunk_frames: frames that the network sees at once; it bounds the memory and changes nothing else.
        Raises `UserError` for any other shape, samples that are whole numbers or as large, values that are not finite and
        no chunk_frames.
        """
        inputs = self._inputs(speech, normalised)
        return self._log_posteriors(inputs, chunk_frames).cpu()

    def log_posteriors_for(
        self, cut_id: str, speaker: str | None, speech: Signal | Audio, *, normalised: bool = False, chunk_frames: int = 4096
    ) -> torch.Tensor:
        """`log_posteriors` of a cut that has a name; only an ensemble with folds answers differently for different names."""
        return self.log_posteriors(speech, normalised=normalised, chunk_frames=chunk_frames)

    def log_likelihoods(self, speech: Signal | Audio, *, normalised: bool = False, chunk_frames: int = 4096) -> torch.Tensor:
        """Log posterior minus log prior ``(T, C)`` float32 on the CPU, nats; the acoustic scale is not applied.

        Takes what `log_posteriors` takes.
        """
        return (self._log_posteriors(self._inputs(speech, normalised), chunk_frames) - self._log_priors).cpu()

    def scores(
        self, cuts: Iterable[Any], *, chunk_frames: int = 4096, on_bad: OnBad | None = None, few: bool = False
    ) -> Iterator[tuple[Any, torch.Tensor, Timings]]:
        """Yields ``(cut, log_likelihoods (T, C) float32 on the CPU, Timings)`` for each cut of a lhotse CutSet.

        Stored features are used where a cut has them, else they are computed from its audio, resampled where need be. Where the
        network was trained with normalisation per speaker, a speaker's cuts are read together and yielded together, speakers in
        the order in which they first occur, and a cut without a speaker stands alone (`normalise`); otherwise the order is that
        of ``cuts``. Raises `UserError` naming a cut whose features are of another kind or whose audio cannot be read.
        on_bad: called with such a cut and the error instead; the cut is left out. few: speakers that are named may have few
        cuts as well; their pooled statistics are drawn towards those of a typical training speaker.
        """

        for piece in self.score_pieces(cuts, None, chunk_frames=chunk_frames, on_bad=on_bad, few=few):
            yield piece.cut, piece.scores, piece.timings

    def score_pieces(
        self,
        cuts: Iterable[Any],
        longest: int | None,
        *,
        chunk_frames: int = 4096,
        on_bad: OnBad | None = None,
        few: bool = False,
    ) -> Iterator[Piece]:
        """As `scores`, but a cut of more than ``longest`` frames comes in pieces, cut where the model hears pauses.

        Their log-likelihoods are those of the whole cut; only two pieces are in memory at a time.
        """

        def log_posteriors(inputs: torch.Tensor) -> torch.Tensor:
            return self._log_posteriors(inputs, chunk_frames)

        for piece in scored_cuts(
            *(self._cut_features, self.window, log_posteriors, cuts, chunk_frames, on_bad, few),
            silence=self.inventory.silence_senones,
            longest=longest,
        ):
            yield replace(piece, scores=(piece.scores - self._log_priors).cpu())

    def dense_fsa_vec(
        self,
        log_likelihoods: torch.Tensor | Sequence[torch.Tensor],
        lengths: torch.Tensor | Sequence[int] | None = None,
        *,
        acoustic_scale: float | None = None,
        device: str | torch.device | None = None,
    ) -> Any:
        """A `k2.DenseFsaVec` for a graph whose arc labels are senone + 1; label 0, which is no epsilon in k2, scores -inf.

        log_likelihoods: ``(T, C)`` tensors of the utterances, or one padded ``(N, T, C)`` with ``lengths`` (N,) in frames.
        acoustic_scale: multiplies them; by default the bundle's, or 1 where none was tuned.
        The utterances keep their order, as `k2.intersect_dense_pruned` allows; `k2.intersect_dense` wants the longest first.
        Raises `UserError` where k2 is not installed, a shape does not fit, or an utterance has no frames.
        """
        try:
            import k2
        except ImportError:
            raise missing_package("k2", "Student.dense_fsa_vec") from None
        scale = self.acoustic_scale if acoustic_scale is None else acoustic_scale
        scores, segments = dense_scores(log_likelihoods, lengths, self.num_senones, 1.0 if scale is None else scale)
        return k2.DenseFsaVec(scores if device is None else scores.to(device), segments)

    def _inputs(self, speech: Signal | Audio, normalised: bool) -> torch.Tensor:
        num_bins = self.config.features.num_mel_bins
        if isinstance(speech, (Recording, Cut, str, Path)):
            return self.window(self.normalise(self.features(speech)))
        given = _as_tensor(speech)
        if given.ndim == 1:
            return self.window(self.normalise(self.features(given)))
        tensor = given.to(torch.float32)
        if not bool(tensor.isfinite().all()):
            raise UserError(f"features {tuple(tensor.shape)} hold NaN or infinity")
        if tensor.ndim == 2 and tensor.shape[1] == num_bins:
            return self.window(tensor if normalised else self.normalise(tensor))
        if tensor.ndim == 2 and tensor.shape[1] == num_bins * self.window.width:
            return tensor
        raise UserError(
            f"expected samples (n,), features (T, {num_bins}) or inputs (T, {num_bins * self.window.width}), found shape"
            f" {tuple(tensor.shape)}"
        )

    @torch.no_grad()
    def _log_posteriors(self, inputs: torch.Tensor, chunk_frames: int) -> torch.Tensor:
        """``(T, D)`` inputs to ``(T, C)`` float32 on the device."""
        check_chunk_frames(chunk_frames)
        rows = [torch.empty(0, self.num_senones, device=self.device)]
        for chunk in inputs.split(chunk_frames):
            with precision(self._bf16, self.device):
                logits = self.network(chunk.to(self.device))
            rows.append(torch.log_softmax(logits.float(), dim=1))
        posteriors = torch.cat(rows)
        if not bool((posteriors.sum(dim=1) < torch.inf).all()):  # each is at most 0, so that only NaN is not
            frame = int((~(posteriors.sum(dim=1) < torch.inf)).nonzero()[0])
            raise UserError(
                f"the network's output for frame {frame} is no distribution: its numbers overflow. Next: look at the features"
                " of that frame, or train the model again"
            )
        return posteriors


def check_chunk_frames(chunk_frames: int) -> None:
    """Raises `UserError` for fewer than one."""
    if chunk_frames < 1:
        raise UserError(f"chunk_frames is {chunk_frames}, expected at least 1")


def dense_scores(
    log_likelihoods: torch.Tensor | Sequence[torch.Tensor],
    lengths: torch.Tensor | Sequence[int] | None,
    num_senones: int,
    acoustic_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `k2.DenseFsaVec` takes: ``(N, T, C + 1)`` float32 with column 0 minus infinity, and ``(N, 3)`` int32 segments."""
    if not (math.isfinite(acoustic_scale) and acoustic_scale > 0):
        raise UserError(f"acoustic scale {acoustic_scale}: expected a finite number above 0")
    if isinstance(log_likelihoods, torch.Tensor):
        if log_likelihoods.ndim != 3 or lengths is None:
            raise UserError(
                f"expected padded (N, T, C) with lengths, or a list of (T, C); found shape {tuple(log_likelihoods.shape)} and"
                f" {'no ' if lengths is None else ''}lengths"
            )
        given, frames = [float(length) for length in lengths], log_likelihoods.shape[1]
        if len(given) != len(log_likelihoods) or any(not (1 <= value <= frames and value == int(value)) for value in given):
            raise UserError(
                f"lengths {[f'{value:g}' for value in given]}: expected {len(log_likelihoods)} whole numbers, one an utterance,"
                f" from 1 to the {frames} frames given"
            )
        rows = [row[: int(length)] for row, length in zip(log_likelihoods, given, strict=True)]
    else:
        if lengths is not None:
            raise UserError("lengths belong to one padded (N, T, C); a list of (T, C) has the lengths of its tensors")
        rows = [torch.as_tensor(row) for row in log_likelihoods]
    for index, row in enumerate(rows):
        if row.ndim != 2 or row.shape[1] != num_senones or len(row) == 0:
            raise UserError(
                f"utterance {index}: expected (T, {num_senones}) log-likelihoods with at least one frame, found"
                f" {tuple(row.shape)}"
            )
        if not bool((row < torch.inf).all()):  # NaN neither; -inf excludes a senone
            frame = int((~(row < torch.inf)).any(dim=1).nonzero()[0])
            raise UserError(f"utterance {index}: NaN or infinity in frame {frame}, expected log-likelihoods")
    longest = max((len(row) for row in rows), default=0)
    if longest == 0:
        raise UserError("there are no utterances to score")
    scores = torch.full((len(rows), longest, num_senones + 1), float("-inf"), device=rows[0].device)
    for index, row in enumerate(rows):
        scores[index, : len(row), 1:] = acoustic_scale * row.float()
    segments = torch.tensor([[index, 0, len(row)] for index, row in enumerate(rows)], dtype=torch.int32)
    return scores, segments


def _as_tensor(signal: Signal) -> torch.Tensor:
    """What torch would refuse or warn of, reversed, big-endian, unsigned and read-only arrays, is copied."""
    if not isinstance(signal, np.ndarray):
        return torch.as_tensor(signal)
    plain = signal.dtype in (np.float32, np.float64, np.int16) and signal.dtype.isnative
    dtype = signal.dtype if plain else _NATIVE.get(signal.dtype.kind, signal.dtype)
    return torch.from_numpy(np.require(signal, dtype, ["C", "W"]))

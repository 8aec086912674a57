"""What a model folder holds, seen the same way: an inventory, and scores for cuts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from asr_distill.alignment import GmmModel
from asr_distill.alignment.cepstra import load_fbank
from asr_distill.base import UserError, found_instead
from asr_distill.senones import SenoneInventory
from asr_distill.student import Timings, load_model
from asr_distill.student.ensemble_folder import ENSEMBLE_FILE, EnsembleConfig
from asr_distill.student.scoring_pass import OnBad


class ScoredPiece(NamedTuple):
    """Consecutive frames of a cut, from ``begin`` on, of ``total``: log-likelihoods ``(t, C)``, likeliest senones ``(t,)``."""

    cut: Any
    log_likelihoods: torch.Tensor
    predicted: np.ndarray
    timings: Timings
    begin: int
    total: int


class ScoringModel(Protocol):
    """A model that gives log-likelihoods ``(T, C)``, unscaled, and its likeliest senone of each frame."""

    inventory: SenoneInventory
    acoustic_scale: float | None
    seed: int | None

    def scores(self, cuts: Iterable[Any], on_bad: OnBad | None = None, longest: int | None = None) -> Iterator[ScoredPiece]:
        """Yields the cuts' log-likelihoods and likeliest senones.

        on_bad: is told of cuts that cannot be read, and left out. longest: frames of a piece; longer cuts come in several,
        those of a GMM never.
        """

    def signs(self) -> dict[str, list[str]]:
        """Ids of cuts whose audio is digital silence (``silent``) or telephone speech (``narrow``), as far as was read."""


class NetworkModel:
    """A network bundle, or an ensemble of them."""

    def __init__(self, directory: Path, device: str, autocast: str, few: bool = False) -> None:
        self.few = few  # of `Student.scores`
        self.student = load_model(directory, device=device, autocast=autocast)
        self.inventory = self.student.inventory
        self.acoustic_scale = self.student.acoustic_scale
        seed = self.student.config.training.get("seed")
        self.seed = seed if isinstance(seed, int) else None

    def signs(self) -> dict[str, list[str]]:
        """As `ScoringModel`."""
        return {"silent": sorted(self.student.silent), "narrow": sorted(self.student.narrow)}

    def scores(self, cuts: Iterable[Any], on_bad: OnBad | None = None, longest: int | None = None) -> Iterator[ScoredPiece]:
        """As `ScoringModel`; the likeliest senone is that of the posteriors, priors left in."""
        log_priors = torch.from_numpy(self.student.priors.log_priors)
        for piece in self.student.score_pieces(cuts, longest, on_bad=on_bad, few=self.few):
            predicted = (piece.scores + log_priors).argmax(1).numpy()
            yield ScoredPiece(piece.cut, piece.scores, predicted, piece.timings, piece.begin, piece.total)


class GaussianModel:
    """The folder of a GMM."""

    seed: int | None = None
    acoustic_scale: float | None = None

    def __init__(self, directory: Path) -> None:
        self.model = GmmModel.load(directory)
        self.inventory = self.model.inventory

    def signs(self) -> dict[str, list[str]]:
        """As `ScoringModel`; a GMM reads no audio."""
        return {"silent": [], "narrow": []}

    def scores(self, cuts: Iterable[Any], on_bad: OnBad | None = None, longest: int | None = None) -> Iterator[ScoredPiece]:
        """As `ScoringModel`; the likeliest senone is that of the likelihoods; all time counts as the network's."""
        start = time.perf_counter()
        good = list(cuts) if on_bad is None else [cut for cut in cuts if _is_readable(cut, on_bad)]
        for cut, matrix in self.model.scores(good):
            timings = Timings(0.0, time.perf_counter() - start, cut.duration)
            yield ScoredPiece(cut, torch.from_numpy(matrix), matrix.argmax(1), timings, 0, len(matrix))
            start = time.perf_counter()


def _is_readable(cut: Any, on_bad: OnBad) -> bool:
    try:
        load_fbank(cut)
    except UserError as error:
        on_bad(cut, error)
        return False
    return True


def open_model(directory: Path, device: str, autocast: str, few: bool = False) -> ScoringModel:
    """A network bundle where the folder has a config.json, an ensemble where an ensemble.json, a GMM where a gmm.json.

    few: of networks: speakers may have few cuts; see `Student.scores`.
    """
    if any((directory / name).exists() for name in ("config.json", ENSEMBLE_FILE, "training")):
        return NetworkModel(directory, device, autocast, few)
    if (directory / "gmm.json").is_file():
        return GaussianModel(directory)
    raise UserError(
        f"{directory} is neither a model bundle (config.json), an ensemble ({ENSEMBLE_FILE}) nor a GMM folder (gmm.json);"
        f" {found_instead(directory, 'train one first')}"
    )


def ensemble_facts(directory: Path) -> dict[str, Any]:
    """What decode.json says about an ensemble under the key ``ensemble``; nothing for any other model."""
    if not (directory / ENSEMBLE_FILE).is_file():
        return {}
    config = EnsembleConfig.load(directory)
    names = ("mode", "members", "hashes", "weights", "hash")
    return {"ensemble": {name: getattr(config, name) for name in names}}

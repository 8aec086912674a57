"""What a bundle holds besides the network: features, window, normalisation, senones, priors and the acoustic scale.

config.json         network, features, window, senones_hash, acoustic_scale, training
model.safetensors   weights
normalisation.json, normalisation.safetensors
senones.json, priors.json
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, atomic_path, check_file, found_instead, from_mapping, read_json, to_mapping, write_json
from asr_distill.features import ContextWindow, Fbank40Config, Normalisation
from asr_distill.models.checkpoint import CONFIG_FILE
from asr_distill.senones import SenoneInventory, SenonePriors
from asr_distill.student.ensemble_folder import ENSEMBLE_FILE

FORMAT = 1
SENONES_FILE, PRIORS_FILE = "senones.json", "priors.json"


@dataclass(frozen=True)
class BundleConfig:
    """``config.json`` of a bundle, strict.

    network: name and options of the registered network. training: what was trained how, for people and reports.
    normalisation: the choice, and the hash of its statistics. senones_hash: of the inventory whose senones the outputs are.
    priors_hash: of priors.json. acoustic_scale: what multiplies log-likelihoods in a
    search, tuned on dev; None until then.
    """

    network: dict[str, Any]
    features: Fbank40Config
    window: ContextWindow
    normalisation: dict[str, Any]
    senones_hash: str
    priors_hash: str
    acoustic_scale: float | None = None
    training: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format}, this version reads {FORMAT}; use the version that wrote the bundle")
        if self.acoustic_scale is not None and not 0 < self.acoustic_scale < math.inf:
            raise ValueError(f"acoustic_scale is {self.acoustic_scale}, expected a finite number above 0")

    @staticmethod
    def load(directory: str | Path) -> BundleConfig:
        """Reads ``config.json``. Raises `UserError` where it is missing or has unknown, missing or mistyped keys."""
        path = Path(directory) / CONFIG_FILE
        if not path.is_file():
            hint = found_instead(directory, "train one first")
            if (Path(directory) / ENSEMBLE_FILE).is_file():
                hint = "it is an ensemble, which asr_distill.student.load_model opens"
            elif (Path(directory) / "training").is_dir():
                hint = "its training is not finished: run it again to continue"
            raise UserError(f"{directory} is not a bundle: it has no {CONFIG_FILE}; {hint}")
        return from_mapping(BundleConfig, read_json(path), str(path))


@dataclass(frozen=True)
class BundleParts:
    """What makes a model directory a bundle: handed to `train_model` as ``description`` and ``companions``.

    inventory, priors: the files senones.json and priors.json to copy. features, window, normalisation: of the training data;
    of a normalisation per speaker the choice is kept and a typical speaker, since new speakers bring their own statistics.
    """

    inventory: Path
    priors: Path
    features: Fbank40Config
    window: ContextWindow
    normalisation: Normalisation

    def describe(self) -> dict[str, Any]:
        """What `train_model` adds to ``config.json``. Raises `UserError` where the priors belong to another inventory."""
        senones_hash = SenoneInventory.load(self.inventory).hash
        return {
            "format": FORMAT,
            "features": to_mapping(self.features),
            "window": to_mapping(self.window),
            "normalisation": self._kept_normalisation().describe(),
            "senones_hash": senones_hash,
            "priors_hash": SenonePriors.load(self.priors, senones_hash).hash,
            "acoustic_scale": None,
        }

    def write(self, directory: Path) -> None:
        """Copies senones and priors and writes the normalisation into ``directory``."""
        for source, name in ((self.inventory, SENONES_FILE), (self.priors, PRIORS_FILE)):
            check_file(source)
            with atomic_path(directory / name, listed=True) as temporary:
                shutil.copyfile(source, temporary)
        self._kept_normalisation().save(directory)

    def _kept_normalisation(self) -> Normalisation:
        whole = self.normalisation
        return whole if whole.kind == "corpus" else Normalisation(whole.kind, whole.variance, prior=whole.typical_speaker())


def set_acoustic_scale(directory: str | Path, acoustic_scale: float | None) -> None:
    """Writes the acoustic scale that was tuned on dev into the bundle's ``config.json``; nothing else changes."""
    BundleConfig.load(directory)
    path = Path(directory) / CONFIG_FILE
    values = {**read_json(path), "acoustic_scale": acoustic_scale}
    from_mapping(BundleConfig, values, str(path))
    write_json(path, values)

"""A trained GMM-HMM on disk, and its scores in the order of its senone inventory, for graph and decoders like any model's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.alignment.cepstra import Cepstra, CepstraConfig, Statistics
from asr_distill.alignment.diag_gmm import DiagGmm
from asr_distill.base import (
    UserError,
    check_own,
    from_mapping,
    has_file,
    hash_of_array,
    hash_of_object,
    only_writer,
    read_json,
    read_tensors,
    to_mapping,
    write_json,
    write_tensors,
    written_together,
)
from asr_distill.senones import SenoneInventory, check_same

_GMM, _TRANSITIONS, _SENONES, _FACTS = "gmm.safetensors", "transitions.safetensors", "senones.json", "gmm.json"


@contextmanager
def gmm_writer(folder: Path, *names: str) -> Iterator[None]:
    """One process at a time trains a GMM in ``folder``, where it writes a model's files and ``names``.

    Raises `UserError` where another is at work there, or files of these names are there that this toolkit did not write.
    """
    check_own(*(folder / name for name in (_GMM, _TRANSITIONS, _SENONES, _FACTS, *names)))
    with only_writer(folder / _FACTS, f"training a GMM in {folder}"):
        yield


@dataclass(frozen=True, eq=False)
class GmmModel:
    """Mixtures by senone, with the cepstra they were trained on.

    ``transitions`` are kaldi-hmm-gmm's log-probabilities by transition id, or None where the model was trained without it.
    """

    inventory: SenoneInventory
    gmm: DiagGmm
    cepstra: CepstraConfig
    transitions: np.ndarray | None = None

    def save(self, folder: str | Path) -> None:
        """Writes gmm.safetensors, transitions.safetensors, senones.json and gmm.json (last), all or none of them."""
        folder = Path(folder)
        with written_together():
            self.gmm.save(folder / _GMM)
            if self.transitions is not None:
                values = {"log_probabilities": self.transitions.astype(np.float32)}
                write_tensors(folder / _TRANSITIONS, values, listed=True)
            self.inventory.save(folder / _SENONES)
            facts = {
                "senones_hash": self.inventory.hash,
                "gaussians": self.gmm.num_gaussians,
                "dimension": self.gmm.dimension,
                "cepstra": to_mapping(self.cepstra),
                "gmm_hash": self._hash(),
            }
            write_json(folder / _FACTS, facts, listed=True)

    def _hash(self) -> str:
        """Of the numbers: a kill among the renames of `save` can leave a model's file beside another's."""
        transitions = None if self.transitions is None else hash_of_array(self.transitions.astype(np.float32))
        return hash_of_object([{name: hash_of_array(value) for name, value in self.gmm.arrays().items()}, transitions])

    @classmethod
    def load(cls, folder: str | Path) -> GmmModel:
        """Reads what `save` wrote. Raises `UserError` where a file is missing, or they don't belong together."""
        folder = Path(folder)
        if not (folder / "gmm.json").is_file():
            raise UserError(f"{folder} holds no GMM (no gmm.json); train one first: asr-distill align mono")
        facts = read_json(folder / "gmm.json")
        inventory = SenoneInventory.load(folder / "senones.json")
        check_same(inventory.hash, facts.get("senones_hash"), f"{folder / 'senones.json'}", f"{folder / 'gmm.json'}")
        gmm = DiagGmm.load(folder / "gmm.safetensors")
        cepstra = from_mapping(CepstraConfig, facts["cepstra"], str(folder / "gmm.json"))
        if gmm.num_senones != inventory.num_senones or gmm.dimension != cepstra.dimension:
            raise UserError(
                f"{folder}: the GMM has {gmm.num_senones} mixtures of dimension {gmm.dimension}, expected"
                f" {inventory.num_senones} of {cepstra.dimension}; train it again"
            )
        stored = read_tensors(folder / _TRANSITIONS)[0] if has_file(folder / _TRANSITIONS) else {}
        log_probabilities = stored.get("log_probabilities")
        if log_probabilities is not None and not (log_probabilities < np.inf).all():  # NaN neither
            raise UserError(f"{folder / _TRANSITIONS} holds log-probabilities that are NaN or infinite; train it again")
        model = cls(inventory, gmm, cepstra, log_probabilities)
        if facts.get("gmm_hash", model._hash()) != model._hash():
            raise UserError(f"{folder}: {_GMM} and {_TRANSITIONS} are not those that {_FACTS} describes; train it again")
        return model

    def log_likelihoods(self, fbank: np.ndarray, statistics: Statistics | None = None) -> np.ndarray:
        """Filterbanks ``(T, 40)`` to ``(T, num_senones)`` float32 in nats.

        ``statistics`` are the speaker's, from `Cepstra.speaker_statistics`; without them the utterance's own are taken.
        """
        return self.gmm.log_likelihoods(Cepstra(self.cepstra)(fbank, statistics))

    def scores(self, cuts: Iterable[Any]) -> Iterator[tuple[Any, np.ndarray]]:
        """``(cut, (T, num_senones))`` of each cut, normalised over all these cuts of its speaker; the cuts are read twice."""
        cuts, cepstra = list(cuts), Cepstra(self.cepstra)
        statistics = cepstra.speaker_statistics(cuts)
        for cut in cuts:
            yield cut, self.gmm.log_likelihoods(cepstra.of_cut(cut, statistics))


def gmm_log_likelihoods(model: GmmModel | str | Path, features: np.ndarray, statistics: Statistics | None = None) -> np.ndarray:
    """`GmmModel.log_likelihoods` of a model or its folder: ``(T, 40)`` to ``(T, num_senones)`` float32.

    Columns are the senones of the model's ``senones.json``. To score many cuts per speaker, use `GmmModel.scores`.
    """
    loaded = model if isinstance(model, GmmModel) else GmmModel.load(model)
    return loaded.log_likelihoods(features, statistics)

"""Where the training of a GMM stands: one file an iteration, replaced whole, for a run that is cut to go on from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.alignment.diag_gmm import DiagGmm
from asr_distill.base import UserError, hash_of_array, hash_of_object, read_tensors, write_tensors
from asr_distill.base.digests import TEMPORARY

CHECKPOINT_FILE = f"{TEMPORARY}training.safetensors"  # hidden, for it is gone when training is complete
_log = logging.getLogger("asr_distill")


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Training behind ``iteration``: its mixtures, arrays of the trainer's own, and what each iteration measured."""

    iteration: int
    gmm: DiagGmm
    arrays: Mapping[str, np.ndarray]
    history: list[dict[str, Any]]


class Checkpoint:
    """The file at ``path``; ``identity`` is a hash of all that training depends on, and another one's file is not used."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity = path, identity

    def save(self, state: TrainingState) -> None:
        """Replaces the file. The trainer's arrays need other names than the mixtures'."""
        arrays = {**state.arrays, **state.gmm.arrays()}
        facts = {"identity": self.identity, "iteration": state.iteration, "history": state.history}
        write_tensors(self.path, arrays, {"state": json.dumps(facts), "hash": _hash(facts, arrays)})

    def load(self) -> TrainingState | None:
        """The state, or None where there is none, it is of other input, or it is broken (with a line in the log)."""
        if not self.path.exists():
            return None
        try:
            arrays, stored = read_tensors(self.path)
            facts = json.loads(stored["state"])
            if _hash(facts, arrays) != stored["hash"]:
                raise ValueError("its content is not what was hashed")
            if facts["identity"] != self.identity:
                _log.warning("%s is of other input or settings; training starts again", self.path)
                return None
            gmm = DiagGmm(*(arrays.pop(name) for name in ("weights", "means", "variances", "offsets")))
            state = TrainingState(facts["iteration"], gmm, arrays, facts["history"])
        except (UserError, KeyError, TypeError, ValueError, RecursionError) as error:
            _log.warning("%s is broken (%s); training starts again", self.path, error)
            return None
        _log.info("training continues behind iteration %d, from %s", state.iteration, self.path)
        return state

    def remove(self) -> None:
        """Training is complete."""
        self.path.unlink(missing_ok=True)


def _hash(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """The file is hidden and goes, so that no list has its digest."""
    return hash_of_object([facts, {name: hash_of_array(array) for name, array in arrays.items()}])

"""Where monophone training stands: one file an iteration, replaced whole, for a run that is cut to go on from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.alignment.diag_gmm import DiagGmm
from asr_distill.base import atomic_path

_log = logging.getLogger("asr_distill")


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Training behind ``iteration``: mixtures, transition probabilities, and transition ids of all utterances in a row.

    Utterance ``keys[n]`` has the transition ids up to ``ends[n]``.
    """

    iteration: int
    gmm: DiagGmm
    log_probabilities: np.ndarray
    keys: tuple[str, ...]
    transitions: np.ndarray
    ends: np.ndarray
    history: list[dict[str, Any]]


class Checkpoint:
    """The file at ``path``; ``identity`` is a hash of all that training depends on, and another one's file is not used."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity = path, identity

    def save(
        self,
        iteration: int,
        gmm: DiagGmm,
        log_probabilities: np.ndarray,
        alignment: Mapping[str, np.ndarray],
        history: list[dict[str, Any]],
    ) -> None:
        """Replaces the file."""
        from safetensors.numpy import save_file

        values = [np.asarray(path, dtype=np.int32) for path in alignment.values()]
        arrays = {
            **gmm.arrays(),
            "log_probabilities": log_probabilities,
            "transitions": np.concatenate(values or [np.zeros(0, dtype=np.int32)]),
            "ends": np.cumsum([len(value) for value in values], dtype=np.int64),
        }
        facts = {"identity": self.identity, "iteration": iteration, "keys": list(alignment), "history": history}
        with atomic_path(self.path) as temporary:
            save_file(
                {name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, {"state": json.dumps(facts)}
            )

    def load(self) -> TrainingState | None:
        """The state, or None where there is none, it is of other input, or it is broken (with a line in the log)."""
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="numpy") as file:
                facts = json.loads((file.metadata() or {})["state"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            _log.warning("%s is broken (%s); training starts again", self.path, error)
            return None
        if facts["identity"] != self.identity:
            _log.warning("%s is of other cuts, features or settings; training starts again", self.path)
            return None
        return TrainingState(
            facts["iteration"],
            DiagGmm(*(arrays[name] for name in ("weights", "means", "variances", "offsets"))),
            arrays["log_probabilities"],
            tuple(facts["keys"]),
            arrays["transitions"],
            arrays["ends"],
            facts["history"],
        )

    def remove(self) -> None:
        """Training is complete."""
        self.path.unlink(missing_ok=True)

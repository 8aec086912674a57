"""Senone priors: turn a network's posteriors into scaled likelihoods, log p(x|s) = log p(s|x) - log p(s) + constant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from asr_distill.base import UserError, hash_of_object, read_json, write_json
from asr_distill.senones.inventory import check_same

FORMAT = 1


@dataclass(frozen=True, eq=False)
class SenonePriors:
    """Frame counts of senones, and log priors that never go below a floor.

    A senone that training hardly saw has a posterior that is noise; divided by its tiny prior it would win the search. So
    one frame (``smoothing``) is added to each count, and no prior is less than ``relative_floor`` times the uniform prior
    1/C. The result is normalised again, so that priors sum to 1.

    Attributes:
        counts: ``(C,)`` int64 frames.
        inventory_hash: of the inventory whose senones were counted.
        relative_floor: floor in units of the uniform prior, 0 to 1.
        smoothing: frames added to each count, 0 or more.
    """

    counts: np.ndarray
    inventory_hash: str
    relative_floor: float = 0.01
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        counts = np.ascontiguousarray(self.counts)
        if counts.ndim != 1 or not len(counts) or (counts < 0).any() or (counts != np.floor(counts)).any():
            raise UserError("prior counts must be one whole number of frames per senone, none below 0")
        if not 0 <= self.relative_floor <= 1 or self.smoothing < 0:
            raise UserError(f"relative_floor {self.relative_floor} must be in 0..1, smoothing {self.smoothing} at least 0")
        if counts.sum() + self.smoothing == 0 or (self.relative_floor == 0 == self.smoothing and (counts == 0).any()):
            raise UserError("a senone without frames needs a floor or smoothing above 0, else its prior is 0")
        object.__setattr__(self, "counts", counts.astype(np.int64))

    @cached_property
    def log_priors(self) -> np.ndarray:
        """``(C,)`` float32, nats."""
        smoothed = self.counts + self.smoothing
        priors = np.maximum(smoothed / smoothed.sum(), self.relative_floor / len(self.counts))
        return np.log(priors / priors.sum()).astype(np.float32)

    @property
    def num_floored(self) -> int:
        """How many senones stand at the floor."""
        smoothed = self.counts + self.smoothing
        return int((smoothed / smoothed.sum() < self.relative_floor / len(self.counts)).sum())

    @cached_property
    def hash(self) -> str:
        """SHA-256 over counts, floor, smoothing and the inventory's hash."""
        return hash_of_object(self._values())

    def _values(self) -> dict[str, object]:
        return {
            "inventory_hash": self.inventory_hash,
            "relative_floor": float(self.relative_floor),
            "smoothing": float(self.smoothing),
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_labels(
        cls,
        labels: Iterable[np.ndarray],
        num_senones: int,
        inventory_hash: str,
        *,
        relative_floor: float = 0.01,
        smoothing: float = 1.0,
    ) -> SenonePriors:
        """Counts label arrays of any shape, integer; -1 and below is "no label" and is left out.

        Raises `UserError` on a label of ``num_senones`` or more.
        """
        counts = np.zeros(num_senones, dtype=np.int64)
        for array in labels:
            flat = np.asarray(array).ravel()
            flat = flat[flat >= 0]
            if len(flat) and flat.max() >= num_senones:
                raise UserError(f"label {flat.max()} in an inventory of {num_senones} senones; label again with this inventory")
            counts += np.bincount(flat, minlength=num_senones)
        return cls(counts, inventory_hash, relative_floor, smoothing)

    def save(self, path: str | Path) -> None:
        """Writes ``priors.json``."""
        write_json(path, {"format": FORMAT, "hash": self.hash, **self._values()}, listed=True)

    @classmethod
    def load(cls, path: str | Path, inventory_hash: str | None = None) -> SenonePriors:
        """Reads ``priors.json``; with ``inventory_hash``, refuses priors of another inventory.

        Raises `UserError` where the file is missing, of another format, or not what was hashed.
        """
        values = read_json(path)
        if not isinstance(values, dict) or values.get("format") != FORMAT or "counts" not in values:
            raise UserError(f"{path} is not a file of senone priors of format {FORMAT}; write it with `asr-distill tree label`")
        try:
            priors = cls(
                np.asarray(values["counts"]),
                str(values["inventory_hash"]),
                float(values["relative_floor"]),
                float(values["smoothing"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is broken ({error!r}); write it again with `asr-distill tree label`") from None
        if priors.hash != values.get("hash"):
            raise UserError(
                f"{path} was changed after it was written: its content hashes to {priors.hash}, not {values.get('hash')}"
            )
        if inventory_hash is not None:
            check_same(priors.inventory_hash, inventory_hash, f"the priors {path}", "the senones in use")
        return priors

"""The folder of an ensemble: ``ensemble.json`` names the members by relative path and hash; it holds no weights itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asr_distill.base import (
    UserError,
    check_own,
    found_instead,
    from_mapping,
    hash_of_object,
    only_writer,
    read_json,
    to_mapping,
    write_json,
)

FORMAT = 1
ENSEMBLE_FILE = "ensemble.json"
OTHERS = "*"  # the key of folds that stands for every cut and speaker without one

# speaker or cut id -> the members that did not train on it
Folds = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class EnsembleConfig:
    """``ensemble.json``, strict.

    members: paths relative to the folder, hashes: of the members in the same order. mode, weights: how they are combined.
    folds: by speaker or cut id, the numbers of the members that did not train on it. hash: over all that but the paths.
    """

    members: list[str]
    hashes: list[str]
    senones_hash: str
    hash: str
    mode: str = "arithmetic"
    weights: list[float] | None = None
    folds: dict[str, list[int]] | None = None
    kind: Literal["ensemble"] = "ensemble"
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format}, this version reads {FORMAT}; use the version that wrote the ensemble")
        if len(self.members) != len(self.hashes):
            raise ValueError(f"{len(self.members)} members and {len(self.hashes)} hashes; combine the members again")
        found = ensemble_hash(self.hashes, self.mode, self.weights, self.folds)
        if found != self.hash:
            raise ValueError(f"its content hashes to {found}, not {self.hash}: it was altered; combine the members again")

    @staticmethod
    def load(directory: str | Path) -> EnsembleConfig:
        """Reads ``ensemble.json``. Raises `UserError` where it is missing, altered, or has unknown or mistyped keys."""
        path = Path(directory) / ENSEMBLE_FILE
        if not path.is_file():
            found = found_instead(directory, "write it with `asr-distill ensemble`")
            raise UserError(f"{directory} is not an ensemble: it has no {ENSEMBLE_FILE}; {found}")
        return from_mapping(EnsembleConfig, read_json(path), str(path))

    def write(self, directory: str | Path) -> None:
        """Writes ``ensemble.json``. Raises `UserError` where the folder is a bundle: it would open as that."""
        directory = Path(directory)
        if (directory / "config.json").exists() or (directory / "training").exists():
            raise UserError(f"{directory} holds a model bundle; name another folder for the ensemble")
        values = {"kind": self.kind, "format": self.format, **to_mapping(self)}
        path = directory / ENSEMBLE_FILE
        check_own(path)
        with only_writer(path):
            # left alone where nothing changes, so that its date says since when these members are combined
            if not _holds(path, values):
                write_json(path, values, listed=True)

    def paths(self, directory: str | Path) -> list[Path]:
        """Where the members lie, given the ensemble's folder. Raises `UserError` naming one that is not there."""
        folder = Path(directory).resolve()
        paths = [Path(os.path.normpath(folder / member)) for member in self.members]
        for path in paths:
            if not path.is_dir():
                raise UserError(
                    f"{Path(directory) / ENSEMBLE_FILE}: the member {path} is missing; bring it back (members are found"
                    " relative to the ensemble's folder), or combine those that there are again"
                )
        return paths


def _holds(path: Path, values: dict[str, Any]) -> bool:
    try:
        return bool(read_json(path) == values)
    except UserError:  # missing or damaged: to be written
        return False


def relative_paths(members: Sequence[Path], directory: Path) -> list[str]:
    """The members' paths as seen from the ensemble's folder, so that both can move together."""
    return [Path(os.path.relpath(member.resolve(), directory.resolve())).as_posix() for member in members]


def ensemble_hash(hashes: Sequence[str], mode: str, weights: Sequence[float] | None, folds: Folds | None) -> str:
    """SHA-256 over the members' hashes in order and how they are combined."""
    content: dict[str, Any] = {
        "members": list(hashes),
        "mode": mode,
        "weights": None if weights is None else [float(weight) for weight in weights],
        "folds": None if folds is None else {key: list(members) for key, members in folds.items()},
    }
    return hash_of_object(content)


def check_folds(folds: Folds, size: int, where: str = "folds") -> None:
    """Raises `UserError` unless each entry names some of ``size`` members, by numbers from 0."""
    for key, members in folds.items():
        good = isinstance(members, (list, tuple)) and all(type(member) is int and 0 <= member < size for member in members)
        if not good or not members or len(set(members)) < len(members):
            raise UserError(
                f"{where}: {key!r} has {members!r}; expected the numbers of the members that did not train on it, each once,"
                f" at least one, from 0 to {size - 1}"
            )

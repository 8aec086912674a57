"""`Ensemble`: several bundles that answer as one model; `load_model` opens either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asr_distill.base import UserError
from asr_distill.data.utterance_share import original_id
from asr_distill.distillation import combine_posteriors
from asr_distill.distillation import soften as soften_posteriors
from asr_distill.features import ContextWindow, config_difference
from asr_distill.senones import SenonePriors, check_same
from asr_distill.student.bundle import BundleConfig
from asr_distill.student.combination import RunningMean, member_weights
from asr_distill.student.ensemble_folder import (
    ENSEMBLE_FILE,
    OTHERS,
    EnsembleConfig,
    Folds,
    check_folds,
    ensemble_hash,
    relative_paths,
)
from asr_distill.student.student import Audio, Signal, Student, check_chunk_frames
from asr_distill.training.precision import choose_bf16, precision

_PRIOR_UNITS = 10**15  # a mean of priors is kept as counts out of so many frames: exact to 1e-9 at 14,000 senones


class Ensemble(Student):
    """Members of one senone inventory, one filterbank and one normalisation, combined in log space at temperature 1.

    Networks and context windows may differ: the ensemble's window reaches as far as any member's, and a member sees its part
    of it, so features are computed, normalised and stacked once. mode, weights: as `combine_posteriors` has them; with
    ``best`` only that member is run.
    Priors are those of the members; where these differ they are combined as the posteriors are (an arithmetic mean of
    posteriors has the mean of the priors as its prior, a geometric mean their geometric mean).

    folds: by cut id or speaker, the numbers of the members that did not train on it, for `log_posteriors_for`; the key ``*``
    stands for everybody else. paths: the bundles that the members were read from, needed by `save`.
    Raises `UserError` naming the member that does not fit the first, with both hashes where senones differ.
    """

    def __init__(
        self,
        members: Sequence[Student],
        mode: str = "arithmetic",
        weights: Sequence[float] | None = None,
        *,
        folds: Folds | None = None,
        paths: Sequence[Path] = (),
    ) -> None:
        self.members, self.paths = tuple(members), tuple(paths)
        if not self.members:
            raise UserError("an ensemble needs at least one member")
        self.mode, self.weights = mode, None if weights is None else [float(weight) for weight in weights]
        if folds is not None:
            check_folds(folds, len(self.members))
        self.folds = None if folds is None else {str(key): list(value) for key, value in folds.items()}
        first = self.members[0]
        for number, member in enumerate(self.members[1:], 1):
            _check_alike(first, member, self._name(0), self._name(number))
        self._check_different()
        priors = self._priors()  # where weights that are none are refused
        for key, chosen in (self.folds or {}).items():
            try:
                member_weights(self.mode, self.weights, chosen, len(self.members))
            except ValueError as error:
                raise UserError(f"folds: {key!r}: {error}: change the folds or the weights") from None
        window = ContextWindow(
            max(member.window.left for member in self.members), max(member.window.right for member in self.members)
        )
        config = BundleConfig(
            network={"name": "ensemble", "num_senones": first.num_senones, "members": len(self.members), "mode": mode},
            features=first.config.features,
            window=window,
            normalisation=first.normalisation.describe(),
            senones_hash=first.inventory.hash,
            priors_hash=priors.hash,
        )
        networks = nn.ModuleList(member.network for member in self.members)
        autocast = "bf16" if first._bf16 else "off"
        super().__init__(
            config, networks, first.normalisation, priors, first.inventory, device=str(first.device), autocast=autocast
        )

    @classmethod
    def of_bundles(
        cls,
        bundles: Sequence[str | Path],
        mode: str = "arithmetic",
        weights: Sequence[float] | None = None,
        *,
        folds: Folds | None = None,
        device: str = "cpu",
        autocast: str = "off",
    ) -> Ensemble:
        """Loads the members. Raises `UserError` where one cannot be, is an ensemble itself, or does not fit."""
        paths = [Path(bundle) for bundle in bundles]
        for path in paths:
            if (path / ENSEMBLE_FILE).is_file():
                raise UserError(f"{path} is an ensemble itself; name its members one by one")
        members = [Student.load(path, device=device, autocast=autocast) for path in paths]
        return cls(members, mode, weights, folds=folds, paths=paths)

    @classmethod
    def load(cls, bundle: str | Path, *, device: str = "cpu", autocast: str = "off") -> Ensemble:
        """Opens the folder of an ensemble. Raises `UserError` naming a member that is missing or was altered since."""
        config = EnsembleConfig.load(bundle)
        ensemble = cls.of_bundles(
            config.paths(bundle), config.mode, config.weights, folds=config.folds, device=device, autocast=autocast
        )
        for path, member, expected in zip(ensemble.paths, ensemble.members, config.hashes, strict=True):
            if member.hash != expected:
                raise UserError(
                    f"the member {path} of {bundle} is another model than the one that was combined: it hashes to"
                    f" {member.hash}, {ENSEMBLE_FILE} says {expected}; bring it back or combine the members again"
                )
        ensemble.check_senones(config.senones_hash, f"{Path(bundle) / ENSEMBLE_FILE}")
        return ensemble

    def save(self, directory: str | Path) -> EnsembleConfig:
        """Writes ``ensemble.json``; the members stay where they are. Raises `UserError` for members without a path."""
        if len(self.paths) != len(self.members):
            raise UserError("only members that were read from bundles can be saved as an ensemble")
        config = EnsembleConfig(
            relative_paths(self.paths, Path(directory)),
            [member.hash for member in self.members],
            self.inventory.hash,
            self.hash,
            self.mode,
            self.weights,
            self.folds,
        )
        config.write(directory)
        return config

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the members' hashes, mode, weights and folds."""
        return ensemble_hash([member.hash for member in self.members], self.mode, self.weights, self.folds)

    def describe(self) -> dict[str, Any]:
        """Plain values that say whose answers these are."""
        members = [member.hash for member in self.members]
        folds = None if self.folds is None else len(self.folds)
        return {"hash": self.hash, "members": members, "mode": self.mode, "weights": self.weights, "folds": folds}

    def log_posteriors_for(
        self, cut_id: str, speaker: str | None, speech: Signal | Audio, *, normalised: bool = False, chunk_frames: int = 4096
    ) -> torch.Tensor:
        """`log_posteriors` of the members that did not train on this cut; of all members where the ensemble has no folds.

        Raises `UserError` where the folds name neither the cut nor its speaker nor ``*``.
        """
        return self._answer(self._inputs(speech, normalised), self.members_for(cut_id, speaker), chunk_frames).cpu()

    def members_for(self, cut_id: str, speaker: str | None) -> list[int]:
        """The numbers of the members to ask about a cut; its id goes before its speaker.

        A perturbed copy (``u1_sp0.9``) without an entry has its original's: who trained on one has heard the other.
        """
        members = self._fold_of(cut_id, speaker)
        if members is None:
            raise UserError(
                f"the folds have no entry for cut {cut_id!r} or speaker {speaker!r}: a member may have trained on it. Next: add"
                f" one, or the key {OTHERS!r} for everybody else"
            )
        return members

    def check_folds_of(self, cuts: Iterable[tuple[str, str | None]], where: str) -> None:
        """Raises `UserError` for ``cuts`` (id, speaker) that the folds say nothing of: before any of them is asked about."""
        missing = [(cut_id, speaker) for cut_id, speaker in cuts if self._fold_of(cut_id, speaker) is None]
        if missing:
            speakers = sorted({speaker for _, speaker in missing if speaker is not None})
            named = ", ".join(speakers[:10]) + (", ..." if len(speakers) > 10 else "") if speakers else "none is named"
            raise UserError(
                f"the folds have no entry for {len(missing)} cuts of {where}, the first {missing[0][0]!r}, nor for their"
                f" speakers ({named}): a member may have trained on them. Next: add them, or the key {OTHERS!r} for everybody"
                " else"
            )

    def _fold_of(self, cut_id: str, speaker: str | None) -> list[int] | None:
        if self.folds is None:
            return list(range(len(self.members)))
        keys = (cut_id, original_id(cut_id), speaker, OTHERS)
        return next((self.folds[key] for key in keys if key is not None and key in self.folds), None)

    def check_on_the_fly(self) -> None:
        """Raises `UserError` for an ensemble with folds: inputs alone do not say which members trained on them."""
        if self.folds is not None:
            raise UserError(
                "an ensemble with folds cannot be asked on the fly: an input does not say which members trained on its cut."
                " Next: `asr-distill soft-targets`, or combine the members without --folds"
            )

    @torch.no_grad()
    def soft_log_posteriors(
        self,
        inputs: torch.Tensor,
        temperature: float,
        *,
        soften: str = "ensemble",
        autocast: str | None = None,
        chunk_frames: int = 4096,
    ) -> torch.Tensor:
        """Log-probabilities ``(N, C)`` float32 at the temperature, on the ensemble's device, for a teacher on the fly.

        inputs: ``(N, D)`` network inputs, those of the ensemble's window, perturbed or not. soften: ``ensemble`` combines at
        temperature 1 and softens that, as a soft-target store does; ``members`` softens each member and combines these.
        autocast: ``off``, ``bf16`` or ``auto`` instead of what the members were loaded with.
        Raises `UserError` for inputs of another width or another ``soften``, and for an ensemble with folds (inputs alone do
        not say which member trained on them); ValueError for a temperature not above 0.
        """
        self.check_on_the_fly()
        if soften not in ("ensemble", "members"):
            raise UserError(f"soften {soften!r}: expected ensemble or members")
        width = self.window.width * self.config.features.num_mel_bins
        if inputs.ndim != 2 or inputs.shape[1] != width:
            raise UserError(
                f"the ensemble takes inputs (N, {width}), {self.window.left} frames before and {self.window.right} after each;"
                f" found {tuple(inputs.shape)}: give the student the ensemble's window"
            )
        bf16 = None if autocast is None else choose_bf16(autocast, self.device)
        everybody = range(len(self.members))
        if soften == "members":
            return self._answer(inputs, everybody, chunk_frames, temperature=temperature, bf16=bf16)
        combined = self._answer(inputs, everybody, chunk_frames, bf16=bf16)
        return combined if temperature == 1 else soften_posteriors(combined, temperature)

    @torch.no_grad()
    def member_log_posteriors(self, inputs: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yields the log-posteriors ``(N, C)`` float32 on the device of one member after the other."""
        inputs = inputs.to(self.device)
        for number in range(len(self.members)):
            yield self._member(number, inputs, 1.0, self._bf16)

    def _log_posteriors(self, inputs: torch.Tensor, chunk_frames: int) -> torch.Tensor:
        return self._answer(inputs, range(len(self.members)), chunk_frames)

    @torch.no_grad()
    def _answer(
        self,
        inputs: torch.Tensor,
        members: Sequence[int],
        chunk_frames: int,
        *,
        temperature: float = 1.0,
        bf16: bool | None = None,
    ) -> torch.Tensor:
        """``(N, D)`` inputs to ``(N, C)`` float32 on the device, of these members at this temperature."""
        check_chunk_frames(chunk_frames)
        weights = member_weights(self.mode, self.weights, members, len(self.members))
        rows = []
        for chunk in inputs.split(chunk_frames):
            chunk = chunk.to(self.device)
            mean = RunningMean(self.mode)
            for member, weight in zip(members, weights, strict=True):
                if weight > 0:
                    mean.add(self._member(member, chunk, temperature, self._bf16 if bf16 is None else bf16), weight)
            rows.append(mean.result())
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _member(self, number: int, inputs: torch.Tensor, temperature: float, bf16: bool) -> torch.Tensor:
        """``(N, C)`` float32 log-probabilities at the temperature, in memory of their own."""
        member, bins = self.members[number], self.config.features.num_mel_bins
        start = (self.window.left - member.window.left) * bins
        part = inputs[:, start : start + member.window.width * bins]
        with precision(bf16, self.device):
            logits = member.network(part)
        return torch.log_softmax(logits.float(), dim=1) if temperature == 1 else soften_posteriors(logits, temperature)

    def _name(self, number: int) -> str:
        return str(self.paths[number]) if len(self.paths) == len(self.members) else f"member {number}"

    def _check_different(self) -> None:
        if len(self.members) == 1:  # the weights of a lone teacher need not be hashed
            return
        seen: dict[str, int] = {}
        for number, member in enumerate(self.members):
            before = seen.setdefault(member.hash, number)
            if before != number:
                raise UserError(f"{self._name(before)} and {self._name(number)} are the same model; name each member once")

    def _priors(self) -> SenonePriors:
        stacked = torch.from_numpy(np.stack([member.priors.log_priors for member in self.members]).astype(np.float64))
        try:
            combined = combine_posteriors(stacked, self.mode, self.weights)
        except ValueError as error:
            raise UserError(f"ensemble of {len(self.members)}: {error}") from None
        first = self.members[0].priors
        if all(member.priors.hash == first.hash for member in self.members):
            return first
        counts = np.rint(combined.exp().numpy() * _PRIOR_UNITS).astype(np.int64)
        return SenonePriors(counts, first.inventory_hash, relative_floor=0.0, smoothing=0.0)


def load_model(path: str | Path, *, device: str = "cpu", autocast: str = "off") -> Student:
    """Opens a bundle, or the folder of an ensemble, which is an `Ensemble`; arguments and errors as `Student.load` has them."""
    if (Path(path) / ENSEMBLE_FILE).is_file():
        return Ensemble.load(path, device=device, autocast=autocast)
    return Student.load(path, device=device, autocast=autocast)


def _check_alike(first: Student, other: Student, name: str, other_name: str) -> None:
    check_same(other.inventory.hash, first.inventory.hash, other_name, name)
    difference = config_difference(first.config.features, other.config.features)
    if difference:
        raise UserError(f"{name} and {other_name} take other features ({difference}); an ensemble computes them once")
    if first.normalisation.hash != other.normalisation.hash:
        ours, theirs = first.normalisation, other.normalisation
        statistics = " with other statistics" if ours.kind == theirs.kind else ""
        raise UserError(
            f"{name} normalises per {ours.kind}, {other_name} per {theirs.kind}{statistics}; train both on frame stores of one"
            " normalisation (`asr-distill frames --normalisation-from`)"
        )

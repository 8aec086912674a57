"""Combine trained models, and measure models on labelled frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asr_distill.base import UserError, read_json, write_json, write_jsonl

Mode = Literal["arithmetic", "geometric", "weighted", "best"]
Precision = Literal["auto", "bf16", "off"]
FITTED = ("weighted", "best")


@dataclass(frozen=True)
class CombinationJob:
    """An ensemble of bundles in a folder that decodes, scores and teaches as one model.

    Args:
        members: the bundles, in order.
        output: the folder to write.
        mode: how posteriors are combined.
        weights: of ``weighted`` and ``best``, one per member; or else
        dev: labelled frames that decide them.
        folds: JSON file, speaker or cut id to the numbers of the members that did not train on it.
        device, autocast: where ``dev`` asks the networks, and their precision.
    """

    members: tuple[Path, ...]
    output: Path
    mode: Mode = "arithmetic"
    weights: tuple[float, ...] | None = None
    dev: Path | None = None
    folds: Path | None = None
    device: str = "cpu"
    autocast: Precision = "off"

    def run(self) -> dict[str, Any]:
        """Write the ensemble; returns its description, ``weights`` and ``num_senones``."""
        from asr_distill.data import FrameStore
        from asr_distill.student.ensemble import Ensemble
        from asr_distill.student.ensemble_curve import fit_weights

        fitted = self.mode in FITTED
        if self.weights is not None and not fitted:
            raise UserError(f"--mode {self.mode} takes no --weights; weighted is the arithmetic mean with weights")
        if fitted and self.weights is None and self.dev is None:
            raise UserError(f"--mode {self.mode} needs --dev STORE, which decides, or --weights")
        folds = read_json(self.folds) if self.folds else None
        if folds is not None and not isinstance(folds, dict):
            raise UserError(f"{self.folds}: expected an object, speaker or cut id to member numbers")
        weights: Sequence[float] | None = self.weights
        places: dict[str, Any] = {"device": self.device, "autocast": self.autocast}
        if fitted and weights is None and self.dev is not None:
            equal = Ensemble.of_bundles(self.members, **places)
            weights = fit_weights(equal, FrameStore.open(self.dev), self.mode)
            ensemble = Ensemble(equal.members, self.mode, weights, folds=folds, paths=equal.paths)
        else:
            ensemble = Ensemble.of_bundles(self.members, self.mode, weights, folds=folds, **places)
        ensemble.save(self.output)
        said = ensemble.describe()
        more = {"members": [str(path) for path in self.members], "hashes": said["members"]}
        found = None if weights is None else list(weights)
        return {**said, "output": str(self.output), **more, "weights": found, "num_senones": ensemble.num_senones}


@dataclass(frozen=True)
class CurveJob:
    """What each further member adds: every size from one to all members, on labelled frames.

    Args:
        members: the bundles, in order.
        frames: labelled frame stores.
        output: JSON file to write.
        modes: how posteriors are combined.
        dev: labelled frames that decide the weights of ``weighted`` and ``best``, which are measured too.
        orders: random orders of the members to average.
        seed: of the orders.
        plot: PNG file to draw.
        device, autocast: where the networks are asked, and their precision.
    """

    members: tuple[Path, ...]
    frames: tuple[Path, ...]
    output: Path
    modes: tuple[Literal["arithmetic", "geometric"], ...] = ("arithmetic", "geometric")
    dev: Path | None = None
    orders: int = 4
    seed: int = 0
    plot: Path | None = None
    device: str = "cpu"
    autocast: Precision = "off"

    def run(self) -> dict[str, Any]:
        """Measure and write; returns what is written."""
        from asr_distill.data import FrameStore
        from asr_distill.student.ensemble import Ensemble
        from asr_distill.student.ensemble_curve import FITTED_MODES, ensemble_curve, fit_weights
        from asr_distill.student.ensemble_plot import plot_curve

        check_names(self.frames)
        if self.orders < 0:
            raise UserError(f"--orders {self.orders}: expected 0 or more")
        modes: list[str] = list(dict.fromkeys(self.modes))
        ensemble = Ensemble.of_bundles(self.members, device=self.device, autocast=self.autocast)
        stores = [FrameStore.open(path) for path in self.frames]
        dev = FrameStore.open(self.dev) if self.dev else None
        fitted = {} if dev is None else {mode: fit_weights(ensemble, dev, mode) for mode in FITTED_MODES}
        splits = {
            store.path.name: ensemble_curve(ensemble, store, modes, orders=self.orders, seed=self.seed, fitted=fitted)
            for store in stores
        }
        result: dict[str, Any] = {
            "members": [str(path) for path in self.members],
            "member_hashes": [member.hash for member in ensemble.members],
            "senones_hash": ensemble.inventory.hash,
            "modes": modes,
            "orders": self.orders,
            "seed": self.seed,
            "weights": fitted,
            "splits": splits,
        }
        write_json(self.output, result, listed=True)
        if self.plot:
            plot_curve(splits, modes, self.plot)
        return result


@dataclass(frozen=True)
class AccuracyJob:
    """Frame accuracy and cross-entropy of a model on labelled frame stores.

    Args:
        model: bundle or ensemble.
        frames: labelled frame stores, of different names.
        output: JSON file with the figures by the stores' names.
        share: of each store's utterances, those that training with this share takes.
        per_utterance: JSON lines with the counts of each cut, for bootstraps over speakers.
        system, seed: what they are called there; by default the seed of the training, or 0.
        device, autocast: where the networks are asked, and their precision.
    """

    model: Path
    frames: tuple[Path, ...]
    output: Path | None = None
    share: float = 1.0
    per_utterance: Path | None = None
    system: str | None = None
    seed: int | None = None
    device: str = "cpu"
    autocast: Precision = "off"

    def run(self) -> dict[str, Any]:
        """Measure and write; returns the figures by the stores' names (`FrameAccuracy`)."""
        from asr_distill.data import FrameStore
        from asr_distill.student import load_model
        from asr_distill.student.accuracy import cut_accuracies

        check_names(self.frames)
        if self.per_utterance and not self.system:
            raise UserError("--per-utterance needs --system NAME: reports tell systems apart by it")
        model = load_model(self.model, device=self.device, autocast=self.autocast)
        counts = {path.name: cut_accuracies(model, FrameStore.open(path), share=self.share) for path in self.frames}
        figures = {name: cuts.total().to_dict() for name, cuts in counts.items()}
        if self.per_utterance and self.system:
            seed = self.seed if self.seed is not None else model.config.training.get("seed", 0)
            rows = (row for name, cuts in counts.items() for row in cuts.rows(name, str(self.system), seed))
            write_jsonl(self.per_utterance, rows, listed=True)
        if self.output:
            write_json(self.output, figures, listed=True)
        return figures


def check_names(stores: Sequence[Path]) -> None:
    """Raise `UserError` where two stores, which figures are named by, have the same name."""
    names = [path.name for path in stores]
    if len(set(names)) != len(names):
        raise UserError(f"--frames: two stores have the same name ({', '.join(names)}); measure them one after the other")

"""Where a run stands, on disk: weights, optimiser, random numbers and counters, so that a kill changes no bit of the result."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_distill.base import UserError, change_list, check_space, from_mapping, make_room, read_json, to_mapping, write_json
from asr_distill.base.digests import DIGESTS_FILE, TEMPORARY
from asr_distill.models import load_tensors, save_tensors
from asr_distill.models.checkpoint import all_finite, load_weights
from asr_distill.training.optimisation import optimiser_tensors, restore_optimiser

COMPLETED_FILE, STATE_FOLDER, STATE_FILE, LOCK_FILE = "completed.json", "training", "state.json", "lock"
BEST_FILE, EVENTS_FOLDER = "best.safetensors", "tensorboard"
_CHECKPOINT = 3  # times the weights: these, and two numbers that an optimiser keeps for each
_CHECKPOINT_SHARE = 0.05  # of the time may go into checkpoints at epoch ends, where epochs are short


@dataclass
class Progress:
    """Counters of a run: epochs done, steps done in this one, the best epoch so far, one row a finished epoch.

    first_loss: of the first step, in nats, once it was looked at.
    """

    epoch: int = 0
    step: int = 0
    rate_scale: float = 1.0
    best_accuracy: float | None = None
    best_epoch: int | None = None
    stale_epochs: int = 0
    first_loss: float | None = None
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Stored:
    """A checkpoint on disk: the file of its tensors and how far it is."""

    path: Path
    progress: Progress


class TrainingState:
    """A run in progress, over the folder ``out_dir/training``.

    ``state.json`` names the safetensors file that belongs to it and is replaced last, so at any moment the two on disk agree.
    sums: (3,) float64 on the device, of the epoch so far: loss times frames, correct frames, labelled frames.
    identity: plain values that decide the result; a state of another identity is refused.
    """

    def __init__(
        self,
        out_dir: Path,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        device: torch.device,
        identity: Mapping[str, Any],
        checkpoint_minutes: float,
    ) -> None:
        self.folder, self.network, self.optimiser, self.device = out_dir / STATE_FOLDER, network, optimiser, device
        self.identity, self.checkpoint_minutes = dict(identity), checkpoint_minutes
        self.progress = Progress()
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        self._saved_at, self._save_seconds = time.monotonic(), 0.0

    def check_space(self) -> None:
        """Raises `UserError` where the disk is too full for what the run will write.

        At the most that is two checkpoints (weights, and two values for each that the optimiser keeps), the best weights and
        the last ones.
        """
        weights = sum(tensor.numel() * tensor.element_size() for tensor in self.network.state_dict().values())
        there = sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))
        check_space(self.folder.parent, (2 * _CHECKPOINT + 2) * weights - there, "training with its checkpoints")

    def save_is_due(self, epoch_end: bool = False) -> bool:
        """Whether to write a checkpoint now: by the clock, and at epoch ends as long as that costs little."""
        elapsed = time.monotonic() - self._saved_at
        return elapsed >= 60 * self.checkpoint_minutes or (epoch_end and elapsed * _CHECKPOINT_SHARE >= self._save_seconds)

    def save(self) -> None:
        """Writes a checkpoint and removes the one before."""
        start = time.monotonic()
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in optimiser_tensors(self.optimiser).items()}
        tensors |= {"sums": self.sums, "random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        name = f"state-{self.progress.epoch:04d}-{self.progress.step:08d}.safetensors"
        save_tensors(self.folder / name, tensors)
        write_json(
            self.folder / STATE_FILE,
            {"tensors": name, "progress": to_mapping(self.progress), "identity": self.identity},
            listed=True,
        )
        others = [other for other in self.folder.glob("state-*.safetensors") if other.name != name]
        if others:
            change_list(self.folder, dict.fromkeys(other.name for other in others))
        for other in others:
            other.unlink()
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - start

    def restore(self) -> bool:
        """Continues from the checkpoint on disk, if there is one. Raises `UserError` where it is of another run or damaged."""
        path = self.folder / STATE_FILE
        if not path.is_file():
            return False
        stored = read_json(path)
        try:
            name, progress, identity = stored["tensors"], stored["progress"], stored["identity"]
        except (KeyError, TypeError):
            raise UserError(f"{path} is not a training state; remove {self.folder} to start again") from None
        check_identity(identity, self.identity, self.folder.parent, "was begun")
        tensors = load_tensors(self.folder / name)
        load_weights(self.network, _under("network.", tensors), str(self.folder / name))
        restore_optimiser(self.optimiser, _under("optimiser.", tensors))
        self.progress = from_mapping(Progress, progress, str(path))
        self.sums = tensors["sums"].to(self.device)
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        return True

    def last_checkpoint(self) -> Stored | None:
        """The checkpoint on disk, if there is one."""
        path = self.folder / STATE_FILE
        if not path.is_file():
            return None
        stored = read_json(path)
        return Stored(self.folder / stored["tensors"], from_mapping(Progress, stored["progress"], str(path)))

    def not_finite(self) -> str | None:
        """The name of the first tensor of the network, or of the optimiser, that holds NaN or infinity."""
        tensors = {f"weight {name!r}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"optimiser state {name!r}": tensor for name, tensor in optimiser_tensors(self.optimiser).items()}
        return next((name for name, tensor in tensors.items() if not all_finite(tensor)), None)

    def save_best(self) -> None:
        """Keeps the weights as they are now as the best so far."""
        save_tensors(self.folder / BEST_FILE, self.network.state_dict())

    def load_best(self) -> None:
        """Puts the best weights back into the network."""
        path = self.folder / BEST_FILE
        load_weights(self.network, load_tensors(path), str(path))


def make_folder(out_dir: Path) -> None:
    """Makes ``out_dir/training``. Raises `UserError` where a run cannot write there, or beside it what it ends with."""
    for path in (out_dir / COMPLETED_FILE, out_dir / STATE_FOLDER / STATE_FILE):
        make_room(path, "file")


def check_begun_or_empty(out_dir: Path) -> None:
    """Raises `UserError` where ``out_dir`` holds anything and is not the folder of a run that was begun."""
    folder = out_dir / STATE_FOLDER
    begun = (folder / LOCK_FILE, folder / STATE_FILE, out_dir / COMPLETED_FILE)
    if not out_dir.is_dir() or any(path.is_file() for path in begun):
        return
    unknown = {path.name for path in out_dir.iterdir() if not path.name.startswith(TEMPORARY)} - {DIGESTS_FILE}
    if STATE_FOLDER in unknown and folder.is_dir() and not any(folder.iterdir()):
        unknown.remove(STATE_FOLDER)  # of a run that was killed as it began
    if unknown:
        raise UserError(
            f"{out_dir} holds files of something else ({', '.join(sorted(unknown)[:5])}), expected a new or empty folder, or"
            " one of a run that was begun; name another --output"
        )


def remove_folder(out_dir: Path) -> None:
    """Deletes the state of the run in ``out_dir/training``: it is complete."""
    folder = out_dir / STATE_FOLDER
    for pattern in (STATE_FILE, BEST_FILE, "state-*.safetensors", f"{TEMPORARY}*", DIGESTS_FILE, LOCK_FILE):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or something else is in it
        folder.rmdir()


@contextmanager
def unbegun_removed(out_dir: Path) -> Iterator[None]:
    """Where a run is refused (`UserError`) before it has written anything, its folder goes too: it would look like a run."""
    try:
        yield
    except UserError:
        state = [entry.name for entry in (out_dir / STATE_FOLDER).glob("*")]
        if state == [LOCK_FILE] and {entry.name for entry in out_dir.iterdir()} <= {STATE_FOLDER, EVENTS_FOLDER}:
            shutil.rmtree(out_dir / EVENTS_FOLDER, ignore_errors=True)  # of this run, for its folder was empty
            remove_folder(out_dir)
            if not any(out_dir.iterdir()):
                out_dir.rmdir()
        raise


def completed_run(out_dir: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of a complete run in ``out_dir``, or None. Raises `UserError` where it is a run of other options or data."""
    if not (out_dir / COMPLETED_FILE).is_file():
        return None
    completed = read_json(out_dir / COMPLETED_FILE)
    if not isinstance(completed, dict) or not {"identity", "summary"} <= completed.keys():
        raise UserError(f"{out_dir / COMPLETED_FILE} is not what training wrote; remove {out_dir} to train again")
    check_identity(completed["identity"], identity, out_dir, "is complete")
    return completed["summary"]


def check_identity(stored: Mapping[str, Any], asked: Mapping[str, Any], out_dir: Path, what: str) -> None:
    """Raises `UserError` that lists what differs between the run on disk and the one asked for."""
    before, now = _flat(stored), _flat(asked)
    differing = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if differing:
        listing = "; ".join(f"{key}: {before.get(key)!r} there, {now.get(key)!r} now" for key in differing[:5])
        raise UserError(
            f"the run in {out_dir} {what} with other options or data ({listing}"
            f"{'; ...' if len(differing) > 5 else ''}); choose another --output, or remove {out_dir} to train again"
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {name: leaf for key, item in value.items() for name, leaf in _flat(item, f"{prefix}.{key}".lstrip(".")).items()}


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}

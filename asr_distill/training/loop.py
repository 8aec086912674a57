"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from asr_distill.base import UserError, to_mapping, write_json
from asr_distill.models import apply_max_norm, build_network, complete_network_config, count_parameters, save_network
from asr_distill.training.configuration import NO_INFLUENCE, TrainingConfig
from asr_distill.training.divergence import Diverged, Step, Watch, remove_report, report_divergence
from asr_distill.training.evaluation import evaluate
from asr_distill.training.examples import Examples
from asr_distill.training.lock import only_run
from asr_distill.training.log import TrainingLog
from asr_distill.training.memory import keep_freed_memory
from asr_distill.training.objectives import HardLabels, Objective
from asr_distill.training.optimisation import build_optimiser, clip_gradients, rate_factor
from asr_distill.training.precision import choose_bf16, choose_device, precision
from asr_distill.training.start import InitialModel, check_start, identity_of_start, load_start
from asr_distill.training.state import (
    COMPLETED_FILE,
    LOCK_FILE,
    STATE_FOLDER,
    Progress,
    TrainingState,
    check_begun_or_empty,
    completed_run,
    remove_folder,
    unbegun_removed,
)


def train_model(
    config: TrainingConfig,
    train: Examples,
    dev: Examples | None,
    out_dir: str | Path,
    objective: Objective | None = None,
    *,
    description: Mapping[str, Any] | None = None,
    companions: Callable[[Path], None] | None = None,
    initial_model: InitialModel | None = None,
    initial_identity: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains the network of ``config`` on ``train`` and leaves a model directory at ``out_dir``.

    objective: what is minimised; hard labels where it is None. dev: decides the best epoch, early stopping and newbob.
    description: further plain values for ``config.json``. companions: called with ``out_dir`` at the end, writes the files that
    belong beside the weights. initial_model: a model directory to start from instead of fresh weights, or what makes the
    network to start from, which is called only where there is training to do; its network must be the one of ``config``, and
    its senones, features, window and normalisation those of the data, where ``config.json`` there and ``description`` here say.
    initial_identity: plain values that decide the weights of a network that is made; those of a model directory are named by
    their hash.

    Writes ``config.json``, ``model.safetensors``, ``log.csv``, ``tensorboard/`` and last ``completed.json``; while it runs,
    ``training/`` holds what an exact resume needs. Called again it continues a run that was killed, with the same bits as a
    run that was not (same machine, device and threads), and returns at once where the run is complete.
    Returns the summary: ``parameters``, ``epochs``, ``best_epoch``, ``dev_accuracy`` (per cent), ``dev_loss``, ``seconds``...
    Raises `UserError` where the training diverges (see `divergence`, which also says what is left to go back to), the data does
    not fit the network, or ``out_dir`` cannot be written, holds another run or is that of one at work.
    """
    out_dir = Path(out_dir)
    device = choose_device(config.device)
    bf16 = choose_bf16(config.autocast, device)
    if dev is None and (config.patience is not None or config.schedule == "newbob"):
        raise UserError("patience and the schedule newbob look at dev frame accuracy: give a dev store, or set neither")
    objective = objective or HardLabels(config.label_smoothing)
    network_config = complete_network_config(config.network, train.num_classes, train.input_dim)
    identity = _identity(config, network_config, train, dev, objective)
    identity["initial_model"] = identity_of_start(initial_model, initial_identity)
    identity["description"] = dict(description or {})
    if (summary := completed_run(out_dir, identity)) is not None:
        if (out_dir / STATE_FOLDER / LOCK_FILE).is_file():  # it was killed as it removed what it needs no more
            with suppress(UserError, OSError), only_run(out_dir):
                remove_folder(out_dir)
        return summary
    check_begun_or_empty(out_dir)
    check_start(initial_model, {"senones_hash": identity["train"].get("senones_hash"), **(description or {})})
    if device.type == "cpu":
        keep_freed_memory()
    with only_run(out_dir), unbegun_removed(out_dir), _reproducible(config, device):
        if (summary := completed_run(out_dir, identity)) is not None:  # by another process, since it was looked up
            remove_folder(out_dir)
            return summary
        network = build_network(network_config, torch.default_generator)
        if initial_model is not None:
            load_start(network, initial_model)
        network.to(device)
        optimiser = build_optimiser(config, network)
        state = TrainingState(out_dir, network, optimiser, device, identity, config.checkpoint_minutes)
        state.restore()
        state.check_space()
        name = f"{out_dir.parent.name}/{out_dir.name}"
        with TrainingLog(out_dir, name, config.tensorboard, state.progress.history) as log:
            try:
                _train(config, train, dev, objective, state, log, bf16)
            except Diverged as found:
                raise report_divergence(found, state, train, config.learning_rate, network_config, description or {}) from None
        if config.keep == "best" and state.progress.best_epoch is not None:
            state.load_best()
        summary = _summary(config, state, bf16, identity)
        times = {"seconds": sum(row["seconds"] for row in state.progress.history), "torch": torch.__version__}
        if companions is not None:
            companions(out_dir)
        save_network(out_dir, network, network_config, {"training": summary, **(description or {})})
        remove_report(out_dir)
        write_json(out_dir / COMPLETED_FILE, {"summary": {**summary, **times}, "identity": identity}, listed=True)
        remove_folder(out_dir)
    return {**summary, **times}


def _train(
    config: TrainingConfig,
    train: Examples,
    dev: Examples | None,
    objective: Objective,
    state: TrainingState,
    log: TrainingLog,
    bf16: bool,
) -> None:
    """The loop: from where ``state`` stands to the last epoch."""
    network, optimiser, progress, device = state.network, state.optimiser, state.progress, state.device
    steps_per_epoch = math.ceil(train.num_examples / config.batch_size)
    watch = Watch(train.num_classes, progress)
    while progress.epoch < config.epochs and (config.patience is None or progress.stale_epochs < config.patience):
        start = time.monotonic() - progress.seconds
        network.train()
        batch: dict[str, torch.Tensor] | None = None
        order = train.order(config.batch_size, config.seed, progress.epoch, progress.step)
        done = progress.step * config.batch_size
        for indices in log.bar(order, progress.epoch, config.epochs, done, train.num_examples):
            rate = _learning_rate(config, progress, progress.step, steps_per_epoch)
            for group in optimiser.param_groups:
                group["lr"] = rate
            batch = train.batch(indices, torch.default_generator)
            with precision(bf16, device):
                logits = network(batch["inputs"])
            _check_logits(logits, len(indices), train.num_classes)
            loss, counts = objective(logits, batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if config.clip_norm is not None:
                clip_gradients(network, config.clip_norm)
            optimiser.step()
            if config.max_norm is not None:
                apply_max_norm(network, config.max_norm)
            state.sums += torch.stack([loss.detach() * len(indices), counts["correct"], counts["labelled"]])
            progress.step += 1
            checkpoint = state.save_is_due()
            step = Step(progress.epoch + 1, progress.step, rate, loss.detach(), indices)
            watch.add(step, look=checkpoint or progress.step == steps_per_epoch)
            if checkpoint and watch.is_good(state, batch, bf16):
                progress.seconds = time.monotonic() - start
                state.save()
        watch.end_epoch(state)
        seconds = time.monotonic() - start
        dev_scores = evaluate(network, dev, bf16=bf16, device=device) if dev is not None else None
        _end_epoch(config, state, train.num_examples, steps_per_epoch, seconds, dev_scores)
        log.epoch(progress.history)
        if state.save_is_due(epoch_end=True) and watch.is_good(state, batch, bf16):
            state.save()
    watch.end(steps_per_epoch)


def _learning_rate(config: TrainingConfig, progress: Progress, step: int, steps_per_epoch: int) -> float:
    """The learning rate at a step of the current epoch."""
    factor = rate_factor(config, progress.epoch * steps_per_epoch + step, steps_per_epoch)
    return config.learning_rate * progress.rate_scale * factor


def _end_epoch(
    config: TrainingConfig,
    state: TrainingState,
    frames: int,
    steps_per_epoch: int,
    seconds: float,
    dev: Mapping[str, float] | None,
) -> None:
    """Writes the epoch's row, keeps the best weights, and moves the counters on."""
    progress = state.progress
    loss, correct, labelled = state.sums.tolist()
    accuracy = dev["accuracy"] if dev is not None and dev["frames"] else None
    progress.history.append(
        {
            "epoch": progress.epoch + 1,
            "step": (progress.epoch + 1) * steps_per_epoch,
            "learning_rate": _learning_rate(config, progress, steps_per_epoch - 1, steps_per_epoch),
            "train_loss": loss / frames,
            "train_accuracy": 100 * correct / labelled if labelled else None,
            "dev_loss": dev["loss"] if dev is not None and accuracy is not None else None,
            "dev_accuracy": accuracy,
            "frames_per_second": frames / max(seconds, 1e-9),
            "seconds": seconds,
        }
    )
    if accuracy is not None:
        best = progress.best_accuracy
        if config.schedule == "newbob" and best is not None and accuracy < best + config.newbob_threshold:
            progress.rate_scale *= 0.5
        if best is None or accuracy > best:
            progress.best_accuracy, progress.best_epoch, progress.stale_epochs = accuracy, progress.epoch + 1, 0
            state.save_best()
        else:
            progress.stale_epochs += 1
    progress.epoch, progress.step, progress.seconds = progress.epoch + 1, 0, 0.0
    state.sums.zero_()


def _check_logits(logits: Any, examples: int, classes: int) -> None:
    """Raises `UserError` where a network, which may be the user's own, gives something else than (N, C) logits."""
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if found != (examples, classes):
        raise UserError(
            f"the network gives {found} for {examples} examples, expected logits ({examples}, {classes}), one for each class;"
            " let its builder make as many outputs as num_senones of its configuration says"
        )


def _identity(
    config: TrainingConfig,
    network_config: Mapping[str, Any],
    train: Examples,
    dev: Examples | None,
    objective: Objective,
) -> dict[str, Any]:
    options = {name: value for name, value in to_mapping(config).items() if name not in (*NO_INFLUENCE, "network")}
    return {
        "config": options,
        "network": dict(network_config),
        "train": train.describe(),
        "dev": dev.describe() if dev is not None else None,
        "objective": objective.describe(),
    }


def _summary(config: TrainingConfig, state: TrainingState, bf16: bool, identity: Mapping[str, Any]) -> dict[str, Any]:
    progress = state.progress
    best = config.keep == "best" and progress.best_epoch is not None
    row = progress.history[(progress.best_epoch or 0) - 1] if best else progress.history[-1]
    return {
        "seed": config.seed,
        "parameters": count_parameters(state.network),
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "kept_epoch": row["epoch"],
        **{name: row[name] for name in ("train_loss", "train_accuracy", "dev_loss", "dev_accuracy")},
        "bf16": bf16,
        "config": identity["config"],
        "objective": identity["objective"],
        "train": identity["train"],
    }


@contextmanager
def _reproducible(config: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Torch's generators seeded inside and as they were outside; so many threads inside."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        try:
            torch.set_num_threads(config.threads or threads)
            yield
        finally:
            torch.set_num_threads(threads)

"""What a senone network is trained on: frame stores that belong together, opened and checked, as examples for the loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_distill.base import UserError
from asr_distill.data import FrameStore
from asr_distill.data.utterance_share import frames_of_share
from asr_distill.features import config_difference
from asr_distill.senones import SenoneInventory, check_same
from asr_distill.student.bundle import BundleParts
from asr_distill.training import FrameExamples, TrainingConfig
from asr_distill.training.precision import choose_device


@dataclass(frozen=True)
class SenoneTask:
    """Training and dev examples, what the bundle will hold beside the network, and the training store itself."""

    train: FrameExamples
    dev: FrameExamples | None
    parts: BundleParts
    store: FrameStore
    inventory: SenoneInventory


def open_senone_task(
    config: TrainingConfig,
    train: Path,
    dev: Path | None,
    inventory: Path,
    priors: Path,
    *,
    allow_shared_speakers: bool = False,
    share: float = 1.0,
    unlabelled: bool = False,
) -> SenoneTask:
    """Opens the stores ``train`` and ``dev`` for the senones of ``inventory``, with the window and device of ``config``.

    share: of the training utterances, chosen as `frames_of_share` does. unlabelled: keep frames without a label (and stores
    without any labels), which need an objective that can do without.
    Raises `UserError` where a store has other senones, the two differ in features or normalisation, or they share speakers.
    """
    device = choose_device(config.device)
    senones = SenoneInventory.load(inventory)
    train_store = FrameStore.open(train)
    dev_store = FrameStore.open(dev) if dev is not None else None
    for store, needed in ((train_store, not unlabelled), (dev_store, True)):
        if store is not None and needed and store.senones_hash is None:
            raise UserError(
                f"{store.path} has no labels, which are needed here. Next: write it from cuts of `asr-distill tree label`"
            )
    if not (unlabelled and train_store.senones_hash is None):
        check_same(train_store.senones_hash, senones.hash, f"the labels of {train}", str(inventory))
    if dev_store is not None:
        check_same(dev_store.senones_hash, senones.hash, f"the labels of {dev}", str(inventory))
        _check_alike(train_store, dev_store)
        if not allow_shared_speakers:
            _check_speakers(train_store, dev_store)
    frames = _chosen_frames(train_store, share, unlabelled)
    return SenoneTask(
        FrameExamples(train_store, senones.num_senones, config.window, device, spec_augment=config.spec_augment, frames=frames),
        FrameExamples(dev_store, senones.num_senones, config.window, device) if dev_store is not None else None,
        BundleParts(inventory, priors, train_store.feature_config, config.window, train_store.normalisation),
        train_store,
        senones,
    )


def _chosen_frames(store: FrameStore, share: float, unlabelled: bool) -> np.ndarray | None:
    frames = np.arange(store.num_frames) if unlabelled else store.labelled_frames()
    if share != 1.0:
        frames = np.intersect1d(frames, frames_of_share(store, share), assume_unique=True)
    return None if len(frames) == store.num_frames else frames


def _check_alike(train: FrameStore, dev: FrameStore) -> None:
    difference = config_difference(train.feature_config, dev.feature_config)
    if difference:
        raise UserError(f"{train.path} and {dev.path} differ in features ({difference}); compute both alike")
    ours, theirs = train.normalisation, dev.normalisation
    if ours.kind != theirs.kind or ours.variance != theirs.variance or (ours.kind == "corpus" and ours.hash != theirs.hash):
        raise UserError(
            f"{train.path} and {dev.path} are normalised differently ({ours.kind}, {theirs.kind}, or other"
            " statistics); write dev with the normalisation of train"
        )


def _check_speakers(train: FrameStore, dev: FrameStore) -> None:
    shared = sorted({name for name in train.speakers if name} & {name for name in dev.speakers if name})
    if shared:
        raise UserError(
            f"{len(shared)} speakers are in both {train.path} and {dev.path} ({', '.join(shared[:5])}): dev"
            " would choose the epoch on voices that it has seen. Next: whole speakers in one of them, or"
            " --allow-shared-speakers"
        )

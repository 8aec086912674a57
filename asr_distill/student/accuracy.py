"""Frame accuracy and cross-entropy of a model on a labelled frame store, silence and speech apart, in all and cut by cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from asr_distill.base import UserError, track
from asr_distill.data import FrameStore, WindowGatherer
from asr_distill.data.utterance_share import frames_of_share
from asr_distill.features import config_difference
from asr_distill.student.student import Student


@dataclass(frozen=True)
class FrameAccuracy:
    """Of a model on a store.

    frames: labelled ones; speech_frames: those whose label is no silence. accuracy, speech_accuracy: share of frames whose most
    probable senone is the label, per cent, None where there are no such frames. cross_entropy: nats per frame.
    """

    frames: int
    speech_frames: int
    accuracy: float | None
    speech_accuracy: float | None
    cross_entropy: float | None

    @staticmethod
    def of_sums(frames: float, speech: float, correct: float, correct_speech: float, entropy: float) -> FrameAccuracy:
        """From counts of frames and the sum of their cross-entropies in nats."""
        return FrameAccuracy(
            int(frames),
            int(speech),
            100 * correct / frames if frames else None,
            100 * correct_speech / speech if speech else None,
            entropy / frames if frames else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class CutAccuracies:
    """Counts of a model on each of a store's N cuts: ``(N,)`` each, of labelled frames only; what a bootstrap needs.

    frames, frames_speech, correct, correct_speech: int64. cross_entropy: summed over the frames, nats, float64.
    """

    store: FrameStore
    frames: np.ndarray
    frames_speech: np.ndarray
    correct: np.ndarray
    correct_speech: np.ndarray
    cross_entropy: np.ndarray

    def total(self) -> FrameAccuracy:
        """Over all cuts."""
        columns = (self.frames, self.frames_speech, self.correct, self.correct_speech, self.cross_entropy)
        return FrameAccuracy.of_sums(*(column.sum().item() for column in columns))

    def rows(self, split: str, system: str, seed: int | None) -> Iterator[dict[str, Any]]:
        """A plain row for each cut that has labels, in the store's order."""
        columns = (self.frames, self.correct, self.frames_speech, self.correct_speech, self.cross_entropy)
        names = ("frames", "correct_frames", "frames_speech", "correct_frames_speech", "cross_entropy_sum")
        values = zip(*(column.tolist() for column in columns), strict=True)
        for cut_id, speaker, row in zip(self.store.cut_ids, self.store.speakers, values, strict=True):
            if row[0]:
                head = {"id": cut_id, "speaker": speaker, "split": split, "system": system, "seed": seed}
                yield {**head, **dict(zip(names, row, strict=True))}


def check_store(student: Student, store: FrameStore, labelled: bool = True, who: str = "the model") -> None:
    """Raises `UserError` unless the store holds what the model was trained on: senones, features, normalisation.

    labelled: it must have labels; without that, a store that has none is as good. who: what the message calls the model.
    """
    if labelled or store.senones_hash is not None:
        student.check_senones(store.senones_hash, f"the frame store {store.path}")
    again = "write the store again with `asr-distill frames --normalisation-from` the training store"
    ours, theirs = store.normalisation, student.normalisation
    if ours.kind != theirs.kind:
        raise UserError(f"{store.path} was normalised per {ours.kind}, {who} per {theirs.kind}; {again}")
    if ours.variance != theirs.variance or (ours.kind == "corpus" and ours.hash != theirs.hash):
        raise UserError(f"{store.path} was normalised with other statistics than {who}; {again}")
    difference = config_difference(store.feature_config, student.config.features)
    if difference:
        raise UserError(
            f"{store.path} holds other features than {who} takes ({difference}); compute them with its configuration"
        )


def labelled_batches(
    student: Student, store: FrameStore, batch_size: int, title: str, share: float = 1.0
) -> Iterator[dict[str, torch.Tensor]]:
    """Yields ``inputs`` (B, D), ``labels``, ``frame_indices`` and ``speech`` (B,), a bool, of all labelled frames in order.

    All on the student's device. share: of the utterances, as `frames_of_share` chooses them. Raises what `check_store` raises.
    """
    check_store(student, store)
    gatherer = WindowGatherer(store, student.window.left, student.window.right, student.device)
    silence = torch.from_numpy(student.inventory.silence_senones).to(student.device)
    labelled = store.labelled_frames()
    if share != 1.0:
        labelled = np.intersect1d(labelled, frames_of_share(store, share), assume_unique=True)
    frames = torch.from_numpy(labelled)
    for chunk in track(frames.split(batch_size), title, -(-len(frames) // batch_size), "batches"):
        if len(chunk):
            batch = gatherer.batch(chunk)
            yield {**batch, "speech": ~silence[batch["labels"]]}


@torch.no_grad()
def cut_accuracies(student: Student, store: FrameStore, batch_size: int = 4096, share: float = 1.0) -> CutAccuracies:
    """Counts of the frames whose most probable senone is the label, cut by cut, over all labelled frames of ``store``.

    share: of its utterances, those on which ``asr-distill train --share`` trains; the other cuts have no counts.

    Raises what `check_store` raises.
    """
    offsets = torch.from_numpy(store.offsets).to(student.device)
    sums = torch.zeros(store.num_cuts, 5, dtype=torch.float64, device=student.device)
    for batch in labelled_batches(student, store, batch_size, "frame accuracy", share):
        labels, speech = batch["labels"], batch["speech"]
        posteriors = student.log_posteriors(batch["inputs"]).to(student.device)
        correct = posteriors.max(dim=1).indices == labels
        entropy = -posteriors.gather(1, labels[:, None])[:, 0]
        columns = [torch.ones_like(speech), speech, correct, correct & speech, entropy]
        cuts = torch.searchsorted(offsets, batch["frame_indices"], right=True) - 1
        sums.index_add_(0, cuts, torch.stack([column.double() for column in columns], dim=1))
    frames, frames_speech, correct_frames, correct_speech = sums[:, :4].cpu().numpy().astype(np.int64).T
    return CutAccuracies(store, frames, frames_speech, correct_frames, correct_speech, sums[:, 4].cpu().numpy())


def frame_accuracy(student: Student, store: FrameStore, batch_size: int = 4096) -> FrameAccuracy:
    """`cut_accuracies` over all cuts; raises what it raises."""
    return cut_accuracies(student, store, batch_size).total()

"""Frame accuracy and cross-entropy of a bundle on a labelled frame store, silence and speech apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from asr_distill.base import UserError, track
from asr_distill.data import FrameStore, WindowGatherer
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@torch.no_grad()
def frame_accuracy(student: Student, store: FrameStore, batch_size: int = 4096) -> FrameAccuracy:
    """Accuracy of the network's most probable senone over all labelled frames of ``store``.

    Raises `UserError` where the store has the senones of another inventory, or was normalised otherwise than the model.
    """
    student.check_senones(store.senones_hash, f"the frame store {store.path}")
    if store.normalisation.kind != student.normalisation.kind:
        raise UserError(
            f"{store.path} was normalised per {store.normalisation.kind}, the model per {student.normalisation.kind};"
            " write the store again with `asr-distill frames --normalisation-from` the training store"
        )
    gatherer = WindowGatherer(store, student.window.left, student.window.right, student.device)
    silence = torch.from_numpy(student.inventory.silence_senones).to(student.device)
    frames = torch.from_numpy(store.labelled_frames())
    sums = torch.zeros(5, dtype=torch.float64, device=student.device)
    for chunk in track(frames.split(batch_size), "frame accuracy", -(-len(frames) // batch_size), "batches"):
        batch = gatherer.batch(chunk)
        labels = batch["labels"]
        posteriors = student.log_posteriors(batch["inputs"]).to(student.device)
        correct = posteriors.argmax(1) == labels
        speech = ~silence[labels]
        entropy = -posteriors.gather(1, labels[:, None]).double().sum()
        counts = [torch.tensor(len(labels)), speech.sum(), correct.sum(), (correct & speech).sum(), entropy]
        sums += torch.stack([count.double().to(student.device) for count in counts])
    total, speech_total, correct_total, correct_speech, entropy_total = sums.tolist()
    return FrameAccuracy(
        int(total),
        int(speech_total),
        100 * correct_total / total if total else None,
        100 * correct_speech / speech_total if speech_total else None,
        entropy_total / total if total else None,
    )

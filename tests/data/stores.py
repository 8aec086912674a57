"""Cuts with features and labels in memory or on disk, for the tests of the frame store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.features.base import Features
from lhotse.features.io import NumpyFilesWriter

from asr_distill.features import Fbank40Config

HASH = "a" * 64


def recording(name: str, num_frames: int, path: str = "nowhere.wav") -> Recording:
    return Recording(
        id=name,
        sources=[AudioSource("file", [0], path)],
        sampling_rate=16000,
        num_samples=num_frames * 160,
        duration=num_frames / 100,
    )


def make_cut(
    folder: Path, name: str, num_frames: int, *, speaker: str | None = "ann", labels: bool = True, seed: int = 0
) -> MonoCut:
    """A cut of ``num_frames`` random frames, labels 0..9 with some -1; feature files under folder/feats, beside fbank.json."""
    rng = np.random.default_rng([seed, num_frames, *name.encode()])
    (folder / "feats").mkdir(parents=True, exist_ok=True)
    (folder / "fbank.json").write_text(json.dumps({**Fbank40Config().to_dict(), "feature_type": "fbank40"}))
    writer = NumpyFilesWriter(folder / "feats")
    values = (rng.standard_normal((num_frames, 40)) * 2 - 8).astype(np.float32)
    cut = MonoCut(
        id=name,
        start=0.0,
        duration=num_frames / 100,
        channel=0,
        supervisions=[
            SupervisionSegment(id=name, recording_id=name, start=0.0, duration=num_frames / 100, text="YES", speaker=speaker)
        ],
        recording=recording(name, num_frames),
        features=Features(
            type="fbank40",
            num_frames=num_frames,
            num_features=40,
            frame_shift=0.01,
            sampling_rate=16000,
            start=0.0,
            duration=num_frames / 100,
            storage_type="numpy_files",
            storage_path=str(folder / "feats"),
            storage_key=writer.write(name, values),
        ),
    )
    if labels:
        label(cut, folder, rng.integers(-1, 10, num_frames).astype(np.int32))
    return cut


def label(cut: MonoCut, folder: Path, values: np.ndarray) -> None:
    writer = NumpyFilesWriter(folder / "labels")
    cut.senones = writer.store_array(f"{cut.id}-{len(values)}", values, frame_shift=0.01, temporal_dim=0, start=cut.start)

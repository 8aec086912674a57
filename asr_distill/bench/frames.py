"""A frame store of random numbers: what a step costs does not depend on what the frames say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lhotse import MonoCut
from lhotse.features.base import Features
from lhotse.features.io import NumpyFilesWriter

from asr_distill.base import hash_of_object
from asr_distill.data import FrameStore, write_frame_store
from asr_distill.features import Fbank40Config

_CUT_FRAMES = 1000


def write_random_store(path: str | Path, num_frames: int, num_senones: int, seed: int) -> FrameStore:
    """``num_frames`` normal frames of 40 values in ten-second cuts, each with a random senone; opens it where it is there."""
    path = Path(path) / f"{num_frames}-{num_senones}-{seed}"
    if path.is_dir():
        return FrameStore.open(path)
    generator = np.random.default_rng(seed)
    features, labels = NumpyFilesWriter(path.parent / "features"), NumpyFilesWriter(path.parent / "labels")
    cuts = []
    for start in range(0, num_frames, _CUT_FRAMES):
        frames, name = min(_CUT_FRAMES, num_frames - start), f"random-{seed}-{start:09d}"
        values = generator.standard_normal((frames, 40), dtype=np.float32)
        cut = MonoCut(
            id=name,
            start=0.0,
            duration=frames / 100,
            channel=0,
            features=Features(
                type="fbank40",
                num_frames=frames,
                num_features=40,
                frame_shift=0.01,
                sampling_rate=16000,
                start=0.0,
                duration=frames / 100,
                storage_type="numpy_files",
                storage_path=str(features.storage_path),
                storage_key=features.write(name, values),
            ),
        )
        senones = generator.integers(0, num_senones, frames).astype(np.int32)
        cut.senones = labels.store_array(f"{name}-senones", senones, frame_shift=0.01, temporal_dim=0, start=0.0)
        cuts.append(cut)
    inventory = hash_of_object({"random senones": num_senones})
    return write_frame_store(
        path, cuts, "none", feature_config=Fbank40Config(), senones_hash=inventory, num_senones=num_senones
    )

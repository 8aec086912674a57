"""A tiny corpus of noise with stored features and labels, its senones, and a model trained on it for two epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.array import TemporalArray
from lhotse.features.io import NumpyFilesWriter

from asr_distill.cli.main import main
from asr_distill.data import FrameStore
from asr_distill.features import Fbank40, Fbank40Config, extract_features
from asr_distill.senones import SenoneInventory, SenonePriors, default_topology, monophone_tree


@dataclass(frozen=True)
class Corpus:
    """cuts: with features and labels; the folder holds senones.json, priors.json and the stores frames/KIND."""

    folder: Path
    cuts: CutSet
    inventory: SenoneInventory
    train: Callable[..., Path]

    def store(self, kind: str) -> Path:
        path = self.folder / "frames" / kind
        if not path.exists():
            count = self.inventory.num_senones
            FrameStore.create(path, self.cuts, kind, senones_hash=self.inventory.hash, num_senones=count)
        return path


def noise(folder: Path, name: str, speaker: str, seconds: float, seed: int) -> MonoCut:
    samples = np.random.default_rng(seed).normal(0, 0.02 * (1 + seed), round(16000 * seconds)).clip(-1, 1)
    soundfile.write(folder / f"{name}.wav", samples, 16000, subtype="PCM_16")
    cut = Recording.from_file(folder / f"{name}.wav", recording_id=name).to_cut()
    cut.id = name
    cut.supervisions = [SupervisionSegment(name, name, 0.0, cut.duration, text="A", speaker=speaker)]
    return cut


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    topology = default_topology(["SIL", "A", "B"], ["SIL"])
    inventory = SenoneInventory(topology, monophone_tree(topology))
    cuts = [
        noise(folder, name, speaker, seconds, seed)
        for seed, (name, speaker, seconds) in enumerate(
            [("u1", "ann", 0.5), ("u2", "bob", 0.33), ("u3", "ann", 0.71), ("u4", "bob", 0.2)]
        )
    ]
    cuts = list(extract_features(cuts, folder / "fbank", Fbank40Config()).cuts)
    (folder / "fbank" / "fbank.json").write_text("{}")
    labels = []
    with NumpyFilesWriter(folder / "labels") as writer:
        for seed, cut in enumerate(cuts):
            generator = np.random.default_rng(seed)
            values = generator.integers(inventory.num_senones, size=cut.num_frames).astype(np.int32)
            stored = writer.store_array(cut.id, values, frame_shift=0.01, temporal_dim=0, start=0.0)
            assert isinstance(stored, TemporalArray)
            cut.custom = {**(cut.custom or {}), "senones": stored}
            labels.append(values)
    inventory.save(folder / "senones.json")
    SenonePriors.from_labels(labels, inventory.num_senones, inventory.hash).save(folder / "priors.json")
    made = Corpus(folder, CutSet.from_cuts(cuts), inventory, lambda *words, **options: _train(made, *words, **options))
    return made


def _train(corpus: Corpus, *words: str, kind: str = "speaker", name: str | None = None) -> Path:
    """Runs the command line; the bundle of seed 0 of the model ``name``."""
    output = corpus.folder / "models" / (name or kind)
    stores = ["--train", str(corpus.store(kind)), "--dev", str(corpus.store(kind))]
    files = ["--inventory", str(corpus.folder / "senones.json"), "--priors", str(corpus.folder / "priors.json")]
    network = [word for option in ("layers=2", "width=16", "dropout=0.1") for word in ("--set", f"network.{option}")]
    options = [*network, "--set", "epochs=2", "--set", "batch_size=64", "--threads", "1", "--quiet"]
    assert main(["train", "--allow-shared-speakers", *stores, *files, "--output", str(output), *options, *words]) == 0
    return output / "seed0"


@pytest.fixture(scope="session")
def fbank() -> Fbank40:
    return Fbank40()

"""Training that is cut goes on to the same bits; what was cut under other circumstances is left alone."""

from __future__ import annotations

import dataclasses
import gzip
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_distill.alignment import (
    ForcedAligner,
    MonophoneConfig,
    TriphoneConfig,
    monophone_inventory,
    train_monophone,
    train_triphone,
    triphone,
)
from asr_distill.alignment.checkpoint import CHECKPOINT_FILE, Checkpoint, TrainingState
from asr_distill.alignment.diag_gmm import DiagGmm
from asr_distill.alignment.monophone_data import TrainingData
from asr_distill.base import DIGESTS_FILE, read_json
from asr_distill.senones import FrameAlignment, SenoneInventory, default_topology, monophone_tree, read_alignments

SHORT = TriphoneConfig(iterations=5, realign=(3,), total_gaussians=130)


@pytest.fixture(scope="module")
def cuts(an4_cuts: list[Any]) -> list[Any]:
    return an4_cuts[:8]


@pytest.fixture(scope="module")
def given(cuts: list[Any], an4_lang: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, FrameAlignment]:
    """A rough alignment to begin with."""
    out = tmp_path_factory.mktemp("mono")
    train_monophone(cuts, an4_lang, out, MonophoneConfig(iterations=2, realign=(1, 2), total_gaussians=90))
    return read_alignments(out / "alignments_train.jsonl.gz")


class Training:
    """`train_triphone` on the monophone senones, which can be cut in a call of `estimate` or of the aligner."""

    def __init__(self, cuts: list[Any], lang: Any, given: dict[str, FrameAlignment], patch: pytest.MonkeyPatch) -> None:
        self.cuts, self.lang, self.given = cuts, lang, given
        self.calls, self.cut_at = {"estimate": 0, "align": 0}, ("", 0)
        for owner, name in ((triphone, "estimate"), (ForcedAligner, "align")):
            patch.setattr(owner, name, self._counted(name, getattr(owner, name)))

    def _counted(self, name: str, function: Any) -> Any:
        def counted(*args: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if self.cut_at == (name, self.calls[name]):
                raise KeyboardInterrupt
            return function(*args, **options)

        return counted

    def run(self, out: Path, config: TriphoneConfig = SHORT, cut_at: tuple[str, int] = ("", 0), **other: Any) -> dict[str, int]:
        """How often each was called."""
        self.calls, self.cut_at = {"estimate": 0, "align": 0}, cut_at
        inputs = {"cuts": self.cuts, "inventory": monophone_inventory(self.lang), "alignments": self.given, **other}
        train_triphone(inputs["cuts"], self.lang, inputs["inventory"], inputs["alignments"], out, config)
        return self.calls

    def cut(self, out: Path, name: str, call: int) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.run(out, cut_at=(name, call))
        assert [path.name for path in out.iterdir()] == [CHECKPOINT_FILE]


@pytest.fixture
def training(cuts: list[Any], an4_lang: Any, given: dict[str, FrameAlignment], monkeypatch: pytest.MonkeyPatch) -> Training:
    return Training(cuts, an4_lang, given, monkeypatch)


def contents(folder: Path) -> dict[str, bytes]:
    """Files by name; of a compressed one what is in it, for gzip writes the time too."""
    return {
        path.name: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in folder.iterdir()
    }


def test_cut_triphone_training_goes_on_to_the_same_bits(training: Training, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert training.run(whole) == {"estimate": 6, "align": 2}
    files = contents(whole)
    assert sorted(files) == [
        *("alignments_train.jsonl.gz", DIGESTS_FILE, "failures.json", "gmm.json", "gmm.safetensors", "senones.json"),
        "triphone.json",
    ]
    # The first estimate is that of the single Gaussians; iteration 3 realigns, and so does the end.
    for place, remaining in (
        (("estimate", 3), {"estimate": 4, "align": 2}),
        (("align", 1), {"estimate": 3, "align": 2}),
        (("estimate", 5), {"estimate": 2, "align": 1}),
        (("align", 2), {"estimate": 0, "align": 1}),
    ):
        out = tmp_path / "_".join(map(str, place))
        training.cut(out, *place)
        assert training.run(out) == remaining
        assert contents(out) == files


def test_a_checkpoint_of_other_input_is_not_used(training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out, fewer = tmp_path / "cut", dict(training.given)
    del fewer[training.cuts[0].id]
    text = dataclasses.replace(training.cuts[0].supervisions[0], text="GO")
    reworded = [dataclasses.replace(training.cuts[0], supervisions=[text]), *training.cuts[1:]]
    shared = default_topology(training.lang.real_phones, ("SIL",), silence_states=5, silence_pdf_classes=1)
    training.cut(out, "estimate", 4)
    checkpoint = (out / CHECKPOINT_FILE).read_bytes()
    for other in (
        {"config": dataclasses.replace(SHORT, seed=1)},
        {"alignments": fewer},
        {"cuts": training.cuts[:-1]},
        {"cuts": reworded},
        {"inventory": SenoneInventory(shared, monophone_tree(shared))},
    ):
        (out / CHECKPOINT_FILE).write_bytes(checkpoint)
        with caplog.at_level(logging.WARNING, "asr_distill"):
            assert training.run(out, **other)["estimate"] == 6
        assert "training.safetensors is of other input or settings; training starts again" in caplog.text
        caplog.clear()
        training.run(tmp_path / "anew", **other)
        assert contents(out) == contents(tmp_path / "anew")
    assert read_json(out / "triphone.json")["utterances"] == 8


def test_the_data_of_training_are_told_apart() -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    data = TrainingData(("a", "b"), features, np.array([0, 1, 3]), {"a": ("GO",), "b": ("NO",), "c": ()}, {}, {"c": "empty"})
    nudged = features.copy()
    nudged[2, 1] = np.nextafter(nudged[2, 1], np.float32(9))
    for other in (
        {"keys": ("a", "d"), "transcripts": {"a": ("GO",), "d": ("NO",)}},
        {"features": nudged},
        {"features": features[:, ::-1]},  # of the same sum
        {"offsets": np.array([0, 2, 3])},
        {"transcripts": {"a": ("GO",), "b": ("ON",)}},
    ):
        assert dataclasses.replace(data, **other).hash != data.hash
    assert dataclasses.replace(data, features=features.copy(), transcripts={"a": ("GO",), "b": ("NO",)}).hash == data.hash


def test_a_state_comes_back_as_it_was_and_a_broken_one_not_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    generator = np.random.default_rng(0)
    gmm = DiagGmm(np.array([1.0, 0.3, 0.7]), generator.normal(size=(3, 2)), generator.random((3, 2)), np.array([0, 1, 3]))
    senones = np.array([0, -1, 1])
    checkpoint = Checkpoint(tmp_path / CHECKPOINT_FILE, "mine")
    assert checkpoint.load() is None
    checkpoint.save(TrainingState(7, gmm, {"senones": senones}, [{"iteration": 7, "log_likelihood_per_frame": -0.1}]))
    state = checkpoint.load()
    assert state is not None
    assert (state.iteration, state.history) == (7, [{"iteration": 7, "log_likelihood_per_frame": -0.1}])
    for name, array in {**gmm.arrays(), "senones": senones}.items():
        found = {**state.gmm.arrays(), **state.arrays}[name]
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
    assert Checkpoint(checkpoint.path, "another's").load() is None
    whole = checkpoint.path.read_bytes()
    for broken in (b"", whole[:100], whole[:-1], whole.replace(b"identity", b"idemtity")):
        caplog.clear()
        checkpoint.path.write_bytes(broken)
        assert checkpoint.load() is None
        assert "is broken" in caplog.text
    checkpoint.remove()
    checkpoint.remove()
    assert not checkpoint.path.exists()

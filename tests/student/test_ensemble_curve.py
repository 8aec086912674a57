"""The curve in one pass against every ensemble measured by itself, and weights fitted on dev."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_distill.base import UserError
from asr_distill.data import FrameStore
from asr_distill.student import Ensemble, Student
from asr_distill.student.accuracy import cut_accuracies, frame_accuracy
from asr_distill.student.ensemble_curve import ensemble_curve, fit_weights, random_orders

FIGURES = ("accuracy", "speech_accuracy", "cross_entropy")


@pytest.fixture(scope="module")
def bundles(corpus: Any) -> list[Path]:
    first = corpus.train("--seeds", "0-2", name="three")
    return [first.parent / f"seed{seed}" for seed in range(3)]


def test_every_size_is_what_that_ensemble_measures_by_itself(bundles: list[Path], corpus: Any) -> None:
    store = FrameStore.open(corpus.store("speaker"))
    ensemble = Ensemble.of_bundles(bundles)
    curve = ensemble_curve(ensemble, store, orders=3, seed=5)
    orders = random_orders(3, 3, 5)
    assert orders[0] == [0, 1, 2]
    singles = [frame_accuracy(member, store) for member in ensemble.members]
    assert (curve["frames"], curve["speech_frames"]) == (singles[0].frames, singles[0].speech_frames)
    assert 0 < curve["speech_frames"] < curve["frames"]
    for name in FIGURES:
        alone = [getattr(figures, name) for figures in singles]
        assert [row[name] for row in curve["members"]] == pytest.approx(alone, rel=1e-5)
        assert curve["single"][name] == pytest.approx(np.mean(alone), rel=1e-5)
    for mode in ("arithmetic", "geometric"):
        assert [row["size"] for row in curve[mode]] == [1, 2, 3]
        for row in curve[mode]:
            subsets = [[ensemble.members[member] for member in order[: row["size"]]] for order in orders]
            measured = [frame_accuracy(Ensemble(subset, mode), store) for subset in subsets]
            for name in FIGURES:
                values = [getattr(figures, name) for figures in measured]
                assert row[name] == pytest.approx(values[0], rel=1e-5)
                assert row["random_orders"][name] == pytest.approx(np.mean(values[1:]), rel=1e-5)
            assert row["gain"] == pytest.approx(row["accuracy"] - curve["single"]["accuracy"])
            assert row["speech_gain"] == pytest.approx(row["speech_accuracy"] - curve["single"]["speech_accuracy"])
    assert ensemble_curve(ensemble, store, ["geometric"], orders=0)["geometric"][2]["random_orders"] is None
    with pytest.raises(UserError, match="'best' is not drawn"):
        ensemble_curve(ensemble, store, ["best"])


def test_all_members_by_each_mode(bundles: list[Path], corpus: Any) -> None:
    store = FrameStore.open(corpus.store("speaker"))
    ensemble = Ensemble.of_bundles(bundles)
    fitted = {"weighted": [1.0, 0.0, 3.0], "best": [0.2, 0.1, 0.3]}
    curve = ensemble_curve(ensemble, store, orders=0, fitted=fitted)
    assert [row["mode"] for row in curve["full_size"]] == ["arithmetic", "geometric", "weighted", "best"]
    for row in curve["full_size"]:
        measured = frame_accuracy(Ensemble(ensemble.members, row["mode"], fitted.get(row["mode"])), store)
        for name in FIGURES:
            assert row[name] == pytest.approx(getattr(measured, name), rel=1e-5)
        assert row["gain"] == pytest.approx(row["accuracy"] - curve["single"]["accuracy"])
    assert len(ensemble_curve(ensemble, store, ["geometric"], orders=0)["full_size"]) == 1
    with pytest.raises(UserError, match="2 weights of mode 'weighted' for 3 members"):
        ensemble_curve(ensemble, store, fitted={"weighted": [1.0, 1.0]})


def test_weights_from_dev(bundles: list[Path], corpus: Any) -> None:
    store = FrameStore.open(corpus.store("speaker"))
    ensemble = Ensemble.of_bundles(bundles)
    alone = [frame_accuracy(member, store) for member in ensemble.members]
    accuracies = fit_weights(ensemble, store, "best")
    assert [100 * value for value in accuracies] == pytest.approx([figures.accuracy for figures in alone])
    weights = fit_weights(ensemble, store, "weighted")
    assert sum(weights) == pytest.approx(1)
    fitted = frame_accuracy(Ensemble(ensemble.members, "weighted", weights), store).cross_entropy
    assert fitted <= frame_accuracy(ensemble, store).cross_entropy + 1e-6
    assert fitted <= min(figures.cross_entropy for figures in alone) + 1e-4
    best = Ensemble(ensemble.members, "best", accuracies)
    assert frame_accuracy(best, store).accuracy == max(figures.accuracy for figures in alone)
    with pytest.raises(UserError, match="takes no weights"):
        fit_weights(ensemble, store, "arithmetic")


def test_counts_of_cuts_by_hand(bundles: list[Path], corpus: Any) -> None:
    """Each cut alone, frame by frame; batches that end inside a cut."""
    store = FrameStore.open(corpus.store("speaker"))
    student = Student.load(bundles[0])
    counts = cut_accuracies(student, store, batch_size=17)
    silence = corpus.inventory.silence_senones
    rows = list(counts.rows("dev", "x", 3))
    assert [(row["id"], row["speaker"]) for row in rows] == [("u1", "ann"), ("u2", "bob"), ("u3", "ann"), ("u4", "bob")]
    for row in rows:
        features, labels = store.utterance(row["id"])
        logs = student.log_posteriors(torch.from_numpy(np.array(features)), normalised=True).numpy()
        correct, speech = logs.argmax(1) == labels, ~silence[labels]
        assert (row["split"], row["system"], row["seed"]) == ("dev", "x", 3)
        assert (row["frames"], row["correct_frames"]) == (len(labels), correct.sum())
        assert (row["frames_speech"], row["correct_frames_speech"]) == (speech.sum(), (correct & speech).sum())
        assert row["cross_entropy_sum"] == pytest.approx(-logs[np.arange(len(labels)), labels].sum(), rel=1e-5)
    total = counts.total()
    assert total.frames == store.num_frames
    assert total.accuracy == pytest.approx(100 * sum(row["correct_frames"] for row in rows) / store.num_frames)
    assert total.cross_entropy == pytest.approx(sum(row["cross_entropy_sum"] for row in rows) / store.num_frames)


def test_frames_and_cuts_without_labels_are_not_counted(bundles: list[Path], corpus: Any, tmp_path: Path) -> None:
    cuts = [cut.with_id(cut.id) for cut in corpus.cuts]
    cuts[1].custom = None
    senones = {"senones_hash": corpus.inventory.hash, "num_senones": corpus.inventory.num_senones}
    store = FrameStore.create(tmp_path / "partly", cuts, "speaker", **senones)
    student = Student.load(bundles[0])
    whole = {row["id"]: row for row in cut_accuracies(student, FrameStore.open(corpus.store("speaker"))).rows("d", "x", 0)}
    partly = list(cut_accuracies(student, store).rows("d", "x", 0))
    assert [row["id"] for row in partly] == ["u1", "u3", "u4"]
    for row in partly:
        assert row == {**whole[row["id"]], "cross_entropy_sum": pytest.approx(whole[row["id"]]["cross_entropy_sum"])}
    for cut in cuts:
        cut.custom = None
    bare = FrameStore.create(tmp_path / "bare", cuts, "speaker", **senones)
    with pytest.raises(UserError, match="bare and the model belong to different senone inventories: None"):
        fit_weights(Ensemble.of_bundles(bundles), bare, "best")

"""Frame accuracy is measured on what the model was trained to see, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asr_distill.base import UserError
from asr_distill.cli.main import main
from asr_distill.data import FrameStore
from asr_distill.features import Fbank40Config, Normalisation
from asr_distill.student import Student
from asr_distill.student.accuracy import frame_accuracy


def labelled(corpus: Any, path: Path, normalisation: Any, cuts: int = 4, **options: Any) -> FrameStore:
    sizes = {"senones_hash": corpus.inventory.hash, "num_senones": corpus.inventory.num_senones}
    return FrameStore.create(path, list(corpus.cuts)[:cuts], normalisation, **sizes, **options)


def test_a_store_of_other_statistics_or_features_is_refused(corpus: Any, tmp_path: Path, capsys: Any) -> None:
    student = Student.load(corpus.train(kind="corpus"))
    assert frame_accuracy(student, labelled(corpus, tmp_path / "same", student.normalisation, 3)).accuracy is not None
    others = labelled(corpus, tmp_path / "others", "corpus", 3)
    with pytest.raises(UserError, match=rf"{others.path} was normalised with other statistics than the model; write"):
        frame_accuracy(student, others)
    lower = replace(Fbank40Config(), low_freq=60.0)
    low = labelled(corpus, tmp_path / "low", student.normalisation, 3, feature_config=lower)
    with pytest.raises(UserError, match=rf"{low.path} holds other features than the model takes \(low_freq"):
        frame_accuracy(student, low)
    means_only = labelled(corpus, tmp_path / "means", Normalisation("utterance", variance=False))
    with pytest.raises(UserError, match="was normalised per utterance, the model per corpus"):
        frame_accuracy(student, means_only)
    command = ["accuracy", "--model", str(corpus.train(kind="utterance")), "--frames", str(means_only.path)]
    assert main(command) == 1
    assert "was normalised with other statistics than the model" in capsys.readouterr().err

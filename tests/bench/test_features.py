"""Both sides compute the same features from the same audio."""

from __future__ import annotations

import numpy as np
import pytest

from asr_distill.bench import FeatureCase, bench_features
from asr_distill.bench import features as room
from asr_distill.features import Fbank40, Fbank40Config

CASE = FeatureCase(utterances=2, shortest=0.3, longest=0.5, pairs=2)


def test_native_loop_gives_our_features() -> None:
    for wave in room.random_waves(CASE, 0):
        assert np.abs(wave).max() < 1
        ours = Fbank40(Fbank40Config()).extract(wave, 16000)
        np.testing.assert_allclose(room.native_fbank(wave, room.native_options()), ours, atol=1e-4)


def test_features_that_differ_are_not_compared(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(room, "native_fbank", lambda wave, options: Fbank40(Fbank40Config()).extract(wave, 16000) + 0.1)
    with pytest.raises(RuntimeError, match="differ"):
        bench_features(CASE, tmp_path, threads=1)


def test_all_ratios(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(room, "peak_memory", lambda name, settings: {"peak_mb": 1.0, "imported_mb": 1.0})
    result = bench_features(CASE, tmp_path, threads=2)
    assert result["utterances"] == 2
    assert 0.6 <= result["audio_seconds"] <= 1.0
    for name in ("extract_vs_native", "store_vs_native", "store_threads_vs_native"):
        assert result[name]["ratio"]["pairs"] == 2
        assert result[name]["ours"] > 0
    assert result["store_threads_vs_native"]["threads"] == 2
    assert len(list((tmp_path / "fbank0").glob("?/*.npy"))) == 2
    assert (tmp_path / "fbank5").is_dir()  # computed anew in each of three rounds, by both

"""Mixtures against kaldi-hmm-gmm's own arithmetic, cepstra against scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.alignment.cepstra import Cepstra, CepstraConfig
from asr_distill.alignment.diag_gmm import DiagGmm, accumulate, estimate, mix_up, split_targets
from asr_distill.base import DIGESTS_FILE, UserError


def random_gmm(generator: np.random.Generator, senones: int = 4, dimension: int = 5) -> DiagGmm:
    sizes = generator.integers(1, 5, senones)
    weights = np.concatenate([generator.dirichlet(np.ones(size)) for size in sizes])
    total = int(sizes.sum())
    return DiagGmm(
        weights,
        generator.normal(size=(total, dimension)),
        generator.uniform(0.2, 3, (total, dimension)),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )


def theirs(gmm: DiagGmm) -> object:
    import kaldi_hmm_gmm as khg

    model = khg.AmDiagGmm()
    for senone in range(gmm.num_senones):
        part = slice(gmm.offsets[senone], gmm.offsets[senone + 1])
        mixture = khg.DiagGmm(int(part.stop - part.start), gmm.dimension)
        mixture.set_weights(gmm.weights[part].astype(np.float32))
        mixture.set_invvars_and_means((1 / gmm.variances[part]).astype(np.float32), gmm.means[part].astype(np.float32))
        mixture.compute_gconsts()
        model.add_pdf(mixture)
    return model


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_likelihoods_as_the_library(seed: int) -> None:
    generator = np.random.default_rng(seed)
    gmm = random_gmm(generator)
    frames = generator.normal(scale=3, size=(6, 5)).astype(np.float32)
    model = theirs(gmm)
    expected = [[model.log_likelihood(senone, frame) for senone in range(4)] for frame in frames]  # type: ignore[attr-defined]
    found = gmm.log_likelihoods(frames)
    assert found.shape == (6, 4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_one_step_of_estimation_as_the_library(seed: int) -> None:
    import kaldi_hmm_gmm as khg

    generator = np.random.default_rng(seed)
    gmm = random_gmm(generator)
    frames = generator.normal(scale=1.5, size=(120, 5)).astype(np.float32)
    senones = generator.integers(-1, 3, 120)  # the last mixture is never seen, some frames are left out
    model, counts = theirs(gmm), khg.AccumAmDiagGmm()
    counts.init(model, 15)
    for frame, senone in zip(frames, senones, strict=True):
        if senone >= 0:
            counts.accumulate_for_gmm(model, frame, int(senone), 1.0)
    khg.mle_am_diag_gmm_update(khg.MleDiagGmmOptions(), counts, 15, model)
    statistics = accumulate(gmm, frames, senones)
    assert statistics.log_likelihood == pytest.approx(counts.tot_log_like, rel=1e-4)
    assert statistics.num_frames == int((senones >= 0).sum())
    updated = estimate(gmm, statistics)
    for senone in range(4):
        mixture, part = model.get_pdf(senone), slice(updated.offsets[senone], updated.offsets[senone + 1])  # type: ignore[attr-defined]
        if senone < 3:  # the library leaves a mixture without any frames, weights and all, to its caller
            assert mixture.num_gauss == part.stop - part.start
            np.testing.assert_allclose(updated.weights[part], mixture.weights, rtol=1e-3)
            np.testing.assert_allclose(updated.means[part], mixture.means, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(updated.variances[part], mixture.vars, rtol=1e-2, atol=1e-3)


def test_estimation_by_hand() -> None:
    gmm = DiagGmm.flat(np.zeros(1), np.ones(1), 2)
    frames = np.array([[1.0], [3.0], [1.0], [3.0], [9.0]])
    updated = estimate(gmm, accumulate(gmm, frames, np.array([0, 0, 0, 0, 1])), min_occupancy=3)
    assert updated.means.tolist() == [[2.0], [0.0]]  # one frame is too few for the second: it stays
    assert updated.variances.tolist() == [[1.0], [1.0]]


def test_targets_go_by_the_root_of_counts() -> None:
    assert split_targets(np.array([10000.0, 10000.0, 10000.0]), 9).tolist() == [3, 3, 3]
    assert split_targets(np.array([160000.0, 10000.0]), 6, power=0.25).tolist() == [4, 2]
    assert split_targets(np.array([30.0, 10000.0]), 12).tolist() == [1, 11]  # 30 frames don't feed two Gaussians
    assert split_targets(np.array([30.0, 50.0]), 12).tolist() == [1, 2]


def test_mixing_up_keeps_what_was_there() -> None:
    generator = np.random.default_rng(0)
    gmm = random_gmm(generator)
    more = mix_up(gmm, np.array([6, 1, 7, 5]), np.random.default_rng(1))
    assert np.diff(more.offsets).tolist() == [6, max(1, int(np.diff(gmm.offsets)[1])), 7, 5]
    np.testing.assert_allclose(np.add.reduceat(more.weights, more.offsets[:-1]), 1)
    frames = generator.normal(size=(50, 5))
    np.testing.assert_allclose(more.log_likelihoods(frames), gmm.log_likelihoods(frames), atol=0.2)
    again = mix_up(gmm, np.array([6, 1, 7, 5]), np.random.default_rng(1))
    assert np.array_equal(again.means, more.means)


def test_saved_and_loaded(tmp_path: Path) -> None:
    gmm = random_gmm(np.random.default_rng(0))
    gmm.save(tmp_path / "gmm.safetensors")
    loaded = DiagGmm.load(tmp_path / "gmm.safetensors")
    assert all(np.array_equal(a, b) for a, b in zip(gmm.arrays().values(), loaded.arrays().values(), strict=True))
    (tmp_path / "gmm.safetensors").write_bytes(b"not a model")
    with pytest.raises(UserError, match="is damaged"):
        DiagGmm.load(tmp_path / "gmm.safetensors")
    (tmp_path / DIGESTS_FILE).unlink()
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        DiagGmm.load(tmp_path / "gmm.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        DiagGmm.load(tmp_path / "other.safetensors")


def test_cepstra_as_scipy() -> None:
    from scipy.fft import dct
    from scipy.ndimage import correlate1d

    fbank = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    cepstra = dct(fbank.astype(np.float64), type=2, norm="ortho", axis=1)[:, :13]
    cepstra = (cepstra - cepstra.mean(0)) / cepstra.std(0)
    window = np.array([-2, -1, 0, 1, 2]) / 10
    first = correlate1d(cepstra, window, axis=0, mode="nearest")
    found = Cepstra()(fbank)
    assert found.shape == (30, 39)
    np.testing.assert_allclose(found[:, :26], np.concatenate([cepstra, first], axis=1), atol=1e-5)
    # Away from the edges a second difference is the difference of the first.
    np.testing.assert_allclose(found[4:-4, 26:], correlate1d(first, window, axis=0, mode="nearest")[4:-4], atol=1e-5)
    shifted = Cepstra()(3 * fbank + 7)  # another microphone: the same cepstra
    np.testing.assert_allclose(shifted, found, atol=1e-4)


def test_cepstra_refuse_other_features() -> None:
    with pytest.raises(UserError, match=r"\(30, 80\)"):
        Cepstra()(np.zeros((30, 80)))
    with pytest.raises(UserError, match="NaN"):
        Cepstra()(np.full((30, 40), np.nan))
    with pytest.raises(ValueError, match="num_cepstra"):
        CepstraConfig(num_cepstra=41)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("means", np.nan, "means holds NaN or infinity"),
        ("variances", np.inf, "variances holds NaN"),
        ("variances", -1.0, "a variance or a weight is not above 0"),
        ("weights", 0.0, "a variance or a weight is not above 0"),
    ],
)
def test_a_gmm_that_is_not_finite_is_refused(tmp_path: Path, name: str, value: float, message: str) -> None:
    gmm = DiagGmm.flat(np.zeros(3), np.ones(3), 2)
    arrays = gmm.arrays()
    arrays[name] = arrays[name].copy()
    arrays[name].flat[1] = value
    DiagGmm(**arrays).save(tmp_path / "gmm.safetensors")
    with pytest.raises(UserError, match=message):
        DiagGmm.load(tmp_path / "gmm.safetensors")

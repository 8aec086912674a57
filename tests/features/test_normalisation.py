import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import DIGESTS_FILE, UserError
from asr_distill.features import Moments, Normalisation, NormalisationAccumulator

CORPUS = {("ann", 0): 30, ("ann", 1): 50, ("bob", 0): 40}


@pytest.fixture
def corpus():
    rng = np.random.default_rng(1)
    return [
        (speaker, (rng.standard_normal((length, 4)) * (3 if speaker == "bob" else 1) + 100 + number).astype(np.float32))
        for (speaker, number), length in CORPUS.items()
    ]


def gathered(kind, corpus, **options):
    accumulator = NormalisationAccumulator(kind, **options)
    for speaker, features in corpus:
        accumulator.update(features, speaker)
    return accumulator.finish()


def test_by_hand():
    normalisation = gathered("corpus", [(None, np.array([[1.0], [2.0]], np.float32)), (None, np.array([[6.0]], np.float32))])
    # mean 3, variance (4 + 1 + 9) / 3
    expected = (np.array([[3.0], [6.0]]) - 3) / np.sqrt(14 / 3)
    np.testing.assert_allclose(normalisation.apply(np.array([[3.0], [6.0]], np.float32)), expected, rtol=1e-6)


def test_corpus_and_speaker_statistics(corpus):
    whole = np.concatenate([features for _, features in corpus])
    normalised = np.concatenate([gathered("corpus", corpus).apply(features) for _, features in corpus])
    np.testing.assert_allclose(normalised, (whole - whole.mean(0)) / whole.std(0), atol=1e-4)
    per_speaker = gathered("speaker", corpus)
    for name in ("ann", "bob"):
        found = np.concatenate([per_speaker.apply(features, speaker) for speaker, features in corpus if speaker == name])
        np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(found.std(0), 1, atol=1e-4)


def test_utterance_none_and_mean_only(corpus):
    _, features = corpus[0]
    np.testing.assert_allclose(Normalisation("utterance").apply(features).std(0), 1, atol=1e-4)
    assert Normalisation("none").apply(features) is features
    centred = gathered("corpus", corpus, variance=False).apply(features)
    whole = np.concatenate([features for _, features in corpus])
    np.testing.assert_allclose(centred, features - whole.mean(0), atol=1e-4)


@pytest.mark.parametrize("kind", ["none", "corpus", "speaker", "utterance"])
def test_tensors_and_files(kind, corpus, tmp_path):
    normalisation = gathered(kind, corpus)
    normalisation.save(tmp_path)
    loaded = Normalisation.load(tmp_path)
    assert loaded.hash == normalisation.hash
    speaker, features = corpus[2]
    expected = normalisation.apply(features, speaker)
    np.testing.assert_array_equal(loaded.apply(features, speaker), expected)
    as_tensor = loaded.apply(torch.from_numpy(features), speaker)
    assert as_tensor.dtype == torch.float32
    np.testing.assert_allclose(as_tensor.numpy(), expected, atol=1e-6)


def test_unknown_speaker(corpus):
    strict, lenient = gathered("speaker", corpus), gathered("speaker", corpus, unknown_speaker="utterance")
    features = corpus[0][1]
    with pytest.raises(UserError, match=r"'eve'.*unknown_speaker"):
        strict.apply(features, "eve")
    np.testing.assert_array_equal(lenient.apply(features, "eve"), Normalisation("utterance").apply(features))
    with pytest.raises(UserError, match="speaker for every utterance"):
        NormalisationAccumulator("speaker").update(features, None)


def test_a_constant_bin_does_not_explode():
    features = np.full((10, 2), -15.9, dtype=np.float32)
    assert np.abs(Normalisation("utterance").apply(features)).max() < 1e-2


def test_bad_statistics_are_refused(corpus, tmp_path):
    with pytest.raises(UserError, match="statistics of a corpus"):
        NormalisationAccumulator("corpus").finish()
    with pytest.raises(UserError, match="not one of"):
        Normalisation("sentence")
    with pytest.raises(UserError, match="bins"):
        gathered("corpus", corpus).apply(np.zeros((3, 7), np.float32))
    gathered("corpus", corpus).save(tmp_path / "a")
    gathered("corpus", corpus[:1]).save(tmp_path / "b")
    (tmp_path / "b" / "normalisation.safetensors").replace(tmp_path / "a" / "normalisation.safetensors")
    with pytest.raises(UserError, match=r"normalisation\.safetensors is damaged"):
        Normalisation.load(tmp_path / "a")
    (tmp_path / "a" / DIGESTS_FILE).unlink()
    with pytest.raises(UserError, match=r"normalisation\.json describes"):
        Normalisation.load(tmp_path / "a")
    (tmp_path / "a" / "normalisation.safetensors").write_bytes(b"not tensors")
    with pytest.raises(UserError, match="not a whole safetensors"):
        Normalisation.load(tmp_path / "a")
    description = json.loads((tmp_path / "b" / "normalisation.json").read_text())
    assert description["kind"] == "corpus"
    with pytest.raises(UserError, match="is missing"):
        Normalisation.load(tmp_path / "b")


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), split=st.integers(0, 6), offset=st.floats(-1e4, 1e4))
def test_pieces_and_merging_change_nothing(lengths, split, offset):
    rng = np.random.default_rng(len(lengths))
    pieces = [rng.standard_normal((length, 3)) + offset for length in lengths]
    first, second = NormalisationAccumulator("corpus"), NormalisationAccumulator("corpus")
    for index, piece in enumerate(pieces):
        (first if index < split else second).update(piece)
    first.merge(second)
    moments = first.finish().moments["corpus"]
    whole = np.concatenate(pieces)
    assert moments.count == len(whole)
    np.testing.assert_allclose(moments.mean, whole.mean(0), atol=1e-9 * (1 + abs(offset)))
    np.testing.assert_allclose(moments.deviation / moments.count, whole.var(0), atol=1e-6)


def test_a_typical_speaker_by_hand():
    first, second = np.array([[0.0], [2.0]], np.float32), np.array([[10.0], [10.0], [10.0], [14.0]], np.float32)
    normalisation = gathered("speaker", [("ann", first), ("bob", second)])
    typical = normalisation.typical_speaker(frames=12)
    assert (typical.count, typical.mean.tolist()) == (12, [6.0])  # of 1 and 11, however much each has said
    np.testing.assert_allclose(typical.deviation, [12 * (2 + 12) / 6])
    assert gathered("corpus", [(None, first)]).typical_speaker() is None


@given(st.integers(1, 400), st.integers(0, 5))
@settings(max_examples=30)
def test_a_file_alone_lies_between_its_own_statistics_and_the_priors(frames, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(3, 2, (frames, 3))
    prior = Moments(200, np.zeros(3), np.full(3, 200.0))
    alone = Normalisation("speaker", prior=prior).alone()
    assert alone.kind == "utterance"
    shift = features - alone.apply(features) * (prior + Moments.of(features)).scale()
    np.testing.assert_allclose(shift[0], features.mean(0) * frames / (frames + 200), rtol=1e-4, atol=1e-5)
    for kind in ("none", "utterance"):
        assert Normalisation(kind).alone() == Normalisation(kind)


def test_the_prior_is_kept_in_files_and_changes_no_hash(corpus, tmp_path):
    whole = gathered("speaker", corpus)
    kept = Normalisation("speaker", prior=whole.typical_speaker())
    kept.save(tmp_path)
    again = Normalisation.load(tmp_path)
    assert again.prior.count == 200
    assert (again.prior.mean == kept.prior.mean).all()
    assert (again.prior.deviation == kept.prior.deviation).all()
    assert again.hash == Normalisation("speaker").hash

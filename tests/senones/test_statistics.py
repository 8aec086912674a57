"""Triphone statistics: by hand, against a loop over frames, in pieces, and refusals."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from senone_trees import small_topology

from asr_distill.base import UserError
from asr_distill.senones import FrameAlignment, TreeStatistics, accumulate_triphone_statistics, statistics
from asr_distill.senones.gaussian import log_likelihood, mean_and_variance
from asr_distill.senones.tree_features import add_deltas, cepstra, normalised_by_speaker


def random_utterances(
    seed: int, count: int = 12, dimension: int = 3
) -> tuple[dict[str, FrameAlignment], dict[str, np.ndarray]]:
    generator = np.random.default_rng(seed)
    alignments, features = {}, {}
    for number in range(count):
        phones = generator.integers(1, 6, generator.integers(1, 7))
        frames = generator.integers(3, 7, len(phones))
        states = np.concatenate([np.sort(generator.integers(0, 3, n)) for n in frames])
        key = f"u{number}"
        alignments[key] = FrameAlignment(phones, np.repeat(np.arange(len(phones)), frames), states)
        features[key] = generator.normal(size=(frames.sum(), dimension)).astype(np.float32)
    return alignments, features


def assert_same(one: TreeStatistics, other: TreeStatistics) -> None:
    np.testing.assert_array_equal(one.contexts, other.contexts)
    np.testing.assert_array_equal(one.pdf_classes, other.pdf_classes)
    np.testing.assert_allclose(one.packed(), other.packed(), rtol=1e-12, atol=1e-12)


def test_by_hand() -> None:
    """A(2) B(3), two frames in state 0 of A, then one each in states 0 and 2 of B."""
    alignment = FrameAlignment(np.array([2, 3]), np.array([0, 0, 1, 1]), np.array([0, 0, 0, 2]))
    frames = np.array([[1.0], [3.0], [5.0], [-2.0]])
    stats = accumulate_triphone_statistics({"u": alignment}, [("u", frames)], small_topology())
    assert stats.contexts.tolist() == [[0, 2, 3], [2, 3, 0], [2, 3, 0]]
    assert stats.pdf_classes.tolist() == [0, 0, 2]
    assert stats.counts.tolist() == [2, 1, 1]
    assert stats.sums.tolist() == [[4.0], [5.0], [-2.0]]
    assert stats.squares.tolist() == [[10.0], [25.0], [4.0]]


@pytest.mark.parametrize("chunk_frames", [1, 40, 10**6])
def test_against_a_loop_over_frames(chunk_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "CHUNK_FRAMES", chunk_frames)
    alignments, features = random_utterances(1)
    expected: dict[tuple, list[np.ndarray]] = defaultdict(list)
    for key, alignment in alignments.items():
        phones = [0, *alignment.phones.tolist(), 0]
        for t in range(len(alignment)):
            i = int(alignment.phone_index[t]) + 1
            pdf_class = 0 if phones[i] == 1 else int(alignment.hmm_states[t])  # silence is tied
            expected[(phones[i - 1], phones[i], phones[i + 1], pdf_class)].append(features[key][t].astype(np.float64))
    stats = accumulate_triphone_statistics(alignments, features.items(), small_topology())
    assert [(*c, k) for c, k in zip(stats.contexts.tolist(), stats.pdf_classes.tolist(), strict=True)] == sorted(expected)
    for row, key in enumerate(sorted(expected)):
        frames = np.stack(expected[key])
        assert stats.counts[row] == len(frames)
        np.testing.assert_allclose(stats.sums[row], frames.sum(0))
        np.testing.assert_allclose(stats.squares[row], (frames**2).sum(0))


def test_frames_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled: list[int] = []
    pool = statistics._pool

    def watched(contexts: np.ndarray, pdf_classes: np.ndarray, packed: np.ndarray) -> TreeStatistics:
        pooled.append(len(packed) if (packed[:, 0] == 1).all() else 0)
        return pool(contexts, pdf_classes, packed)

    monkeypatch.setattr(statistics, "CHUNK_FRAMES", 50)
    monkeypatch.setattr(statistics, "_pool", watched)
    alignments, features = random_utterances(1, count=30)
    accumulate_triphone_statistics(alignments, features.items(), small_topology())
    assert max(pooled) < 50 + max(map(len, alignments.values())) < sum(map(len, alignments.values()))


def test_parts_merge_to_the_whole() -> None:
    alignments, features = random_utterances(2)
    topology, items = small_topology(), list(features.items())
    whole = accumulate_triphone_statistics(alignments, items, topology)
    parts = [accumulate_triphone_statistics(alignments, part, topology) for part in (items[:5], items[5:6], items[6:])]
    assert_same(parts[0].merge(parts[1]).merge(parts[2]), whole)
    assert_same(parts[2].merge(parts[0]).merge(parts[1]), whole)
    assert_same(TreeStatistics.empty(3).merge(whole), whole)
    assert whole.num_frames == sum(map(len, alignments.values()))
    with pytest.raises(UserError, match="of 3 and of 2 features"):
        whole.merge(TreeStatistics.empty(2))


def test_bad_input_names_the_utterance() -> None:
    alignments, features = random_utterances(3, count=2)
    topology = small_topology()
    with pytest.raises(UserError, match="no utterance has both"):
        accumulate_triphone_statistics(alignments, [("other", features["u0"])], topology)
    with pytest.raises(UserError, match=r"'u1'.*alignment of"):
        accumulate_triphone_statistics(alignments, [("u1", features["u1"][1:])], topology)
    broken = features["u0"].copy()
    broken[2, 1] = np.nan
    with pytest.raises(UserError, match="'u0': frame 2 holds NaN"):
        accumulate_triphone_statistics(alignments, [("u0", broken)], topology)
    wrong = {"u0": FrameAlignment(np.array([7]), np.zeros(len(features["u0"])), np.zeros(len(features["u0"])))}
    with pytest.raises(UserError, match="'u0': the alignment holds phone id 7"):
        accumulate_triphone_statistics(wrong, features.items(), topology)


def test_constant_features_have_no_floor() -> None:
    alignments, features = random_utterances(4)
    flat = {key: np.where([True, False, True], value, 0.0) for key, value in features.items()}
    with pytest.raises(UserError, match="feature 1 never varies"):
        accumulate_triphone_statistics(alignments, flat.items(), small_topology()).variance_floor()


def test_log_likelihood_is_that_of_the_frames() -> None:
    stats = pytest.importorskip("scipy.stats")
    frames = np.random.default_rng(5).normal(2.0, [0.01, 1.0, 3.0], (50, 3))
    packed = np.concatenate([[50.0], frames.sum(0), (frames**2).sum(0)])
    floor = np.array([0.04, 1e-3, 1e-3])
    mean, variance = mean_and_variance(packed)
    np.testing.assert_allclose(mean, frames.mean(0))
    np.testing.assert_allclose(variance, frames.var(0), rtol=1e-6)
    deviation = np.sqrt(np.maximum(frames.var(0), floor))
    assert deviation[0] == 0.2  # the floor is at work
    expected = stats.norm.logpdf(frames, frames.mean(0), deviation).sum()
    assert float(log_likelihood(packed, floor)) == pytest.approx(expected, rel=1e-9)
    assert float(log_likelihood(np.zeros(7), floor)) == 0.0


def test_cepstra_are_scipys() -> None:
    fft = pytest.importorskip("scipy.fft")
    features = np.random.default_rng(6).normal(size=(7, 40))
    np.testing.assert_allclose(cepstra(features, 13), fft.dct(features, type=2, norm="ortho", axis=1)[:, :13], atol=1e-12)
    np.testing.assert_array_equal(cepstra(features, 0), features)
    with pytest.raises(ValueError, match="41 cepstra of 40"):
        cepstra(features, 41)


def test_deltas_by_hand() -> None:
    """(1 * (x[t+1] - x[t-1]) + 2 * (x[t+2] - x[t-2])) / 10, ends repeated."""
    ramp = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [10.0]])
    with_deltas = add_deltas(ramp, order=1)
    np.testing.assert_allclose(with_deltas[:, 1], [0.5, 0.8, 1.0, (4 - 2 + 2 * (10 - 1)) / 10, 2.3, (6 + 2 * 7) / 10])
    assert add_deltas(ramp, order=2).shape == (6, 3)
    np.testing.assert_array_equal(add_deltas(ramp, order=0), ramp)
    line = add_deltas(np.arange(20.0)[:, None], order=2)
    np.testing.assert_allclose(line[4:-4, 1], 1.0)
    np.testing.assert_allclose(line[4:-4, 2], 0.0, atol=1e-12)


def test_speakers_are_normalised_over_all_their_utterances() -> None:
    generator = np.random.default_rng(7)
    data = [(f"u{i}", "ab"[i % 2], generator.normal(i % 2, 1 + i % 2, (30, 2))) for i in range(6)]
    normalised = dict(normalised_by_speaker(lambda: data))
    for speaker in "ab":
        frames = np.concatenate([normalised[key] for key, who, _ in data if who == speaker])
        np.testing.assert_allclose(frames.mean(0), 0.0, atol=1e-12)
        np.testing.assert_allclose(frames.std(0), 1.0)
    constant = dict(normalised_by_speaker(lambda: [("u", "a", np.full((4, 1), 5.0))]))
    np.testing.assert_array_equal(constant["u"], np.zeros((4, 1)))
    broken = [("good", "a", np.ones((4, 1))), ("bad", "a", np.array([[1.0], [np.inf]]))]
    with pytest.raises(UserError, match="'bad': its features hold NaN or infinity"):
        list(normalised_by_speaker(lambda: broken))

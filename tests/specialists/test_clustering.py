"""Covariance against numpy, k-means on groups that are known, and the errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.specialists import ClassClusters, PredictionCovariance, cluster_classes
from asr_distill.specialists.kmeans import online_kmeans, squared_distances


def confused_predictions(groups: list[list[int]], num: int = 4000, seed: int = 0) -> torch.Tensor:
    """Predictions whose mass is shared within the group of a hidden true class."""
    generator = torch.Generator().manual_seed(seed)
    num_classes = sum(map(len, groups))
    group_of = torch.zeros(num_classes, dtype=torch.int64)
    for number, classes in enumerate(groups):
        group_of[classes] = number
    labels = torch.randint(num_classes, (num,), generator=generator)
    logits = torch.randn(num, num_classes, generator=generator)
    logits += 4 * (group_of[labels].unsqueeze(1) == group_of) + 2 * torch.nn.functional.one_hot(labels, num_classes)
    return torch.softmax(logits, dim=1)


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5), cut=st.integers(0, 5), seed=st.integers(0, 1000))
def test_streamed_and_merged_covariance_is_numpys(sizes: list[int], cut: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    batches = [torch.softmax(3 * torch.randn(size, 6, generator=generator), dim=1) for size in [*sizes, 2]]
    first, second = PredictionCovariance(6), PredictionCovariance(6)
    for number, batch in enumerate(batches):
        (first if number < cut else second).update(batch)
    first.merge(second)
    everything = torch.cat(batches).double().numpy()
    assert first.num_predictions == len(everything)
    np.testing.assert_allclose(first.mean().numpy(), everything.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(first.result().numpy(), np.cov(everything.T), atol=1e-6)
    np.testing.assert_allclose(first.result(consume=True).numpy(), np.cov(everything.T), atol=1e-6)
    assert first.num_predictions == 0


def test_a_caller_may_use_its_buffer_again() -> None:
    rows = torch.rand(8, 50, 6, generator=torch.Generator().manual_seed(0)).softmax(dim=2)
    whole, reused, buffer = PredictionCovariance(6), PredictionCovariance(6), torch.empty(50, 6)
    whole.update(rows.flatten(0, 1))
    for part in rows:
        reused.update(buffer.copy_(part))
    torch.testing.assert_close(reused.result(), whole.result())


def test_covariance_about_a_large_mean_does_not_cancel() -> None:
    # One class always near 0.9: products about zero would lose the last digits of a variance of 1e-10.
    generator = torch.Generator().manual_seed(0)
    small = 1e-5 * torch.rand(5000, 1, generator=generator, dtype=torch.float64)
    probs = torch.cat([0.9 + small, 0.1 - small], dim=1).float()
    covariance = PredictionCovariance(2)
    for batch in probs.split(700):
        covariance.update(batch)
    expected = np.cov(probs.double().numpy().T)
    np.testing.assert_allclose(covariance.result().numpy(), expected, rtol=1e-3)


def test_covariance_refuses_what_is_no_probability() -> None:
    covariance = PredictionCovariance(3)
    with pytest.raises(UserError, match=r"shape \(2, 4\), expected \(N, 3\)"):
        covariance.update(torch.full((2, 4), 0.25))
    with pytest.raises(UserError, match=r"prediction 1 sums to .*not logits"):
        covariance.update(torch.tensor([[0.2, 0.3, 0.5], [1.0, 2.0, 3.0]]))
    with pytest.raises(UserError, match="prediction 0"):
        covariance.update(torch.tensor([[torch.nan, 0.5, 0.5]]))
    with pytest.raises(UserError, match="0 predictions"):
        covariance.result()
    with pytest.raises(UserError, match="1 class"):
        PredictionCovariance(1)
    with pytest.raises(UserError, match="3 and 4 classes"):
        covariance.merge(PredictionCovariance(4))


def test_kmeans_finds_well_separated_points_and_reports_their_inertia() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (centres.unsqueeze(1) + torch.randn(3, 50, 2, generator=generator)).reshape(-1, 2)
    found = online_kmeans(lambda numbers: points[numbers], 150, 3, generator=generator, restarts=2, passes=5, batch_size=16)
    assert sorted(torch.bincount(found.distances.min(dim=1).indices).tolist()) == [50, 50, 50]
    means = points.reshape(3, 50, 2).mean(dim=1)
    assert float(squared_distances(means, found.centres).min(dim=1).values.max()) < 1e-4
    owner = found.distances.argmin(dim=1)
    assert found.inertia == pytest.approx(float((points - found.centres[owner]).square().sum()), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_first_centres_are_spread(seed: int) -> None:
    # 97 points in one place, three far from it and from each other: random first centres would miss most of these.
    points = 1e-3 * torch.randn(100, 2, generator=torch.Generator().manual_seed(seed))
    points[97:] += torch.tensor([[100.0, 0.0], [0.0, 100.0], [-100.0, -100.0]])
    fetch = points.__getitem__
    generator = torch.Generator().manual_seed(seed)
    found = online_kmeans(fetch, 100, 4, generator=generator, restarts=1, passes=0, batch_size=10)
    assert sorted(torch.bincount(found.distances.argmin(dim=1)).tolist()) == [1, 1, 1, 97]


def test_restarts_keep_the_best() -> None:
    points = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))

    def run(restarts: int) -> float:
        generator = torch.Generator().manual_seed(3)
        fetch = lambda numbers: points[numbers]  # noqa: E731
        return online_kmeans(fetch, 60, 8, generator=generator, restarts=restarts, passes=3, batch_size=8).inertia

    assert run(8) < run(1)


@pytest.mark.parametrize("columns", ["unit", "covariance"])
def test_groups_that_are_confused_are_found_without_labels(columns: str) -> None:
    groups = [[0, 5, 9], [1, 2, 3], [4, 7, 10], [6, 8, 11]]
    predictions = confused_predictions(groups)
    found = cluster_classes(iter(predictions.split(300)), 4, partition=True, columns=columns, restarts=10)
    assert sorted(ids.tolist() for ids in found) == sorted(groups)
    overlapping = cluster_classes(predictions, 4, size=3, columns=columns, restarts=10)
    assert sorted(ids.tolist() for ids in overlapping) == sorted(groups)


def test_clusters_of_a_size_overlap_and_are_the_same_for_the_same_seed() -> None:
    covariance = PredictionCovariance(12)
    covariance.update(confused_predictions([[0, 5, 9], [1, 2, 3], [4, 7, 10], [6, 8, 11]]))
    found = cluster_classes(covariance, 4, size=6, seed=5)
    assert [len(ids) for ids in found] == [6] * 4
    assert int(found.coverage().sum()) == 24
    assert int(found.coverage().max()) > 1
    again = cluster_classes(covariance, 4, size=6, generator=torch.Generator().manual_seed(5))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, again, strict=True))
    assert len(cluster_classes(covariance, 4)[0]) == 4  # 1.22 * 12 / 4


@given(num_classes=st.integers(4, 20), seed=st.integers(0, 100), data=st.data())
def test_a_partition_has_every_class_once_and_no_cluster_of_one(num_classes: int, seed: int, data: st.DataObject) -> None:
    num_clusters = data.draw(st.integers(1, num_classes // 2))
    predictions = torch.softmax(torch.randn(30, num_classes, generator=torch.Generator().manual_seed(seed)), dim=1)
    found = cluster_classes(predictions, num_clusters, partition=True, restarts=1, passes=2)
    assert found.coverage().tolist() == [1] * num_classes
    assert min(map(len, found)) >= 2


def test_classes_that_are_never_predicted_are_no_obstacle() -> None:
    predictions = torch.zeros(40, 8)
    predictions[:, :3] = torch.softmax(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    found = cluster_classes(predictions, 6, size=2)
    assert len(found) == 6


def test_what_is_refused() -> None:
    predictions = torch.softmax(torch.randn(30, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    with pytest.raises(UserError, match="7 clusters of 6 classes"):
        cluster_classes(predictions, 7)
    with pytest.raises(UserError, match="clusters of 1 class: there is no specialist of one class"):
        cluster_classes(predictions, 2, size=1)
    with pytest.raises(UserError, match="clusters of 7 classes out of 6"):
        cluster_classes(predictions, 2, size=7)
    with pytest.raises(UserError, match="at most 3 clusters"):
        cluster_classes(predictions, 4, partition=True)
    with pytest.raises(UserError, match="leave out size 3"):
        cluster_classes(predictions, 2, size=3, partition=True)
    with pytest.raises(UserError, match="restarts is 0"):
        cluster_classes(predictions, 2, restarts=0)
    with pytest.raises(UserError, match="no prediction was given"):
        cluster_classes(iter([]), 2)


def test_clusters_are_saved_and_loaded(tmp_path: Path) -> None:
    clusters = ClassClusters(5, (torch.tensor([0, 2]), torch.tensor([1, 2, 4])), 0.5)
    clusters.save(tmp_path / "clusters.json")
    loaded = ClassClusters.load(tmp_path / "clusters.json")
    assert [ids.tolist() for ids in loaded] == [[0, 2], [1, 2, 4]]
    assert (loaded.num_classes, loaded.inertia) == (5, 0.5)
    (tmp_path / "wrong.json").write_text('{"clusters": [[0]], "num_classes": 5, "inertia": null}')
    with pytest.raises(UserError, match="cluster 0 has 1 class"):
        ClassClusters.load(tmp_path / "wrong.json")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UserError, match="holds no clusters"):
        ClassClusters.load(tmp_path / "other.json")


class KnownMatrix(PredictionCovariance):
    """Hands out a matrix that was computed elsewhere."""

    def __init__(self, matrix: np.ndarray) -> None:
        super().__init__(len(matrix))
        self.matrix = torch.from_numpy(matrix).float()

    def result(self, consume: bool = False) -> torch.Tensor:
        return self.matrix.clone()


def test_correlation_columns_are_unit_columns_of_numpys_correlations() -> None:
    groups = [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    probs = confused_predictions(groups)
    weights = 1.5 ** -torch.arange(12.0)
    probs = probs * weights / (probs * weights).sum(dim=1, keepdim=True)
    streamed = PredictionCovariance(12)
    streamed.update(probs)
    before = streamed.result()
    found = cluster_classes(streamed, 4, size=3, columns="correlation", seed=1, restarts=10)
    assert torch.equal(streamed.result(), before)
    correlations = np.corrcoef(probs.double().numpy().T)
    expected = cluster_classes(KnownMatrix(correlations), 4, size=3, columns="unit", seed=1, restarts=10)
    assert sorted(ids.tolist() for ids in found) == sorted(ids.tolist() for ids in expected) == groups
    assert found.inertia == pytest.approx(expected.inertia, rel=1e-3)
    plain = cluster_classes(streamed, 4, size=3, columns="unit", seed=1, restarts=10)
    assert plain.inertia != pytest.approx(expected.inertia, rel=1e-2)
    never = probs.clone()
    never[:, 0] = 0.0  # a class that is never predicted correlates with nothing, and is in some cluster all the same
    never /= never.sum(dim=1, keepdim=True)
    streamed = PredictionCovariance(12)
    streamed.update(never)
    found = cluster_classes(streamed, 5, size=3, columns="correlation", seed=1, restarts=10)
    assert 0 in torch.cat(list(found))
    assert np.isfinite(found.inertia)
    with pytest.raises(UserError, match="columns is 'cosine', expected unit, covariance, correlation"):
        cluster_classes(streamed, 4, size=3, columns="cosine")  # type: ignore[arg-type]

"""What the study finds is what must be: exact where everything is kept, less lost as k grows, draws right in the mean."""

from __future__ import annotations

import pytest
import torch

from asr_distill.distillation.soft_target_study import residual_mass, simulated_posteriors, study_soft_targets, summary


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    posteriors = simulated_posteriors(600, 40, outside=4, residual=0.05, rank=8, seed=1)
    return study_soft_targets(
        posteriors[:200], posteriors[200:], temperatures=(1, 2, 5), ks=(1, 4, 16, 40, 64), tail_ranks=(4, 8)
    )


def figure(rows: list[dict], mode: str, temperature: float, name: str) -> list:
    return [row[name] for row in rows if row["mode"] == mode and row["temperature"] == temperature]


def test_one_row_for_each_mode_k_and_temperature(rows) -> None:
    assert (
        len(rows) == 3 + 5 * 4 * 3 + 2 * 3 * 3
    )  # dense without k; k = 64 is left out of 40 classes, and there is no tail at 40
    assert {row["tail_rank"] for row in rows if row["mode"] == "topk_low_rank"} == {4, 8}
    sizes = {row["tail_rank"]: row["bytes_per_frame"] for row in rows if row["k"] == 4 and row["mode"].startswith("topk")}
    assert sizes == {0: 4 * 3 + 3 * 2, 4: 22, 8: 26}
    assert {row["k"] for row in rows} == {None, 1, 4, 16, 40}


def test_the_summary_has_the_temperatures_side_by_side(rows) -> None:
    short = summary(rows)
    assert [row["mode"] for row in short] == [
        "dense",
        *["topk_low_rank"] * 6,
        *["topk"] * 4,
        *["topk_no_tail"] * 4,
        *["sampled"] * 4,
    ]
    assert [row["tail_rank"] for row in short if row["mode"] == "topk_low_rank"] == [4, 8] * 3
    (entry,) = (row for row in short if (row["mode"], row["k"]) == ("topk", 4))
    for temperature in (1.0, 2.0, 5.0):
        (row,) = (row for row in rows if (row["mode"], row["k"], row["temperature"]) == ("topk", 4, temperature))
        assert entry[f"kl_{temperature:g}"] == row["kl_dense_to_stored"]
        assert entry[f"variation_{temperature:g}"] == row["total_variation"]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_less_is_lost_as_k_grows(rows, temperature: float) -> None:
    for mode in ("topk", "topk_no_tail"):
        lost = figure(rows, mode, temperature, "total_variation")
        assert lost == sorted(lost, reverse=True)
        assert lost[-1] < 1e-3  # every class is kept
    divergence = figure(rows, "topk", temperature, "kl_dense_to_stored")
    assert all(value >= -1e-6 for value in divergence)
    assert divergence[-1] < 1e-4
    assert figure(rows, "topk_no_tail", temperature, "kl_dense_to_stored")[:3] == [None] * 3
    assert figure(rows, "dense", temperature, "kl_dense_to_stored")[0] < 1e-4


def test_without_a_tail_the_divergence_is_that_of_the_missing_mass() -> None:
    log_probs = torch.tensor([[0.6, 0.3, 0.1]]).log()
    rows = study_soft_targets(log_probs, log_probs, temperatures=(1,), ks=(2,))
    lost = figure(rows, "topk_no_tail", 1, "kl_stored_to_dense")[0]
    assert lost == pytest.approx(-torch.tensor(0.9).log().item(), abs=1e-3)
    assert figure(rows, "topk_no_tail", 1, "total_variation")[0] == pytest.approx(0.1, abs=1e-3)


def test_a_tail_is_better_than_none_and_its_own_shape_than_others(rows) -> None:
    for name in ("kl_dense_to_stored", "mean_total_variation"):
        ours = figure(rows, "topk", 5, name)[1]
        assert ours < figure(rows, "topk_shape_at_1", 5, name)[1]
        assert ours < figure(rows, "topk_uniform_tail", 5, name)[1]
    assert figure(rows, "topk", 5, "total_variation")[1] < figure(rows, "topk_no_tail", 5, "total_variation")[1]


def test_a_tail_of_its_own_is_better_than_the_mean_and_more_so_with_more_rank(rows) -> None:
    for temperature in (1, 2, 5):
        for name in ("kl_dense_to_stored", "total_variation"):
            mean = figure(rows, "topk", temperature, name)[:3]
            low_rank = figure(rows, "topk_low_rank", temperature, name)
            for k in range(3):
                four, eight = low_rank[2 * k : 2 * k + 2]
                assert eight < 0.7 * four < 0.7 * mean[k]


def test_draws_are_wrong_by_frame_and_right_in_the_mean(rows) -> None:
    assert figure(rows, "sampled", 5, "total_variation")[1] > 0.3
    assert figure(rows, "sampled", 5, "mean_total_variation")[1] < 0.1


def test_simulated_posteriors_have_the_residual_that_is_asked_for() -> None:
    posteriors = simulated_posteriors(200, 500, residual=0.02, outside=16)
    assert residual_mass(posteriors[:128], 16, 1.0) == pytest.approx(0.02, rel=0.05)
    assert residual_mass(posteriors, 16, 5.0) > 0.3
    assert torch.allclose(posteriors.exp().sum(1), torch.ones(200), atol=1e-5)
    assert torch.equal(posteriors, simulated_posteriors(200, 500, residual=0.02, outside=16))

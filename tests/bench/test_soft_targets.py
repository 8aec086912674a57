"""What the soft-target bench measures, on a network of 8 units."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr_distill.base import UserError, from_mapping
from asr_distill.bench import BenchConfig, SoftTargetCase, bench_soft_targets

SETTINGS = ("network={name: senone_dnn, layers: 1, width: 8}", "batch_size=16", "autocast=off", "optimizer=sgd")
CASE = SoftTargetCase(
    "tiny",
    settings=SETTINGS,
    num_senones=40,
    members=2,
    top_k=4,
    tail_rank=3,
    frames=2100,
    shard_frames=1000,
    block_steps=2,
    pairs=2,
)


def test_each_ratio_is_of_the_speeds_beside_it(tmp_path: Path) -> None:
    row = bench_soft_targets(CASE, tmp_path, threads=1)
    for key in ("read_vs_step", "read_mapped_vs_step", "read_dense_vs_step", "read_to_loss_vs_step", "read_vs_ensemble"):
        found = row[key]
        assert found["ratio"]["pairs"] == 2
        assert found["ratio"]["min"] <= found["ours"] / found["reference"] * 1.5
        assert found["ratio"]["max"] >= found["ours"] / found["reference"] / 1.5
    assert row["read_vs_step"]["goal"] == 10.0
    assert row["frames"] == 2100
    # 4 ids of one byte, 4 log-probabilities and 4 tails of two, 3 coefficients, and little for headers and the ids of cuts
    assert 23 < row["bytes_per_frame"] < 25
    assert row["bytes_once"] > 4 * (4 + 1 + 3) * 40


def test_wrong_cases_are_refused() -> None:
    with pytest.raises(UserError, match="temperature is 3, expected 1, 2, 5 or 10"):
        from_mapping(BenchConfig, {"soft_targets": [{"name": "cpu", "temperature": 3.0}]})
    with pytest.raises(UserError, match="soft-target cases need different names"):
        from_mapping(BenchConfig, {"soft_targets": [{"name": "cpu"}, {"name": "cpu"}]})

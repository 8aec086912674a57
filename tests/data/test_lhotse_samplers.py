"""lhotse's samplers over a CutSet of ours: some versions of lhotse cannot make one beside torch 1.13."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lhotse import CutSet
from lhotse.dataset import BucketingSampler, DynamicBucketingSampler, SimpleCutSampler


@pytest.mark.parametrize(
    ("sampler", "options"),
    [(SimpleCutSampler, {}), (DynamicBucketingSampler, {"num_buckets": 2}), (BucketingSampler, {"num_buckets": 2})],
    ids=["simple", "dynamic", "bucketing"],
)
def test_every_cut_once(sampler: Any, options: dict[str, Any], stores: ModuleType, tmp_path: Path) -> None:
    cuts = CutSet.from_cuts(stores.make_cut(tmp_path, f"u{number}", 50 + 10 * number) for number in range(12)).to_eager()
    batches = list(sampler(cuts, max_duration=4.0, shuffle=True, **options))
    assert len(batches) > 2
    assert sorted(cut.id for batch in batches for cut in batch) == sorted(cuts.ids)
    assert all(sum(cut.duration for cut in batch) <= 4.0 for batch in batches)
    cut = next(iter(batches[0]))
    assert cut.load_features().shape == (cut.num_frames, 40)

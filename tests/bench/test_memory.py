"""Peak memory is the child's own."""

from __future__ import annotations

import numpy as np
import pytest

from asr_distill.base import UserError, to_mapping
from asr_distill.bench import FeatureCase
from asr_distill.bench.memory import high_water_mark, peak_memory


def test_a_child_does_not_inherit_its_parents_peak() -> None:
    before = high_water_mark()
    large = np.ones((int(before) + 200) << 17)  # MiB: more than earlier tests have ever taken
    assert high_water_mark() > before + 100
    del large
    parent = np.ones(900 << 17)
    found = peak_memory("features_native", {"case": to_mapping(FeatureCase(1, 0.3, 0.3, 1)), "seed": 0})
    assert len(parent)
    assert 50 < found["imported_mb"] <= found["peak_mb"] < 900


def test_a_child_that_fails_is_reported() -> None:
    with pytest.raises(UserError, match=r"memory of features_ours .* unknown key 'utterance'"):
        peak_memory("features_ours", {"case": {"utterance": 1}, "seed": 0})

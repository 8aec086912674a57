"""The bench of specialists, at a size that a test can afford."""

from __future__ import annotations

from asr_distill.bench.specialists import SpecialistCase, bench_specialists


def test_every_part_is_timed_and_every_row_converges() -> None:
    found = bench_specialists(SpecialistCase(num_classes=120, num_clusters=6, size=20, predictions=300, rows=40))
    assert set(found["seconds"]) == {"covariance", "clustering", "combination"}
    assert found["converged"] == 40
    assert found["active_specialists"] >= 0.9
    assert found["peak_mb"] > found["covariance_mb"]

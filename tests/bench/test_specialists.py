"""The bench of specialists, at a size that a test can afford."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr_distill.base import UserError, from_mapping, read_json, write_json
from asr_distill.bench import BenchConfig
from asr_distill.bench.publish import memory_rows, specialist_rows
from asr_distill.bench.specialists import SpecialistCase, bench_specialists
from asr_distill.cli.main import main


def test_every_part_is_timed_and_every_row_converges() -> None:
    found = bench_specialists(SpecialistCase(num_classes=120, num_clusters=6, size=20, predictions=300, rows=40))
    assert set(found["seconds"]) == {"covariance", "clustering", "combination"}
    assert found["converged"] == 40
    assert found["active_specialists"] >= 0.9
    assert found["peak_mb"] > found["covariance_mb"]


def test_the_command_measures_with_memory_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = {"num_classes": 60, "num_clusters": 4, "size": 10, "predictions": 100, "rows": 20}
    write_json(tmp_path / "tiny.yaml", {"specialists": [case], "threads": 1})  # JSON is YAML
    words = [
        "bench",
        "specialists",
        "--config",
        str(tmp_path / "tiny.yaml"),
        "--output",
        str(tmp_path / "bench.json"),
        "--json",
    ]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == read_json(tmp_path / "bench.json")
    bench = read_json(tmp_path / "bench.json")
    (row,) = bench["specialists"]
    assert 0 < row["memory"]["imported_mb"] <= row["memory"]["peak_mb"]
    rows = specialist_rows(bench)
    assert [entry["part"] for entry in rows] == ["covariance", "clustering", "combination"]
    assert rows[2]["rate"] == pytest.approx(row["rows_per_second"], abs=1)
    assert rows[1]["rate"] is None
    assert [entry["process"] for entry in memory_rows(bench)] == ["specialists, 60 classes"]


def test_wrong_values_are_refused() -> None:
    with pytest.raises(UserError, match="rows is 0"):
        from_mapping(BenchConfig, {"specialists": [{"rows": 0}]})

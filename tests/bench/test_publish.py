"""What is published follows the contract, and what was not measured is null."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr_distill.base import UserError, from_mapping, load_config, write_json
from asr_distill.bench import BenchConfig, bench_results, bench_table, machine
from asr_distill.cli.bench import _measured_before
from asr_distill.cli.main import main
from asr_distill.report import HEADLINE_NAMES, check_results

ROOT = Path(__file__).resolve().parents[2]
MEMORY = {"peak_mb": 400.4, "imported_mb": 250.0}


def compared(median: float, **more) -> dict:
    ratio = {"median": median, "min": median - 0.1, "max": median + 0.1, "pairs": 5}
    return {"ratio": ratio, "goal": 0.9, "unit": "frame/s", "ours": 900.2, "reference": 1000.0, **more}


def training(name: str) -> dict:
    shared = {"case": name, "precision": "bf16", "parameters": 2_500_000, "batch_size": 512, "threads": 2}
    return {**shared, "vs_resident": compared(0.96), "vs_matmul": compared(0.7), "memory": {"loop": MEMORY, "products": MEMORY}}


def reading(name: str, senones: int, ratio: float) -> dict:
    shared = {"case": name, "senones": senones, "bytes_per_frame": 72.125, "members": 10, "threads": 2}
    keys = ("read_vs_step", "read_mapped_vs_step", "read_dense_vs_step", "read_to_loss_vs_step", "read_vs_ensemble")
    return {**shared, **{key: compared(ratio) for key in keys}}


def specialists() -> dict:
    seconds = {"covariance": 20.0, "clustering": 10.0, "combination": 4.0}
    shared = {"num_classes": 15_000, "num_clusters": 61, "size": 300, "predictions": 4096, "rows": 1000, "threads": 2}
    found = {"active_specialists": 1.4, "converged": 1000, "iterations": 48, "largest_excess": 1e-8, "passes": 3, "restarts": 1}
    return {**shared, **found, "seconds": seconds, "memory": MEMORY}


def searching(words: int, k2: bool) -> dict:
    engine = {"beam": 12.0, "max_active": 7000, "batch_size": 4, "wer": 8.1, "worse_paths": 1, "rtf": 0.01, "cpu_rtf": 0.012}
    return {
        "words": words,
        "threads": 2,
        "utterances": 50,
        "task": {"graph": {"HCLG": {"arcs": 1000}}},
        "engines": {name: {**engine, "memory": MEMORY} for name in (["kaldi", "k2"] if k2 else ["kaldi"])},
        "vs_kaldi": compared(1.1, cpu_ratio=compared(0.9)["ratio"]) if k2 else None,
        "reason": None if k2 else "k2 is not installed",
    }


def bench(k2: bool = True) -> dict:
    features = {"extract_vs_native": compared(0.95, threads=1), "store_vs_native": compared(0.6, threads=1)}
    features |= {"store_threads_vs_native": None, "memory": {"ours": MEMORY, "native": MEMORY}}
    return {
        "environment": machine(2),
        "commit": "c" * 40,
        "date": "2024-01-01",
        "train": [training("cpu"), training("paper")],
        "features": features,
        "soft_targets": [reading("cpu", 2000, 300.0), reading("paper", 14_000, 5000.0)],
        "specialists": [specialists()],
        "search": [searching(100, k2), searching(5000, k2)],
    }


def test_results_follow_the_contract() -> None:
    results = bench_results(bench(), "bash recipes/bench/run.sh")
    check_results(results)
    json.dumps(results, allow_nan=False)
    assert tuple(results["headline"]) == HEADLINE_NAMES["bench"]
    assert results["headline"] == {
        "train_vs_resident_loop_cpu": 0.96,
        "train_vs_matmul_cpu": 0.7,
        "train_vs_matmul_paper_cpu": 0.7,
        "train_mfu_gpu": None,
        "fbank_vs_native": 0.95,
        "search_k2_vs_kaldi_5000_words": 1.1,
        "store_read_vs_student_step": 300.0,
        "store_bytes_per_frame_14k": 72.125,
    }
    assert len(results["tables"]["ratios"]) == 4 + 2 + 10 + 4
    assert "simulated" in results["about"]
    assert [row["rate"] for row in results["tables"]["specialists"]] == [205, None, 250]
    assert {"process": "specialists, 15,000 classes", "peak MiB": 400, "of it imports": 250} in results["tables"]["memory"]


def test_without_k2_the_search_is_null_and_says_why() -> None:
    results = bench_results(bench(k2=False), None)
    check_results(results)
    assert results["headline"]["search_k2_vs_kaldi_5000_words"] is None
    assert {row["note"] for row in results["tables"]["search"]} == {"k2 is not installed"}
    assert "k2 is not installed" in bench_table(bench(k2=False))


def test_publish_writes_both_files(tmp_path: Path, capsys) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(bench()))
    command = ["bench", "publish", "--input", str(tmp_path / "bench.json"), "--output", str(tmp_path / "out")]
    assert main([*command, "--command", "bash recipes/bench/run.sh"]) == 0
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "bash recipes/bench/run.sh" in page
    assert "c" * 40 in page
    assert json.loads((tmp_path / "out" / "results.json").read_text())["commit"] == "c" * 40
    partial = {name: value for name, value in bench().items() if name != "search"}
    (tmp_path / "bench.json").write_text(json.dumps(partial))
    assert main(command) == 1
    assert "has no search" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["full", "tiny"])
def test_the_recipes_configurations_are_valid(size: str) -> None:
    config = load_config(BenchConfig, ROOT / "recipes" / "bench" / "conf" / f"{size}.yaml")
    assert [case.name for case in config.train] == ["cpu", "paper"]
    assert config.train[1].goal_matmul == 0.8
    assert config.soft_targets[0].name == "cpu"


def test_wrong_values_are_refused() -> None:
    with pytest.raises(UserError, match="pairs is 0"):
        from_mapping(BenchConfig, {"features": {"pairs": 0}})
    with pytest.raises(UserError, match="different names"):
        from_mapping(BenchConfig, {"train": [{"name": "cpu"}, {"name": "cpu"}]})
    with pytest.raises(UserError, match="did you mean 'beams'"):
        from_mapping(BenchConfig, {"search": [{"words": 5, "noise": 1.0, "beam": [3]}]})


def test_parts_of_the_same_code_and_settings_are_kept(tmp_path: Path) -> None:
    bench = {"commit": "a", "config": {"seed": 0}, "date": "today"}
    earlier = {**bench, "date": "yesterday", "train": [1], "soft_targets": [2]}
    write_json(tmp_path / "bench.json", earlier)
    assert _measured_before(tmp_path / "bench.json", bench) == {"train": [1], "soft_targets": [2]}
    assert _measured_before(tmp_path / "bench.json", {**bench, "commit": "b"}) == {}
    assert _measured_before(tmp_path / "none.json", bench) == {}

"""``asr-distill run`` over a small table: trained, combined, stored, swept, distilled, decoded; complete by content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_distill.base import read_json
from asr_distill.cli.main import main
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.hclg import write_graph

TABLE = """
recipe: noise
data: {allow_shared_speakers: true, lang: null}
search: {language_models: [any], scales: [0.1, 1.0], phones: false, engine: kaldi}
systems:
  baseline: {train: hard, config: tiny.yaml, seeds: 0-1}
  ensemble: {combine: arithmetic, members: baseline}
  targets: {store: ensemble, mode: dense}
  sweep: {sweep: targets, config: tiny.yaml, temperatures: [1, 2], hard_weights: [0.5]}
  student: {distil: targets, point: sweep, config: tiny.yaml, set: {network.width: 8}}
  control: {like: student, train: hard}
  warm: {like: student, start: student, distil: ensemble, temperature: 1, hard_weight: 0, point: null}
comparisons: [[student, control, wer]]
"""
CONFIG = """
network: {name: senone_dnn, layers: 2, width: 16}
epochs: 2
batch_size: 64
"""


@pytest.fixture
def exp(corpus: Any, tmp_path: Path) -> Path:
    """What the stages of a recipe leave, of the corpus of noise."""
    exp, senones = tmp_path / "exp", tmp_path / "exp" / "senones"
    for split in ("train", "dev", "test"):
        shutil.copytree(corpus.store("speaker"), senones / "frames" / split)
        (senones / "labels").mkdir(exist_ok=True)
        corpus.cuts.to_file(senones / "labels" / f"cuts_{split}.jsonl.gz")
    for name in ("senones.json", "priors.json"):
        shutil.copy(corpus.folder / name, senones / name)
    count = corpus.inventory.num_senones
    zeros, labels = np.zeros(count, np.int32), np.arange(1, count + 1, dtype=np.int32)
    words = np.where(labels == count, 1, 0).astype(np.int32)
    fst = FstArrays(0, zeros, zeros, labels, words, np.zeros(count, np.float32), np.zeros(1, np.float32))
    write_graph(fst, corpus.inventory, {"<eps>": 0, "A": 1}, exp / "graph" / "senones" / "any_1.0_0.0", {"units": "words"})
    (tmp_path / "systems.yaml").write_text(TABLE)
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    return exp


@pytest.fixture
def run(exp: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*words: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert main(["run", str(exp.parent / "systems.yaml"), "--exp", str(exp), *words, "--json", "--quiet"]) == status
        said = capsys.readouterr()
        return said.err if status else json.loads(said.out)

    return run


def test_a_table_is_made_and_left_alone(run: Callable[..., Any], exp: Path) -> None:
    plan = run("--dry-run")["entries"]
    assert [row["entry"] for row in plan] == ["baseline", "ensemble", "targets", "sweep", "student", "control", "warm"]
    assert all(row["done"] == 0 for row in plan)
    made = run()["made"]
    assert len(made) == sum(row["steps"] for row in plan)
    assert run()["made"] == []
    assert all(row["done"] == row["steps"] for row in run("--dry-run")["entries"])
    student, control = (read_json(exp / "models" / name / "seed0" / "completed.json") for name in ("student", "control"))
    assert student["identity"]["config"] == control["identity"]["config"]  # the control differs in its targets alone
    assert student["identity"]["train"] == control["identity"]["train"]
    assert student["summary"]["objective"]["name"] == "distillation"
    chosen = read_json(exp / "models" / "sweep" / "sweep.json")["chosen"]
    assert student["summary"]["objective"]["temperature"] == chosen["temperature"]
    assert read_json(exp / "models" / "warm" / "seed0" / "completed.json")["identity"]["initial_model"]
    scale = read_json(exp / "decode" / "baseline_any" / "seed0" / "dev" / "tuned.json")["acoustic_scale"]
    assert read_json(exp / "models" / "baseline" / "seed0" / "config.json")["acoustic_scale"] == scale

    (exp.parent / "tiny.yaml").write_text(CONFIG.replace("epochs: 2", "epochs: 1"))  # an edited configuration is never stale
    said = run(status=1)
    assert "baseline/seed0/train: config.epochs: 2 -> 1" in said
    assert "--redo baseline" in said
    said = run("--redo", "baseline", status=1)
    assert read_json(exp / "models" / "baseline" / "seed1" / "completed.json")["summary"]["epochs"] == 1
    assert (exp / ".replaced" / "models" / "baseline" / "seed1.1" / "model.safetensors").is_file()
    assert "ensemble/seed0/combine: members" in said
    run("--redo", "baseline,ensemble,targets,sweep,student,control,warm")
    assert run()["made"] == []


def test_some_entries_in_processes(run: Callable[..., Any], exp: Path) -> None:
    made = run("--only", "baseline", "--jobs", "2")["made"]
    assert {name.split("/")[0] for name in made} == {"baseline"}
    again = run("--only", "ensemble", "--seeds", "0")  # an ensemble of the seeds that there are
    assert {name.split("/")[0] for name in again["made"]} == {"ensemble"}
    assert len(read_json(exp / "models" / "ensemble" / "seed0" / "ensemble.json")["members"]) == 1

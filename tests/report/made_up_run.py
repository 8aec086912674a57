"""A made-up run of three systems, and a report.yaml of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from asr_distill.base import load_config, write_json
from asr_distill.report import ReportConfig, build_report

IDS = [f"u{number}" for number in range(12)]
REFERENCE = "go to boston"


def decode(folder: Path, errors: int, correct: int, senones: str = "s", engine: str = "k2", text: str = REFERENCE) -> None:
    """The first `errors` of 12 utterances lack their second word; `correct` of 100 frames are right in each."""
    folder.mkdir(parents=True)
    rows = [
        {
            "id": id,
            "speaker": f"spk{number % 5}",
            "split": folder.name,
            "reference": text,
            "hypothesis": "go boston" if number < errors else text,
            "frames": 100,
            "correct_frames": correct,
            "frames_speech": 50,
            "correct_frames_speech": correct // 2,
            "k2_path_correct_frames": correct + 1,
            "reached_final": True,
        }
        for number, id in enumerate(IDS)
    ]
    (folder / "hypotheses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    rtf = {"features": 0.001, "network": 0.01, "search": 0.02}
    write_json(folder / "decode.json", {"rtf": rtf, "engine": engine, "senones_hash": senones, "device": "cpu"})


CONFIG: dict[str, Any] = {
    "recipe": "an4",
    "command": "bash recipes/an4/run.sh",
    "training_text": "train.txt",
    "words": "words.txt",
    "systems": [
        {
            "name": "baseline",
            "label": "one network",
            "lm": "bigram",
            "seeds": [0, 1],
            "decode": "decode/baseline/seed{seed}/test",
            "dev": "decode/baseline/seed{seed}/dev",
            "per": "decode/baseline_phones/seed{seed}/test",
            "train": "models/baseline/seed{seed}/completed.json#frame_accuracy.train",
            "model": "models/baseline/seed{seed}",
            "command": "asr-distill decode ...",
        },
        {"name": "ensemble", "decode": "decode/ensemble/test", "models": 2, "model": "models/baseline/seed0"},
        {"name": "distilled", "decode": "decode/distilled/test", "temperature": 2, "soft_weight": "conf.json#weights.0"},
    ],
    "comparisons": [{"a": "ensemble", "b": "baseline"}, {"a": "distilled", "b": "baseline", "metric": "frame_accuracy"}],
    "gain": {},
    "tables": {"table1": {"title": "Table 1", "rows": ["baseline", "ensemble", "distilled"]}},
    "headline": {
        "baseline_wer": "baseline.wer.test",
        "ensemble_frame_accuracy": "ensemble.frame_accuracy.test",
        "alignment_boundary_median_ms": "mono/compare.json#boundaries.median_ms",
    },
    "values": {"perplexity_dev": "lang/ppl.json#ppl"},
    "published": [{"name": "Kaldi mono", "wer": 10.61, "lm": "uniform"}],
}


def make_run(folder: Path) -> Path:
    """Fills a run's directory and returns it."""
    for seed in (0, 1):
        decode(folder / f"decode/baseline/seed{seed}/test", errors=6 + 2 * seed, correct=60)
        decode(folder / f"decode/baseline/seed{seed}/dev", errors=3, correct=62)
        decode(folder / f"decode/baseline_phones/seed{seed}/test", errors=12, correct=60, text="G OW B")
        write_json(
            folder / f"models/baseline/seed{seed}/completed.json",
            {"parameters": 1000, "frame_accuracy": {"train": 70.0 + seed}},
        )
    decode(folder / "decode/ensemble/test", errors=3, correct=70)
    decode(folder / "decode/distilled/test", errors=3, correct=68)
    write_json(folder / "manifests/corpus.json", {"source": "real", "counts": {"test": {"utterances": 12}}})
    write_json(folder / "mono/compare.json", {"boundaries": {"median_ms": 12.5}})
    write_json(folder / "lang/ppl.json", {"ppl": 9.0})
    write_json(folder / "conf.json", {"weights": [0.5]})
    (folder / "train.txt").write_text("something else\n", encoding="utf-8")
    (folder / "words.txt").write_text("<eps> 0\ngo 1\nboston 2\n", encoding="utf-8")
    return folder


def configuration(folder: Path, **changes: Any) -> Path:
    """A report.yaml with these keys changed."""
    path = folder / "report.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "samples": 500, **changes}), encoding="utf-8")
    return path


def build(run: Path, **changes: Any) -> dict[str, Any]:
    return build_report(run, load_config(ReportConfig, configuration(run, **changes))).results

"""Writes results.json, per_utterance.jsonl and RESULTS.md together: all three are whole before any is put in place."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from asr_distill.base import atomic_path
from asr_distill.report.build import Report
from asr_distill.report.markdown import markdown_page
from asr_distill.report.page import results_page
from asr_distill.report.per_utterance import rows
from asr_distill.report.results import check_results


def without_paths(value: Any, run: Path, recipe: str) -> Any:
    """The same with the run's directory as ``exp/RECIPE`` in every text, so that commands hold on any machine."""
    if isinstance(value, str):
        for name in (str(run.resolve()), str(run)):
            if Path(name).is_absolute():
                value = value.replace(name, f"exp/{recipe}")
        return value.replace(f"{Path.cwd()}/", "")
    if isinstance(value, dict):
        return {key: without_paths(item, run, recipe) for key, item in value.items()}
    return [without_paths(item, run, recipe) for item in value] if isinstance(value, list) else value


def publish(report: Report, run: str | Path, folder: str | Path) -> list[Path]:
    """Writes the three files into ``folder`` and returns their paths. Raises `UserError` where results break the contract."""
    results = without_paths(report.results, Path(run), report.results["recipe"])
    check_results(results)
    paths = [Path(folder) / name for name in ("results.json", "per_utterance.jsonl", "RESULTS.md")]
    texts = [
        json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows(report.utterances)),
        markdown_page(results_page(results)),
    ]
    with ExitStack() as stack:
        for path, text in zip(paths, texts, strict=True):
            stack.enter_context(atomic_path(path)).write_text(text, encoding="utf-8")
    return paths

"""Writes results.json, per_utterance.jsonl, RESULTS.md and its pictures: all are whole before any is put in place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from asr_distill.base import atomic_path
from asr_distill.report.markdown import results_markdown
from asr_distill.report.per_utterance import rows
from asr_distill.report.results import Report, check_results


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


def publish(report: Report, run: str | Path, folder: str | Path, pictures: Mapping[str, str] | None = None) -> list[Path]:
    """Writes the three files into ``folder`` and returns their paths. Raises `UserError` where results break the contract.

    pictures: PNG files of the run, by their paths there, and their captions; those that are there go to ``folder/plots``.
    """
    drawn = {f"plots/{Path(name).name}": Path(run) / name for name in pictures or {} if (Path(run) / name).is_file()}
    captions = {f"plots/{Path(name).name}": caption for name, caption in (pictures or {}).items()}
    earlier = {row["file"]: row["caption"] for row in report.results.get("pictures") or []}
    shown = {**earlier, **{file: captions[file] for file in drawn}}
    listed = [{"file": file, "caption": caption} for file, caption in shown.items()]
    results = without_paths({**report.results, "pictures": listed}, Path(run), report.results["recipe"])
    check_results(results)
    paths = [Path(folder) / name for name in ("results.json", "per_utterance.jsonl", "RESULTS.md")]
    texts = [
        json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows(report.utterances)),
        results_markdown(results),
    ]
    with ExitStack() as stack:
        for path, text in zip(paths, texts, strict=True):
            stack.enter_context(atomic_path(path)).write_text(text, encoding="utf-8")
        for file, source in drawn.items():
            (Path(folder) / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, stack.enter_context(atomic_path(Path(folder) / file)))
    return [*paths, *(Path(folder) / file for file in drawn)]

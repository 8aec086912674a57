"""Writes results.json, per_utterance.jsonl, RESULTS.md and its pictures: all are whole before any is put in place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, atomic_path, check_own, only_writer, read_json, write_text, written_together
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


PUBLISHED = ("results.json", "per_utterance.jsonl", "RESULTS.md")


def check_publishable(folder: str | Path) -> None:
    """Raises `UserError` where ``folder`` holds a file of these names that this toolkit did not publish.

    A results.json of ours beside them says that it did; published folders are often kept without our list of digests.
    """
    folder = Path(folder)
    with suppress(UserError):
        results = read_json(folder / PUBLISHED[0])
        if isinstance(results, dict) and {"schema", "recipe", "systems"} <= results.keys():
            return
    check_own(*(folder / name for name in PUBLISHED))


def is_part_of(run: str | Path, folder: str | Path) -> bool:
    """Whether results in ``folder`` are listed with their digests: elsewhere they lie under version control, and are edited."""
    return Path(folder).resolve().is_relative_to(Path(run).resolve())


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
    check_publishable(folder)
    paths = [Path(folder) / name for name in PUBLISHED]
    texts = [
        json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows(report.utterances)),
        results_markdown(results),
    ]
    with only_writer(paths[0]), written_together():
        for path, text in zip(paths, texts, strict=True):
            write_text(path, text, listed=is_part_of(run, folder))
        for file, source in drawn.items():
            with atomic_path(Path(folder) / file) as temporary:
                shutil.copyfile(source, temporary)
    return [*paths, *(Path(folder) / file for file in drawn)]

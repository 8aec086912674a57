"""Keeps what an earlier run published and this run did not make, as long as both stand on the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asr_distill.base import UserError, read_json
from asr_distill.report.configuration import ReportConfig
from asr_distill.report.figures import system_figures
from asr_distill.report.per_utterance import read_per_utterance
from asr_distill.report.results import Report, of_contract

_SAME = ("source", "counts", "split", "test_references_sha256")


def merge_published(report: Report, config: ReportConfig, published: str | Path, fewer_seeds: bool = False) -> None:
    """Adds to ``report`` the systems in ``published`` (a directory with results.json and per_utterance.jsonl) that it lacks.

    Their figures on the test set are computed anew from their utterances; comparisons, tables, headline and values of then are
    handed on, to be derived again, and so are its lists and pictures. Does nothing where nothing is published yet. Raises
    `UserError` where recipe, data or references differ, where the published utterances are not those of the published
    systems, or where a system of both was published with seeds that this run lacks, unless ``fewer_seeds``.
    """
    folder = Path(published)
    if not (folder / "results.json").is_file():
        return
    with of_contract(folder / "results.json"):
        _merge(report, config, folder, fewer_seeds)


def _merge(report: Report, config: ReportConfig, folder: Path, fewer_seeds: bool) -> None:
    earlier = read_json(folder / "results.json")
    if not isinstance(earlier, dict) or earlier.get("schema") != 1:
        raise UserError(f"{folder / 'results.json'} is not of schema 1; publish without --merge")
    _check_same(report.results, earlier, folder)
    utterances = read_per_utterance(folder / "per_utterance.jsonl")
    entries = {entry["name"]: entry for entry in report.results["systems"]}
    for entry in earlier["systems"]:
        name = entry["name"]
        if name in entries:
            if not fewer_seeds:
                _check_seeds(entry, entries[name], folder)
            continue
        seeds = utterances.get(name)
        if seeds is None or sorted(seeds) != sorted(entry["seeds"]):
            raise UserError(
                f"{folder}: system {name} of results.json has seeds {entry['seeds']}, per_utterance.jsonl has"
                f" {sorted(seeds or {})}; the two files are not of one run: publish without --merge"
            )
        figures = system_figures(seeds, config.unit, config.samples, config.seed, name)
        entries[name] = _over(entry, figures)
        report.utterances[name] = seeds
    order = [system.name for system in config.systems]
    rank = {name: order.index(name) if name in order else len(order) for name in entries}
    names = sorted(entries, key=lambda name: rank[name])
    report.results["systems"] = [entries[name] for name in names]
    report.utterances = {name: report.utterances[name] for name in names}
    for key in ("comparisons", "tables", "table_titles", "values", "lists"):
        report.results[key] = earlier.get(key) or report.results.get(key, {})
    report.results["pictures"] = earlier.get("pictures") or []
    report.results["environment"]["engine"] = ", ".join(sorted(_engines(report.results["systems"]))) or None
    known = report.results["headline"]
    known |= {name: value for name, value in (earlier.get("headline") or {}).items() if name in known or not known}


def _engines(entries: list[dict[str, Any]]) -> set[str]:
    """All engines; a row whose seeds were searched by several has a list of them."""
    found: set[str] = set()
    for entry in entries:
        engines = entry.get("engine")
        found.update(str(engine) for engine in (engines if isinstance(engines, list) else [engines]) if engine)
    return found


def _over(entry: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    return {**entry, **{k: {**entry[k], **v} if isinstance(entry.get(k), dict) else v for k, v in figures.items()}}


def _check_seeds(earlier: dict[str, Any], entry: dict[str, Any], folder: Path) -> None:
    lacking = sorted(set(earlier["seeds"]) - set(entry["seeds"]))
    if lacking:
        missing = f"{'seeds' if len(lacking) > 1 else 'seed'} {', '.join(map(str, lacking))}"
        raise UserError(
            f"{folder}: system {entry['name']} is published with seeds {earlier['seeds']}, this run has {entry['seeds']};"
            f" decode {missing} too, or add --merge-fewer-seeds to publish those of this run alone"
        )


def _check_same(results: dict[str, Any], earlier: dict[str, Any], folder: Path) -> None:
    if earlier.get("recipe") != results["recipe"]:
        raise UserError(f"{folder} holds figures of {earlier.get('recipe')!r}, this run is of {results['recipe']!r}")
    for key in _SAME:
        ours, theirs = results["data"].get(key), earlier["data"].get(key)
        if ours != theirs:
            raise UserError(
                f"{folder}: {key} of the published figures is {theirs!r}, of this run {ours!r}; figures on different data are"
                " not mixed: publish without --merge, or run the recipe on the same data"
            )

"""From a table of systems to the report of a run: which folders hold the figures of which entry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr_distill.base import from_mapping
from asr_distill.experiments.steps import PHONES, SWEEP_FILE
from asr_distill.experiments.table import Entry, Table
from asr_distill.report.configuration import ReportConfig
from asr_distill.report.results import HEADLINE_NAMES

_SYSTEMS = ("baseline", "ensemble", "distilled")
_FIELDS = {"wer": "wer.test", "frame_accuracy": "frame_accuracy.test", "per": "per"}
_OBJECTIVE = "models/{model}/seed{{seed}}/completed.json#summary.objective.{key}"
_SWEEP = "temperature hard_weight dev_accuracy".split()
_CURVE = "size accuracy speech_accuracy cross_entropy gain".split()
_MODES = "mode accuracy speech_accuracy cross_entropy gain speech_gain".split()


def report_of(table: Table, run: Path) -> ReportConfig:
    """Return the report's configuration: a row for each entry that is searched, with each of its language models.

    Args:
        table: the table of the run.
        run: folder of the run; what is optional is shown where it is there.
    """
    systems = [row for name, entry in table.systems.items() for row in _rows(table, name, entry)]
    names = {row["name"] for row in systems}
    values: dict[str, Any] = {
        "recipe": table.recipe,
        "title": table.title,
        "about": table.about,
        "systems": systems,
        "comparisons": [{"a": a, "b": b, "metric": metric} for a, b, metric in table.comparisons],
        "words": _vocabulary(table, run),
        "training_cuts": str(table.data.training_cuts),
        "senones": f"{table.data.senones}/senones.json#num_senones",
        "headline": _headline(table.recipe, names),
        "lists": _lists(table, run),
        "tables": {name: dict(rows) for name, rows in table.tables.items()},
        "values": _values(table, run),
        "figures": ["align/utterance.png"],
        "pictures": {
            f"ensemble/{name}.png": "Gain in frame accuracy against the number of models; dashed: mean over random orders."
            for name, entry in table.systems.items()
            if entry.curve is not None
        },
    }
    if set(_SYSTEMS) <= names:
        values["gain"] = dict(zip(("baseline", "ensemble", "distilled"), _SYSTEMS, strict=True))
    for key, value in table.report.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) and isinstance(values.get(key), dict) else value
    return from_mapping(ReportConfig, values, f"the report of {table.recipe}")


def _rows(table: Table, name: str, entry: Entry) -> Iterator[dict[str, Any]]:
    if entry.search is None:
        return
    *others, main = entry.search.language_models
    for lm in [*others, main]:
        row = {key: value for key, value in _row(table, name, entry, lm).items() if value is not None}
        yield {**row, "name": name if lm == main else f"{name}_{lm}", "lm": lm, "label": _label(table, name, entry)}


def _row(table: Table, name: str, entry: Entry, lm: str) -> dict[str, Any]:
    search = entry.search
    assert search is not None
    model = entry.again or name
    of_model = table.systems[model]
    dev = f"decode/{name}_{lm}/seed{{seed}}/dev"
    row: dict[str, Any] = {
        "decode": f"decode/{name}_{lm}/seed{{seed}}/test",
        "seeds": list(of_model.seeds[:1] if entry.again else of_model.seeds),
        "per": f"decode/{model}_{PHONES}/seed{{seed}}/test" if _has_phones(of_model) else None,
        "note": entry.note,
    }
    if of_model.model is not None:
        return {**row, "dev": dev}
    accuracy = f"accuracy/{model}{{part}}/seed{{{{seed}}}}.json#{{split}}.{{figure}}"
    part = "_share" if of_model.share != 1.0 else ""
    row |= {
        "train": accuracy.format(part=part, split="train", figure="accuracy") if "train" in of_model.accuracy else None,
        "cross_entropy": accuracy.format(part="", split="test", figure="cross_entropy"),
        "model": f"models/{model}/seed{{seed}}",
    }
    if not entry.again:
        row["dev"] = accuracy.format(part="", split="dev", figure="accuracy")
        tuned = search.scales_from in (None, name)
        row["dev_wer"] = f"decode/{name}_{lm}/seed{{first}}/dev/decode.json#error_rate" if tuned else None
    if of_model.combine is not None:
        row |= {"models": f"models/{model}/seed0/ensemble.json#members", "model": f"models/{of_model.members}/seed0"}
    if of_model.distil is not None:
        row |= {key: _OBJECTIVE.format(model=model, key=key) for key in ("temperature", "soft_weight", "hard_weight")}
    return row


def _has_phones(entry: Entry) -> bool:
    return entry.search is not None and entry.search.phones


def _label(table: Table, name: str, entry: Entry) -> str:
    """The label; with the engine where the same model is searched by two."""
    if entry.combine is not None and not entry.label:
        return "ensemble of {models}, " + {"arithmetic": "arithmetic mean", "geometric": "geometric mean"}.get(
            entry.combine, entry.combine
        )
    label = entry.label or name.replace("_", " ")
    twice = entry.again is not None or any(other.again == name for other in table.systems.values())
    return f"{label}, {{engine}}" if twice else label


def _headline(recipe: str, names: set[str]) -> dict[str, Any]:
    """The fixed names of the recipe whose systems there are."""
    known = HEADLINE_NAMES.get(recipe) or tuple(f"{system}_{field}" for system in _SYSTEMS for field in _FIELDS)
    found: dict[str, Any] = {}
    for name in known:
        if name.startswith("best_wer"):
            of_lm = name.removeprefix("best_wer").removesuffix("_lm")
            candidates = [f"{system}{of_lm}" for system in (*_SYSTEMS, "transfer") if f"{system}{of_lm}" in names]
            if candidates:
                found[name] = {"best_on_dev": candidates}
            continue
        for field, place in _FIELDS.items():
            system, mark, of_lm = name.partition(f"_{field}")
            system = {"full_hard": "baseline"}.get(system, system) + of_lm.removesuffix("_lm")
            if mark and system in names:
                found[name] = f"{system}.{place}"
    return found


def _lists(table: Table, run: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in table.systems.items():
        if entry.sweep is not None and (run / "models" / name / SWEEP_FILE).is_file():
            found[name] = {
                "title": "Temperature and hard weight: dev frame accuracy decides",
                "rows": f"models/{name}/{SWEEP_FILE}#points",
                "columns": _SWEEP,
            }
        if entry.curve is not None and (run / "ensemble" / f"{name}.json").is_file():
            for mode in ("arithmetic", "geometric"):
                rows = f"ensemble/{name}.json#splits.test.{mode}"
                found[f"{name}_{mode}"] = {"title": f"Ensembles by size on test: {mode} mean", "rows": rows, "columns": _CURVE}
            rows = f"ensemble/{name}.json#splits.test.full_size"
            found[f"{name}_modes"] = {"title": "All members on test, by mode", "rows": rows, "columns": _MODES}
    return found


def _vocabulary(table: Table, run: Path) -> str | None:
    """The words that the main language model can recognise, where `asr-distill lang g` has listed them."""
    mains = [entry.search.language_models[-1] for entry in table.systems.values() if entry.search]
    found = sorted((run / table.data.lang).glob(f"G_{mains[0]}*.words")) if mains and table.data.lang else []
    return str(found[0].relative_to(run)) if found else None


def _values(table: Table, run: Path) -> dict[str, str]:
    """Perplexities of each language model on dev and test, and words of test outside the vocabulary."""
    found: dict[str, str] = {}
    if table.data.lang is None:
        return found
    models = dict.fromkeys(lm for entry in table.systems.values() if entry.search for lm in entry.search.language_models)
    for lm in models:
        for split in ("dev", "test"):
            file = table.data.lang / f"perplexity_{lm}_{split}.json"
            if (run / file).is_file():
                found[f"perplexity_{split}_{lm}"] = f"{file}#perplexity"
    for lm in list(models)[-1:]:
        file = table.data.lang / f"perplexity_{lm}_test.json"
        if (run / file).is_file():
            found["oov_share_test"] = f"{file}#oov_share"
    return found

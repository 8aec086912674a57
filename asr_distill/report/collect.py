"""One row of report.yaml: its decode directories read and checked, and everything beside the test figures."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, check_file, has_file, read_json
from asr_distill.report.configuration import SystemConfig
from asr_distill.report.figures import rounded
from asr_distill.report.values import follow, mean_figure, read_figure
from asr_distill.scoring import Utterance, metric_counts, read_hypotheses

_log = logging.getLogger("asr_distill")

_ENGINES = {"kaldi": "kaldi-decoder"}  # what readers know the engine of a decode.json by
_RTF_PARTS = ("features", "network", "search")
# What a decode.json says about the search, kept with the figures.
_SETTINGS = (
    *("model", "graph", "acoustic_scale", "lm_scale", "word_penalty"),
    *("beam", "search_beam", "output_beam", "lattice_beam", "min_active", "max_active"),
)


@dataclass
class Collected:
    """A system's utterances by seed, and the keys of its entry in results.json that do not follow from them."""

    config: SystemConfig
    utterances: dict[int, list[Utterance]]
    entry: dict[str, Any]
    engines: set[str] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)


def fill(pattern: str, seed: int) -> str:
    """A path of report.yaml with its seed."""
    return pattern.replace("{seed}", str(seed))


def decoded_seeds(run: Path, config: SystemConfig) -> list[int]:
    """The seeds whose decode directory holds hypotheses."""
    return [seed for seed in config.seeds if (run / fill(config.decode, seed) / "hypotheses.jsonl").is_file()]


def collect_system(run: Path, config: SystemConfig, seeds: Sequence[int], allow_missing: bool = False) -> Collected:
    """Reads the decode directories of these seeds. Raises `UserError` where phones or seeds do not fit the utterances.

    With ``allow_missing``, what ``per``, ``train``, ``dev`` or ``dev_wer`` names and is not there is not measured, and named
    in the log.
    """
    if allow_missing:
        config = _without_absent(run, config, seeds)
    utterances = {seed: read_hypotheses(run / fill(config.decode, seed)) for seed in seeds}
    if config.per:
        utterances = {seed: _with_phones(utterances[seed], run / fill(config.per, seed), config.name) for seed in seeds}
    details = [_decode_json(run / fill(config.decode, seed)) for seed in seeds]
    models = _models(run, config, seeds[0])
    engines = {str(detail["engine"]) for detail in details if detail.get("engine")}
    entry = {
        "label": _label(config, models, engines),
        "lm": config.lm,
        "seeds": list(seeds),
        "parameters": _parameters(run, config, seeds[0], models),
        "models": models,
        "cross_entropy": _cross_entropy(run, config.cross_entropy, seeds),
        **{key: mean_figure(run, getattr(config, key), seeds) for key in ("temperature", "soft_weight", "hard_weight")},
        **_rtf(details),
        "senones_hash": _common([detail.get("senones_hash") for detail in details]),
        "engine": _common([detail.get("engine") for detail in details]),
        "search": {key: _common([detail.get(key) for detail in details]) for key in _SETTINGS if key in details[0]},
        "command": config.command or _common([detail.get("command") for detail in details]),
        "note": config.note,
        "values": {key: mean_figure(run, figure, seeds) for key, figure in config.values.items()},
    }
    dev, dev_wer = _split_figures(run, config.dev, seeds, config.name)
    if config.dev_wer is not None:
        dev_wer = mean_figure(run, _first(config.dev_wer, seeds), seeds)
    train, _ = _split_figures(run, config.train, seeds, config.name)
    entry |= {"frame_accuracy": {"train": train, "dev": dev}, "wer": {"dev": dev_wer}}
    return Collected(
        config,
        utterances,
        dict(rounded(entry)),
        engines,
        {str(detail["device"]) for detail in details if detail.get("device")},
    )


def _label(config: SystemConfig, models: int | None, engines: set[str]) -> str:
    searched = ", ".join(sorted(_ENGINES.get(engine, engine) for engine in engines)) or "engine not recorded"
    return (config.label or config.name).replace("{models}", str(models)).replace("{engine}", searched)


def _without_absent(run: Path, config: SystemConfig, seeds: Sequence[int]) -> SystemConfig:
    """The row without the figures of which a seed's file, folder or key is absent."""
    absent: dict[str, Any] = {}
    for key in ("per", "train", "dev", "dev_wer"):
        where = getattr(config, key)
        found = (
            next((what for seed in seeds if (what := _absent(run, fill(_first(where, seeds), seed)))), None) if where else None
        )
        if found:
            absent[key] = None
            _log.warning("system %s: %s is not measured: %s", config.name, key, found)
    return dataclasses.replace(config, **absent)


def _absent(run: Path, where: str) -> str | None:
    """What is not there of a decode directory or of ``FILE#key``; None where all is."""
    file, mark, keys = where.partition("#")
    path = run / file if mark else run / file / "hypotheses.jsonl"
    if not has_file(path):
        return f"no {path}"
    if not mark:
        return None
    content = read_json(path)
    try:
        follow(content, keys.split("."), str(path))
    except UserError as error:
        return str(error)
    return None


def _first(where: str, seeds: Sequence[int]) -> str:
    """A path of report.yaml with the first of the row's seeds that are there."""
    return where.replace("{first}", str(seeds[0]))


def _with_phones(utterances: Sequence[Utterance], folder: Path, name: str) -> list[Utterance]:
    phones = {utterance.id: utterance for utterance in read_hypotheses(folder)}
    absent = [utterance.id for utterance in utterances if utterance.id not in phones]
    if absent or len(phones) != len(utterances):
        raise UserError(
            f"system {name}: {folder} holds {len(phones)} utterances, the decode {len(utterances)}"
            f"{f', {absent[0]} is missing' if absent else ''}; decode the same cuts with the phone loop"
        )
    counts = {id: utterance.errors for id, utterance in phones.items()}
    return [dataclasses.replace(u, phones=counts[u.id].words, phone_errors=counts[u.id].errors) for u in utterances]


def _decode_json(folder: Path) -> dict[str, Any]:
    value = read_json(folder / "decode.json") if has_file(folder / "decode.json") else {}
    if not isinstance(value, dict):
        raise UserError(f"{folder / 'decode.json'}: expected an object")
    return value


def _split_figures(run: Path, where: str | None, seeds: Sequence[int], name: str) -> tuple[Any, float | None]:
    """(frame accuracy, WER) of another split: from decode directories, or the frame accuracy alone from ``FILE#key``."""
    if where is None:
        return None, None
    if "#" in where:
        return mean_figure(run, where, seeds), None
    utterances = [read_hypotheses(run / fill(where, seed)) for seed in seeds]
    return metric_counts("frame_accuracy", utterances, name).value, metric_counts("wer", utterances, name).value


def _rtf(details: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of the parts, and their sum where all three were measured; seconds of work per second of audio."""
    parts: dict[str, float | None] = {}
    for part in _RTF_PARTS:
        values = [(detail.get("rtf") or {}).get(part) for detail in details]
        known = [float(value) for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
        parts[part] = math.fsum(known) / len(known) if known and len(known) == len(values) else None
    measured = [value for value in parts.values() if value is not None]
    return {"rtf": math.fsum(measured) if len(measured) == len(_RTF_PARTS) else None, "rtf_parts": parts}


def _common(values: Sequence[Any]) -> Any:
    """The value that all seeds share, else the values in a list."""
    return values[0] if all(value == values[0] for value in values) else list(values)


def _cross_entropy(run: Path, figure: str | None, seeds: Sequence[int]) -> float | None:
    """Mean over seeds; None where a seed's file, or the store's name in it, is not there: not measured."""
    if figure is None:
        return None
    file, _, keys = figure.partition("#")
    for seed in seeds:
        path = run / fill(file, seed)
        if not has_file(path) or keys.split(".")[0] not in read_json(path):
            return None
    value: float | None = mean_figure(run, figure, seeds)
    return value


def _models(run: Path, config: SystemConfig, seed: int) -> int | None:
    value = read_figure(run, config.models, seed)
    count = len(value) if isinstance(value, list) else value
    if count is not None and (not isinstance(count, int) or count < 1):
        raise UserError(f"system {config.name}: models {config.models!r} is {value!r}; expected a number of networks or a list")
    return count


def _parameters(run: Path, config: SystemConfig, seed: int, models: int | None) -> int | None:
    if config.parameters is not None or config.model is None:
        return config.parameters
    folder = run / fill(config.model, seed)
    if has_file(folder / "completed.json"):
        count = read_json(folder / "completed.json").get("parameters")
        if isinstance(count, int):
            return count * (models or 1)
    weights = folder / "model.safetensors"
    return safetensors_elements(weights) * (models or 1) if has_file(weights) else None


def safetensors_elements(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header alone."""
    check_file(path)
    with open(path, "rb") as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
            return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
        except (struct.error, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
            raise UserError(f"{path} is no safetensors file ({error}); copy or train the model again") from None

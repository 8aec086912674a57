"""The tables of results.json: rows from the systems' entries, and what soft targets win back of a small set's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asr_distill.base import UserError
from asr_distill.report.configuration import RegainedConfig, ReportConfig
from asr_distill.report.figures import rounded
from asr_distill.report.per_utterance import Systems
from asr_distill.scoring import METRICS, gain_transferred, metric_counts
from asr_distill.scoring.bootstrap import GainTransferred


def add_tables(results: dict[str, Any], utterances: Systems, config: ReportConfig, allow_missing: bool) -> None:
    """Fills in ``tables`` and ``table_titles``. Raises `UserError` for a row that is no system, unless it may be missing."""
    systems = {entry["name"]: entry for entry in results["systems"]}
    titles = results.get("table_titles") or {}
    # Tables of an earlier run stay, with rows made anew.
    wanted = {name: [row["system"] for row in rows if "system" in row] for name, rows in results["tables"].items()}
    for name, table in config.tables.items():
        regained = table.regained
        known = [*table.rows, *([regained.full, *regained.pairs, *regained.pairs.values()] if regained else [])]
        absent = [row for row in known if row not in systems]
        if absent and not allow_missing:
            raise UserError(f"table {name}: no system {absent[0]!r}; expected one of {', '.join(systems)}")
        worth_it = not table.beside or any(row in systems for row in table.rows if row not in table.beside)
        wanted[name], titles[name] = list(table.rows) if worth_it else [], table.title or name
    results["tables"] = {name: [_row(systems[row]) for row in rows if row in systems] for name, rows in wanted.items()}
    results["table_titles"] = titles
    for name, table in config.tables.items():
        if table.regained is not None:
            _add_regained(results["tables"][name], results, utterances, table.regained, config)


def share_of_gain(
    results: Mapping[str, Any], utterances: Systems, names: Sequence[str], metric: str, config: ReportConfig
) -> GainTransferred:
    """`gain_transferred` of three systems: baseline, ensemble, distilled. Raises `UserError` where senones differ."""
    if metric not in METRICS:
        raise UserError(f"gain of {names[2]}: unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    for name in names[1:]:
        check_senones(results, names[0], name, metric)
    counts = [metric_counts(metric, list(utterances[name].values()), name) for name in names]
    return gain_transferred(counts[0], counts[1], counts[2], config.unit, config.samples, config.seed)


def check_senones(results: Mapping[str, Any], a: str, b: str, metric: str) -> None:
    """Raises `UserError` where frames of two systems are counted over different senones."""
    hashes = {entry["name"]: entry.get("senones_hash") for entry in results["systems"]}
    if METRICS[metric].on_frames and hashes[a] and hashes[b] and hashes[a] != hashes[b]:
        raise UserError(
            f"comparison {a} - {b}: {metric} over different senones, {hashes[a]} and {hashes[b]}; compare wer or per instead"
        )


def _add_regained(
    rows: list[dict[str, Any]], results: Mapping[str, Any], utterances: Systems, regained: RegainedConfig, config: ReportConfig
) -> None:
    for row in rows:
        loser = regained.pairs.get(row["system"])
        share, interval = None, None
        if loser in utterances and regained.full in utterances:
            names = [loser, regained.full, row["system"]]
            found = share_of_gain(results, utterances, names, regained.metric, config)
            if found.counts:
                share, interval = found.share, found.ci95
        row |= rounded({"regained": share, "regained_ci95": interval})


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    accuracies = {f"frame_accuracy_{split}": entry["frame_accuracy"][split] for split in ("train", "dev", "test")}
    return {
        "system": entry["name"],
        "label": entry["label"],
        "models": entry["models"],
        "seeds": len(entry["seeds"]),
        **accuracies,
        "frame_accuracy_ci95": entry["frame_accuracy_ci95"],
        "cross_entropy_test": entry.get("cross_entropy"),
        "wer_dev": entry["wer"]["dev"],
        "wer_test": entry["wer"]["test"],
        "wer_ci95": entry["wer"]["ci95"],
        "per": entry["per"],
    }

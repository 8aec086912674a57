"""What a run comes to, in one line, and the command that gives its model a recording of the reader's own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, read_json
from asr_distill.report.collect import fill
from asr_distill.report.configuration import ReportConfig


def verdict(results: Mapping[str, Any]) -> str | None:
    """The share of the ensemble's gain that the student keeps, and what became of the WER, with intervals of 95 %.

    results: results.json. Where no student was distilled, the last system's WER; None for images, which have none.
    """
    gain = results.get("gain_transferred")
    systems = {entry["name"]: entry for entry in results["systems"]}
    if gain is None:
        last = results["systems"][-1]
        rate = last["wer"]["test"]
        return None if rate is None else f"{last['label'] or last['name']}: WER {rate:.2f} %{_interval(last['wer']['ci95'])}"
    distilled, baseline, metric = gain["distilled"], gain["baseline"], gain["metric"].replace("_", " ")
    kept = "the ensemble's gain in {0} does not exclude zero, so that no share of it is told"
    if gain["counts"]:
        share = f"{100 * gain['share']:.0f} %{_interval(gain['ci95'], 100, 0)}"
        some = share if gain["share"] > 0 else f"nothing ({share})"
        kept = f"the student keeps {some} of the ensemble's gain in {{0}}"
    parts = [kept.format(metric)]
    rates = [systems[name]["wer"]["test"] for name in (baseline, distilled) if name in systems]
    if len(rates) == 2 and None not in rates:
        change = f"WER {rates[0]:.2f} -> {rates[1]:.2f} %"
        pair = (distilled, baseline, "wer")
        compared = [row for row in results["comparisons"] if (row["a"], row["b"], row["metric"]) == pair]
        for row in compared[:1]:
            interval = _interval(row["ci95"])
            unknown = interval and row["ci95"][0] <= 0 <= row["ci95"][1]
            change += f" ({row['difference']:+.2f}{interval}{': no change that excludes zero' if unknown else ''})"
        parts.append(change)
    return "; ".join(parts)


def transcribe_command(run: str | Path, config: ReportConfig, results: Mapping[str, Any], program: str) -> str | None:
    """How to search a recording with the student, or else with the last system that is a network or an ensemble.

    program: how the reader starts ``asr-distill``. The paths are those of the decode that was reported; None where it is gone.
    """
    gain = results.get("gain_transferred") or {}
    there = {entry["name"]: entry["seeds"] for entry in results["systems"]}
    named = [system for system in config.systems if system.name in there and system.model is not None]
    for system in sorted(named, key=lambda system: system.name == gain.get("distilled"))[::-1]:
        folder = Path(run) / fill(system.decode, there[system.name][0])
        try:
            decoded = read_json(folder / "decode.json")
            model, graph = decoded["model"], decoded["graph"]
        except (UserError, KeyError, TypeError):
            continue
        words = [program, "decode", "--audio", "your.wav", "--model", model, "--graph", graph]
        return shlex.join([*words, "--output", str(Path(run) / "decode" / "yours")])
    return None


def _interval(bounds: Any, unit: float = 1, digits: int = 2) -> str:
    return "" if not bounds or None in bounds else f" [{unit * bounds[0]:.{digits}f}, {unit * bounds[1]:.{digits}f}]"

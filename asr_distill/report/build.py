"""Builds results.json from a run and its report.yaml. Comparisons, gains and tables follow from all systems' utterances."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, hash_of_object, read_json
from asr_distill.report.collect import Collected, collect_system, decoded_seeds, fill
from asr_distill.report.configuration import BestOnDev, ReportConfig
from asr_distill.report.environment import commit, environment, today
from asr_distill.report.figures import rounded, system_figures
from asr_distill.report.merge import merge_published
from asr_distill.report.results import Report, check_headline_names, check_results, empty_results, empty_system
from asr_distill.report.tables import add_tables, check_senones, share_of_gain
from asr_distill.report.values import follow, read_figure, read_lists
from asr_distill.scoring import METRICS, metric_counts, paired_comparison, read_training_texts, resampled_unit
from asr_distill.scoring.breakdown import error_breakdown
from asr_distill.scoring.score import error_figures, out_of_vocabulary, split_by_training
from asr_distill.scoring.transcripts import read_vocabulary

_log = logging.getLogger("asr_distill")
_NAMED = 8  # systems that are not there, in one message


def build_report(
    run: str | Path,
    config: ReportConfig,
    allow_missing: bool = False,
    published: str | Path | None = None,
    fewer_seeds: bool = False,
) -> Report:
    """Collects a run. With ``allow_missing``, systems and seeds that are not decoded yet are left out and named in the log,
    and what their rows say beside the test figures is null where it is not there; with ``published``, a directory, what was
    published there and is not of this run is kept (which implies ``allow_missing``). A system that was published with seeds
    that this run lacks is replaced only with ``fewer_seeds``.

    Raises `UserError` where a decode directory or figure is missing, test utterances differ between systems, a figure is NaN.
    """
    run, allow_missing = Path(run), allow_missing or published is not None
    if not run.is_dir():
        raise UserError(f"run {run} is not a directory; run the recipe first, or give --run")
    check_headline_names(config.recipe, list(config.headline))
    left_out: list[str] = []
    collected = [one for system in config.systems if (one := _collect(run, system, allow_missing, left_out)) is not None]
    if not collected:
        raise UserError(f"{run}: none of the {len(config.systems)} systems of report.yaml is decoded; run the decode stage")
    if left_out:
        more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
        _log.warning("not decoded, left out with their comparisons: %s%s", ", ".join(left_out[:_NAMED]), more)
    results = empty_results(config.recipe)
    results |= {"command": config.command or None, "commit": commit(), "date": today()}
    results["environment"] |= environment(
        ", ".join(sorted(set().union(*(one.engines for one in collected)))) or None,
        ", ".join(sorted(set().union(*(one.devices for one in collected)))) or config.device,
    )
    results["data"] = _data(run, config, collected)
    speakers = {utterance.speaker for one in collected for rows in one.utterances.values() for utterance in rows}
    results["bootstrap"] = {
        "unit": resampled_unit(config.unit, speakers),
        "samples": config.samples,
        "seed": config.seed,
    }
    provenance = {"commit": results["commit"], "date": results["date"], "environment": dict(results["environment"])}
    results["systems"] = [_entry(one, config) | provenance for one in collected]
    _add_training_text(run, config, collected, results)
    report = Report(results, {one.config.name: one.utterances for one in collected})
    if published is not None:
        merge_published(report, config, published, fewer_seeds)
    _derive(report, config, run, allow_missing)
    return report


def _collect(run: Path, system: Any, allow_missing: bool, left_out: list[str]) -> Collected | None:
    seeds = decoded_seeds(run, system)
    absent = [str(run / fill(system.decode, seed)) for seed in system.seeds if seed not in seeds]
    if absent and not allow_missing:
        raise UserError(f"system {system.name}: {absent[0]} holds no hypotheses.jsonl; run its decode, or add --allow-missing")
    if absent:
        lacking = ", ".join(str(seed) for seed in system.seeds if seed not in seeds)
        left_out.append(f"{system.name} (seeds {lacking})" if seeds else system.name)
    return collect_system(run, system, seeds, allow_missing) if seeds else None


def _entry(one: Collected, config: ReportConfig) -> dict[str, Any]:
    figures = system_figures(one.utterances, config.unit, config.samples, config.seed, one.config.name)
    entry = empty_system(one.config.name)
    for source in (one.entry, figures):
        for key, value in source.items():
            entry[key] = entry[key] | value if isinstance(entry.get(key), dict) else value
    return entry


def _data(run: Path, config: ReportConfig, collected: list[Collected]) -> dict[str, Any]:
    corpus = read_json(run / config.corpus)
    utterances = next(iter(collected[0].utterances.values()))
    references = sorted((utterance.id, " ".join(utterance.reference)) for utterance in utterances)
    for one in collected[1:]:
        other = sorted((u.id, " ".join(u.reference)) for u in next(iter(one.utterances.values())))
        if other != references:
            differing = sorted(set(references) ^ set(other))
            raise UserError(
                f"systems {collected[0].config.name} and {one.config.name} were tested on different utterances or references"
                f" ({differing[0][0] if differing else '?'}); decode both with the same manifests"
            )
    data = {
        "source": corpus.get("source"),
        "counts": corpus.get("counts"),
        "split": corpus.get("split"),
        "test_references_sha256": hash_of_object(references),
        "test_utterances": len(references),
        "test_words": sum(len(utterance.reference) for utterance in utterances),
        "test_speakers": len({utterance.speaker for utterance in utterances if utterance.speaker is not None}) or None,
    }
    if corpus.get("shared_speakers"):
        data["shared_speakers"] = corpus["shared_speakers"]
    if config.words:
        outside = out_of_vocabulary(utterances, read_vocabulary(run / config.words))
        data["out_of_vocabulary"] = rounded({"words": outside["words"], "share": outside["share"]})
    return data


def _add_training_text(run: Path, config: ReportConfig, collected: list[Collected], results: dict[str, Any]) -> None:
    if not (config.training_text or config.training_cuts):
        return
    text, cuts = (run / path if path else None for path in (config.training_text, config.training_cuts))
    training = read_training_texts(text, cuts)
    for one, entry in zip(collected, results["systems"], strict=True):
        every = [split_by_training(utterances, training) for utterances in one.utterances.values()]
        for part in ("seen", "unseen"):
            rates = [figures[part]["wer"] for figures in every]
            known = [rate for rate in rates if rate is not None]
            entry["wer"][part] = rounded(sum(known) / len(known)) if known else None
    utterances = next(iter(collected[0].utterances.values()))
    seen = [utterance for utterance in utterances if utterance.reference in training]
    results["data"]["test_utterances_in_training_text"] = len(seen)
    results["data"]["test_words_in_training_text"] = error_figures(seen)["words"]


def _derive(report: Report, config: ReportConfig, run: Path, allow_missing: bool) -> None:
    """Fills in what follows from all systems together: comparisons, gain, tables, values, headline; checks the whole."""
    results = report.results
    results["comparisons"] = _comparisons(report, config, allow_missing)
    gain = _gain(report, config)
    results["gain_transferred"] = gain
    results["errors"] = _errors(report, config, run, gain)
    add_tables(results, report.utterances, config, allow_missing)
    results["lists"] = {**results.get("lists", {}), **read_lists(run, config.lists, allow_missing)}
    results["published"] = [dict(vars(row)) for row in config.published]
    values = results.setdefault("values", {})
    for name, figure in config.values.items():
        values[name] = rounded(_read(run, figure, values.get(name), allow_missing))
    results["title"], results["about"] = config.title or None, config.about or None
    headline = results["headline"]
    if gain is not None:
        seeds = next(entry["seeds"] for entry in results["systems"] if entry["name"] == gain["distilled"])
        found = {
            "gain_transferred": gain["share"] if gain["counts"] else None,
            "gain_transferred_ci95": gain["ci95"] if gain["counts"] else None,
            "p_distilled_beats_baseline": gain["p_distilled_beats_baseline"],
            "student_seeds": len(seeds),
        }
        headline |= {name: value for name, value in found.items() if name in headline or not headline}
    if config.senones and "senones" in headline:
        headline["senones"] = _read(run, config.senones, headline["senones"], allow_missing)
    for name, wanted in config.headline.items():
        if isinstance(wanted, BestOnDev):
            headline[name] = _best_on_dev(wanted.best_on_dev, results, config, f"headline figure {name}")
        else:
            headline[name] = rounded(_headline(wanted, headline.get(name), results, run, allow_missing))
    check_results(results)


def _errors(report: Report, config: ReportConfig, run: Path, gain: dict[str, Any] | None) -> dict[str, Any] | None:
    """Where the errors of the student are, or of the last system where none was distilled; of its first seed."""
    name = gain["distilled"] if gain is not None else report.results["systems"][-1]["name"]
    if name not in report.utterances:
        return None
    seed, utterances = next(iter(report.utterances[name].items()))
    words = run / config.words if config.words else None
    known = read_vocabulary(words) if words is not None and words.is_file() else None
    return {"system": name, "seed": seed, **rounded(error_breakdown(utterances, known))}


def _read(run: Path, figure: Any, earlier: Any, allow_missing: bool) -> Any:
    """The figure; ``earlier``, what was published before or None, where its file is not there yet and may be missing."""
    if allow_missing and isinstance(figure, str) and not (run / figure.partition("#")[0]).is_file():
        _log.warning("figure %s is not there yet", figure)
        return earlier
    return read_figure(run, figure)


def _headline(figure: Any, earlier: Any, results: Mapping[str, Any], run: Path, allow_missing: bool) -> Any:
    if not isinstance(figure, str) or "#" in figure:
        return _read(run, figure, earlier, allow_missing)
    name, *keys = figure.split(".")
    systems = {entry["name"]: entry for entry in results["systems"]}
    if name not in systems:
        if allow_missing:
            return None
        raise UserError(f"headline figure {figure!r}: no system {name!r}; expected one of {', '.join(systems)}, or FILE#key")
    return follow(systems[name], keys, f"headline figure {figure!r}")


def _best_on_dev(names: tuple[str, ...], results: Mapping[str, Any], config: ReportConfig, where: str) -> float | None:
    systems = {entry["name"]: entry for entry in results["systems"]}
    known = [*(system.name for system in config.systems), *systems]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"{where}: no system {unknown[0]!r}; expected some of {', '.join(dict.fromkeys(known))}")
    rates = [systems[name]["wer"] for name in names if name in systems and systems[name]["wer"]["dev"] is not None]
    best: float | None = min(rates, key=lambda rate: rate["dev"])["test"] if rates else None
    return best


def _present(report: Report, names: list[str], what: str, allow_missing: bool) -> bool:
    absent = [name for name in names if name not in report.utterances]
    if absent and not allow_missing:
        raise UserError(f"{what}: no system {absent[0]!r}; expected one of {', '.join(report.utterances)}")
    return not absent


def _comparisons(report: Report, config: ReportConfig, allow_missing: bool) -> list[dict[str, Any]]:
    rows = []
    wanted = [(pair.a, pair.b, pair.metric) for pair in config.comparisons]
    # What an earlier run compared stays, computed anew from the utterances.
    earlier = [(row["a"], row["b"], row["metric"]) for row in report.results["comparisons"]]
    for a, b, metric in dict.fromkeys([*wanted, *earlier]):
        if not _present(report, [a, b], f"comparison {a} - {b}", allow_missing or (a, b, metric) not in wanted):
            continue
        if metric not in METRICS:
            raise UserError(f"comparison {a} - {b}: unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
        check_senones(report.results, a, b, metric)
        counts = [metric_counts(metric, list(report.utterances[name].values()), name) for name in (a, b)]
        compared = paired_comparison(counts[0], counts[1], config.unit, config.samples, config.seed, (a, b)).to_dict()
        rows.append(rounded({"a": a, "b": b, "metric": metric} | {f"value_{x}": compared.pop(x) for x in "ab"} | compared))
    return rows


def _gain(report: Report, config: ReportConfig) -> dict[str, Any] | None:
    if config.gain is None:
        return None
    names = [config.gain.baseline, config.gain.ensemble, config.gain.distilled]
    if not _present(report, names, "gain_transferred", allow_missing=True):
        return None
    found = share_of_gain(report.results, report.utterances, names, config.gain.metric, config)
    return dict(rounded({**vars(config.gain), **vars(found)}))

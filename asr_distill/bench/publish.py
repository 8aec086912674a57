"""The figures of a bench for people and for results.json: one row a ratio, the searches, the memory of each side."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from asr_distill.bench import features, search, soft_targets, specialists, training
from asr_distill.report.environment import commit, environment, today, version_of
from asr_distill.report.page import Table, number, plain_table
from asr_distill.report.results import empty_results

ABOUT = (
    "Each ratio is the speed of ours over that of a named reference on the same work, both measured in turn (A B A B) within"
    " one run: the median over the pairs, with the lowest and the highest. Waveforms, training frames and soft targets are"
    " synthetic; the scores of the search bench are simulated (random observations around the senones of sampled state"
    " sequences), the graphs are HCLGs over CMUdict words with a bigram of random text. Worse paths are utterances whose best"
    " path scores below that of the widest search. Specialists have no reference: their rows are the time that each part takes"
    " on random predictions. Peak memory is that of a process of its own for each side; what the imports alone took stands"
    " beside it."
)


def machine(threads: int) -> dict[str, Any]:
    """Versions, processor, cores, threads and how busy the machine is, for a run that is about to begin."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        **environment("k2 and kaldi-decoder" if version_of("k2") else "kaldi-decoder", "cpu"),
        "cores": os.cpu_count(),
        "threads": threads,
        "cpu_capability": _capability(),
        "load_at_start": None if load is None else round(load, 2),
    }


def bench_results(bench: Mapping[str, Any], command: str | None) -> dict[str, Any]:
    """results.json of the bench, from what ``asr-distill bench all`` wrote; what was not measured is null."""
    results = empty_results("bench")
    results.update(
        command=command or bench.get("command"),
        commit=bench.get("commit") or commit(),
        date=bench.get("date") or today(),
        environment=bench["environment"],
        data={"source": "synthesised"},
        title="Benchmarks",
        about=ABOUT,
        tables={
            "ratios": ratio_rows(bench),
            "sides": side_rows(),
            "search": search_rows(bench),
            "specialists": specialist_rows(bench),
            "memory": memory_rows(bench),
        },
        table_titles={
            "ratios": "Ratios",
            "sides": "What each side does",
            "search": "Search: settings and errors",
            "specialists": "Specialists: clusters and combination",
            "memory": "Peak memory",
        },
        bench={name: bench.get(name) for name in ("train", "features", "soft_targets", "specialists", "search")},
    )
    results["headline"].update(headline(bench))
    return results


def headline(bench: Mapping[str, Any]) -> dict[str, float | None]:
    """The fixed names that this bench measures."""
    train = {row["case"]: row for row in bench.get("train") or []}
    search = {row["words"]: row for row in bench.get("search") or []}
    targets = {row["case"]: row for row in bench.get("soft_targets") or []}

    def median(row: Mapping[str, Any] | None, name: str) -> float | None:
        compared = (row or {}).get(name)
        return compared["ratio"]["median"] if compared else None

    return {
        "train_vs_resident_loop_cpu": median(train.get("cpu"), "vs_resident"),
        "train_vs_matmul_cpu": median(train.get("cpu"), "vs_matmul"),
        "train_vs_matmul_paper_cpu": median(train.get("paper"), "vs_matmul"),
        "fbank_vs_native": median(bench.get("features"), "extract_vs_native"),
        "search_k2_vs_kaldi_5000_words": median(search.get(5000), "vs_kaldi"),
        "store_read_vs_student_step": median(targets.get("cpu"), "read_vs_step"),
        "store_bytes_per_frame_14k": next(
            (row["bytes_per_frame"] for row in targets.values() if row["senones"] == 14_000), None
        ),
    }


def bench_table(bench: Mapping[str, Any]) -> str:
    """The ratios, searches and memory in columns for a terminal."""
    tables = []
    for rows in (ratio_rows(bench), search_rows(bench), specialist_rows(bench), memory_rows(bench)):
        if rows:
            header = tuple(rows[0])
            tables.append(plain_table(Table(header, tuple(tuple(number(row[key]) for key in header) for row in rows))))
    return "\n\n".join(tables)


def ratio_rows(bench: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a ratio."""
    rows = []
    for row in bench.get("train") or []:
        name = f"train {row['case']} ({row['precision']}, {row['parameters'] / 1e6:.1f} M, batch {row['batch_size']})"
        rows.append(_ratio_row(f"{name}: loop / resident batch", row["vs_resident"], row["threads"]))
        rows.append(_ratio_row(f"{name}: loop / matrix products", row["vs_matmul"], row["threads"]))
    found = bench.get("features")
    if found:
        for key, name in (
            ("extract_vs_native", "features: Fbank40.extract / bare native loop"),
            ("store_vs_native", "features: read, extract, store / bare native loop"),
            ("store_threads_vs_native", "features: the same in threads / bare native loop"),
        ):
            if found.get(key):
                rows.append(_ratio_row(name, found[key], found[key]["threads"]))
    for row in bench.get("soft_targets") or []:
        name = f"soft targets {row['case']} ({row['senones']:,} classes, {row['bytes_per_frame']:.1f} bytes a frame)"
        for key, sides in (
            ("read_vs_step", "read / student's step"),
            ("read_mapped_vs_step", "read from mapped files / student's step"),
            ("read_to_loss_vs_step", "read and taken through the loss / student's step"),
            ("read_dense_vs_step", "read as (N, C) / student's step"),
            ("read_vs_ensemble", f"read / {row['members']} networks again"),
        ):
            rows.append(_ratio_row(f"{name}: {sides}", row[key], row["threads"]))
    for row in bench.get("search") or []:
        name = f"search {row['words']:,} words: k2 / kaldi-decoder"
        if row["vs_kaldi"]:
            rows.append(_ratio_row(name, row["vs_kaldi"], row["threads"]))
            rows.append(
                _ratio_row(
                    f"{name}, processor time", {**row["vs_kaldi"], "ratio": row["vs_kaldi"]["cpu_ratio"], "goal": None}, None
                )
            )
    return rows


def _ratio_row(name: str, row: Mapping[str, Any], threads: int | None) -> dict[str, Any]:
    ratio = row["ratio"]
    return {
        "what": name,
        "ratio": ratio["median"],
        "min": ratio["min"],
        "max": ratio["max"],
        "goal": row["goal"],
        "ours": round(row["ours"]),
        "reference": round(row["reference"]),
        "unit": row["unit"],
        "pairs": ratio["pairs"],
        "threads": threads,
    }


def side_rows() -> list[dict[str, str]]:
    """What is done between two looks at the clock."""
    rooms = {
        "train": training.SIDES,
        "features": features.SIDES,
        "soft targets": soft_targets.SIDES,
        "specialists": specialists.SIDES,
        "search": search.SIDES,
    }
    return [{"side": f"{room}: {name}", "does": text} for room, sides in rooms.items() for name, text in sides.items()]


def search_rows(bench: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a vocabulary and engine."""
    rows = []
    for row in bench.get("search") or []:
        for engine, found in row["engines"].items():
            rows.append(
                {
                    "words": row["words"],
                    "engine": engine,
                    "beam": found["beam"],
                    "max active": found["max_active"],
                    "batch": found["batch_size"],
                    "WER %": found["wer"],
                    "worse paths": f"{found['worse_paths']}/{row['utterances']}",
                    "RTF": f"{found['rtf']:.5f}",
                    "processor RTF": f"{found['cpu_rtf']:.5f}",
                    "graph arcs": row["task"]["graph"]["HCLG"]["arcs"],
                    "note": row["reason"],
                }
            )
    return rows


def specialist_rows(bench: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Three rows a size."""
    rows = []
    for row in bench.get("specialists") or []:
        parts = {
            "covariance": (f"{row['predictions']:,} predictions", row["predictions"], "prediction/s", None),
            "clustering": (
                f"{row['num_clusters']} clusters of {row['size']}, {row['passes']} passes, {row['restarts']} starts",
                *(None, None, None),
            ),
            "combination": (
                f"{row['rows']:,} rows, {row['active_specialists']:.2f} specialists each",
                row["rows"],
                "row/s",
                f"{row['converged']:,} converged, in {row['iterations']} iterations at most,"
                f" {row['largest_excess']:.1g} nats above the minimum at most",
            ),
        }
        for part, (amount, count, unit, note) in parts.items():
            seconds = row["seconds"][part]
            rows.append(
                {
                    "classes": row["num_classes"],
                    "part": part,
                    "amount": amount,
                    "seconds": round(seconds, 2),
                    "rate": None if count is None else round(count / seconds),
                    "unit": unit,
                    "threads": row["threads"],
                    "note": note,
                }
            )
    return rows


def memory_rows(bench: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a process."""
    found = [
        (f"train {row['case']}: {side}", memory) for row in bench.get("train") or [] for side, memory in row["memory"].items()
    ]
    if bench.get("features"):
        found += [(f"features: {side}", memory) for side, memory in bench["features"]["memory"].items()]
    found += [(f"specialists, {row['num_classes']:,} classes", row["memory"]) for row in bench.get("specialists") or []]
    for row in bench.get("search") or []:
        found += [(f"search {row['words']:,} words: {engine}", entry["memory"]) for engine, entry in row["engines"].items()]
    return [{"process": name, "peak MiB": round(m["peak_mb"]), "of it imports": round(m["imported_mb"])} for name, m in found]


def _capability() -> str | None:
    known = getattr(torch.backends.cpu, "get_cpu_capability", None) if hasattr(torch.backends, "cpu") else None
    return str(known()) if known else None

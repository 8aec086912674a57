"""The section that says where the errors of one system are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asr_distill.report.sections import Section, Table, number


def errors_section(results: Mapping[str, Any]) -> list[Section]:
    """Return the section, made of ``errors`` of results.json; none where it is missing, as in older files."""
    errors = results.get("errors")
    if not errors:
        return []
    labels = {entry["name"]: entry["label"] or entry["name"] for entry in results["systems"]}
    section = Section(f"Where the errors are: {labels.get(errors['system'], errors['system'])}, seed {errors['seed']}")
    speakers, vocabulary = errors["speakers"], errors["vocabulary"]
    if speakers:
        (best, low), (worst, high) = speakers["best"], speakers["worst"]
        section.paragraphs.append(
            f"WER of its {speakers['number']} speakers: median {number(speakers['median_wer'])} %, from {number(low)} ({best})"
            f" to {number(high)} ({worst})."
        )
    if vocabulary and vocabulary["outside"]["words"]:
        inside, outside = vocabulary["inside"], vocabulary["outside"]
        section.paragraphs.append(
            f"Of the {inside['words']} reference words inside the vocabulary {number(inside['error_rate'])} % are wrong or"
            f" missing; {outside['words']} are outside and cannot be right."
        )
    columns = [[f"{a} -> {b} ({times})" for a, b, times in errors["confusions"]]]
    columns += [[f"{word} ({times})" for word, times in errors[kind]] for kind in ("deletions", "insertions")]
    height = max(map(len, columns))
    rows = tuple(tuple(column[i] if i < len(column) else "" for column in columns) for i in range(height))
    if rows:
        section.tables.append(Table(("confused (times)", "left out", "put in"), rows, numbers=False))
    return [section] if section.paragraphs or section.tables else []

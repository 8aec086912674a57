"""What RESULTS.md, the HTML page and the terminal show: sections and tables of text, made from results.json alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asr_distill.report.errors_section import errors_section
from asr_distill.report.sections import Section, Table, number
from asr_distill.scoring import named_unit

_SOURCES = {
    "real": "The data are recorded: real.",
    "synthesised": "The speech is synthesised: these figures say nothing about recorded speech.",
    "rendered": "The images are rendered: these figures say nothing about recorded data.",
}
_PARTS = ("train", "dev", "test")


def with_interval(value: Any, interval: Sequence[float] | None, digits: int = 2) -> str:
    """``6.60 [4.10, 9.20]``."""
    return number(value, digits) + (f" {number(interval, digits)}" if value is not None and interval else "")


Column = tuple[str, Callable[[Mapping[str, Any]], str]]


def _columns(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    """A table without the columns in which nothing was measured."""
    cells = [[column[1](row) for row in rows] for column in columns]
    kept = [i for i, column in enumerate(cells) if i == 0 or any(cell not in ("-", "- / -") for cell in column)]
    return Table(tuple(columns[i][0] for i in kept), tuple(tuple(cells[i][j] for i in kept) for j in range(len(rows))))


def _seeds(entry: Mapping[str, Any]) -> str:
    models = entry.get("models")
    return f"{len(entry['seeds'])}" + (f" x {models}" if models and models != 1 else "")


_ERRORS: list[Column] = [
    ("system", lambda e: e["label"] or e["name"]),
    ("LM", lambda e: e.get("lm") or "-"),
    ("seeds", _seeds),
    ("WER % [95 %]", lambda e: with_interval(e["wer"]["test"], e["wer"]["ci95"])),
    ("ins", lambda e: number(e["wer"]["ins"], 1)),
    ("del", lambda e: number(e["wer"]["del"], 1)),
    ("sub", lambda e: number(e["wer"]["sub"], 1)),
    ("SER %", lambda e: number(e["ser"])),
    ("WER % dev", lambda e: number(e["wer"]["dev"])),
    ("WER % text seen / unseen", lambda e: f"{number(e['wer'].get('seen'))} / {number(e['wer'].get('unseen'))}"),
    ("PER % [95 %]", lambda e: with_interval(e["per"], e["per_ci95"])),
]

_FRAMES: list[Column] = [
    ("system", lambda e: e["label"] or e["name"]),
    ("parameters", lambda e: number(e["parameters"])),
    ("train", lambda e: number(e["frame_accuracy"]["train"])),
    ("dev", lambda e: number(e["frame_accuracy"]["dev"])),
    ("test [95 %]", lambda e: with_interval(e["frame_accuracy"]["test"], e["frame_accuracy_ci95"])),
    ("cross-entropy", lambda e: number(e.get("cross_entropy"), 3)),
    ("speech", lambda e: number(e["frame_accuracy_speech"])),
    ("silence", lambda e: number(e["frame_accuracy_silence"])),
    ("best path", lambda e: number(e["k2_path_accuracy"])),
    ("best path, speech", lambda e: number(e["k2_path_accuracy_speech"])),
]

_SPEED: list[Column] = [
    ("system", lambda e: e["label"] or e["name"]),
    ("engine", lambda e: number(e.get("engine"))),
    *((f"RTF {part}", lambda e, part=part: number((e.get("rtf_parts") or {}).get(part), 4))
      for part in ("features", "network", "search")),
    ("RTF", lambda e: number(e["rtf"], 4)),
]  # fmt: skip


def results_page(results: Mapping[str, Any]) -> list[Section]:
    """All sections that have something to show, the title first."""
    data, unit = results["data"], (results.get("bootstrap") or {}).get("unit", "utterance")
    opening = Section(results.get("title") or f"Results of recipes/{results['recipe']}")
    opening.paragraphs = [text for text in (results.get("about"), _SOURCES.get(data["source"])) if text]
    if data.get("shared_speakers"):
        opening.paragraphs.append(shared_speakers(data))
    if data.get("test_utterances"):
        opening.paragraphs.append(_test_set(data))
    if results["command"]:
        opening.commands.append(("everything", results["command"]))
    sections = [
        opening,
        *_system_sections(results["systems"], unit, shared_speakers(data)),
        *errors_section(results),
        *_published(results),
        *_comparison_sections(results, unit),
    ]
    sections += [_named_table(name, rows, results) for name, rows in results["tables"].items() if rows]
    sections += [_list(table) for table in (results.get("lists") or {}).values() if table["rows"]]
    for key, title in (("headline", "Headline figures"), ("values", "Further figures")):
        rows = [(name, number(value, 3)) for name, value in (results.get(key) or {}).items() if value is not None]
        if rows:
            sections.append(Section(title, tables=[Table(("figure", "value"), tuple(rows))]))
    commands = [
        (entry["label"] or entry["name"], str(entry["command"])) for entry in results["systems"] if entry.get("command")
    ]
    if commands:
        sections.append(Section("Commands", ["The command that made each row's hypotheses."], commands=commands))
    return [*sections, _environment(results)]


def shared_speakers(data: Mapping[str, Any]) -> str:
    """The sentence that stands beside figures whose test speakers, or dev speakers, were trained on; else nothing."""
    pairs = [f"{len(names)} in both {parts}" for parts, names in (data.get("shared_speakers") or {}).items()]
    return f"Speakers are shared ({', '.join(pairs)}): no figure here says anything about new speakers." if pairs else ""


def _test_set(data: Mapping[str, Any]) -> str:
    parts = [f"Test set: {data['test_utterances']:,} utterances, {data['test_words']:,} words"]
    if data.get("test_speakers"):
        parts.append(f"{data['test_speakers']} speakers")
    text = ", ".join(parts) + "."
    counts = data.get("counts") or {}
    if all(isinstance(counts.get(part), dict) and counts[part].get("hours") is not None for part in _PARTS):
        hours = " / ".join(number(counts[part]["hours"], 2) for part in _PARTS)
        speakers = " / ".join(str(counts[part].get("speakers", "-")) for part in _PARTS)
        text += f" Train / dev / test: {hours} h of {speakers} speakers."
    if data.get("test_utterances_in_training_text"):
        text += (
            f" The text of {data['test_utterances_in_training_text']} of its utterances"
            f" ({data['test_words_in_training_text']} words) occurs in the training text too: seen."
        )
    if data.get("out_of_vocabulary"):
        outside = data["out_of_vocabulary"]
        text += f" {outside['words']} words ({100 * (outside['share'] or 0):.2f} %) are outside the vocabulary: errors."
    return text


def _system_sections(systems: Sequence[Mapping[str, Any]], unit: str, shared: str = "") -> list[Section]:
    if not systems:
        return []
    how = f"Intervals: percentile bootstrap over {named_unit(unit)}, and over seeds where there are several; counts are means"
    how = " ".join(filter(None, [f"{how} over seeds.", shared]))
    sections = [Section("Errors on the test set", [how], [_columns(systems, _ERRORS)])]
    labelled = [entry for entry in systems if any(value is not None for value in entry["frame_accuracy"].values())]
    if labelled:
        text = (
            "Per cent of frames whose likeliest senone is the aligned one; cross-entropy: nats per frame of test; best path:"
            " the senones on the decoder's best path."
        )
        sections.append(Section("Frame accuracy", [text], [_columns(labelled, _FRAMES)]))
    timed = [entry for entry in systems if any((entry.get("rtf_parts") or {}).values()) or entry["rtf"] is not None]
    if timed:
        text = "Seconds of work per second of speech; a dash: that part was not run or not timed."
        sections.append(Section("Real-time factor", [text], [_columns(timed, _SPEED)]))
    notes = [f"{entry['label'] or entry['name']}: {entry['note']}" for entry in systems if entry.get("note")]
    if notes:
        sections[0].paragraphs += notes
    return sections


def _published(results: Mapping[str, Any]) -> list[Section]:
    rows = results.get("published") or []
    if not rows:
        return []
    cells = tuple((row["name"], row.get("lm") or "-", number(row["wer"]), row.get("source") or "-") for row in rows)
    return [Section("Published by others, not measured here", tables=[Table(("system", "LM", "WER %", "source"), cells)])]


def _comparison_sections(results: Mapping[str, Any], unit: str) -> list[Section]:
    sections = []
    if results["comparisons"]:
        columns: list[Column] = [
            ("a - b", lambda c: f"{c['a']} - {c['b']}"),
            ("metric", lambda c: c["metric"]),
            ("difference [95 %]", lambda c: with_interval(c["difference"], c["ci95"])),
            ("P(a better)", lambda c: number(c["p_improvement"], 3)),
        ]
        text = f"Both systems on the same bootstrap draws of {named_unit(unit)}; percentage points."
        text = " ".join(filter(None, [text, shared_speakers(results["data"])]))
        sections.append(Section("Paired comparisons", [text], [_columns(results["comparisons"], columns)]))
    gain = results.get("gain_transferred")
    if gain:
        text = (
            f"{gain['distilled']} has {number(gain['share'])} {number(gain['ci95'])} of what {gain['ensemble']} gains over"
            f" {gain['baseline']} in {gain['metric']}; that gain is {number(gain['ensemble_gain'])}"
            f" {number(gain['ensemble_gain_ci95'])} points"
            + (", which excludes zero." if gain["counts"] else ", which does not exclude zero: the share does not count.")
        )
        sections.append(Section("Share of the ensemble's gain", [text]))
    return sections


def _list(table: Mapping[str, Any]) -> Section:
    rows = tuple(tuple(number(cell, table["digits"]) for cell in row) for row in table["rows"])
    return Section(table["title"], tables=[Table(tuple(name.replace("_", " ") for name in table["columns"]), rows)])


def _named_table(name: str, rows: Sequence[Mapping[str, Any]], results: Mapping[str, Any]) -> Section:
    title = (results.get("table_titles") or {}).get(name, name)
    if all("wer_test" in row for row in rows):
        columns: list[Column] = [
            ("system", lambda r: r["label"] or r["system"]),
            ("seeds", lambda r: f"{r['seeds']}" + (f" x {r['models']}" if (r["models"] or 1) != 1 else "")),
            ("frame accuracy train", lambda r: number(r["frame_accuracy_train"])),
            ("dev", lambda r: number(r["frame_accuracy_dev"])),
            ("test [95 %]", lambda r: with_interval(r["frame_accuracy_test"], r["frame_accuracy_ci95"])),
            ("regained [95 %]", lambda r: with_interval(r.get("regained"), r.get("regained_ci95"), 3)),
            ("cross-entropy", lambda r: number(r.get("cross_entropy_test"), 3)),
            ("WER % [95 %]", lambda r: with_interval(r["wer_test"], r["wer_ci95"])),
            ("PER %", lambda r: number(r["per"])),
        ]
        text = "Regained: the share won back of what hard labels lack against all data, or against the ensemble."
        return Section(title, [text] if any("regained" in row for row in rows) else [], [_columns(rows, columns)])
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return Section(title, tables=[Table(tuple(keys), tuple(tuple(number(row.get(key)) for key in keys) for row in rows))])


def _environment(results: Mapping[str, Any]) -> Section:
    rows = [(key, number(value)) for key, value in results["environment"].items()]
    rows += [(key, number(results[key])) for key in ("commit", "date")]
    return Section("Environment", tables=[Table(("", ""), tuple(rows), numbers=False)])


def systems_table(results: Mapping[str, Any]) -> str:
    """The table of errors and that of frame accuracies, aligned for a terminal."""
    tables = [table for section in _system_sections(results["systems"], "") for table in section.tables]
    return "\n\n".join(plain_table(table) for table in tables)


def plain_table(table: Table) -> str:
    """A table in columns of text."""
    grid = [table.header, *table.rows]
    widths = [max(len(row[i]) for row in grid) for i in range(len(table.header))]
    lines = [
        "  ".join(cell.rjust(widths[i]) if i and table.numbers else cell.ljust(widths[i]) for i, cell in enumerate(row))
        for row in grid
    ]
    return "\n".join([lines[0].rstrip(), "-" * sum(widths, 2 * (len(widths) - 1)), *(line.rstrip() for line in lines[1:])])

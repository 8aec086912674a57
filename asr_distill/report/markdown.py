"""RESULTS.md from sections."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from asr_distill.base import printable
from asr_distill.report.page import Section, Table, results_page

_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|(?<=\])(?=\()|\\|\|")  # tags, links, and what ends a cell


def _cell(text: str) -> str:
    """Ids, words and names of the corpus stand in tables as they are, and do nothing there."""
    return printable(_MARKUP.sub(lambda found: "\\" + found.group(), text.replace("\n", " ")))


def _table(table: Table) -> str:
    rule = [":---", *(("---:" if table.numbers else ":---") for _ in table.header[1:])]
    rows = [table.header, rule, *table.rows]
    return "\n".join(f"| {' | '.join(row if row is rule else map(_cell, row))} |" for row in rows)


def results_markdown(results: Mapping[str, Any]) -> str:
    """RESULTS.md of results.json: its sections, and the pictures that were published beside it."""
    *sections, environment = results_page(results)
    pictures = {row["file"]: row["caption"] for row in results.get("pictures") or []}
    return markdown_page([*sections, *pictures_section(pictures), environment])


def pictures_section(captions: Mapping[str, str]) -> list[Section]:
    """A section that shows files, named relative to the page, each under its caption; none where there are none."""
    shown = [f"{caption}\n\n![{PurePosixPath(file).stem}]({file})" for file, caption in captions.items()]
    return [Section("Pictures", shown)] if shown else []


def markdown_page(sections: Sequence[Section]) -> str:
    """Markdown; the first section is the document's title. Commands stand in code blocks, as typed."""
    blocks = []
    for position, section in enumerate(sections):
        blocks.append(f"{'#' if position == 0 else '##'} {section.title}")
        blocks += section.paragraphs
        blocks += [_table(table) for table in section.tables]
        for name, command in section.commands:
            blocks.append(f"{name}:\n\n```\n{command}\n```")
    return "\n\n".join(blocks) + "\n\nGenerated from results.json by `asr-distill report`; do not edit.\n"

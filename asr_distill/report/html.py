"""One HTML file from sections and PNG files, with nothing outside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from asr_distill.report.page import Section, Table

_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;margin:1em 0}"
    "th,td{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:right}th:first-child,td:first-child{text-align:left}"
    "pre{background:#f4f4f4;padding:.6em;overflow-x:auto}img{max-width:100%}"
)


def _table(table: Table) -> str:
    rows = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in table.header)}</tr>"]
    rows += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows]
    return f"<table>{''.join(rows)}</table>"


def html_page(sections: Sequence[Section], figures: Sequence[Path] = ()) -> str:
    """The page; ``figures`` are PNG files, embedded."""
    blocks = []
    for position, section in enumerate(sections):
        level = "h1" if position == 0 else "h2"
        blocks.append(f"<{level}>{escape(section.title)}</{level}>")
        blocks += [f"<p>{escape(text)}</p>" for text in section.paragraphs]
        blocks += [_table(table) for table in section.tables]
        blocks += [f"<p>{escape(name)}</p><pre>{escape(command)}</pre>" for name, command in section.commands]
    for figure in figures:
        data = base64.b64encode(figure.read_bytes()).decode("ascii")
        blocks.append(f'<h2>{escape(figure.stem)}</h2><img alt="{escape(figure.stem)}" src="data:image/png;base64,{data}">')
    head = f'<meta charset="utf-8"><title>{escape(sections[0].title)}</title><style>{_STYLE}</style>'
    return "\n".join([f'<!doctype html><html lang="en"><head>{head}</head><body>', *blocks, "</body></html>\n"])

"""What a terminal or a page would obey is written out; letters of any script stay."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.base import json_line, printable
from asr_distill.base.terminal import PrintableFormatter
from asr_distill.cli.main import main
from asr_distill.report.markdown import markdown_page
from asr_distill.report.page import Section, Table

HOSTILE = "a\x1b[2J\x1b]0;title\x07b\rc\x9b31m‮x"


def test_escapes_are_shown() -> None:
    assert printable(HOSTILE) == r"a\x1b[2J\x1b]0;title\x07b\rc\x9b31m\u202ex"
    for text in ("Grüße, 你好, नमस्ते, שלום\tمرحبا\n", "e\u0301", "👩‍🔬"):
        assert printable(text) == text


@given(st.text())
def test_nothing_that_is_obeyed_is_left(text: str) -> None:
    for shown in (printable(text), json_line([text])):
        assert not [c for c in shown if (ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 or "\u202a" <= c <= "\u202e"]
    assert json.loads(json_line([text])) == [text]


def test_log_lines_and_errors(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "cut %s", (HOSTILE,), None)
    assert "\x1b" not in PrintableFormatter("%(message)s").format(record)
    assert main(["score", str(tmp_path / HOSTILE)]) == 1
    error = capsys.readouterr().err
    assert "\\x1b[2J" in error
    assert "\x1b" not in error


def test_names_in_tables_of_a_page_do_nothing() -> None:
    names = ["<script>x</script>", "[x](http://y)", "![x](y)", "a|b", "c\nd", "\x1b[0m", "1.2 [0.9, 1.5]", "a < b", "`x`", "é"]
    page = markdown_page([Section("t", [], [Table(("name",), tuple((name,) for name in names))])])
    rows = [line for line in page.split("\n") if line.startswith("| ")][2:]
    assert rows == [
        r"| \<script>x\</script> |", r"| [x]\(http://y) |", r"| ![x]\(y) |", r"| a\|b |", "| c d |", r"| \x1b[0m |",
        "| 1.2 [0.9, 1.5] |", "| a < b |", "| `x` |", "| é |",
    ]  # fmt: skip

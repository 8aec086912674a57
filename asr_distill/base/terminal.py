"""What is shown to people: control characters that ids, words and file names may hold are written out, not obeyed."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

# Controls but for tab and the end of a line, what reverses the direction of text, line separators, and lone surrogates.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """``text`` with what a terminal would obey written as ``\\x1b`` or ``\\u202e``; letters of any script stay."""
    return _OBEYED.sub(lambda found: ascii(found.group())[1:-1], text)


def json_line(value: Any) -> str:
    """One line of JSON, the same value for machines; what a terminal would obey is escaped as JSON escapes it."""
    text = json.dumps(value, ensure_ascii=False)
    return _OBEYED.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


class PrintableFormatter(logging.Formatter):
    """Log lines as `printable` has them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return printable(super().format(record))

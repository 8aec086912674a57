"""Words that people wrote: one spelling for what Unicode can write in two ways."""

from __future__ import annotations

import unicodedata


def normalise_text(text: str) -> str:
    """Unicode NFC: a letter and its accent are one character wherever Unicode has it; ASCII stays as it is.

    Editors and systems differ in how they write ``é``, and two words that look the same have to be the same.
    """
    return unicodedata.normalize("NFC", text)

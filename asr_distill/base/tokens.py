"""Ids and words in the lines of scoring tools: what these would read as markup is written as %XX, and read back."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from asr_distill.base.errors import UserError
from asr_distill.base.text import has_odd_character

_MARKUP = re.compile(r"[\s(){}]|^;|^(?:[/@]|<ALT(?:_BEGIN|_END)?>)$")
_ESCAPES = re.compile(r"(?:%[0-9A-F]{2})+")


def escape_token(token: str) -> str:
    """The token as one field of trn, ctm or stm: unchanged, or with its blanks, brackets and whatever else means something
    there as ``%XX``; `unescape_token` gives it back.

    Raises `UserError` for an empty token, which has no such form.
    """
    if not token:
        raise UserError("an empty id or word cannot be written into a trn or ctm file; name the cut")
    return _quoted(token) if _is_special(token) or _unquoted(token) != token else token


def unescape_token(token: str) -> str:
    """What `escape_token` was given; any other token as it is."""
    plain = _unquoted(token)
    return plain if plain != token and escape_token(plain) == token else token


def _is_special(token: str) -> bool:
    return bool(_MARKUP.search(token)) or has_odd_character(token)


def _quoted(token: str) -> str:
    first = token[:1] if token[:1] in ";/@<" else ""
    escaped = "".join(c if c != "%" and not (_is_special(c) and c not in ";/@<") else _percent(c) for c in token[len(first) :])
    return (_percent(first) if first else "") + escaped


def _percent(character: str) -> str:
    return quote(character, safe="") if not character.isalnum() or not character.isascii() else f"%{ord(character):02X}"


def _unquoted(token: str) -> str:
    return _ESCAPES.sub(
        lambda match: unquote(match.group(), errors="strict") if _valid(match.group()) else match.group(), token
    )


def _valid(escapes: str) -> bool:
    try:
        bytes.fromhex(escapes.replace("%", "")).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

"""Does what a lexicon calls phones look like phones? What surely does not is refused, what may not is said."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from asr_distill.base import UserError
from asr_distill.lang.lexicon_formats import Row

# A number with a point or many digits; the beginning of a comment; a piece of a list or of brackets that hold several phones.
_NO_PHONE = re.compile(
    r"[-+]?(\d*\.\d+|\d+\.|\d{3,}|\d+[eE][-+]?\d+)|#.*|;.*|//.*|.+[,;]|,.+|/.+|.+/|[\[(][^\])]+|[^\[(]+[\])]", re.ASCII
)
_LONG = 10  # characters; the longest of ARPABET, SAMPA and IPA with marks have fewer
_MANY = 500  # phones: more than initials and finals of a tonal language, as many as some syllables
_WORDS_AS_PHONES = 100  # phones from which on text that was taken for a lexicon can be told from one
_ENOUGH = 1000  # pronunciations from which on a phone that comes once is likelier a slip than rare
_SHOWN = 10


def check_phones(path: Path, rows: Sequence[Row], declared: bool) -> None:
    """Raises `UserError` naming the line of what is no phone, unless the file's format was ``declared``; logs what is odd."""
    counts = Counter(phone for row in rows for phone in row.phones)
    wrong = {phone for phone in counts if _NO_PHONE.fullmatch(phone)}
    if not declared:
        _check_words(path, rows)
    if wrong and not declared:
        row, phone = next((row, phone) for row in rows for phone in row.phones if phone in wrong)
        raise UserError(
            f"{path}, line {row.line}: the word {row.word!r} would have the phone {phone!r}, which looks like a number, a"
            " comment or a list. Next: mend the file, or declare its columns (--lexicon-format lexiconp, lexiconp_silprob,"
            " cmudict or mfa); --lexicon-format plain takes it as a phone"
        )
    if len(counts) > _WORDS_AS_PHONES and 2 * len(counts) > len(rows) and not declared:
        row = max(rows, key=lambda row: len(row.phones))
        raise UserError(
            f"{path}: {len(counts)} different phones in {len(rows)} pronunciations, as in line {row.line}, {row.word!r}: is it"
            " text and no lexicon? Next: give lines of WORD PHONE PHONE ..., or --lexicon-format plain if these are phones"
        )
    groups = {
        "are no letters": sorted(phone for phone in counts if not any(unicodedata.category(c)[0] in "LM" for c in phone)),
        f"have more than {_LONG} characters": sorted(phone for phone in counts if len(phone) > _LONG),
        "come once": sorted(p for p, count in counts.items() if count == 1) if len(rows) >= _ENOUGH else [],
        "differ in upper and lower case only": _case_variants(counts),
    }
    for what, phones in groups.items():
        if phones:
            shown = " ".join(phones[:_SHOWN]) + (f" and {len(phones) - _SHOWN} more" if len(phones) > _SHOWN else "")
            _log.warning("%s: phones that %s: %s; are they phones?", path, what, shown)
    if len(counts) > _MANY:
        _log.warning("%s: %d different phones, more than languages have; does every one get its own model?", path, len(counts))


def _check_words(path: Path, rows: Sequence[Row]) -> None:
    """Refuses what is no word in the place of one: a mark of a comment, and a separator that every word carries."""
    for row in rows:
        if row.word in ("#", ";", "//", "--", "%"):
            raise UserError(
                f"{path}, line {row.line}: begins with {row.word!r}, which may be a comment. Next: take the line out, or"
                " --lexicon-format plain where it is a word"
            )
    ends = {row.word[-1] for row in rows}
    if len(ends) == 1 and ends <= set(",;:|=") and len(rows[0].word) > 1:
        raise UserError(
            f"{path}, line {rows[0].line}: found the word {rows[0].word!r}, and every other ends in {ends.pop()!r} too; a blank"
            " or a tab separates a word from its phones. Next: take these off, or --lexicon-format plain where they stay"
        )


def _case_variants(counts: Counter[str]) -> list[str]:
    """Phones that are equal but for case, one of them rare: SAMPA tells vowels apart by case, a slip comes seldom."""
    by_fold: dict[str, list[str]] = {}
    for phone in counts:
        by_fold.setdefault(phone.casefold(), []).append(phone)
    pairs = [phones for phones in by_fold.values() if len(phones) > 1]
    return sorted(p for phones in pairs for p in phones if 50 * min(counts[q] for q in phones) < max(counts[q] for q in phones))


_log = logging.getLogger("asr_distill")

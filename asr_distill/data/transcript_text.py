"""Transcripts in the form that a lexicon has: one case, no punctuation around words."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from asr_distill.data.corpora import Utterance

Case = Literal["as-is", "upper", "lower"]
_OF_WORDS = "'\u2019-"  # stand within words: don't, mother-in-law; at their ends, the apostrophe is one of them too


@dataclass(frozen=True)
class TextOptions:
    """How transcripts are changed before anything is made of them.

    case: ``upper`` or ``lower``. strip_punctuation: takes punctuation off both ends of words, apostrophes not, and leaves out
    words of nothing else.
    """

    case: Case = "as-is"
    strip_punctuation: bool = False

    def of(self, text: str) -> str:
        """Return the text so changed, its words one blank apart where anything is."""
        words = text.split()
        if self.strip_punctuation:
            words = [bare for word in words if (bare := _stripped(word))]
        if self.case != "as-is":
            words = [word.upper() if self.case == "upper" else word.lower() for word in words]
        return " ".join(words) if self != TextOptions() else text

    def applied(self, utterances: Iterable[Utterance]) -> list[Utterance]:
        """Return the utterances with their transcripts so changed; what was written stays under ``written``."""
        if self == TextOptions():
            return list(utterances)
        changed = []
        for one in utterances:
            text = self.of(one.text)
            custom = {**one.custom, "written": one.text} if text != one.text else one.custom
            changed.append(dataclasses.replace(one, text=text, custom=custom))
        return changed


def hint(absent: Collection[str], known: Collection[str]) -> str:
    """Return which options would find words in a lexicon that lacks them as they are written; empty where none would."""
    best, most = "", 0
    cases: tuple[Case, ...] = ("as-is", "upper", "lower")
    for case in cases:
        for strip in (False, True):
            options = TextOptions(case, strip)
            found = sum(options.of(word) in known for word in absent)
            if found > most:
                words = [*([f"--case {case}"] if case != "as-is" else []), *(["--strip-punctuation"] if strip else [])]
                best, most = f"{found} of them are there with {' '.join(words)} of the preparation", found
    return best


def _stripped(word: str) -> str:
    begin, end = 0, len(word)
    while begin < end and _is_mark(word[begin]):
        begin += 1
    while end > begin and _is_mark(word[end - 1]):
        end -= 1
    bare = word[begin:end]
    return bare if bare.strip(_OF_WORDS) else ""


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "P" and character not in "'\u2019"

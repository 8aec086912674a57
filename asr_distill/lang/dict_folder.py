"""Which phones are no speech: what lies beside a lexicon in a Kaldi dict folder says so, else the usual names do.

A folder ``data/local/dict`` holds ``silence_phones.txt`` and ``optional_silence.txt`` beside ``lexicon.txt``; words that are
said by such phones alone (``!SIL``, ``<UNK>``) are none of the language.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_distill.base import UserError, split_words, text_lines
from asr_distill.lang.lexicon import Lexicon

FILES = ("silence_phones.txt", "optional_silence.txt", "nonsilence_phones.txt")
_SILENCES, _NOISES = ("sil", "sp"), ("spn", "nsn")  # in any case
DEFAULT_SILENCE, DEFAULT_NOISE = "SIL", "SPN"


@dataclass(frozen=True)
class SilencePhones:
    """Phones without speech. ``optional``: the silence between words. ``noises``: the others, in the order of their source;
    ``spoken``: the one that says a word nobody knows (``unknown``), where it is named."""

    optional: str = DEFAULT_SILENCE
    noises: tuple[str, ...] = (DEFAULT_NOISE,)
    spoken: str | None = None

    @property
    def all(self) -> frozenset[str]:
        """Silence and noises."""
        return frozenset((self.optional, *self.noises))

    @property
    def unknown(self) -> str:
        """The noise that says a word nobody knows: ``spoken``, else the one named SPN in any case, else the first."""
        named = [phone for phone in self.noises if phone.casefold() == "spn"]
        return self.spoken or (*named, *self.noises, DEFAULT_NOISE)[0]

    def words_without_speech(self, lexicon: Lexicon) -> tuple[str, ...]:
        """The words whose every pronunciation is of these phones alone: ``!SIL``, ``<UNK>``, ``[NOISE]``."""
        spoken = {entry.word for entry in lexicon.entries if not self.all.issuperset(entry.phones)}
        return tuple(word for word in lexicon.words if word not in spoken)

    def speech_of(self, lexicon: Lexicon, needed: Iterable[str]) -> Lexicon:
        """The lexicon without its words of silence and noise, except those that the transcripts have (``needed``)."""
        left_out = set(self.words_without_speech(lexicon)).difference(needed)
        return lexicon.restrict(word for word in lexicon.words if word not in left_out)

    def files(self) -> dict[str, str]:
        """The texts of `FILES` that say the same, by name."""
        phones = "".join(f"{phone}\n" for phone in (self.optional, *self.noises))
        return {"silence_phones.txt": phones, "optional_silence.txt": f"{self.optional}\n"}


def silence_phones(lexicons: Sequence[Path], lexicon: Lexicon) -> SilencePhones:
    """What the files beside the first of ``lexicons`` that has such neighbours say, else what the usual names in any case
    (SIL, SPN, NSN) do where such a phone stands alone in every pronunciation that has it.

    Raises `UserError` where the files disagree with each other, or with the phones of that lexicon.
    """
    for path in lexicons:
        if (path.parent / FILES[0]).is_file():
            return _read(path)
    mixed = {p for e in lexicon.entries if len(set(e.phones)) > 1 for p in e.phones}
    alone = [phone for phone in lexicon.phones if phone not in mixed]
    silences = [phone for name in _SILENCES for phone in alone if phone.casefold() == name]
    noises = [phone for name in _NOISES for phone in alone if phone.casefold() == name]
    optional = DEFAULT_SILENCE if not silences or DEFAULT_SILENCE in silences else silences[0]
    others = [phone for phone in silences if phone != optional]
    return SilencePhones(optional, tuple([*others, *noises] or [DEFAULT_NOISE]))


def _read(lexicon_path: Path) -> SilencePhones:
    folder = lexicon_path.parent
    listed = _phones(folder / FILES[0])
    optional = _phones(folder / FILES[1]) if (folder / FILES[1]).is_file() else listed[:1]
    if len(optional) != 1 or optional[0] not in listed:
        raise UserError(
            f"{folder / FILES[1]}: found {' '.join(optional) or 'nothing'}, expected one of the phones of {FILES[0]}:"
            f" {' '.join(listed) or 'none'}"
        )
    return SilencePhones(optional[0], tuple(phone for phone in listed if phone != optional[0]))


def check_listed(path: Path, lexicon: Lexicon) -> None:
    """Raises `UserError` where ``nonsilence_phones.txt`` beside a lexicon does not list a phone of it, as Kaldi asks."""
    folder = path.parent
    if not all((folder / name).is_file() for name in (FILES[0], FILES[2])):
        return
    silence, speech = _phones(folder / FILES[0]), _phones(folder / FILES[2])
    both = sorted(set(silence).intersection(speech))
    if both:
        raise UserError(f"{folder}: {' '.join(both[:10])} in both {FILES[0]} and {FILES[2]}; a phone is speech or it is not")
    known = {*silence, *speech}
    entry = next((entry for entry in lexicon.entries if not known.issuperset(entry.phones)), None)
    if entry is not None:
        phone = next(phone for phone in entry.phones if phone not in known)
        raise UserError(
            f"{path}: the word {entry.word!r} has the phone {phone!r}, which neither {FILES[0]} nor {FILES[2]} beside it lists."
            " Next: mend the lexicon or the list, or copy the lexicon to a folder without these files"
        )


def _phones(path: Path) -> list[str]:
    lines = text_lines(path, "phones, one or more a line")
    return list(dict.fromkeys(phone for number, line in lines for phone in split_words(line, f"{path}, line {number}")))

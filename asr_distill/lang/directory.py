"""The lang directory: symbol tables, lexicon and L, as Kaldi and icefall lay them out, without pickles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from asr_distill.base import UserError, atomic_directory, found_instead, hash_of_object, normalise_text, read_json
from asr_distill.lang.layout import FORMAT, LANG_FILE, write_lang
from asr_distill.lang.lexicon import Lexicon, Pronunciation
from asr_distill.lang.lexicon_fst import disambiguate
from asr_distill.lang.phone_set import POSITIONS, PhoneSet, base_phone
from asr_distill.lang.subwords import UNKNOWN_UNIT, Subwords, join_pieces
from asr_distill.lang.symbols import EPSILON, SymbolTable

_KEYS = ("silence_phone", "silence_phones", "silence_probability", "position_dependent", "kind", "hash")


@dataclass(frozen=True)
class Lang:
    """A lang directory in memory.

    ``phones``: ``<eps>``, silence phones, other phones sorted, ``#0 #1 ...``. ``words``: ``<eps>``, words sorted, ``#0``,
    ``<s>``, ``</s>``. ``lexicon`` uses the names of ``phones`` (position markers applied). ``kind`` is ``phones`` (dictionary)
    or ``subwords`` (units of G are sentencepiece pieces, phones are characters). ``hash`` is over phones, words, pronunciations
    and silence handling.
    """

    directory: Path
    phones: SymbolTable
    words: SymbolTable
    lexicon: Lexicon
    disambig_ids: tuple[int, ...]
    silence_phone: str
    silence_phones: tuple[str, ...]
    silence_probability: float
    position_dependent: bool
    kind: str
    hash: str

    @classmethod
    def build(
        cls,
        lexicon: Lexicon,
        directory: str | Path,
        *,
        silence_phone: str = "SIL",
        silence_probability: float = 0.5,
        position_dependent: bool = False,
        noise_phones: Sequence[str] = ("SPN",),
        phones_of: PhoneSet | None = None,
    ) -> Lang:
        """Writes a lang directory (whole or not at all, replacing an older one) and returns it.

        Args:
          lexicon: pronunciations.
          silence_probability: of optional silence at the start and after each word, in [0, 1).
          position_dependent: phones become ``AH_B AH_I AH_E AH_S``; silence and noise phones stay as they are.
          noise_phones: further phones without speech (as ``SPN`` of ``<UNK>``), listed with silence where the lexicon uses
            them.
          phones_of: the phones of a model that the words are for; they decide silence, noise and positions, and the lexicon may
            have any of them.

        Raises `UserError` for an empty lexicon, a probability outside [0, 1), phone names that would be taken for
        word-position variants, and phones that ``phones_of`` lacks.
        """
        silence_phones = _silence_phones(lexicon, silence_phone, noise_phones)
        phones = set(lexicon.phones) - set(silence_phones)
        if phones_of is not None:
            phones_of.require(lexicon)
            silence_phones, position_dependent = phones_of.silence_phones, phones_of.position_dependent
        else:
            _check_markers(lexicon.phones, phones, position_dependent)
        if position_dependent:
            lexicon = _mark_positions(lexicon, silence_phones)
            phones = {phone + suffix for phone in phones for suffix in POSITIONS}
        ordered = (*silence_phones, *sorted(phones)) if phones_of is None else phones_of.phones
        lang = cls._assemble(
            lexicon, Path(directory), silence_phones, ordered, silence_probability, position_dependent, "phones"
        )
        with atomic_directory(directory, kind=LANG_FILE) as temporary:
            write_lang(lang, temporary)
        return lang

    @classmethod
    def build_subwords(
        cls,
        subwords: Subwords,
        training_words: Iterable[str],
        directory: str | Path,
        *,
        silence_phone: str = "SIL",
        silence_probability: float = 0.5,
        unknown_phone: str | None = None,
    ) -> Lang:
        """Writes a lang directory whose words are subword units and whose phones are characters, and returns it.

        Silence may come only where a word begins, and at the end. ``align/`` in it is a lang directory of its own in which the
        ``training_words`` are said as their characters, over the same phones (see `for_alignment`). ``unknown_phone`` adds the
        unit ``<UNK>`` with that phone.
        """
        lexicon = subwords.lexicon()
        words = sorted({normalise_text(word) for word in training_words})
        unseen = subwords.unseen_characters(words)
        if unseen:
            raise UserError(f"subwords: training words have characters that no unit has: {', '.join(map(repr, unseen))}")
        whole = Lexicon.from_characters(words)
        if unknown_phone is not None:
            lexicon, whole = (each.with_unknown(UNKNOWN_UNIT, unknown_phone) for each in (lexicon, whole))
        silence_phones = _silence_phones(lexicon, silence_phone, [unknown_phone] if unknown_phone else [])
        phones = (*silence_phones, *sorted(set(lexicon.phones) - set(silence_phones)))
        lang = cls._assemble(lexicon, Path(directory), silence_phones, phones, silence_probability, False, "subwords")
        align = cls._assemble(whole, Path(directory) / "align", silence_phones, phones, silence_probability, False, "phones")
        with atomic_directory(directory, kind=LANG_FILE) as temporary:
            write_lang(lang, temporary)
            subwords.save(temporary)
            (temporary / "align").mkdir()
            write_lang(align, temporary / "align")
        return lang

    @classmethod
    def _assemble(
        cls,
        lexicon: Lexicon,
        directory: Path,
        silence_phones: tuple[str, ...],
        ordered_phones: Sequence[str],
        silence_probability: float,
        position_dependent: bool,
        kind: str,
    ) -> Lang:
        if not lexicon.entries:
            raise UserError("the lexicon is empty; expected at least one word (are its words those of the transcripts?)")
        if not 0.0 <= silence_probability < 1.0:
            raise UserError(f"silence probability: found {silence_probability}, expected at least 0 and less than 1")
        # One more than the lexicon needs: it marks optional silence, and #0 is the backoff of G.
        disambiguation = tuple(f"#{number}" for number in range(disambiguate(lexicon.entries)[1] + 2))
        phones = SymbolTable((EPSILON, *ordered_phones, *disambiguation))
        words = SymbolTable((EPSILON, *sorted(set(lexicon.words)), "#0", "<s>", "</s>"))
        return cls(
            directory=directory,
            phones=phones,
            words=words,
            lexicon=lexicon,
            disambig_ids=tuple(phones[name] for name in disambiguation),
            silence_phone=silence_phones[0],
            silence_phones=silence_phones,
            silence_probability=silence_probability,
            position_dependent=position_dependent,
            kind=kind,
            hash=_content_hash(phones, words, lexicon, silence_phones, silence_probability, kind),
        )

    @classmethod
    def load(cls, directory: str | Path) -> Lang:
        """Reads a lang directory.

        Raises `UserError` where it is incomplete or its contents do not give the hash in ``lang.json``.
        """
        directory = Path(directory)
        if not (directory / LANG_FILE).is_file():
            found = found_instead(directory, "write one with `asr-distill lang build`")
            raise UserError(f"{directory} is not a lang directory (no {LANG_FILE} in it); {found}")
        parameters = read_json(directory / LANG_FILE)
        found_format = parameters.get("format") if isinstance(parameters, dict) else None
        if found_format != FORMAT:
            raise UserError(f"{directory / LANG_FILE}: found format {found_format!r}, expected {FORMAT!r}; build it again")
        phones, words = SymbolTable.read(directory / "phones.txt"), SymbolTable.read(directory / "words.txt")
        lexicon = Lexicon.read(directory / "lexiconp.txt", format="lexiconp", own=True)
        missing = [key for key in _KEYS if key not in parameters]
        if missing:
            raise UserError(f"{directory / 'lang.json'}: key {missing[0]!r} is missing; build the lang directory again")
        lang = cls(
            directory=directory,
            phones=phones,
            words=words,
            lexicon=lexicon,
            disambig_ids=tuple(phones[name] for name in phones if re.fullmatch(r"#[0-9]+", name)),
            silence_phone=parameters["silence_phone"],
            silence_phones=tuple(parameters["silence_phones"]),
            silence_probability=parameters["silence_probability"],
            position_dependent=parameters["position_dependent"],
            kind=parameters["kind"],
            hash=parameters["hash"],
        )
        found = _content_hash(phones, words, lexicon, lang.silence_phones, lang.silence_probability, lang.kind)
        if found != lang.hash:
            raise UserError(
                f"{directory}: its files give the hash {found}, lang.json says {lang.hash}; build the directory again"
            )
        return lang

    @property
    def real_phones(self) -> tuple[str, ...]:
        """The phones in id order (id = index + 1), without ``<eps>`` and disambiguation symbols."""
        return self.phones.symbols[1 : self.disambig_ids[0]]

    @property
    def backoff_phone_id(self) -> int:
        """Id of ``#0`` among the phones."""
        return self.phones["#0"]

    @property
    def backoff_word_id(self) -> int:
        """Id of ``#0`` among the words."""
        return self.words["#0"]

    @property
    def real_words(self) -> tuple[str, ...]:
        """The words in id order, without ``<eps>``, ``#0``, ``<s>`` and ``</s>``."""
        return self.words.symbols[1 : self.words["#0"]]

    @property
    def lexicon_fst_path(self) -> Path:
        """``L.fst``: phones to words with optional silence."""
        return self.directory / "L.fst"

    @property
    def lexicon_disambig_fst_path(self) -> Path:
        """``L_disambig.fst``: the same with disambiguation symbols and the ``#0`` loop, for composition with G."""
        return self.directory / "L_disambig.fst"

    def grammar_path(self, name: str = "") -> Path:
        """``G.fst``, or ``G_<name>.fst``."""
        return self.directory / (f"G_{name}.fst" if name else "G.fst")

    def phone_ids(self, pronunciation: Pronunciation) -> tuple[int, ...]:
        """Phone ids of a pronunciation of `lexicon`."""
        return tuple(self.phones[phone] for phone in pronunciation.phones)

    def join_pieces(self, units: Sequence[str]) -> list[str]:
        """Units of G to words: pieces are joined at their word boundaries, words of a dictionary are returned as they are."""
        return join_pieces(units) if self.kind == "subwords" else list(units)

    @cached_property
    def subwords(self) -> Subwords:
        """The sentencepiece units. Raises `UserError` where the lang directory has a dictionary."""
        if self.kind != "subwords":
            raise UserError(f"{self.directory} has a dictionary, not subword units; write one with `asr-distill lang subwords`")
        return Subwords.load(self.directory)

    def units(self, words: Sequence[str]) -> list[str]:
        """Words of a transcript to the units of G: the same words with a dictionary, pieces with subwords."""
        return self.subwords.encode(words) if self.kind == "subwords" else list(words)

    def for_alignment(self) -> Lang:
        """The lang whose lexicon covers whole words of the training text: itself, or ``align/`` of a subword directory.

        Both have the same ``phones``, apart from disambiguation symbols, so models and senones are shared.
        """
        return self if self.kind == "phones" else Lang.load(self.directory / "align")


def _silence_phones(lexicon: Lexicon, silence_phone: str, noise_phones: Iterable[str]) -> tuple[str, ...]:
    used = set(lexicon.phones)
    return (silence_phone, *(phone for phone in noise_phones if phone in used and phone != silence_phone))


def _check_markers(phones: Sequence[str], speech_phones: set[str], position_dependent: bool) -> None:
    """Refuses markers of position that phones have already; some phones may end like one (``t_S``) where none are added."""
    marked = [phone for phone in phones if base_phone(phone) != phone]
    named = " ".join(marked[:10]) + (" ..." if len(marked) > 10 else "")
    if speech_phones and speech_phones <= set(marked):
        raise UserError(
            f"all phones of the lexicon end in one of the position markers {' '.join(POSITIONS)}: {named}; expected none."
            " Next: take the markers off the lexicon (rename the phones, if these are none), and give --position-dependent to"
            " tell phones apart by their place in the word"
        )
    if position_dependent and marked:
        raise UserError(
            f"phones of the lexicon end in a position marker, one of {' '.join(POSITIONS)}: {named}; expected none with"
            " --position-dependent, which adds them. Next: build without it, or rename these phones"
        )


def _mark_positions(lexicon: Lexicon, silence_phones: Sequence[str]) -> Lexicon:
    def mark(phones: tuple[str, ...]) -> tuple[str, ...]:
        suffixes = ["_S"] if len(phones) == 1 else ["_B", *(["_I"] * (len(phones) - 2)), "_E"]
        return tuple(p if p in silence_phones else p + suffix for p, suffix in zip(phones, suffixes, strict=True))

    return Lexicon(tuple(Pronunciation(e.word, mark(e.phones), e.probability) for e in lexicon.entries))


def _content_hash(
    phones: SymbolTable,
    words: SymbolTable,
    lexicon: Lexicon,
    silence_phones: Sequence[str],
    silence_probability: float,
    kind: str,
) -> str:
    return hash_of_object(
        {
            "phones": phones.symbols,
            "words": words.symbols,
            "lexicon": [[e.word, f"{e.probability:.9g}", *e.phones] for e in lexicon.entries],
            "silence_phones": list(silence_phones),
            "silence_probability": silence_probability,
            "kind": kind,
        }
    )

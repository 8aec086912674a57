"""The lang directory: symbol tables, lexicon and L, as Kaldi and icefall lay them out, without pickles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, atomic_directory, hash_of_object, read_json, write_json, write_text
from asr_distill.lang.lexicon import Lexicon, Pronunciation
from asr_distill.lang.lexicon_fst import build_lexicon_fst, disambiguate
from asr_distill.lang.subwords import UNKNOWN_UNIT, Subwords, begins_word, join_pieces, normalise_word
from asr_distill.lang.symbols import EPSILON, SymbolTable

POSITIONS = ("_B", "_E", "_I", "_S")
_FORMAT = "asr_distill.lang/1"


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
    ) -> Lang:
        """Writes a lang directory (whole or not at all, replacing an older one) and returns it.

        Args:
          lexicon: pronunciations.
          silence_probability: of optional silence at the start and after each word, in [0, 1).
          position_dependent: phones become ``AH_B AH_I AH_E AH_S``; silence and noise phones stay as they are.
          noise_phones: further phones without speech (as ``SPN`` of ``<UNK>``), listed with silence where the lexicon uses
            them.

        Raises `UserError` for an empty lexicon, a probability outside [0, 1), and phone names that collide with markers.
        """
        marked = [phone for phone in lexicon.phones if phone.endswith(POSITIONS)]
        if position_dependent and marked:
            raise UserError(f"the lexicon's phone {marked[0]!r} already ends in a position marker; build without the option")
        silence_phones = _silence_phones(lexicon, silence_phone, noise_phones)
        phones = set(lexicon.phones) - set(silence_phones)
        if position_dependent:
            lexicon = _mark_positions(lexicon, silence_phones)
            phones = {phone + suffix for phone in phones for suffix in POSITIONS}
        lang = cls._assemble(
            lexicon, Path(directory), silence_phones, phones, silence_probability, position_dependent, "phones"
        )
        with atomic_directory(directory) as temporary:
            lang._write(temporary)
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
        words = sorted({normalise_word(word) for word in training_words})
        unseen = subwords.unseen_characters(words)
        if unseen:
            raise UserError(f"subwords: training words have characters that no unit has: {', '.join(map(repr, unseen))}")
        whole = Lexicon.from_characters(words)
        if unknown_phone is not None:
            lexicon, whole = (each.with_unknown(UNKNOWN_UNIT, unknown_phone) for each in (lexicon, whole))
        silence_phones = _silence_phones(lexicon, silence_phone, [unknown_phone] if unknown_phone else [])
        phones = set(lexicon.phones) - set(silence_phones)
        lang = cls._assemble(lexicon, Path(directory), silence_phones, phones, silence_probability, False, "subwords")
        align = cls._assemble(whole, Path(directory) / "align", silence_phones, phones, silence_probability, False, "phones")
        with atomic_directory(directory) as temporary:
            lang._write(temporary)
            subwords.save(temporary)
            (temporary / "align").mkdir()
            align._write(temporary / "align")
        return lang

    @classmethod
    def _assemble(
        cls,
        lexicon: Lexicon,
        directory: Path,
        silence_phones: tuple[str, ...],
        speech_phones: set[str],
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
        phones = SymbolTable((EPSILON, *silence_phones, *sorted(speech_phones), *disambiguation))
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
        if not (directory / "lang.json").is_file():
            raise UserError(
                f"{directory} is not a lang directory (no lang.json in it); write one with `asr-distill lang build`"
            )
        parameters = read_json(directory / "lang.json")
        if parameters.get("format") != _FORMAT:
            raise UserError(
                f"{directory / 'lang.json'}: found format {parameters.get('format')!r}, expected {_FORMAT!r}; build it again"
            )
        phones, words = SymbolTable.read(directory / "phones.txt"), SymbolTable.read(directory / "words.txt")
        lexicon = Lexicon.read(directory / "lexiconp.txt")
        lang = cls(
            directory=directory,
            phones=phones,
            words=words,
            lexicon=lexicon,
            disambig_ids=tuple(int(line) for line in (directory / "disambig.int").read_text().split()),
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

    def _write(self, directory: Path) -> None:
        entries = self.lexicon.entries
        sequences, _ = disambiguate(entries)
        self.phones.write(directory / "phones.txt")
        self.phones.write(directory / "tokens.txt")
        self.words.write(directory / "words.txt")
        self.lexicon.write(directory / "lexiconp.txt")
        lines = (f"{e.word} {e.probability:.9g} {' '.join(s)}\n" for e, s in zip(entries, sequences, strict=True))
        write_text(directory / "lexiconp_disambig.txt", "".join(lines))
        for plain in (directory / "lexicon.txt", directory / "lexicon_disambig.txt"):
            of = sequences if "disambig" in plain.name else [e.phones for e in entries]
            write_text(plain, "".join(f"{e.word} {' '.join(s)}\n" for e, s in zip(entries, of, strict=True)))
        write_text(directory / "disambig.int", _lines(self.disambig_ids))
        write_text(directory / "silence.txt", _lines(self.silence_phones))
        self._write_kaldi_folder(directory / "phones")
        for name, fst in (("L", self._fst(None)), ("L_disambig", self._fst(sequences))):
            write_text(directory / f"{name}.fst.txt", fst.to_text())
            fst.to_kaldifst().write(str(directory / f"{name}.fst"))
        write_json(
            directory / "lang.json",
            {
                "format": _FORMAT,
                "kind": self.kind,
                "silence_phone": self.silence_phone,
                "silence_phones": list(self.silence_phones),
                "silence_probability": self.silence_probability,
                "position_dependent": self.position_dependent,
                "phones": len(self.real_phones),
                "words": len(self.real_words),
                "pronunciations": len(entries),
                "disambiguation_symbols": len(self.disambig_ids),
                "hash": self.hash,
            },
        )

    def _write_kaldi_folder(self, folder: Path) -> None:
        """Kaldi's ``phones/`` lists, which its tools look for."""
        folder.mkdir()
        silence = list(self.silence_phones)
        lists = {
            "silence": silence,
            "nonsilence": [phone for phone in self.real_phones if phone not in self.silence_phones],
            "optional_silence": [self.silence_phone],
            "context_indep": silence,
            "disambig": [self.phones[index] for index in self.disambig_ids],
        }
        for name, members in lists.items():
            write_text(folder / f"{name}.txt", _lines(members))
            write_text(folder / f"{name}.int", _lines(self.phones[member] for member in members))
            write_text(folder / f"{name}.csl", ":".join(str(self.phones[member]) for member in members) + "\n")
        if self.position_dependent:
            kinds = {"_B": "begin", "_E": "end", "_I": "internal", "_S": "singleton"}
            rows = [(p, "nonword" if p in self.silence_phones else kinds[p[-2:]]) for p in self.real_phones]
            write_text(folder / "word_boundary.txt", "".join(f"{phone} {kind}\n" for phone, kind in rows))
            write_text(folder / "word_boundary.int", "".join(f"{self.phones[phone]} {kind}\n" for phone, kind in rows))

    def _fst(self, sequences: Sequence[Sequence[str]] | None) -> Any:
        with_disambiguation = sequences is not None
        rows = sequences if sequences is not None else [entry.phones for entry in self.lexicon.entries]
        initial = {self.words[word] for word in self.real_words if begins_word(word)}
        return build_lexicon_fst(
            [
                (self.words[entry.word], entry.probability, [self.phones[symbol] for symbol in row])
                for entry, row in zip(self.lexicon.entries, rows, strict=True)
            ],
            silence=self.phones[self.silence_phone],
            silence_probability=self.silence_probability,
            silence_disambiguation=self.disambig_ids[-1] if with_disambiguation else None,
            backoff_labels=(self.backoff_phone_id, self.backoff_word_id) if with_disambiguation else None,
            begins_word=initial.__contains__ if self.kind == "subwords" else None,
        )


def base_phone(name: str) -> str:
    """A phone's name without its position marker: ``AH_B`` to ``AH``."""
    return name[:-2] if name.endswith(POSITIONS) else name


def _silence_phones(lexicon: Lexicon, silence_phone: str, noise_phones: Iterable[str]) -> tuple[str, ...]:
    used = set(lexicon.phones)
    return (silence_phone, *(phone for phone in noise_phones if phone in used and phone != silence_phone))


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


def _lines(items: Any) -> str:
    return "".join(f"{item}\n" for item in items)

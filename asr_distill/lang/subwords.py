"""Open vocabulary without a dictionary: sentencepiece pieces as the units of G, their characters as phones."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, atomic_path, check_file, normalise_text, read_text, write_text
from asr_distill.lang.lexicon import Lexicon, Pronunciation, count_words

_log = logging.getLogger("asr_distill")
_TOO_MANY = re.compile(r"too high \(\d+\)\. Please set it to a value <= (\d+)")
BOUNDARY = "▁"
UNKNOWN_UNIT = "<UNK>"
_MODEL_FILE, _UNITS_FILE = "subwords.model", "units.txt"


def begins_word(unit: str) -> bool:
    """Whether a unit begins a word: it starts with the boundary mark, or stands for an unknown word."""
    return unit.startswith(BOUNDARY) or unit == UNKNOWN_UNIT


def join_pieces(units: Sequence[str]) -> list[str]:
    """Units to words: ``["▁HE", "LLO", "▁YOU"]`` to ``["HELLO", "YOU"]``; a first unit without the mark begins a word too."""
    text = "".join(f" {unit} " if unit == UNKNOWN_UNIT else unit.replace(BOUNDARY, " ") for unit in units)
    return text.split()


@dataclass(frozen=True)
class Subwords:
    """A trained sentencepiece model (``model_bytes``, its own protobuf form) and the ``units`` that G speaks.

    The boundary mark makes no sound, so a piece that is only ``▁`` would be a word without phones, and an arc that consumes no
    frame. It never occurs: it is glued to the piece behind it, and that is a unit of its own. Every character of the training
    text is a unit in both forms (``▁c`` and ``c``), so every word over that alphabet can be written.
    """

    model_bytes: bytes
    units: tuple[str, ...]

    @classmethod
    def train(cls, sentences: Iterable[Sequence[str]], vocabulary_size: int, *, kind: str = "bpe") -> Subwords:
        """Trains on sentences of words, normalised to NFC and not changed otherwise; ``kind`` is ``bpe`` or ``unigram``.

        Where the text has fewer pieces than ``vocabulary_size``, all of them are taken, and a line of the log says so. Raises
        `UserError` for no text, words with the boundary mark, and fewer pieces than characters.
        """
        import sentencepiece

        texts = [[normalise_text(word) for word in sentence] for sentence in sentences]
        words = count_words(word for sentence in texts for word in sentence)
        if not words:
            raise UserError("subwords: the training text is empty; expected at least one word")
        marked = next((word for word in words if BOUNDARY in word), None)
        if marked is not None:
            raise UserError(f"subwords: the word {marked!r} contains the boundary mark {BOUNDARY!r}; remove it from the text")
        characters = sorted({character for word in words for character in word})
        stream = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter([" ".join(sentence) for sentence in texts if sentence]),
                model_writer=stream,
                vocab_size=vocabulary_size,
                model_type=kind,
                character_coverage=1.0,
                normalization_rule_name="identity",
                required_chars="".join(characters),
                bos_id=-1,
                eos_id=-1,
                unk_id=0,
                num_threads=1,
                split_digits=False,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            most = _TOO_MANY.search(str(error))
            if most is not None and int(most[1]) < vocabulary_size:
                _log.warning("the text has no %d pieces, but %s: these are taken", vocabulary_size, most[1])
                return cls.train(texts, int(most[1]), kind=kind)
            raise UserError(
                f"subwords: sentencepiece refused {vocabulary_size} {kind} pieces of {len(characters)} characters and"
                f" {len(words)} different words: {str(error).strip()}. Next: choose another --vocabulary-size"
            ) from None
        model_bytes = stream.getvalue()
        processor = _processor(model_bytes)
        pieces = [
            processor.id_to_piece(index) for index in range(processor.get_piece_size()) if not processor.is_unknown(index)
        ]
        units = {piece for piece in pieces if piece.strip(BOUNDARY)}
        for character in characters:
            units |= {character, BOUNDARY + character}
        for word in words:
            units.update(_glue(processor.encode(word, out_type=str)))
        return cls(model_bytes, tuple(sorted(units)))

    @cached_property
    def alphabet(self) -> frozenset[str]:
        """The characters that units are made of."""
        return frozenset(character for unit in self.units for character in unit if character != BOUNDARY)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.units)

    @cached_property
    def _model(self) -> Any:
        return _processor(self.model_bytes)

    def unseen_characters(self, words: Iterable[str]) -> dict[str, int]:
        """Characters of ``words`` that no unit has, with counts, most frequent first."""
        counts = count_words(c for word in words for c in normalise_text(word) if c not in self.alphabet)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def encode(self, words: Sequence[str], *, unknown: str | None = None) -> list[str]:
        """Words to units; `join_pieces` gives the words back (in NFC).

        A word with a character that was not in the training text becomes ``unknown``, or raises `UserError` where that is None.
        """
        units: list[str] = []
        for word in map(normalise_text, words):
            if self.alphabet.issuperset(word):
                units += self._encode_word(word)
            elif unknown is not None:
                units.append(unknown)
            else:
                listed = ", ".join(f"{c!r} ({n})" for c, n in self.unseen_characters(words).items())
                raise UserError(f"subwords: characters that the training text does not have: {listed}, first in {word!r}")
        return units

    def _encode_word(self, word: str) -> list[str]:
        units: list[str] = []
        for unit in _glue(self._model.encode(word, out_type=str)):
            if unit in self._known:
                units.append(unit)
            elif unit.startswith(BOUNDARY):
                units += [BOUNDARY + unit[1], *unit[2:]]
            else:
                units += list(unit)
        return units

    def lexicon(self) -> Lexicon:
        """Each unit said as its characters, the boundary mark silent."""
        return Lexicon(tuple(Pronunciation(unit, tuple(unit.replace(BOUNDARY, ""))) for unit in self.units))

    def save(self, directory: str | Path) -> None:
        """Writes ``subwords.model`` (sentencepiece's own form) and ``units.txt``."""
        with atomic_path(Path(directory) / _MODEL_FILE) as temporary:
            temporary.write_bytes(self.model_bytes)
        write_text(Path(directory) / _UNITS_FILE, "".join(f"{unit}\n" for unit in self.units))

    @classmethod
    def load(cls, directory: str | Path) -> Subwords:
        """Reads what `save` wrote. Raises `UserError` where a file is missing or is not a sentencepiece model."""
        directory = Path(directory)
        for name in (_MODEL_FILE, _UNITS_FILE):
            check_file(directory / name)
            if not (directory / name).is_file():
                raise UserError(f"{directory / name} does not exist; write it with `asr-distill lang subwords`")
        units = tuple(read_text(directory / _UNITS_FILE).split("\n")[:-1])
        subwords = cls((directory / _MODEL_FILE).read_bytes(), units)
        try:
            _ = subwords._model
        except RuntimeError as error:
            raise UserError(f"{directory / _MODEL_FILE} is not a sentencepiece model ({error}); train it again") from None
        return subwords


def _processor(model_bytes: bytes) -> Any:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model_bytes)
    return processor


def _glue(pieces: Sequence[str]) -> list[str]:
    units: list[str] = []
    for piece in pieces:
        if units and units[-1] == BOUNDARY:
            units[-1] += piece
        else:
            units.append(piece)
    return units

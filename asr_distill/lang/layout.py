"""The files of a lang directory, laid out as Kaldi and icefall do, without pickles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr_distill.base import write_json, write_text
from asr_distill.lang.lexicon_fst import LexiconFst, build_lexicon_fst, disambiguate
from asr_distill.lang.openfst import write_fst
from asr_distill.lang.subwords import begins_word

if TYPE_CHECKING:
    from asr_distill.lang.directory import Lang

FORMAT = "asr_distill.lang/1"
LANG_FILE = "lang.json"


def write_lang(lang: Lang, directory: Path) -> None:
    """Writes every file of ``lang`` into an existing directory; the caller makes that whole or absent."""
    entries = lang.lexicon.entries
    sequences, _ = disambiguate(entries)
    write_pronunciations(lang, directory)
    lang.phones.write(directory / "tokens.txt")
    lines = (f"{e.word} {e.probability:.9g} {' '.join(s)}\n" for e, s in zip(entries, sequences, strict=True))
    write_text(directory / "lexiconp_disambig.txt", "".join(lines))
    for plain in (directory / "lexicon.txt", directory / "lexicon_disambig.txt"):
        of = sequences if "disambig" in plain.name else [e.phones for e in entries]
        write_text(plain, "".join(f"{e.word} {' '.join(s)}\n" for e, s in zip(entries, of, strict=True)))
    write_text(directory / "disambig.int", _lines(lang.disambig_ids))
    write_text(directory / "silence.txt", _lines(lang.silence_phones))
    _write_kaldi_folder(lang, directory / "phones")
    write_text(directory / "L.fst.txt", _fst(lang, None).to_text())
    disambiguated = _fst(lang, sequences)
    write_text(directory / "L_disambig.fst.txt", disambiguated.to_text())
    _write_binary(lang, disambiguated, directory / "L_disambig.fst")


def write_pronunciations(lang: Lang, directory: Path) -> None:
    """Write the part of a lang directory that says how its words are said, which is what forced alignment reads."""
    lang.phones.write(directory / "phones.txt")
    lang.words.write(directory / "words.txt")
    lang.lexicon.write(directory / "lexiconp.txt")
    _write_binary(lang, _fst(lang, None), directory / "L.fst")
    write_json(
        directory / LANG_FILE,
        {
            "format": FORMAT,
            "kind": lang.kind,
            "silence_phone": lang.silence_phone,
            "silence_phones": list(lang.silence_phones),
            "silence_probability": lang.silence_probability,
            "position_dependent": lang.position_dependent,
            "phones": len(lang.real_phones),
            "words": len(lang.real_words),
            "pronunciations": len(lang.lexicon.entries),
            "disambiguation_symbols": len(lang.disambig_ids),
            "hash": lang.hash,
        },
    )


def _write_binary(lang: Lang, fst: LexiconFst, path: Path) -> None:
    binary = fst.to_kaldifst()
    binary.input_symbols, binary.output_symbols = lang.phones.to_kaldifst(), lang.words.to_kaldifst()
    write_fst(binary, path)


def _write_kaldi_folder(lang: Lang, folder: Path) -> None:
    """Kaldi's ``phones/`` lists, which its tools look for."""
    folder.mkdir()
    silence = list(lang.silence_phones)
    lists = {
        "silence": silence,
        "nonsilence": [phone for phone in lang.real_phones if phone not in lang.silence_phones],
        "optional_silence": [lang.silence_phone],
        "context_indep": silence,
        "disambig": [lang.phones[index] for index in lang.disambig_ids],
    }
    for name, members in lists.items():
        write_text(folder / f"{name}.txt", _lines(members))
        write_text(folder / f"{name}.int", _lines(lang.phones[member] for member in members))
        write_text(folder / f"{name}.csl", ":".join(str(lang.phones[member]) for member in members) + "\n")
    if lang.position_dependent:
        kinds = {"_B": "begin", "_E": "end", "_I": "internal", "_S": "singleton"}
        rows = [(p, "nonword" if p in lang.silence_phones else kinds[p[-2:]]) for p in lang.real_phones]
        write_text(folder / "word_boundary.txt", "".join(f"{phone} {kind}\n" for phone, kind in rows))
        write_text(folder / "word_boundary.int", "".join(f"{lang.phones[phone]} {kind}\n" for phone, kind in rows))


def _fst(lang: Lang, sequences: Sequence[Sequence[str]] | None) -> LexiconFst:
    with_disambiguation = sequences is not None
    rows = sequences if sequences is not None else [entry.phones for entry in lang.lexicon.entries]
    initial = {lang.words[word] for word in lang.real_words if begins_word(word)}
    return build_lexicon_fst(
        [
            (lang.words[entry.word], entry.probability, [lang.phones[symbol] for symbol in row])
            for entry, row in zip(lang.lexicon.entries, rows, strict=True)
        ],
        silence=lang.phones[lang.silence_phone],
        silence_probability=lang.silence_probability,
        silence_disambiguation=lang.disambig_ids[-1] if with_disambiguation else None,
        backoff_labels=(lang.backoff_phone_id, lang.backoff_word_id) if with_disambiguation else None,
        begins_word=initial.__contains__ if lang.kind == "subwords" else None,
    )


def _lines(items: Iterable[object]) -> str:
    return "".join(f"{item}\n" for item in items)

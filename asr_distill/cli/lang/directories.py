"""``asr-distill lang build`` and ``lang subwords``."""

from __future__ import annotations

import argparse
import itertools
import logging
import unicodedata
from pathlib import Path

from asr_distill.base import UserError, check_replaceable, write_text
from asr_distill.cli.main import emit
from asr_distill.lang import Lang, Lexicon, PhoneSet, Subwords
from asr_distill.lang.dict_folder import DEFAULT_SILENCE, SilencePhones, check_listed, silence_phones
from asr_distill.lang.layout import LANG_FILE
from asr_distill.lang.lexicon import count_words, strip_stress
from asr_distill.lang.transcripts import read_sentences

_log = logging.getLogger("asr_distill")


def run_build(args: argparse.Namespace) -> None:
    """Merges the lexicons, checks that they cover the text, and writes the lang directory."""
    check_replaceable(args.output, kind=LANG_FILE)
    needed = _word_counts(args)
    if not args.lexicon and not (args.cmudict and needed):
        raise UserError("no lexicon: give --lexicon FILE, or --cmudict together with --cuts or --text that name the words")
    if args.vocabulary == "train" and not needed:
        raise UserError("--vocabulary train needs the training words: give --cuts or --text")
    phones_of = _phones_of(args)
    own = _own_lexicon(args)
    silence = _silence(args, own, phones_of)
    # Said by silence and noise alone: no words of the language, unless the transcripts have them.
    own = silence.speech_of(own, [*needed, args.unknown_word or ""])
    lexicon, added = _with_cmudict(args, own, needed, phones_of)
    absent = lexicon.missing({word: count for word, count in needed.items() if word != args.unknown_word})
    if args.missing_words is not None:
        write_text(args.missing_words, "".join(f"{word} {count}\n" for word, count in absent.items()))
    if args.vocabulary == "train":
        lexicon = lexicon.restrict(needed)
    if args.unknown_word is not None:
        lexicon = lexicon.with_unknown(args.unknown_word, silence.unknown)
    else:
        lexicon.require(needed, _names(args))
    lang = Lang.build(
        lexicon,
        args.output,
        silence_phone=silence.optional,
        silence_probability=args.silence_probability,
        position_dependent=args.position_dependent,
        noise_phones=silence.noises,
        phones_of=phones_of,
    )
    result = {**_summary(lang), "words_from_cmudict": added, "missing": absent}
    text = _describe(lang)
    if added:
        text += f"\nfrom CMUdict: {added} words"
    if absent:
        tokens = sum(absent.values())
        listed = ", ".join(f"{word} ({count})" for word, count in itertools.islice(absent.items(), 20))
        text += f"\nwithout a pronunciation, said as {args.unknown_word}: {len(absent)} words, {tokens} tokens: {listed}"
    emit(args, result, text)


def run_subwords(args: argparse.Namespace) -> None:
    """Trains the pieces and writes the lang directory over them."""
    check_replaceable(args.output, kind=LANG_FILE)
    sentences = read_sentences(args.text, args.cuts, ids=args.text_ids)
    subwords = Subwords.train(sentences, args.vocabulary_size, kind=args.kind)
    _say_odd_characters(subwords)
    lang = Lang.build_subwords(
        subwords,
        itertools.chain.from_iterable(sentences),
        args.output,
        silence_phone=args.silence_phone or DEFAULT_SILENCE,
        silence_probability=args.silence_probability,
        unknown_phone=args.unknown_phone,
    )
    emit(args, {**_summary(lang), "characters": len(subwords.alphabet)}, _describe(lang))


def _say_odd_characters(subwords: Subwords) -> None:
    """Each character becomes a phone; of some the writer of the transcripts may not have thought so."""
    marks = sorted(c for c in subwords.alphabet if unicodedata.category(c)[0] in "PSN")
    both = sorted(c for c in subwords.alphabet if c != c.lower() and c.lower() in subwords.alphabet)
    if marks:
        _log.warning(
            "punctuation and digits become phones: %s; where they are not spoken: --strip-punctuation of the preparation",
            " ".join(marks),
        )
    if both:
        _log.warning(
            "%d letters come in upper and lower case, each a phone of its own: %s; --case upper of the preparation makes one",
            *(len(both), " ".join(c + c.lower() for c in both[:10])),
        )


def _word_counts(args: argparse.Namespace) -> dict[str, int]:
    if not args.cuts and not args.text:
        return {}
    sentences = read_sentences(args.text, args.cuts, ids=args.text_ids)
    return count_words(itertools.chain.from_iterable(sentences))


def _own_lexicon(args: argparse.Namespace) -> Lexicon:
    own = Lexicon(())
    for path in args.lexicon:
        lexicon = Lexicon.read(path, format=args.lexicon_format)
        check_listed(path, lexicon)
        own = own.merge(lexicon)
    return own


def _phones_of(args: argparse.Namespace) -> PhoneSet | None:
    """The phones of ``--phones-from``: a bundle, the file of an inventory, or a lang directory."""
    path: Path | None = args.phones_from
    if path is None:
        return None
    given = [name for name in ("silence_phone", "unknown_phone") if getattr(args, name) is not None]
    if given or args.position_dependent:
        option = f"--{given[0].replace('_', '-')}" if given else "--position-dependent"
        raise UserError(f"{option} beside --phones-from {path}, which decides that; leave it out")
    if (path / LANG_FILE).is_file():
        lang = Lang.load(path)
        return PhoneSet(lang.real_phones, lang.silence_phones, str(path))
    from asr_distill.senones import SenoneInventory

    topology = SenoneInventory.load(path / "senones.json" if path.is_dir() else path).topology
    return PhoneSet(topology.phones, topology.silence_phones, str(path))


def _silence(args: argparse.Namespace, own: Lexicon, phones_of: PhoneSet | None) -> SilencePhones:
    """The lexicon's phones without speech, with those of the options before them; of a model's phones, those of the model."""
    if phones_of is not None:
        optional, *noises = phones_of.silence_phones
        return SilencePhones(optional, tuple(noises))
    found = silence_phones(args.lexicon, own)
    optional = args.silence_phone or found.optional
    rest = [phone for phone in (found.optional, *found.noises) if phone != optional]
    if args.unknown_phone is not None:
        return SilencePhones(optional, tuple(dict.fromkeys([args.unknown_phone, *rest])), args.unknown_phone)
    return SilencePhones(optional, tuple(rest))


def _with_cmudict(
    args: argparse.Namespace, own: Lexicon, needed: dict[str, int], phones_of: PhoneSet | None
) -> tuple[Lexicon, int]:
    more = Lexicon.from_cmudict(own.missing(needed), keep_stress=True) if args.cmudict else Lexicon(())
    # phones of a model that have their stress marked are written so
    stressed = phones_of is not None and any(strip_stress(phone) != phone for phone in phones_of.base_phones)
    parts = [_stress_handled(part, "keep" if stressed else args.stress) for part in (own, more)]
    before, lexicon = own.merge(more).phones, parts[0].merge(parts[1])
    if lexicon.phones != before:
        _log.info("stress removed: %d phones -> %d; --stress keep keeps it", len(before), len(lexicon.phones))
    return lexicon, len(more.words)


def _stress_handled(lexicon: Lexicon, stress: str) -> Lexicon:
    toned = lexicon.toned_phones if stress == "auto" else ()
    if toned:
        named = " ".join(toned[:5]) + (" ..." if len(toned) > 5 else "")
        _log.info("digits at the ends of phones stay, for they are tones: %s; --stress strip removes 0, 1 and 2", named)
    return lexicon if stress == "keep" or toned else lexicon.without_stress()


def _names(args: argparse.Namespace) -> str:
    return ", ".join(str(path) for path in (*args.cuts, *args.text))


def _summary(lang: Lang) -> dict[str, object]:
    return {
        "lang": str(lang.directory),
        "kind": lang.kind,
        "words": len(lang.real_words),
        "pronunciations": len(lang.lexicon),
        "phones": len(lang.real_phones),
        "disambiguation_symbols": len(lang.disambig_ids),
        "hash": lang.hash,
    }


def _describe(lang: Lang) -> str:
    unit = "words" if lang.kind == "phones" else "subword units"
    return (
        f"{lang.directory}: {len(lang.real_words)} {unit}, {len(lang.lexicon)} pronunciations, {len(lang.real_phones)} phones,"
        f" {len(lang.disambig_ids)} disambiguation symbols, hash {lang.hash[:12]}"
    )

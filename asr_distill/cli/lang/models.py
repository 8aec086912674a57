"""``asr-distill lang ngram``, ``lang g`` and ``lang ppl``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_distill.base import check_own, hash_of_file, write_json, write_text
from asr_distill.cli.main import emit
from asr_distill.lang import Arpa, Lang, build_g, estimate_ngram, perplexity, uncovered_words, write_g
from asr_distill.lang.arpa import END, UNKNOWN_NAMES
from asr_distill.lang.transcripts import read_sentences, refuse_shared_cuts, refuse_test_data


def run_ngram(args: argparse.Namespace) -> None:
    """Estimates the model, writes it, and prints the perplexity of the development text."""
    refuse_test_data([*args.cuts, *args.text])
    refuse_shared_cuts(args.cuts, args.dev_cuts)
    lang = Lang.load(args.lang) if args.lang is not None else None
    sentences = read_sentences(args.text, args.cuts, ids=args.text_ids)
    arpa = estimate_ngram(
        [lang.units(sentence) for sentence in sentences] if lang else sentences,
        args.order,
        args.method,
        vocabulary=_vocabulary(args, lang),
        unknown_word=args.unknown_word,
    )
    arpa.write(args.output)
    notes = arpa.notes
    result: dict[str, Any] = {"arpa": str(args.output), **notes, "ngrams": [len(table) for table in arpa.ngrams]}
    text = (
        f"{args.output}: {args.method} {args.order}-gram of {notes['sentences']} sentences, {notes['words']} tokens,"
        f" vocabulary {notes['vocabulary']}"
    )
    if args.dev_cuts or args.dev_text:
        dev = read_sentences(args.dev_text, args.dev_cuts, ids=args.text_ids)
        result["dev"] = _measure(arpa, dev, lang)
        text += f"\ndev: {_describe(result['dev'])}"
    emit(args, result, text)


def run_g(args: argparse.Namespace) -> None:
    """Makes G and writes it; beside it a JSON file that says what it was made of, and the words that it can recognise."""
    lang, arpa = Lang.load(args.lang), Arpa.read(args.arpa)
    output: Path = args.output or lang.grammar_path()
    description, vocabulary = output.with_suffix(".json"), output.with_suffix(".words")
    check_own(description, vocabulary, *(() if args.output else (output,)))
    fst = build_g(arpa, lang.words, args.lm_scale, args.word_penalty, unknown_word=args.unknown_word, max_order=args.max_order)
    write_g(fst, output)
    left = uncovered_words(arpa, lang.words)
    known = sorted((set(lang.words) - {END, *UNKNOWN_NAMES}).intersection(arpa.words))
    write_text(vocabulary, "".join(f"{word}\n" for word in known), listed=True)
    import kaldifst

    states = list(kaldifst.StateIterator(fst))
    result = {
        "g": str(output),
        "states": len(states),
        "arcs": sum(fst.num_arcs(state) for state in states),
        "arpa": str(args.arpa),
        "arpa_sha256": hash_of_file(args.arpa),
        "lang_hash": lang.hash,
        "lm_scale": args.lm_scale,
        "word_penalty": args.word_penalty,
        "unknown_word": args.unknown_word,
        "max_order": args.max_order,
        **left,
    }
    write_json(description, result, listed=True)
    text = f"{output}: {result['states']} states, {result['arcs']} arcs"
    if left["not_in_model"]:
        text += f"\nwords that the model lacks and that cannot be recognised: {_listed(left['not_in_model'])}"
    if left["not_in_table"]:
        text += f"\nwords of the model that the lang directory lacks, left out: {_listed(left['not_in_table'])}"
    emit(args, result, text)


def run_ppl(args: argparse.Namespace) -> None:
    """Prints perplexity and the share of unknown words."""
    lang = Lang.load(args.lang) if args.lang is not None else None
    result = _measure(Arpa.read(args.arpa), read_sentences(args.text, args.cuts, ids=args.text_ids), lang)
    if args.output is not None:
        write_json(args.output, result)
    emit(args, result, _describe(result))


def _vocabulary(args: argparse.Namespace, lang: Lang | None) -> Sequence[str] | None:
    if lang is None or args.vocabulary == "train":
        return None
    # The word for unknown ones is predicted only where the text has it, else it would take mass from real words.
    return [word for word in lang.real_words if word == args.unknown_word or word not in UNKNOWN_NAMES]


def _measure(arpa: Arpa, sentences: list[list[str]], lang: Lang | None) -> dict[str, Any]:
    """Perplexity of units; for subwords also ``word_perplexity``, to compare with models of words."""
    if lang is None or lang.kind != "subwords":
        return perplexity(arpa, sentences)
    result = perplexity(arpa, [lang.subwords.encode(sentence, unknown="<unk>") for sentence in sentences])
    tokens = sum(map(len, sentences)) - result["oov"] + result["sentences"]
    result["word_perplexity"] = 10.0 ** (-result["log10_probability"] / tokens) if tokens else None
    return result


def _describe(result: dict[str, Any]) -> str:
    value = "not defined" if result["perplexity"] is None else f"{result['perplexity']:.2f}"
    per_word = f" ({result['word_perplexity']:.2f} per word)" if result.get("word_perplexity") else ""
    text = (
        f"perplexity {value}{per_word}, {result['sentences']} sentences, {result['words']} tokens,"
        f" {result['oov']} out of vocabulary ({100 * result['oov_share']:.1f} %)"
    )
    if result["oov_words"]:
        text += f": {_listed([f'{word} ({count})' for word, count in result['oov_words'].items()])}"
    return text


def _listed(words: Sequence[str], shown: int = 20) -> str:
    return ", ".join(words[:shown]) + (f", and {len(words) - shown} more" if len(words) > shown else "")

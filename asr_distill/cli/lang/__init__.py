"""``asr-distill lang``: write a lang directory (``build``, ``subwords``), models (``ngram``, ``g``), measure them (``ppl``)."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_distill.cli.main import answer_options

EXAMPLE = "asr-distill lang build --lexicon manifests/lexicon.txt --cuts manifests/cuts_train.jsonl.gz --output lang"
_EXAMPLES = {
    "build": EXAMPLE,
    "subwords": "asr-distill lang subwords --cuts manifests/cuts_train.jsonl.gz --vocabulary-size 200 --output lang_bpe",
    "ngram": "asr-distill lang ngram --lang lang --cuts manifests/cuts_train.jsonl.gz --order 2 --method kneser_ney"
    " --dev-cuts manifests/cuts_dev.jsonl.gz --output bigram.arpa",
    "g": "asr-distill lang g --lang lang --arpa bigram.arpa --output lang/G_bigram.fst --lm-scale 1.0",
    "ppl": "asr-distill lang ppl --arpa bigram.arpa --cuts manifests/cuts_dev.jsonl.gz",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the five actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _build(_action(actions, "build", "write a lang directory from dictionaries: phones, words, L"))
    _subwords(_action(actions, "subwords", "write a lang directory without a dictionary: pieces of words, spelled"))
    _ngram(_action(actions, "ngram", "estimate an n-gram model from training text and write it as ARPA"))
    _g(_action(actions, "g", "make G, the language model as a transducer over the words of a lang directory"))
    _ppl(_action(actions, "ppl", "perplexity and share of unknown words"))


def run(args: argparse.Namespace) -> int | None:
    """Runs the action that was asked for."""
    from asr_distill.cli.lang import directories, models

    actions = {
        "build": directories.run_build,
        "subwords": directories.run_subwords,
        "ngram": models.run_ngram,
        "g": models.run_g,
        "ppl": models.run_ppl,
    }
    return actions[args.action](args)


def _action(actions: argparse._SubParsersAction, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example: {_EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    answer_options(parser)
    return parser


def _text_options(parser: argparse.ArgumentParser, purpose: str) -> None:
    _paths(parser, "--cuts", "CUTS", f"CutSet: {purpose} (repeatable)")
    _paths(parser, "--text", "FILE", "the same as text, a sentence a line")
    parser.add_argument("--text-ids", action="store_true", help="lines of --text begin with an utterance id (Kaldi's text)")


def _paths(parser: argparse.ArgumentParser, option: str, metavar: str, text: str) -> None:
    parser.add_argument(option, action="append", type=Path, default=[], metavar=metavar, help=text)


def _silence_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--silence-phone", metavar="PHONE", help="optional silence (default: the lexicon's, else SIL)")
    parser.add_argument(
        "--silence-probability",
        type=float,
        default=0.5,
        metavar="P",
        help="of silence at the start and after each word (default: %(default)s)",
    )


def lexicon_format_option(parser: argparse.ArgumentParser) -> None:
    """``--lexicon-format``, wherever a dictionary is read."""
    from asr_distill.lang.lexicon_formats import FORMATS

    parser.add_argument(
        "--lexicon-format",
        choices=FORMATS,
        default="auto",
        help="columns, comments, alternatives; auto: as the whole file shows, or an error (default: %(default)s)",
    )


def _build(parser: argparse.ArgumentParser) -> None:
    _paths(parser, "--lexicon", "FILE", "lexicon.txt, lexiconp.txt or .dic; repeatable, the first that has a word wins")
    lexicon_format_option(parser)
    parser.add_argument("--cmudict", action="store_true", help="CMUdict for words of --cuts and --text in no --lexicon")
    _text_options(parser, "the words that must have a pronunciation")
    parser.add_argument(
        "--vocabulary",
        choices=("lexicon", "train"),
        default="lexicon",
        help="all words of the lexicons, or only those of --cuts and --text (default: %(default)s)",
    )
    parser.add_argument(
        "--stress",
        choices=("auto", "strip", "keep"),
        default="auto",
        help="digits of phones such as AH0; auto: strip them unless some are tones, none of 0, 1, 2 (default: %(default)s)",
    )
    parser.add_argument(
        *("--phones-from",),
        type=Path,
        metavar="PATH",
        help="new words for a trained model: its bundle, senones.json or lang directory, of whose phones they may have a part",
    )
    parser.add_argument("--unknown-word", metavar="WORD", help="add this word, for words without a pronunciation")
    parser.add_argument("--unknown-phone", metavar="PHONE", help="how it is said (default: the lexicon's noise, else SPN)")
    parser.add_argument(
        "--missing-words", type=Path, metavar="FILE", help="list words without a pronunciation here, with counts"
    )
    _silence_options(parser)
    parser.add_argument("--position-dependent", action="store_true", help="AH_B AH_I AH_E AH_S for the place in the word")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the lang directory")


def _subwords(parser: argparse.ArgumentParser) -> None:
    _text_options(parser, "training text")
    parser.add_argument(
        "--vocabulary-size", type=int, default=200, metavar="N", help="sentencepiece pieces (default: %(default)s)"
    )
    parser.add_argument("--kind", choices=("bpe", "unigram"), default="bpe", help="of pieces (default: %(default)s)")
    _silence_options(parser)
    parser.add_argument("--unknown-phone", metavar="PHONE", help="add the unit <UNK> with this phone (default: no such unit)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the lang directory")


def _ngram(parser: argparse.ArgumentParser) -> None:
    _text_options(parser, "training text")
    parser.add_argument("--order", type=int, default=2, choices=(1, 2, 3), help="longest n-gram (default: %(default)s)")
    parser.add_argument(
        "--method", choices=("kneser_ney", "witten_bell"), default="kneser_ney", help="smoothing (default: %(default)s)"
    )
    parser.add_argument("--lang", type=Path, metavar="DIR", help="lang directory: its words, and the units of subwords")
    parser.add_argument(
        "--vocabulary",
        choices=("lexicon", "train"),
        default="lexicon",
        help="with --lang: all its words, or those of the training text (default: %(default)s)",
    )
    parser.add_argument(
        "--unknown-word", metavar="WORD", help="stands for training words outside the vocabulary (default: an error)"
    )
    _paths(parser, "--dev-cuts", "CUTS", "CutSet: print the perplexity of its text (repeatable)")
    _paths(parser, "--dev-text", "FILE", "the same as text, a sentence a line")
    parser.add_argument("--output", type=Path, required=True, metavar="ARPA", help="the model")


def _g(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lang", type=Path, required=True, metavar="DIR", help="lang directory")
    parser.add_argument("--arpa", type=Path, required=True, metavar="ARPA", help="the language model")
    parser.add_argument("--output", type=Path, metavar="FST", help="default: G.fst in the lang directory")
    parser.add_argument("--lm-scale", type=float, default=1.0, help="multiplies language-model costs (default: %(default)s)")
    parser.add_argument(
        "--word-penalty", type=float, default=0.0, metavar="NATS", help="cost of each word, not scaled (default: %(default)s)"
    )
    parser.add_argument("--unknown-word", metavar="WORD", help="what <UNK> of the model stands for (default: left out)")
    parser.add_argument("--max-order", type=int, choices=range(1, 10), metavar="N", help="use n-grams up to this order only")


def _ppl(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arpa", type=Path, required=True, metavar="ARPA", help="the language model")
    _text_options(parser, "text to predict")
    parser.add_argument("--lang", type=Path, metavar="DIR", help="lang directory with the subwords that the model speaks")
    parser.add_argument("--output", type=Path, metavar="JSON", help="also write the figures here")

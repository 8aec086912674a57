"""G: an ARPA model as a transducer over the words of a lang directory, by kaldilm."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, atomic_path
from asr_distill.lang.arpa import BEGIN, END, UNKNOWN_NAMES, Arpa
from asr_distill.lang.openfst import write_fst
from asr_distill.lang.symbols import SymbolTable

_log = logging.getLogger("asr_distill")

# A process of its own: imported into the same process, kaldilm deadlocks with kaldifst, kaldi-decoder and kaldi-hmm-gmm unless
# it comes last of all.
_ARPA2FST = (
    "import sys, kaldilm\n"
    "arpa, fst, words = sys.argv[1:]\n"
    "kaldilm.arpa2fst(input_arpa=arpa, output_fst=fst, disambig_symbol='#0', read_symbol_table=words)\n"
)


def build_g(
    arpa: Arpa | str | Path,
    words: SymbolTable | str | Path,
    lm_scale: float = 1.0,
    word_penalty: float = 0.0,
    *,
    unknown_word: str | None = None,
    max_order: int | None = None,
) -> Any:
    """The language model as a ``kaldifst.StdVectorFst``: weights are costs in nats, labels are ids of ``words``.

    Back-off arcs read ``#0`` and write epsilon; ``<s>`` and ``</s>`` are gone, as after Kaldi's ``arpa2fst
    --disambig-symbol=#0``. Arcs are sorted by input label. The word table comes along as its symbol tables.

    Args:
      arpa: a model, or the path of an ARPA file.
      words: the word table, or the path of ``words.txt``.
      lm_scale: multiplies every language-model cost, that of back-off and of the sentence end included.
      word_penalty: cost in nats added for each word (not scaled; negative values favour more words).
      unknown_word: the word of the table that ``<UNK>`` or ``<unk>`` of the model stands for; None leaves n-grams with it out.
      max_order: use only n-grams up to this order.

    Back-off arcs are ordinary arcs: a search may also take one where the longer n-gram is listed. In an interpolated model that
    never pays for orders 1 and 2; from order 3 on the best path can be a little cheaper than the ARPA's probability.

    Words of the model that are not in the table are left out without renormalising. Words of the table that the model lacks
    cannot be recognised; `uncovered_words` lists them.

    Raises `UserError` where no word is left, where the table has no ``#0``, and for a scale that is not positive.
    """
    model = Arpa.read(arpa) if isinstance(arpa, (str, Path)) else arpa
    table = SymbolTable.read(words) if isinstance(words, (str, Path)) else words
    if not (lm_scale > 0.0 and math.isfinite(lm_scale) and math.isfinite(word_penalty)):
        raise UserError(f"lm scale {lm_scale} and word penalty {word_penalty}: expected a scale above 0 and finite numbers")
    if "#0" not in table:
        raise UserError("the word table has no #0, which back-off arcs read; build it with `asr-distill lang build`")
    model = _only_known(model, table, unknown_word)
    if max_order is not None:
        model = model.truncated(max_order)
    fst = _arpa_to_fst(model, table)
    if lm_scale != 1.0 or word_penalty != 0.0:
        fst = _reweighted(fst, lm_scale, word_penalty, table["#0"])
    fst.input_symbols = fst.output_symbols = table.to_kaldifst()  # a number alone means another word in another words.txt
    return fst


def write_g(fst: Any, path: str | Path) -> None:
    """Writes G in OpenFst's binary form, whole or not at all."""
    with atomic_path(path, listed=True) as temporary:
        write_fst(fst, temporary, Path(path))


def uncovered_words(arpa: Arpa, words: SymbolTable) -> dict[str, list[str]]:
    """``not_in_model``: words of the table that the model cannot predict; ``not_in_table``: words of the model left out."""
    marks = {BEGIN, END, "#0", "<eps>", *UNKNOWN_NAMES}
    return {
        "not_in_model": [word for word in words if word not in arpa and word not in marks],
        "not_in_table": [word for word in arpa.words if word not in words and word not in marks],
    }


def _only_known(model: Arpa, table: SymbolTable, unknown_word: str | None) -> Arpa:
    if unknown_word is not None and unknown_word not in table:
        raise UserError(
            f"the word table has no {unknown_word!r}; build the lang directory with --unknown-word {unknown_word!r}"
        )
    own = model.unknown_word
    if own is not None and unknown_word is None:
        model = model.without([own])
    elif own is not None and unknown_word is not None and own != unknown_word:
        model = model.renamed(own, unknown_word)
    outside = [word for word in model.words if word not in table]
    if outside:
        _log.info(
            "G: %d words of the language model are not in the word table and are left out: %s", len(outside), _some(outside)
        )
        model = model.without(outside)
    if all(word == END for word in model.words):
        raise UserError("no word of the language model is in the word table; do the two agree in upper and lower case?")
    return model


def _arpa_to_fst(model: Arpa, table: SymbolTable) -> Any:
    import kaldifst

    with tempfile.TemporaryDirectory() as folder:
        arpa, fst, words = (Path(folder) / name for name in ("G.arpa", "G.fst", "words.txt"))
        model.completed().write(arpa)
        table.write(words)
        done = subprocess.run(
            [sys.executable, "-c", _ARPA2FST, str(arpa), str(fst), str(words)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not fst.is_file():
            reason = " ".join(done.stderr.split()[-60:])
            raise UserError(f"kaldilm could not convert the language model (status {done.returncode}): {reason}")
        grammar = kaldifst.StdVectorFst.read(str(fst))
    kaldifst.arcsort(grammar, sort_type="ilabel")
    return grammar


def _reweighted(fst: Any, lm_scale: float, word_penalty: float, backoff: int) -> Any:
    import kaldifst

    scaled = kaldifst.StdVectorFst()
    for _ in kaldifst.StateIterator(fst):
        scaled.add_state()
    scaled.start = fst.start
    for state in kaldifst.StateIterator(fst):
        final = fst.final(state).value
        if math.isfinite(final):
            scaled.set_final(state, lm_scale * final)
        for arc in kaldifst.ArcIterator(fst, state):
            penalty = word_penalty if arc.ilabel not in (0, backoff) else 0.0
            weight = lm_scale * arc.weight.value + penalty
            scaled.add_arc(state, kaldifst.StdArc(arc.ilabel, arc.olabel, weight, arc.nextstate))
    return scaled


def _some(words: list[str], shown: int = 20) -> str:
    return ", ".join(words[:shown]) + (f", and {len(words) - shown} more" if len(words) > shown else "")

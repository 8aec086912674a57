"""What the labels of an FST mean: they are compared with the tables that they shall be used with, mapped by name, or refused.

An FST says itself (symbol tables within the file, names in its text form), a table beside it does, or one that the user
names. A number alone means nothing: two words.txt give the same number to different words.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from asr_distill.base import UserError, hash_of_object
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.fst_file import FstFile, read_fst_file
from asr_distill.lang.symbols import read_symbols

_SHOWN = 10
_log = logging.getLogger("asr_distill")


def table_hash(table: Mapping[str, int]) -> str:
    """A hash of what a symbol table says, whatever the order of its lines."""
    return hash_of_object(sorted((number, name) for name, number in table.items()))


def read_grammar(path: str | Path, words: Mapping[str, int], given: str | Path | None = None) -> FstArrays:
    """G with the numbers that ``words``, the table of a lang directory, gives to its words.

    Where its labels are explained: symbol tables within the file, as `asr-distill lang g` writes them; ``given``, the words.txt
    that it was made with; a words.txt of its own beside it. Words that the lexicon lacks are left out, as those of an ARPA
    model are. Raises `UserError` where none of these is there, and for labels without a name.
    """
    path = Path(path)
    file = read_fst_file(path)
    if file.input_symbols is not None and file.output_symbols is not None:
        return _mapped(file, file.input_symbols, file.output_symbols, words)
    table = _table_beside(path) if given is None else read_symbols(given)
    names = {number: name for name, number in table.items()}
    return _mapped(file, file.input_symbols or names, file.output_symbols or names, words)


def read_lexicon_fst(path: str | Path, phones: Mapping[str, int], words: Mapping[str, int]) -> FstArrays:
    """L or L_disambig of a lang directory: phones in, words out.

    Raises `UserError` for labels that are not in the directory's tables, and where a symbol table within the file says
    otherwise than they do.
    """
    file = read_fst_file(path)
    for symbols, table, labels, name in (
        (file.input_symbols, phones, file.arrays.ilabel, "phones.txt"),
        (file.output_symbols, words, file.arrays.olabel, "words.txt"),
    ):
        known = {number: symbol for symbol, number in table.items()}
        for label in map(int, np.unique(labels)):
            if label and (label not in known or (symbols is not None and symbols.get(label) != known[label])):
                said = f", which it calls {symbols[label]!r}" if symbols and label in symbols else ""
                raise UserError(
                    f"{path} has the label {label}{said}, and {name} beside it {known.get(label, 'no such number')!r}; they are"
                    " not of one lang directory. Next: `asr-distill lang build` again"
                )
    return file.arrays


def _table_beside(path: Path) -> Mapping[str, int]:
    """The table of a G that holds none itself: words.txt in a folder of its own, as Kaldi has it."""
    # A file copied into a lang directory of ours, whose own G holds its table, lies beside a words.txt that is not its.
    if (path.parent / "words.txt").is_file() and not (path.parent / "lang.json").is_file():
        return read_symbols(path.parent / "words.txt")
    raise UserError(
        f"{path}: what the numbers on its arcs mean is not known: it holds no symbol tables, and no words.txt of its own lies"
        " beside it. Next: --g-words WORDS_TXT, the table that it was made with, or make it anew: `asr-distill lang g --lang"
        " LANG --arpa ARPA`"
    )


def _mapped(file: FstFile, inputs: Mapping[int, str], outputs: Mapping[int, str], words: Mapping[str, int]) -> FstArrays:
    fst = file.arrays
    ilabel, lost_in = _numbers(file.path, fst.ilabel, inputs, words)
    olabel, lost_out = _numbers(file.path, fst.olabel, outputs, words)
    kept = (ilabel >= 0) & (olabel >= 0)
    lost = sorted(lost_in | lost_out)
    if lost:
        shown = ", ".join(lost[:_SHOWN]) + (f", and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else "")
        if not (ilabel[kept] > 0).any():
            raise UserError(
                f"{file.path}: none of its words is in the lexicon ({shown}); do the two agree in upper and lower case?"
            )
        _log.warning("%s: %d words of G are not in the lexicon and are left out: %s", file.path, len(lost), shown)
    return dataclasses.replace(
        fst,
        source=fst.source[kept],
        destination=fst.destination[kept],
        ilabel=ilabel[kept],
        olabel=olabel[kept],
        weight=fst.weight[kept],
    )


def _numbers(path: Path, labels: np.ndarray, names: Mapping[int, str], words: Mapping[str, int]) -> tuple[np.ndarray, set[str]]:
    """The numbers in ``words``, -1 for words that it lacks, and these."""
    used, inverse = np.unique(labels, return_inverse=True)
    found, lost = np.zeros(len(used), np.int32), set()
    for i, label in enumerate(map(int, used)):
        if label == 0:
            continue
        if label not in names:
            raise UserError(
                f"{path} has the label {label}, for which its symbol table has no name; is it the table that G was made with?"
            )
        name = names[label]
        found[i] = 0 if name.casefold() in ("<eps>", "<epsilon>") else words.get(name, -1)
        if found[i] < 0:
            if name[:1] == "#":
                raise UserError(f"{path} uses the symbol {name!r}, which the lang directory lacks; make G anew for it")
            lost.add(name)
    return found[inverse.reshape(-1)], lost

"""A decoding graph on disk and in memory: one folder, two forms of the same thing, both read when they are asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_distill.base import UserError, found_instead, free_name, read_json
from asr_distill.graph.arrays import to_fst
from asr_distill.graph.fst_file import read_fst_file
from asr_distill.graph.k2_form import K2Form, check_k2_form
from asr_distill.graph.labels import table_hash
from asr_distill.lang.symbols import read_symbols

if TYPE_CHECKING:
    from asr_distill.senones.inventory import SenoneInventory

FST_NAME, K2_NAME, INFO_NAME, LANG_NAME = "HCLG.fst", "HCLG.k2.safetensors", "graph.json", "lang"


class Graph:
    """A folder written by `build_hclg` or `phone_loop_graph`.

    ``fst``: OpenFst form, input labels senone + 1 (0 is epsilon), output labels word ids. ``k2_form`` and ``k2_fsa(device)``:
    without epsilons; ``words_of(aux_label)`` gives the word ids of an aux label, for one arc may write several words.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / INFO_NAME).is_file():
            again = f"write one with `asr-distill graph build --output {free_name(self.path)}`"
            raise UserError(f"{self.path} is not a graph folder (no {INFO_NAME}); {found_instead(self.path, again)}")
        self.info: dict[str, Any] = read_json(self.path / INFO_NAME)
        self._fsas: dict[tuple[str, bool], Any] = {}

    @property
    def num_senones(self) -> int:
        return int(self.info["num_senones"])

    @property
    def senones_hash(self) -> str:
        return str(self.info["senones_hash"])

    @property
    def units(self) -> str:
        """What the output labels are: "words" or "phones"."""
        return str(self.info["units"])

    @functools.cached_property
    def words(self) -> dict[int, str]:
        """Word id to word."""
        table = read_symbols(self.path / "words.txt")
        recorded = self.info.get("words_hash")
        if recorded is not None and recorded != table_hash(table):
            raise UserError(
                f"{self.path / 'words.txt'} is not the table that the graph was made with (hash {table_hash(table)[:16]},"
                f" {INFO_NAME} says {recorded[:16]}); run `asr-distill graph build` again"
            )
        return {number: word for word, number in table.items()}

    @functools.cached_property
    def inventory(self) -> SenoneInventory:
        """The senone inventory that the graph was built with."""
        from asr_distill.senones.inventory import SenoneInventory

        return SenoneInventory.load(self.path / "senones.json")

    @property
    def lang(self) -> Path | None:
        """The words with their pronunciations, as `Lang.load` reads them; None of phone loops, subwords and older graphs."""
        return self.path / LANG_NAME if (self.path / LANG_NAME).is_dir() else None

    @functools.cached_property
    def fst(self) -> Any:
        """The graph as kaldifst `StdVectorFst`."""
        arrays = read_fst_file(self.path / FST_NAME).arrays
        words = np.fromiter(self.words, np.int64, len(self.words))
        if arrays.ilabel.max(initial=0) > self.num_senones or not np.isin(arrays.olabel, np.append(words, 0)).all():
            raise UserError(
                f"{self.path / FST_NAME} has labels beyond the {self.num_senones} senones and the words of words.txt beside it;"
                " run `asr-distill graph build` again"
            )
        return to_fst(arrays)

    @functools.cached_property
    def k2_form(self) -> K2Form:
        """The epsilon-free arrays, checked."""
        form = K2Form.load(self.path / K2_NAME)
        check_k2_form(form, self.num_senones, str(self.path / K2_NAME))
        return form

    def k2_fsa(self, device: Any = "cpu", *, all_states_final: bool = False) -> Any:
        """The graph as `k2.Fsa` on ``device``, made once; ``all_states_final`` lets a path end anywhere."""
        key = (str(device), all_states_final)
        if key not in self._fsas:
            form = self.k2_form.all_states_final() if all_states_final else self.k2_form
            self._fsas[key] = form.to_fsa(device)
        return self._fsas[key]

    def words_of(self, aux: int) -> tuple[int, ...]:
        """The word ids that an aux label of the k2 form stands for."""
        return self.k2_form.words_of(aux)

    def check(self, num_senones: int, senones_hash: str, what: str = "the model") -> None:
        """Raises `UserError` unless the graph and ``what`` have the same senones, and names the arc that would be out of
        range."""
        if senones_hash != self.senones_hash:
            raise UserError(
                f"graph {self.path} was built for senones {self.senones_hash[:16]}, {what} has {senones_hash[:16]};"
                " next: build the graph with the inventory of the model (`asr-distill graph build --inventory`)"
            )
        check_k2_form(self.k2_form, num_senones, str(self.path / K2_NAME))

    def describe(self) -> str:
        """Sizes and times for people, one line each."""
        info = self.info
        lines = [f"{info['units']} graph {self.path}: {info['num_senones']} senones, {info['num_words']} {info['units']}"]
        for name, sizes in info["sizes"].items():
            lines.append(f"  {name:<10} " + ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in sizes.items()))
        lines.append("  seconds    " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in info["seconds"].items()))
        return "\n".join(lines)


def load_graph(path: str | Path) -> Graph:
    """Opens a graph folder; nothing large is read yet. Raises `UserError` where the folder is not a graph."""
    return Graph(path)


def is_disambiguation(symbol: str) -> bool:
    """Whether a symbol is ``#0``, ``#1``, ...; a lone ``#`` may be a character of a script."""
    return symbol[:1] == "#" and symbol[1:].isdigit()

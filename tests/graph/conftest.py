"""A world small enough to enumerate: three phones, four words, a backoff bigram, written out by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import kaldifst
import pytest

from asr_distill.senones.inventory import SenoneInventory
from asr_distill.senones.topology import HmmState, Topology
from asr_distill.senones.tree import Leaf, PhoneticTree, Split, monophone_tree

HALF = -math.log(0.5)
# word -> (pronunciation, disambiguation symbol or None); "go" and "goo" are homophones, "a" is a prefix of "at"
LEXICON = {"a": ("A", "#1"), "ab": ("A B", None), "go": ("B", "#1"), "goo": ("B", "#2")}
PHONES = ("SIL", "A", "B")
# The same words with word positions: "a" is no prefix of "ab" any more and has no symbol, yet A_S and A_B share their senones.
LEXICON_WITH_POSITIONS = {"a": ("A_S", None), "ab": ("A_B B_E", None), "go": ("B_S", "#1"), "goo": ("B_S", "#2")}
PHONES_WITH_POSITIONS = ("SIL", "A_B", "A_S", "B_E", "B_S")
# G: bigram with backoff. State 0 start, 1 after "a", 2 backoff (no history).
G_ARCS = [
    (0, 1, "a", "a", 0.4), (0, 2, "#0", "<eps>", 0.9), (1, 2, "go", "go", 0.3), (1, 2, "#0", "<eps>", 0.7),
    (2, 1, "a", "a", 1.1), (2, 2, "ab", "ab", 1.3), (2, 2, "go", "go", 1.7), (2, 2, "goo", "goo", 2.1),
]  # fmt: skip
G_FINAL = {1: 0.8, 2: 1.5}


@dataclasses.dataclass(frozen=True)
class SmallWorld:
    """A lang directory, G and an inventory, with the tables that they were made of."""

    lang: Path
    grammar: Path
    inventory: SenoneInventory
    words: dict[str, int]
    phones: tuple[str, ...]
    lexicon: dict[str, tuple[str, str | None]]
    grammar_arcs: tuple[tuple[int, int, str, str, float], ...] = tuple(G_ARCS)
    grammar_final: dict[int, float] = dataclasses.field(default_factory=lambda: G_FINAL)
    pause_cost: float = HALF


def small_topology(phones: tuple[str, ...]) -> Topology:
    """Two-state phones with a skip; a silence of three states where the middle ones go back and forth."""
    speech = (HmmState(0, ((0, 0.6), (1, 0.3), (2, 0.1))), HmmState(1, ((1, 0.5), (2, 0.5))))
    silence = (
        HmmState(0, ((0, 0.2), (1, 0.5), (2, 0.3))),
        HmmState(0, ((1, 0.3), (2, 0.3), (3, 0.4))),
        HmmState(0, ((1, 0.25), (2, 0.45), (3, 0.3))),
    )
    return Topology(phones, ("SIL",), {phone: silence if phone == "SIL" else speech for phone in phones})


def triphone_tree(topology: Topology) -> PhoneticTree:
    """A asks whether silence or a boundary is on its left, B whether A is on its left or right; the tied silence asks
    nothing."""
    a = frozenset(number for number, name in enumerate(topology.phones, 1) if name.startswith("A"))
    questions = (frozenset({0, 1}), a)
    nodes = (
        Leaf(0),
        Split(0, 0, 2, 3), Leaf(1), Leaf(2),
        Leaf(3),
        Split(2, 1, 6, 7), Leaf(4), Leaf(5),
        Split(0, 1, 9, 10), Leaf(6), Leaf(7),
    )  # fmt: skip
    roots = {("SIL", 0): 0, ("A", 0): 1, ("A", 1): 4, ("B", 0): 5, ("B", 1): 8}
    return PhoneticTree(topology.phones, 3, questions, roots, nodes)


@pytest.fixture(params=["monophone", "triphone", "positions"])
def small_world(request: pytest.FixtureRequest, tmp_path: Path) -> SmallWorld:
    """The small world with a monophone or a triphone tree, or a triphone tree over phones with word positions."""
    positions = request.param == "positions"
    phone_names, lexicon = (PHONES_WITH_POSITIONS, LEXICON_WITH_POSITIONS) if positions else (PHONES, LEXICON)
    topology = small_topology(phone_names)
    tree = monophone_tree(topology) if request.param == "monophone" else triphone_tree(topology)
    lang = tmp_path / "lang"
    lang.mkdir()
    phones = {name: i for i, name in enumerate(("<eps>", *phone_names, "#0", "#1", "#2", "#3"))}
    words = {name: i for i, name in enumerate(("<eps>", *LEXICON, "#0", "<s>", "</s>"))}
    (tmp_path / "words.txt").write_text("".join(f"{name} {i}\n" for name, i in words.items()))  # of G
    (lang / "phones.txt").write_text("".join(f"{name} {i}\n" for name, i in phones.items()))
    (lang / "words.txt").write_text("".join(f"{name} {i}\n" for name, i in words.items()))
    (lang / "disambig.int").write_text("".join(f"{i}\n" for name, i in phones.items() if name.startswith("#")))
    write_lexicon(lang / "L_disambig.fst", lexicon, phones, words)
    arcs = "".join(f"{s} {d} {words[i]} {words[o]} {w}\n" for s, d, i, o, w in G_ARCS)
    grammar = tmp_path / "G.fst"
    kaldifst.compile(arcs + "".join(f"{state} {weight}\n" for state, weight in G_FINAL.items())).write(str(grammar))
    return SmallWorld(lang, grammar, SenoneInventory(topology, tree), words, phone_names, lexicon)


def write_lexicon(
    path: Path, lexicon: dict[str, tuple[str, str | None]], phones: dict[str, int], words: dict[str, int]
) -> None:
    """L_disambig as Kaldi's make_lexicon_fst: 0 start, 1 between words, 2 before the silence that follows a word (#3 ends
    it)."""
    lines = [
        f"0 1 0 0 {HALF}",
        f"0 2 0 0 {HALF}",
        f"2 3 {phones['SIL']} 0",
        f"3 1 {phones['#3']} 0",
        f"1 1 {phones['#0']} {words['#0']}",
    ]
    state = 4
    for word, (pronunciation, symbol) in lexicon.items():
        sequence = pronunciation.split() + ([symbol] if symbol else [])
        here = 1
        for position, phone in enumerate(sequence):
            output = words[word] if position == 0 else 0
            if position < len(sequence) - 1:
                lines.append(f"{here} {state} {phones[phone]} {output}")
                here, state = state, state + 1
            else:
                lines += [f"{here} {end} {phones[phone]} {output} {HALF}" for end in (1, 2)]
    kaldifst.compile("\n".join(lines) + "\n1 0\n").write(str(path))

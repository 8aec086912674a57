"""New words for a trained model: a lexicon with a part of its phones, a graph that knows how they are said, exact times."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr_distill.base import read_json
from asr_distill.cli.main import main
from asr_distill.lang import Lang
from asr_distill.senones import SenoneInventory, default_topology, monophone_tree


@pytest.fixture
def lang(corpus: Any, tmp_path: Path) -> Path:
    """Of the model's phones SIL, A and B the words have A alone."""
    (tmp_path / "words.txt").write_text("ah A\nahah A A\n")
    (tmp_path / "text").write_text("ah ahah\nahah ah ah\n")
    words = ["--lexicon", str(tmp_path / "words.txt"), "--phones-from", str(corpus.train())]
    assert main(["lang", "build", *words, "--output", str(tmp_path / "lang"), "--quiet"]) == 0
    options = ["--lang", str(tmp_path / "lang"), "--quiet"]
    assert main(["lang", "ngram", "--text", str(tmp_path / "text"), *options, "--output", str(tmp_path / "g.arpa")]) == 0
    assert main(["lang", "g", "--arpa", str(tmp_path / "g.arpa"), *options]) == 0
    return tmp_path / "lang"


@pytest.fixture
def graph(corpus: Any, lang: Path, tmp_path: Path) -> Path:
    files = ["--g", str(lang / "G.fst"), "--inventory", str(corpus.folder / "senones.json")]
    assert main(["graph", "build", "--lang", str(lang), *files, "--output", str(tmp_path / "graph"), "--quiet"]) == 0
    return tmp_path / "graph"


@pytest.fixture
def ctm(corpus: Any, graph: Path, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """The words with times of a decode, and how it says that they were found."""
    samples = np.random.default_rng(3).normal(0, 0.03, 14321)
    soundfile.write(tmp_path / "new.wav", samples, 16000, subtype="PCM_16")

    def ctm(*words: str) -> tuple[str, str]:
        given = ["--audio", str(tmp_path / "new.wav"), "--model", str(corpus.train()), "--acoustic-scale", "1"]
        command = ["decode", *given, "--graph", str(graph), "--output", str(tmp_path / "out"), "--quiet", *words]
        assert main(command) == 0
        return (tmp_path / "out" / "hyp.ctm").read_text(), read_json(tmp_path / "out" / "decode.json")["word_times"]

    return ctm


def test_a_part_of_the_phones_keeps_all_of_their_numbers(corpus: Any, lang: Path) -> None:
    built = Lang.load(lang)
    assert built.real_phones == corpus.inventory.topology.phones == ("SIL", "A", "B")
    assert built.silence_phones == ("SIL",)
    assert built.real_words == ("ah", "ahah")


def test_a_graph_knows_how_its_words_are_said(lang: Path, graph: Path, ctm: Callable[..., tuple[str, str]]) -> None:
    assert Lang.load(graph / "lang").hash == Lang.load(lang).hash
    found, how = ctm()
    assert found
    assert how == "forced alignment"
    assert ctm("--lang", str(lang)) == (found, how)
    times = [list(map(float, line.split()[2:4])) for line in found.splitlines()]
    assert all(start + length <= later[0] + 1e-6 for (start, length), later in itertools.pairwise(times))
    shutil.rmtree(graph / "lang")  # a graph of an earlier version
    assert ctm()[1] == "frame of the best path whose arc wrote the word"


@pytest.mark.parametrize("source", ["bundle", "inventory", "lang"])
def test_phones_may_come_from_a_bundle_an_inventory_or_a_lang(corpus: Any, lang: Path, tmp_path: Path, source: str) -> None:
    path = {"bundle": corpus.train(), "inventory": corpus.folder / "senones.json", "lang": lang}[source]
    words = ["--lexicon", str(tmp_path / "words.txt"), "--phones-from", str(path)]
    assert main(["lang", "build", *words, "--output", str(tmp_path / "again"), "--quiet"]) == 0
    assert Lang.load(tmp_path / "again").hash == Lang.load(lang).hash


@pytest.mark.parametrize(
    ("lexicon", "options", "said"),
    [
        ("oh O\nah A O\n", (), r"1 phones that .*seed0 lacks: O (in oh); it has A B SIL."),
        ("ah A\n", ("--position-dependent",), "--position-dependent beside --phones-from"),
        ("ah A\n", ("--silence-phone", "B"), "--silence-phone beside --phones-from"),
        ("ah A\n", ("--unknown-word", "<UNK>"), "lacks: SPN (in <UNK>)"),
    ],
)
def test_what_the_model_cannot_say_is_named(
    corpus: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], lexicon: str, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "words.txt").write_text(lexicon)
    words = ["--lexicon", str(tmp_path / "words.txt"), "--phones-from", str(corpus.train()), *options]
    assert main(["lang", "build", *words, "--output", str(tmp_path / "lang"), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert all(part in told for part in said.split(".*"))
    assert not (tmp_path / "lang").exists()


def test_positions_and_stress_are_those_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a AH0\nno N OW1\n")
    (tmp_path / "few.txt").write_text("no N OW1\n")
    for position in ((), ("--position-dependent",)):
        for stress in ("strip", "keep"):
            whole, few = tmp_path / f"whole{stress}{len(position)}", tmp_path / f"few{stress}{len(position)}"
            options = ["--stress", stress, *position, "--quiet"]
            assert main(["lang", "build", "--lexicon", str(tmp_path / "words.txt"), *options, "--output", str(whole)]) == 0
            lang = Lang.load(whole)
            topology = default_topology(list(lang.real_phones), list(lang.silence_phones))
            SenoneInventory(topology, monophone_tree(topology)).save(tmp_path / "senones.json")
            words = ["--lexicon", str(tmp_path / "few.txt"), "--phones-from", str(tmp_path / "senones.json")]
            assert main(["lang", "build", *words, "--output", str(few), "--quiet"]) == 0
            assert Lang.load(few).real_phones == lang.real_phones
            assert Lang.load(few).lexicon.entries == tuple(e for e in lang.lexicon.entries if e.word == "no")

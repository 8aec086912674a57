"""FSTs that people bring: binary and text, with symbol tables or without, whole and damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import kaldifst
import numpy as np
import pytest

from asr_distill.base import UserError
from asr_distill.cli.main import main
from asr_distill.graph import build_hclg
from asr_distill.graph.arrays import FstArrays, from_fst, to_fst
from asr_distill.graph.fst_file import read_fst_file
from asr_distill.graph.labels import read_grammar, read_lexicon_fst
from asr_distill.lang import Arpa, Lang, Lexicon, Pronunciation, SymbolTable, build_g
from asr_distill.senones import SenoneInventory, topology_of_lang
from asr_distill.senones.tree import monophone_tree

TEXT = "0 1 1 2 0.5\n0 2 3 0 1.5\n1 2 0 1\n2 0.25\n"
WORDS = {"<eps>": 0, "one": 1, "two": 2, "#0": 3, "<s>": 4, "</s>": 5}
OTHER = {"<eps>": 0, "four": 1, "one": 2, "three": 3, "two": 4, "#0": 5, "<s>": 6, "</s>": 7}
UNIGRAM = "\\data\\\nngram 1=4\n\n\\1-grams:\n-0.5\tone\n-0.4\ttwo\n-0.9\t</s>\n-99\t<s>\n\n\\end\\\n"


def compiled(text: str = TEXT) -> kaldifst.StdVectorFst:
    return kaldifst.compile(text, acceptor=False, keep_state_numbering=True)


def symbols(table: dict[str, int]) -> kaldifst.SymbolTable:
    result = kaldifst.SymbolTable()
    for name, number in table.items():
        result.add_symbol(name, number)
    return result


def write_table(path: Path, table: dict[str, int]) -> Path:
    path.write_text("".join(f"{name} {number}\n" for name, number in table.items()), encoding="utf-8")
    return path


def assert_same(found: FstArrays, expected: FstArrays) -> None:
    assert found.start == expected.start
    for name in ("source", "destination", "ilabel", "olabel", "weight", "final"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("kind", ["vector", "const", "text"])
@pytest.mark.parametrize("tables", [False, True])
def test_every_form_of_a_file_is_read_alike(tmp_path, kind, tables):
    fst = compiled()
    expected = from_fst(fst)
    if tables:
        fst.input_symbols = fst.output_symbols = symbols(WORDS)
    path = tmp_path / "a.fst"
    if kind == "text":
        path.write_text(TEXT)
    else:
        assert (fst if kind == "vector" else kaldifst.StdConstFst(fst)).write(str(path))
    file = read_fst_file(path)
    assert_same(file.arrays, expected)
    if tables and kind != "text":
        assert file.input_symbols == file.output_symbols == {number: name for name, number in WORDS.items()}
    assert_same(from_fst(to_fst(file.arrays)), expected)


def test_an_aligned_const_file(tmp_path):
    """OpenFst's aligned layout, which this build of it cannot write: states and arcs begin at multiples of 16 bytes."""
    kaldifst.StdConstFst(compiled()).write(str(tmp_path / "a.fst"))
    data = (tmp_path / "a.fst").read_bytes()
    head = 4 + 4 + len("const") + 4 + len("standard")
    body = data[head + 40 :]
    header = data[:head] + struct.pack("<ii", 1, 0) + data[head + 8 : head + 40]
    states, arcs = body[: 3 * 20], body[3 * 20 :]
    out = header + b"\0" * (-len(header) % 16) + states
    out += b"\0" * (-len(out) % 16) + arcs
    (tmp_path / "aligned.fst").write_bytes(out)
    assert_same(read_fst_file(tmp_path / "aligned.fst").arrays, from_fst(compiled()))


def test_a_vector_file_whose_header_does_not_count_its_states(tmp_path):
    compiled().write(str(tmp_path / "a.fst"))
    data = bytearray((tmp_path / "a.fst").read_bytes())
    at = 4 + 4 + len("vector") + 4 + len("standard") + 24
    assert struct.unpack_from("<q", data, at) == (3,)
    struct.pack_into("<q", data, at, -1)
    (tmp_path / "a.fst").write_bytes(data)
    assert_same(read_fst_file(tmp_path / "a.fst").arrays, from_fst(compiled()))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 1 1 1 0.5\n", "no final state"),
        ("", "is empty"),
        ("0 1 1\n0 1 1 1 0.5\n1\n", "line 2.*acceptor"),
        ("0 1 5 7\n1\n", "line 1.*label or a weight"),
        ("0 x 5 7 1\n1\n", "line 1.*expected SOURCE"),
        ("0 1 1 1 soon\n1\n", "line 1.*weight 'soon'"),
        ("0 1 1 1 nan\n1\n", "no finite number"),
        ("0 1 1 1 1e300\n1\n", "no finite number"),
        ("0 1 1 1 inf\n1\n", "no finite number"),
        ("0 1 99999999999 1 1\n1\n", "too large"),
        ("hello world this is a text file\n", "expected SOURCE"),
        ("0 1 a\u00a0b a 1\n1\n", "line 1.*U\\+00A0"),
    ],
)
def test_text_that_is_no_fst(tmp_path, text, says):
    (tmp_path / "a.fst").write_text(text)
    with pytest.raises(UserError, match=says):
        read_fst_file(tmp_path / "a.fst")


def test_text_with_names_and_acceptors(tmp_path):
    path = tmp_path / "a.fst"
    path.write_text("7 3 one\n3 7 #0 0.5\n7 2.0\n")
    file = read_fst_file(path)
    assert file.arrays.start == 0
    assert file.input_symbols == {0: "<eps>", 1: "one", 2: "#0"}
    np.testing.assert_array_equal(file.arrays.ilabel, file.arrays.olabel)
    path.write_text("0 1 one 0.5\n1 0\n")  # four fields, the fourth a number with a point
    np.testing.assert_array_equal(read_fst_file(path).arrays.weight, [0.5])


@pytest.mark.parametrize(("kind", "arcs"), [("ngram", "standard"), ("vector", "log"), ("compact_acceptor", "standard")])
def test_other_kinds_are_refused_with_the_command_that_converts_them(tmp_path, kind, arcs):
    compiled().write(str(tmp_path / "a.fst"))
    data = (tmp_path / "a.fst").read_bytes()
    for old, new in (("vector", kind), ("standard", arcs)):
        data = data.replace(struct.pack("<i", len(old)) + old.encode(), struct.pack("<i", len(new)) + new.encode(), 1)
    (tmp_path / "a.fst").write_bytes(data)
    with pytest.raises(UserError, match="fstprint"):
        read_fst_file(tmp_path / "a.fst")


def test_every_cut_and_every_flipped_bit_is_refused_or_read(tmp_path):
    """Whatever happens to the bytes, the reader answers; what it accepts, OpenFst can be given."""
    fst = compiled()
    fst.input_symbols = symbols(WORDS)
    path = tmp_path / "a.fst"
    fst.write(str(path))
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(UserError):
            read_fst_file(path)
    accepted = 0
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            to_fst(read_fst_file(path).arrays)
            accepted += 1
        except UserError:
            pass
    assert accepted < 5 * len(data)  # flips in weights, labels and names stay possible; sizes and kinds are caught


def grammar(words: dict[str, int], tmp_path: Path, name: str, *, tables: bool) -> Path:
    (tmp_path / "lm.arpa").write_text(UNIGRAM)
    fst = build_g(Arpa.read(tmp_path / "lm.arpa"), SymbolTable(tuple(words)))
    if not tables:
        fst.input_symbols = fst.output_symbols = None
    assert fst.write(str(tmp_path / name))
    return tmp_path / name


def meaning(fst: FstArrays, table: dict[str, int]) -> set[tuple[str, float]]:
    names = {number: name for name, number in table.items()}
    return {(names[int(label)], round(float(weight), 4)) for label, weight in zip(fst.olabel, fst.weight, strict=True) if label}


def test_numbers_of_another_table_are_mapped_by_name_or_refused(tmp_path):
    lang = tmp_path / "lang"
    lang.mkdir()
    write_table(lang / "words.txt", WORDS)
    (lang / "lang.json").write_text("{}")
    expected = meaning(read_grammar(grammar(WORDS, tmp_path, "own.fst", tables=True), WORDS), WORDS)
    assert {name for name, _ in expected} == {"one", "two"}
    with_tables = grammar(OTHER, tmp_path, "other.fst", tables=True)
    assert meaning(read_grammar(with_tables, WORDS), WORDS) == expected
    bare = grammar(OTHER, tmp_path, "bare.fst", tables=False)
    with pytest.raises(UserError, match="--g-words"):
        read_grammar(bare, WORDS)
    given = write_table(tmp_path / "table", OTHER)
    assert meaning(read_grammar(bare, WORDS, given), WORDS) == expected
    (lang / "G.fst").write_bytes(bare.read_bytes())  # copied into the lang directory
    with pytest.raises(UserError, match="--g-words"):
        read_grammar(lang / "G.fst", WORDS)
    write_table(tmp_path / "words.txt", OTHER)  # beside it, as in a Kaldi folder
    assert meaning(read_grammar(bare, WORDS), WORDS) == expected
    write_table(tmp_path / "words.txt", {"<eps>": 0})
    with pytest.raises(UserError, match="has the label"):
        read_grammar(bare, WORDS)


def test_words_of_g_that_the_lexicon_lacks_are_left_out_with_a_line(tmp_path, caplog):
    text = tmp_path / "G.txt"
    text.write_text("0 0 one one 0.5\n0 0 seven seven 0.25\n0 0 two two 0.75\n0 0.1\n")
    found = read_grammar(text, WORDS)
    assert meaning(found, WORDS) == {("one", 0.5), ("two", 0.75)}
    assert "1 words of G are not in the lexicon and are left out: seven" in caplog.text
    text.write_text("0 0 SEVEN SEVEN 0.25\n0 0.1\n")
    with pytest.raises(UserError, match="none of its words is in the lexicon"):
        read_grammar(text, WORDS)
    text.write_text("0 0 one one 0.25\n0 0 #5 <eps> 1\n0 0.1\n")
    with pytest.raises(UserError, match="#5"):
        read_grammar(text, WORDS)


def test_a_lexicon_of_another_directory_is_refused(tmp_path):
    path = tmp_path / "L_disambig.fst"
    fst = compiled("0 0 1 1 0.5\n0 0\n")
    phones, words = {"<eps>": 0, "SIL": 1}, {"<eps>": 0, "one": 1}
    fst.write(str(path))
    read_lexicon_fst(path, phones, words)
    with pytest.raises(UserError, match=r"label 1, and words.txt"):
        read_lexicon_fst(path, phones, {"<eps>": 0, "one": 2})
    fst.output_symbols = symbols({"<eps>": 0, "two": 1})
    fst.write(str(path))
    with pytest.raises(UserError, match="calls 'two'"):
        read_lexicon_fst(path, phones, words)


def test_a_graph_from_every_form_of_g_is_the_same(small_world, tmp_path):
    first = build_hclg(small_world.lang, small_world.grammar, small_world.inventory, tmp_path / "first")
    names = {number: name for name, number in small_world.words.items()}
    fst = read_fst_file(small_world.grammar).arrays
    rows = zip(fst.source, fst.destination, fst.ilabel, fst.olabel, fst.weight, strict=True)
    text = "".join(f"{s} {d} {names[int(i)]} {names[int(o)]} {w:.9g}\n" for s, d, i, o, w in rows)
    text += "".join(f"{state} {weight:.9g}\n" for state, weight in enumerate(fst.final) if np.isfinite(weight))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "G.txt").write_text(text)
    (tmp_path / "const").mkdir()
    kaldifst.StdConstFst(to_fst(fst)).write(str(tmp_path / "const" / "G.fst"))
    for g, words in ((tmp_path / "text" / "G.txt", None), (tmp_path / "const" / "G.fst", small_world.lang / "words.txt")):
        again = build_hclg(small_world.lang, g, small_world.inventory, tmp_path / "again", g_words=words)
        assert (again.path / "HCLG.fst").read_bytes() == (first.path / "HCLG.fst").read_bytes()
    assert first.words[1] == names[1]
    with pytest.raises(UserError, match="--g-words"):
        build_hclg(small_world.lang, tmp_path / "const" / "G.fst", small_world.inventory, tmp_path / "again")


def test_a_graph_with_another_table_beside_it_is_refused(small_world, tmp_path):
    graph = build_hclg(small_world.lang, small_world.grammar, small_world.inventory, tmp_path / "graph")
    (graph.path / "asr-distill.sha256").unlink(missing_ok=True)
    table = (graph.path / "words.txt").read_text()
    (graph.path / "words.txt").write_text(table.replace("ab 2", "go 2").replace("go 3", "ab 3"))
    with pytest.raises(UserError, match="not the table that the graph was made with"):
        _ = graph.words


def test_swapped_options_are_recognised(capsys, small_world, tmp_path):
    graph = build_hclg(small_world.lang, small_world.grammar, small_world.inventory, tmp_path / "graph")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "x.jsonl").write_text("")
    arguments = ["--cuts", str(tmp_path / "x.jsonl"), "--system", "s", "--output", str(tmp_path / "out")]
    for model, folder in ((graph.path, tmp_path / "model"), (graph.path, graph.path)):
        assert main(["decode", "--model", str(model), "--graph", str(folder), *arguments]) != 0
        assert "exchanged with another option?" in capsys.readouterr().err


def test_a_lang_directory_of_ours_says_whose_its_files_are(tmp_path):
    """Files of another lang directory among its own, in a folder without a list of digests."""
    for name, words in (("one", ("a", "b")), ("two", ("b", "c"))):
        Lang.build(Lexicon(tuple(Pronunciation(word, (word.upper(),)) for word in words)), tmp_path / name)
    one, two = (Lang.load(tmp_path / name) for name in ("one", "two"))
    topology = topology_of_lang(one.directory)
    inventory = SenoneInventory(topology, monophone_tree(topology))
    (tmp_path / "G.txt").write_text("0 0 b b 0.5\n0 0\n")
    (one.directory / "asr-distill.sha256").unlink()
    build_hclg(one.directory, tmp_path / "G.txt", inventory, tmp_path / "graph")
    kept = one.lexicon_disambig_fst_path.read_bytes()
    one.lexicon_disambig_fst_path.write_bytes(two.lexicon_disambig_fst_path.read_bytes())
    with pytest.raises(UserError, match="not of one lang directory"):
        build_hclg(one.directory, tmp_path / "G.txt", inventory, tmp_path / "graph")
    one.lexicon_disambig_fst_path.write_bytes(kept)
    (one.directory / "words.txt").write_bytes((two.directory / "words.txt").read_bytes())
    with pytest.raises(UserError, match=r"lang.json says"):
        build_hclg(one.directory, tmp_path / "G.txt", inventory, tmp_path / "graph")

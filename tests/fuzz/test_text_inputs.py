"""Text and FSTs that people bring, mutated: whatever the bytes, a reader answers or raises a `UserError`."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kaldifst
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr_distill.alignment.reference import read_mlf
from asr_distill.base import UserError
from asr_distill.data.kaldi_tables import read_table
from asr_distill.graph.fst_file import read_fst_file
from asr_distill.graph.labels import read_grammar
from asr_distill.lang import Arpa, Lexicon, SymbolTable
from asr_distill.lang.dict_folder import silence_phones
from asr_distill.lang.lexicon_formats import FORMATS
from asr_distill.lang.symbols import read_symbols
from asr_distill.lang.transcripts import read_sentences
from asr_distill.scoring import (
    Normalisation,
    pair_transcripts,
    read_hypotheses,
    read_references,
    read_training_texts,
    read_transcripts,
    read_utterance_speakers,
    read_vocabulary,
)
from asr_distill.scoring.segments import pair_timed
from asr_distill.scoring.timed import read_ctm, read_stm

pytestmark = pytest.mark.slow
EXAMPLES = settings(max_examples=2000, suppress_health_check=list(HealthCheck), deadline=None)

ARPA = (
    "header\n\\data\\\nngram 1=5\nngram 2=3\nngram 3=2\n\n"
    "\\1-grams:\n-0.5\ta\t-0.2\n-0.4\tb\t-0.3\n-0.4\tc\n-0.9\t</s>\n-99\t<s>\t-0.1\n\n"
    "\\2-grams:\n-0.1\t<s> a\t-0.4\n-0.2\ta b\t0.1\n-0.3\tb </s>\n\n"
    "\\3-grams:\n-0.3\tb c a\n-0.2\t<s> a b\n\n\\end\\\n"
)
LEXICONS = {
    "plain": "!SIL sil\none W AH1 N\nread R IY1 D\nread R EH1 D\ncaf\u00e9 K AE F EY\n",
    "lexiconp": "one 0.9 W AH1 N\ntwo 1 T UW1\ntwo 0.25 T AX\n",
    "lexiconp_silprob": "one 0.9 0.3 1.1 0.9 W AH1 N\ntwo 1 0.2 1 1 T UW1\n",
    "cmudict": ";;; CMU\nREAD  R IY1 D # verb\nREAD(2)  R EH1 D\n'BOUT  B AW1 T\n",
    "mfa": "one\t0.99\t0.27\t1.0\t1.0\tW AH1 N\ntwo\t0.5\tT UW1\nsix\tS IH1 K S\n",
}
SYMBOLS = "<eps> 0\none 1\ntwo 2\ncaf\u00e9 3\n#0 4\n<s> 5\n</s> 6\n"
TEXT_FST = "0 1 one one 0.5\n0 2 #0 <eps> 1.5\n1 2 two two\n2 0.25\n"
TRN = ";; comment\ni { got to / gotta } go (u1)\n(uh) stop (u2)\nyes (u-3_x)\n"
TEXT = "u1 i gotta go\nu2 stop\nu-3_x\n"
CTM = "f1 A 0.10 0.20 i 1.0\nf1 A 0.40 0.20 gotta NA\nf2 1 0.2 0.2 yes 0.5\n"
STM = "f1 A ann 0.00 2.00 <o,f0,female> i {got to / gotta} go\nf1 A inter_segment_gap 2.00 3.00\nf2 1 cid 0.0 1.0 (uh) yes\n"
ROWS = (
    '{"id": "u1", "reference": "i gotta go", "hypothesis": "i go", "speaker": "ann", "frames": 10, "correct_frames": 3}\n'
    '{"id": "u2", "reference": ["stop"], "hypothesis": null}\n'
)
MLF = '#!MLF!#\n"*/u1.lab"\n0 300000 sil_s2_1 -1.5 sil\n300000 900000 eh_s2_1 -1.5 eh\n900000 1200000 eh_s3_1 -2\n.\n'
NASTY = [
    "", " ", "\t", "\n", "\r", "\0", "\x1b[31m", "\u00a0", "\u3000", "\u200b", "\u2028", "\ufeff", "\u0661", "\u00b2",
    "nan", "inf", "-inf", "1e999", "-1e999", "-1e30", "-99", "-0.7", "-1", "0", "2", "1_0", "99999999999999999999", "0x10",
    "<eps>", "#0", "#", "<s>", "</s>", "a", "\\end\\", "{", "}", "(", ")", "/", "@", "{ a / b }", "(uh)", ";;", ";;;", "%20",
    "%", "(2)", "READ(3)", "ngram 4=1", "\\2-grams:", "<ALT>", "IGNORE_TIME_SEGMENT_IN_SCORING", "e\u0301", '"', "null", "[]",
    "1e400", "\ud7ff",
]  # fmt: skip


@st.composite
def mutated_text(draw: Any, seed: str) -> bytes:
    """The seed after one to four changes to its tokens, lines, characters or bytes."""
    text = seed
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(("token", "line", "character", "cut")))
        if kind == "token":
            parts = re.split("([ \t\n])", text)
            at = 2 * draw(st.integers(0, len(parts) // 2))
            parts[at] = draw(st.sampled_from(NASTY)) + (parts[at] if draw(st.booleans()) else "")
            text = "".join(parts)
        elif kind == "line":
            lines = text.split("\n")
            at, to = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
            change = draw(st.sampled_from(("drop", "double", "swap")))
            if change == "swap":
                lines[at], lines[to] = lines[to], lines[at]
            else:
                lines[at : at + 1] = [] if change == "drop" else [lines[at]] * 2
            text = "\n".join(lines)
        elif kind == "character":
            at = draw(st.integers(0, len(text)))
            added = draw(st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=("Cs",)), max_size=2)))
            text = text[:at] + added + text[at + draw(st.integers(0, 3)) :]
        else:
            text = text[: draw(st.integers(0, len(text)))]
    data = text.encode()
    if data and draw(st.integers(0, 7)) == 0:
        data = mutate_bytes(draw, data)
    return data


def mutate_bytes(draw: Any, data: bytes) -> bytes:
    """Some bytes set, a stretch taken out or doubled, or the end cut off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        kind = draw(st.sampled_from(("byte", "bit", "word", "drop", "double", "cut")))
        if kind == "byte" and changed:
            changed[at] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))
        elif kind == "bit" and changed:
            changed[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "word":
            changed[at : at + 4] = struct.pack("<i", draw(st.sampled_from((-1, 0, 1, 2**31 - 1, -(2**31), 2**20))))
        elif kind == "cut":
            del changed[at:]
        else:
            length = draw(st.integers(1, 16))
            changed[at : at + length] = b"" if kind == "drop" else bytes(changed[at : at + length]) * 2
    return bytes(changed)


@st.composite
def mutated_binary(draw: Any, seeds: tuple[bytes, ...]) -> bytes:
    """One of the files after changes to its bytes."""
    return mutate_bytes(draw, draw(st.sampled_from(seeds)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def answers(read: Callable[[Path], object], path: Path, data: bytes) -> bool:
    """Whether the reader takes the bytes; it may refuse them by `UserError` only."""
    path.write_bytes(data)
    try:
        read(path)
    except UserError:
        return False
    return True


def lexicon(format: str) -> Callable[[Path], object]:
    def read(path: Path) -> None:
        found = Lexicon.read(path, format=format)
        silence_phones([path], found).speech_of(found, ())
        again = path.with_name("again.txt")
        found.write(again)
        assert Lexicon.read(again, format="lexiconp", own=True).words == found.words

    return read


def trn(path: Path) -> None:
    references = read_references(path)
    pair_transcripts(references, dict.fromkeys(references, ("i", "go")), Normalisation("lower", ("uh",)))


def stm(path: Path) -> None:
    ctm = path.with_name("hyp.ctm")
    ctm.write_text(CTM, encoding="utf-8")
    pair_timed(read_stm(path), read_ctm(ctm), Normalisation())


def ctm(path: Path) -> None:
    stm_path = path.with_name("ref.stm")
    stm_path.write_text(STM, encoding="utf-8")
    read_transcripts(path, "ctm")
    pair_timed(read_stm(stm_path), read_ctm(path), Normalisation())


def rows(path: Path) -> None:
    for utterance in read_hypotheses(path, Normalisation("upper")):
        assert utterance.errors is not None


def g(path: Path) -> None:
    table = path.with_name("words.txt")
    table.write_text(SYMBOLS, encoding="utf-8")
    read_grammar(path, read_symbols(table))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "arpa": (ARPA, lambda path: Arpa.read(path).completed().write(path.with_name("again.arpa"))),
    **{format: (LEXICONS.get(format, LEXICONS["plain"]), lexicon(format)) for format in FORMATS},
    "table": (SYMBOLS, SymbolTable.read),
    "symbols": (SYMBOLS, read_symbols),
    "text fst": (TEXT_FST, g),
    "trn": (TRN, trn),
    "text": (TEXT, trn),
    "sentences": (TEXT, lambda path: read_sentences([path], ids=True)),
    "training text": (TEXT, read_training_texts),
    "ctm": (CTM, ctm),
    "stm": (STM, stm),
    "hypotheses": (ROWS, rows),
    "utt2spk": ("u1 ann\nu2 bob\n", read_utterance_speakers),
    "vocabulary": (SYMBOLS, read_vocabulary),
    "kaldi table": (TEXT, lambda path: read_table(path, empty=True)),
    "mlf": (MLF, read_mlf),
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_of_text_answers_whatever_the_bytes(folder: Path, name: str) -> None:
    seed, read = READERS[name]
    suffix = {"hypotheses": ".jsonl"}.get(name, "")
    assert answers(read, folder / f"seed{suffix}", seed.encode()), "the seed itself is good"

    @EXAMPLES
    @given(mutated_text(seed))
    def example(data: bytes) -> None:
        answers(read, folder / f"mutated{suffix}", data)

    example()


def in_a_child(script: str, paths: list[Path]) -> None:
    """Runs a script over files in a process of its own; a library that ends its process ends that one."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}; {done.stdout[-200:]}; {done.stderr[-1000:]}"


@st.composite
def models(draw: Any) -> str:
    """An ARPA model of order 1 to 5: any n-grams over its words, whether their histories are listed or not."""
    words = draw(st.lists(st.sampled_from(("a", "b", "c", "<unk>", "d")), unique=True, min_size=1))
    begin = ["<s>"] if draw(st.booleans()) else []
    values = st.sampled_from(("-0.1", "-0.5", "-1.25", "0", "-99", "-inf", "-1e30", "-3e-5", "-1e-300"))
    weights = st.sampled_from(("", "\t-0.3", "\t0", "\t0.2", "\t-99", "\t-inf", "\t1e1"))
    sections = [[*((word,) for word in [*words, *begin, "</s>"])]]
    for n in range(2, draw(st.integers(1, 5)) + 1):
        row = st.tuples(
            st.sampled_from([*words, *begin]), *[st.sampled_from(words)] * (n - 2), st.sampled_from([*words, "</s>"])
        )
        sections.append(draw(st.lists(row, unique=True, max_size=4)))
    lines = ["\\data\\", *(f"ngram {n}={len(section)}" for n, section in enumerate(sections, 1))]
    for n, section in enumerate(sections, 1):
        lines += ["", f"\\{n}-grams:"]
        lines += [f"{draw(values)}\t{' '.join(ngram)}{draw(weights)}" for ngram in section]
    return "\n".join([*lines, "", "\\end\\", ""])


_KALDILM = """
import sys, kaldilm
for path in sys.stdin.read().split("\\n"):
    print(path, flush=True)
    words = path.rpartition("/")[0] + "/words.txt"
    kaldilm.arpa2fst(input_arpa=path, output_fst=path + ".fst", disambig_symbol="#0", read_symbol_table=words)
"""


def test_kaldilm_converts_every_model_that_our_reader_takes(folder: Path) -> None:
    """The converter ends its process at what it does not like: nothing of that kind passes our reader."""
    out = folder / "models"
    out.mkdir()
    (out / "words.txt").write_text("<eps> 0\na 1\nb 2\nc 3\n#0 4\n<s> 5\n</s> 6\n", encoding="utf-8")
    taken: dict[bytes, Path] = {}

    @EXAMPLES
    @given(st.one_of(mutated_text(ARPA), models().map(str.encode)))
    def example(data: bytes) -> None:
        path = folder / "mutated.arpa"
        path.write_bytes(data)
        try:
            model = Arpa.read(path)
        except UserError:
            return
        model = model.without(word for word in model.words if word not in {"a", "b", "c", "</s>"}).completed()
        written = out / f"{len(taken)}.arpa"
        model.write(written)
        if taken.setdefault(written.read_bytes(), written) != written:
            written.unlink()

    example()
    assert len(taken) > 100
    in_a_child(_KALDILM, list(taken.values()))
    for path in taken.values():
        read_fst_file(path.with_name(path.name + ".fst"))


_OPENFST = (
    "import sys, kaldifst\n"
    "from asr_distill.base import UserError\n"
    "from asr_distill.graph.arrays import from_fst, to_fst\n"
    "from asr_distill.graph.fst_file import read_fst_file\n"
    "other = kaldifst.compile('0 0 1 1 0.5\\n0 0 2 2 0.5\\n0 0\\n', acceptor=False)\n"
    "for path in sys.stdin.read().split('\\n'):\n"
    "    print(path, flush=True)\n"
    "    try:\n"
    "        fst = to_fst(read_fst_file(path).arrays)\n"
    "    except UserError:\n"
    "        continue\n"
    "    kaldifst.arcsort(fst, 'olabel')\n"
    "    kaldifst.connect(kaldifst.StdVectorFst(kaldifst.compose(fst, other)))\n"
)


def test_openfst_takes_every_file_that_our_reader_takes(folder: Path) -> None:
    fst = kaldifst.compile("0 1 1 2 0.5\n0 2 3 0 1.5\n1 2 0 1\n2 0.25\n", acceptor=False, keep_state_numbering=True)
    symbols = kaldifst.SymbolTable("words")
    for name, number in (("<eps>", 0), ("one", 1), ("two", 2), ("#0", 3)):
        symbols.add_symbol(name, number)
    seeds = []
    for table in (None, symbols):
        fst.input_symbols = fst.output_symbols = table
        for kind in (fst, kaldifst.StdConstFst(fst)):
            assert kind.write(str(folder / "seed.fst"))
            seeds.append((folder / "seed.fst").read_bytes())
    files = folder / "fsts"
    files.mkdir()
    paths: list[Path] = []

    @EXAMPLES
    @given(mutated_binary(tuple(seeds)))
    def example(data: bytes) -> None:
        if answers(read_fst_file, folder / "mutated.fst", data):
            paths.append(files / f"{len(paths)}.fst")
            paths[-1].write_bytes(data)

    example()
    assert len(paths) > 20
    in_a_child(_OPENFST, paths)

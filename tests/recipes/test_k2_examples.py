"""The examples of recipes/k2 on AN4 recordings and random weights: what they print is what `K2Decoder` finds."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr_distill.decoding import K2Decoder
from asr_distill.features import ContextWindow, Fbank40Config, Normalisation
from asr_distill.features.resampling import resample
from asr_distill.graph import Graph, build_hclg
from asr_distill.lang import Lang, Lexicon, build_g, write_g
from asr_distill.models import build_network, save_network
from asr_distill.senones import SenoneInventory, SenonePriors, monophone_tree, topology_of_lang
from asr_distill.student import BundleParts, Student

pytestmark = pytest.mark.skipif(importlib.util.find_spec("k2") is None, reason="k2 is not installed")
EXAMPLES = Path(__file__).resolve().parents[2] / "recipes" / "k2"


@pytest.fixture(scope="module")
def graph(an4_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = tmp_path_factory.mktemp("k2_examples")
    lang = Lang.build(Lexicon.read(an4_dir / "etc" / "an4.dic"), folder / "lang")
    write_g(build_g(an4_dir / "etc" / "an4.ug.lm", lang.words), folder / "G.fst")
    topology = topology_of_lang(folder / "lang")
    return build_hclg(folder / "lang", folder / "G.fst", SenoneInventory(topology, monophone_tree(topology)), folder / "graph")


@pytest.fixture(scope="module")
def bundle(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(graph, tmp_path_factory.mktemp("bundle"), Fbank40Config())


def make_bundle(graph: Graph, folder: Path, config: Fbank40Config) -> Path:
    count = graph.num_senones
    SenonePriors.from_labels([np.arange(count, dtype=np.int32)], count, graph.senones_hash).save(folder / "counts.json")
    parts = BundleParts(
        graph.path / "senones.json", folder / "counts.json", config, ContextWindow(), Normalisation("utterance")
    )
    network = {"name": "senone_dnn", "num_senones": count, "layers": 1, "width": 32, "input_dim": 1040}
    built = build_network(network, torch.Generator().manual_seed(3))
    (folder / "bundle").mkdir()
    parts.write(folder / "bundle")
    save_network(folder / "bundle", built, network, {"training": {}, **parts.describe(), "acoustic_scale": 0.2})
    return folder / "bundle"


def run(name: str, *words: object) -> list[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def searched(graph: Graph, bundle: Path, recordings: list[Path]) -> list[str]:
    student = Student.load(bundle)
    signals = [resample(*soundfile.read(path, dtype="float32"), student.sampling_rate) for path in recordings]
    scores = [student.log_likelihoods(samples) * 0.2 for samples in signals]
    padded = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True)
    results = K2Decoder(graph).decode(padded, torch.tensor([len(row) for row in scores]))
    return [" ".join(result.words) for result in results]


def test_a_lattice_of_ones_own_with_nothing_but_student(an4_dir: Path, graph: Graph, bundle: Path) -> None:
    recordings = sorted(an4_dir.glob("wav/an4test_clstk/fcaw/*.wav"))[:2]
    printed = run("decode.py", bundle, graph.path, *recordings)
    assert printed == [f"{path} {words}" for path, words in zip(recordings, searched(graph, bundle, recordings), strict=True)]
    assert all(len(line.split()) > 1 for line in printed)


def test_recordings_of_another_rate_than_the_bundles(an4_dir: Path, graph: Graph, tmp_path: Path) -> None:
    telephone = make_bundle(graph, tmp_path, Fbank40Config(sampling_rate=8000))
    recording = sorted(an4_dir.glob("wav/an4test_clstk/fcaw/*.wav"))[0]
    (words,) = searched(graph, telephone, [recording])
    assert run("decode.py", telephone, graph.path, recording) == [f"{recording} {words}"]
    assert len((EXAMPLES / "decode.py").read_text().splitlines()) < 45


def test_a_lexicon_and_a_language_model_of_ones_own(an4_dir: Path, graph: Graph, bundle: Path, tmp_path: Path) -> None:
    recordings = sorted(an4_dir.glob("wav/an4test_clstk/fcaw/*.wav"))[:2]
    entries = Lexicon.read(an4_dir / "etc" / "an4.dic").entries
    lexicon = "".join(f"{entry.word} {' '.join(entry.phones)}\n" for entry in entries)
    (tmp_path / "lexicon.txt").write_text(lexicon, encoding="utf-8")
    words = ["<eps>", *sorted({entry.word for entry in entries}), "#0", "<s>", "</s>"]
    (tmp_path / "words.txt").write_text("".join(f"{word} {number}\n" for number, word in enumerate(words)), encoding="utf-8")
    options = ["--read-symbol-table", "words.txt", "--disambig-symbol", "#0", "--max-order", "3"]
    command = [sys.executable, "-m", "kaldilm", *options, str(an4_dir / "etc" / "an4.ug.lm")]
    with open(tmp_path / "G.fst.txt", "w", encoding="utf-8") as stream:
        subprocess.run(command, stdout=stream, cwd=tmp_path, check=True)
    tables = [tmp_path / name for name in ("lexicon.txt", "words.txt", "G.fst.txt")]
    printed = run("own_graph.py", bundle, *tables, *recordings)
    assert printed == [f"{path} {words}" for path, words in zip(recordings, searched(graph, bundle, recordings), strict=True)]


def test_a_lattice_rescored(an4_dir: Path, graph: Graph, bundle: Path) -> None:
    recordings = sorted(an4_dir.glob("wav/an4test_clstk/fcaw/*.wav"))[:1]
    small = an4_dir / "etc" / "an4.ug.lm"
    first_pass = searched(graph, bundle, recordings)
    (same,) = run("rescore.py", bundle, graph.path, small, small, 1.0, *recordings)
    assert same == f"{recordings[0]} {first_pass[0]} (first pass: {first_pass[0]})"


def test_another_language_model_chooses_another_of_the_best(an4_dir: Path, graph: Graph, bundle: Path, tmp_path: Path) -> None:
    """A unigram model has the first pass's words at 1e-6 each; the best is then worked out here from both files' figures."""
    recording = sorted(an4_dir.glob("wav/an4test_clstk/fcaw/*.wav"))[0]
    small = unigrams(an4_dir / "etc" / "an4.ug.lm")
    student = Student.load(bundle)
    scores = student.log_likelihoods(soundfile.read(recording, dtype="float32")[0]) * 0.2
    (result,) = K2Decoder(graph, nbest=100).decode(scores[None], torch.tensor([len(scores)]))
    large = {word: -6.0 if word in result.words else -1.0 for word in small}
    lines = [f"{value} {word}" for word, value in large.items()]
    arpa = "\n".join(["\\data\\", f"ngram 1={len(lines)}", "", "\\1-grams:", *lines, "", "\\end\\", ""])
    (tmp_path / "large.arpa").write_text(arpa)

    def total(words: Sequence[str], score: float) -> float:
        return score + math.log(10) * sum(large[word] - small[word] for word in (*words, "</s>"))

    best = max(result.nbest, key=lambda hypothesis: total(hypothesis.words, hypothesis.score)).words
    assert list(best) != list(result.words)
    (line,) = run("rescore.py", bundle, graph.path, an4_dir / "etc" / "an4.ug.lm", tmp_path / "large.arpa", 1.0, recording)
    assert line == f"{recording} {' '.join(best)} (first pass: {' '.join(result.words)})"


def test_a_larger_model_that_lacks_words_is_refused(an4_dir: Path, graph: Graph, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "large.arpa").write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-0.3 </s>\n-0.3 ONE\n\n\\end\\\n")
    words = [bundle, graph.path, an4_dir / "etc" / "an4.ug.lm", tmp_path / "large.arpa", 1.0, "none.wav"]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "rescore.py"), *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "words of" in done.stderr
    assert "has no <unk> to stand for them" in done.stderr
    assert "Traceback" not in done.stderr


def unigrams(path: Path) -> dict[str, float]:
    lines = path.read_text().rpartition("\\1-grams:")[2].partition("\\end\\")[0].splitlines()
    return {words[1]: float(words[0]) for words in map(str.split, lines) if len(words) >= 2}

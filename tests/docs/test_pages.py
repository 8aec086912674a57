"""The code blocks of the pages: what their words are to the real parsers, and that they run, in order, on a little speech."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet
from pages import BLOCKS, PAGES, ROOT, RUN, Block, run

from asr_distill.base import read_jsonl
from asr_distill.cli.main import build_parser
from asr_distill.features import ContextWindow, Fbank40Config, Normalisation
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.hclg import write_graph
from asr_distill.models import build_network, save_network
from asr_distill.senones import SenoneInventory, SenonePriors, default_topology, monophone_tree
from asr_distill.student import BundleParts

NOT_RUN = {"README.md": 3, "docs/systems.md": 2}
# Programs that only note what they were asked, a word a line, in the order of the block.
NOTED = "".join(
    f'{name}() {{ {{ printf "%s\\0" {name} "$@"; echo; }} >> calls; }}\n' for name in ("asr-distill", "python", "bash")
)
PRINTED = "printed output"


def commands(block: Block, folder: Path) -> list[list[str]]:
    """The commands of a block as the shell would start them, loops and variables expanded."""
    done = run(block, folder, NOTED)
    assert done.returncode == 0, f"{block}: {done.stderr}"
    assert not done.stderr, f"{block}: {done.stderr}"  # a program that there is no function for
    return [line.rstrip("\0").split("\0") for line in (folder / "calls").read_text().splitlines()]


def test_what_is_not_run_says_why() -> None:
    assert PAGES[-1].name == "README.md"
    found: dict[str, int] = {}
    for block in BLOCKS:
        if block.reason is not None:
            assert len(block.reason) > 10, block
            name = str(block.page.relative_to(ROOT))
            found[name] = found.get(name, 0) + 1
    assert found == NOT_RUN
    assert {block.language for block in RUN} == {"sh", "python"}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh" and b.reason != PRINTED], ids=str)
def test_every_word_is_one_of_the_program(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called = commands(block, tmp_path)
    assert called
    for program, *words in called:
        if program == "asr-distill":
            try:
                build_parser(words[0]).parse_args(words)
            except SystemExit:
                pytest.fail(f"{block}: {' '.join(words)}: {capsys.readouterr().err}")
        else:
            script = ROOT / words[0]
            assert script.is_file(), f"{block}: {words[0]}"
            options = [word for word in words[1:] if word.startswith("--")]
            if options:
                runner = sys.executable if program == "python" else program
                help_text = subprocess.run([runner, str(script), "--help"], capture_output=True, text=True, cwd=ROOT).stdout
                missing = [option for option in options if not re.search(rf"{option}\b", help_text)]
                assert not missing, f"{block}: {missing}"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what blocks in Python need: an untrained bundle, a graph that takes any senones, a recording."""
    folder = tmp_path_factory.mktemp("tiny")
    topology = default_topology(["SIL", "A"], ["SIL"])
    inventory = SenoneInventory(topology, monophone_tree(topology))
    count = inventory.num_senones
    inventory.save(folder / "senones.json")
    SenonePriors.from_labels([np.arange(count, dtype=np.int32)], count, inventory.hash).save(folder / "priors.json")
    normalisation = Normalisation("utterance")
    parts = BundleParts(folder / "senones.json", folder / "priors.json", Fbank40Config(), ContextWindow(), normalisation)
    network = {"name": "senone_dnn", "num_senones": count, "layers": 1, "width": 8, "input_dim": 1040}
    bundle = folder / "models" / "baseline" / "seed0"
    bundle.mkdir(parents=True)
    parts.write(bundle)
    built = build_network(network, torch.Generator().manual_seed(3))
    save_network(bundle, built, network, {"training": {}, **parts.describe()})
    labels = np.arange(1, count + 1, dtype=np.int32)
    zeros, words = np.zeros(count, np.int32), (labels == count).astype(np.int32)
    fst = FstArrays(0, zeros, zeros, labels, words, np.zeros(count, np.float32), np.zeros(1, np.float32))
    write_graph(fst, inventory, {"<eps>": 0, "a": 1}, folder / "graph" / "bigram", {"units": "words"})
    soundfile.write(folder / "one.wav", np.random.default_rng(0).normal(0, 0.03, 16000), 16000)
    return folder


@pytest.mark.parametrize("block", [b for b in RUN if b.language == "python"], ids=str)
def test_python_runs_on_a_tiny_bundle(block: Block, tiny: Path) -> None:
    if "import k2" in block.code:
        pytest.importorskip("k2")
    done = run(block, tiny)
    assert done.returncode == 0, done.stderr


def little_speech(folder: Path, request: pytest.FixtureRequest) -> Path:
    """Manifests of a corpus: AN4 where it is, else the demo's synthesised speech."""
    try:
        request.getfixturevalue("an4_dir")
        words = ["prepare_an4.py"]
    except pytest.skip.Exception:
        words = ["prepare_demo.py", "--size", "tiny"]
    command = [sys.executable, str(ROOT / "local" / words[0]), *words[1:], "--output", str(folder / "manifests")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "manifests"


def write_kaldi(cuts: list[Any], folder: Path) -> None:
    """The cuts as a Kaldi data directory."""
    folder.mkdir(parents=True)
    for name, value in (
        ("wav.scp", lambda cut: cut.recording.sources[0].source),
        ("text", lambda cut: cut.supervisions[0].text),
        ("utt2spk", lambda cut: cut.supervisions[0].speaker),
    ):
        (folder / name).write_text("".join(f"{cut.id} {value(cut)}\n" for cut in sorted(cuts, key=lambda cut: cut.id)))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Where a reader of the pages stands: sixty utterances in Kaldi's form, two new recordings, and small networks."""
    folder = tmp_path_factory.mktemp("reader")
    manifests = little_speech(tmp_path_factory.mktemp("corpus"), request)
    taken: dict[str, list[Any]] = {}
    for split, speakers, utterances in (("train", 5, 8), ("dev", 2, 5), ("test", 2, 5)):
        of: dict[str, list[Any]] = {}
        for cut in CutSet.from_file(manifests / f"cuts_{split}.jsonl.gz"):
            of.setdefault(cut.supervisions[0].speaker, []).append(cut)
        taken[split] = [cut for speaker in sorted(of)[:speakers] for cut in of[speaker][:utterances]]
        write_kaldi(taken[split], folder / "data" / split)
    (folder / "lexicon.txt").write_bytes((manifests / "lexicon.txt").read_bytes())
    (folder / "local").symlink_to(ROOT / "local")
    (folder / "recipes" / "conf").mkdir(parents=True)
    for path in ROOT.glob("recipes/conf/*.yaml"):
        small = re.sub(r"width: \d+", "width: 48", re.sub(r"epochs: \d+", "epochs: 3", path.read_text()))
        (folder / "recipes" / "conf" / path.name).write_text(re.sub(r"layers: \d+", "layers: 2", small))
    for cut, name, step in zip(taken["test"], ("one.wav", "two.flac"), (1, 2), strict=False):
        samples = cut.load_audio()[0]
        soundfile.write(folder / name, samples[::step], 16000 // step)
    return folder


@pytest.mark.slow
def test_the_pages_run_from_beginning_to_end(checkout: Path) -> None:
    for block in RUN:
        if "import k2" in block.code and importlib.util.find_spec("k2") is None:
            continue
        done = run(block, checkout)
        assert done.returncode == 0, f"{block}: {done.stderr[-3000:]}"
    for folder in ("baseline/test", "student/seed0/test", "student/seed1/test"):
        assert len(list(read_jsonl(checkout / "decode" / folder / "hypotheses.jsonl"))) == 10
        assert (checkout / "decode" / folder / "score.json").is_file() == (folder != "student/seed1/test")
    assert [row["id"] for row in read_jsonl(checkout / "decode" / "new" / "hypotheses.jsonl")] == ["one", "two"]

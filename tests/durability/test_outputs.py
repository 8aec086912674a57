"""No command removes or overwrites a file that this toolkit did not write, whatever folder its output is sent to.

A file that the user names as the output is replaced, as by any tool; files whose names are ours to choose are not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import world

from asr_distill.base import UserError, free_name
from asr_distill.cli.main import main

STEPS = [step for step in world.steps() if not step.name.startswith("classes")]
# What a Kaldi folder holds, and every name that some command of ours gives a file in its output folder.
KALDI = (
    "words.txt phones.txt L.fst L_disambig.fst G.fst HCLG.fst topo oov.int phones/silence.txt phones/word_boundary.int num_pdfs"
)
NEW = {".jsonl.gz": "alignments_new.jsonl.gz", ".fst": "G_new.fst", ".arpa": "new.arpa", ".json": "accuracy.json"}
OURS = (
    "fbank.json cuts_train.jsonl.gz cuts_dev.jsonl.gz cuts_test.jsonl.gz bad_train.jsonl lang.json graph.json decode.json"
    " senones.json tree.json gmm.json gmm.safetensors mono.json triphone.json failures.json alignments_train.jsonl.gz"
    " failures_new.json G_new.json new.json meta.json features.npy ensemble.json score.json results.json RESULTS.md"
    " per_utterance.jsonl clusters.json sweep.json config.json model.safetensors log.csv training/notes tensorboard/notes"
    " seed0/config.json seed0/training/notes seed0/tensorboard/notes"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The world after all its commands."""
    folder, before = tmp_path_factory.mktemp("world"), Path.cwd()
    world.write_corpus(folder)
    os.chdir(folder)
    try:
        for step in STEPS:
            assert main([*step.words, "--quiet"]) == 0, step.words
        yield folder
    finally:
        os.chdir(before)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sent_to(step: world.Step, folder: Path) -> list[str]:
    """The command with its output in ``folder``: the folder itself, or a new file in it."""
    words = [str(Path.cwd()) if word == "." else word for word in step.words]
    if step.name == "score":
        words[1] = str(folder)
    for option in {"--output", "--publish"} & set(words):
        place = words.index(option) + 1
        suffixes = "".join(Path(words[place]).suffixes)
        words[place] = str(folder / NEW[suffixes] if suffixes else folder)
    return [word.replace("published/report.html", str(folder / "mine.html")) for word in words]


@pytest.mark.parametrize("step", STEPS, ids=[f"{number}-{step.name}" for number, step in enumerate(STEPS)])
@pytest.mark.parametrize("where", ["another folder", "here"])
def test_the_users_files_stay(
    made: Path,
    tmp_path: Path,
    step: world.Step,
    where: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = tmp_path / "kaldi"
    for name in f"{KALDI} {OURS}".split():
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("the user's")
    if step.name == "score":  # which writes into the folder that it reads
        for name in ("hypotheses.jsonl", "decode.json"):
            shutil.copyfile(made / "decode" / "test" / name, mine / name)
    before, folder = contents(mine), mine
    words = sent_to(step, mine)
    if where == "here":  # --output .
        inputs = {path.name for path in made.iterdir()}
        words = sent_to(step, Path("."))
        first = next(index for index, word in enumerate(words) if word.startswith("--") or step.name == "score")
        words[first:] = [str(made / word) if word.split("/")[0] in inputs else word for word in words[first:]]
        monkeypatch.chdir(mine)
    status = main([*words, "--quiet"])
    told = capsys.readouterr().err
    monkeypatch.chdir(made)
    after = contents(folder)
    assert {name: data for name, data in after.items() if name in before} == before, told
    assert status in (0, 1)
    if status == 0:  # a new file was named, or nothing had the name of ours
        assert set(after) > set(before)
    else:
        assert "name another" in told or "move" in told, told
        assert set(after) == set(before), told


REPLACED = [step for step in STEPS if step.name in ("lang build", "graph build", "frames", "decode", "align mono", "train")]


@pytest.mark.parametrize("step", REPLACED, ids=[step.outputs[0].replace("/", "-") for step in REPLACED])
def test_a_folder_of_ours_of_another_kind_is_not_replaced(made: Path, tmp_path: Path, step: world.Step) -> None:
    for kind in ("lang", "graph", "frames/train", "decode/test", "fbank", "targets/dense", "models/seed0"):
        other = tmp_path / kind.replace("/", "-")
        shutil.copytree(made / kind, other)
        before = contents(other)
        status = main([*sent_to(step, other), "--quiet"])
        same_kind = step.outputs[0].split("/")[0] == kind.split("/")[0]
        if not same_kind:
            assert {name: data for name, data in contents(other).items() if name in before and ".sha256" not in name} == {
                name: data for name, data in before.items() if ".sha256" not in name
            }
            assert status == 1 or step.name in ("align mono", "train")  # these have files of other names only


def test_hints_that_write_name_a_free_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asr_distill.data import FrameStore
    from asr_distill.distillation import SoftTargetStore
    from asr_distill.graph import load_graph

    monkeypatch.chdir(tmp_path)
    (tmp_path / "my graph" / "phones").mkdir(parents=True)
    (tmp_path / "my graph_new").mkdir()
    for opens, path in ((load_graph, "my graph"), (FrameStore.open, "my graph"), (SoftTargetStore.open, "my graph")):
        with pytest.raises(UserError, match="--output 'my graph_new1'"):
            opens(Path(path))
    assert free_name("nothing") == "nothing"
    assert free_name(Path(".")) == f"{tmp_path}_new"

"""What an utterance is: windows, several supervisions, padded and mixed cuts mean the same to every command."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lhotse import CutSet, SupervisionSegment
from lhotse.utils import fastcopy

from asr_distill.base import UserError, read_json, read_jsonl
from asr_distill.cli.main import main
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.hclg import write_graph
from asr_distill.senones import FrameAlignment, write_alignments
from asr_distill.student import Student


def half_supervised(cut: Any, *spans: tuple[float, float]) -> Any:
    supervisions = [
        SupervisionSegment(f"s{i}", cut.recording_id, start, end - start, text="A", speaker="ann")
        for i, (start, end) in enumerate(spans)
    ]
    return fastcopy(cut, supervisions=supervisions)


GOOD: dict[str, Callable[[Any], Any]] = {
    "whole": lambda cut: cut,
    "a window around its supervision": lambda cut: half_supervised(cut, (0.2, 0.35)).truncate(offset=0.1, duration=0.3),
    "a supervision rounded to 10 ms": lambda cut: half_supervised(cut, (-0.005, 0.504)),
    "no supervision": lambda cut: fastcopy(cut, supervisions=[]),
}
ODD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a window that cuts words off": (lambda cut: cut.truncate(offset=0.1, duration=0.2), "reach outside their cut"),
    "a window that begins within words": (lambda cut: half_supervised(cut, (0, 0.3)).truncate(offset=0.2), "reach outside"),
    "two supervisions": (lambda cut: half_supervised(cut, (0, 0.2), (0.25, 0.4)), "several supervisions.*trim-to-supervisions"),
    "padded": (lambda cut: cut.pad(0.9), "mixed, padded or appended.*save_audios"),
    "mixed": (lambda cut: cut.mix(fastcopy(cut, id="other"), snr=10), "mixed, padded or appended"),
    "appended": (lambda cut: cut.append(fastcopy(cut, id="other")), "mixed, padded or appended"),
}


@pytest.fixture
def commands(corpus: Any, tmp_path: Path) -> dict[str, list[str]]:
    """Every command that takes cuts, complete but for --cuts."""
    inventory = corpus.inventory
    zeros, labels = np.zeros(inventory.num_senones, np.int32), np.arange(1, inventory.num_senones + 1, dtype=np.int32)
    words = np.where(labels == inventory.num_senones, 1, 0).astype(np.int32)
    fst = FstArrays(0, zeros, zeros, labels, words, np.zeros(len(labels), np.float32), np.zeros(1, np.float32))
    write_graph(fst, inventory, {"<eps>": 0, "a": 1}, tmp_path / "graph", {"units": "words"})
    lang = tmp_path / "lang"
    lang.mkdir()
    (lang / "phones.txt").write_text("<eps> 0\nSIL 1\nA 2\nB 3\n#0 4\n")
    (lang / "silence.txt").write_text("SIL\n")
    frames = {cut.id: FrameAlignment(np.array([2]), *np.zeros((2, cut.features.num_frames), int)) for cut in corpus.cuts}
    write_alignments(tmp_path / "ali.jsonl.gz", frames)
    senones = str(corpus.folder / "senones.json")
    alignments = ["--alignments", str(tmp_path / "ali.jsonl.gz")]
    model = str(shutil.copytree(corpus.train(), tmp_path / "bundle"))
    return {
        "features": ["features", "--output", str(tmp_path / "fbank")],
        "align": ["align", "mono", "--lang", str(lang), "--output", str(tmp_path / "mono")],
        "forced": ["align", "forced", "--lang", str(lang), "--scores-from", model, "--output", str(tmp_path / "ali2.jsonl.gz")],
        "tree": ["tree", "--lang", str(lang), *alignments, "--num-leaves", "10", "--output", str(tmp_path / "senones")],
        "label": ["tree", "label", "--inventory", senones, *alignments, "--output", str(tmp_path / "labels.jsonl.gz")],
        "frames": ["frames", "--senones", senones, "--output", str(tmp_path / "frames"), "--normalisation", "none"],
        "decode": [
            *("decode", "--graph", str(tmp_path / "graph"), "--model", model),
            *("--system", "x", "--engine", "kaldi", "--output", str(tmp_path / "decoded")),
        ],
    }


@pytest.mark.parametrize("kind", ODD)
def test_odd_cuts_are_refused_by_every_command_alike(
    kind: str, corpus: Any, commands: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, says = ODD[kind]
    first, *others = corpus.cuts
    odd = change(first)
    CutSet.from_cuts([odd, *others]).to_file(tmp_path / "cuts.jsonl.gz")
    before = {path.name for path in tmp_path.iterdir()}
    for name, words in commands.items():
        assert main([*words, "--cuts", str(tmp_path / "cuts.jsonl.gz"), "--quiet"]) == 1, name
        message = capsys.readouterr().err
        assert odd.id in message, name
        assert re.search(says, message, re.DOTALL), (name, message)
    assert {path.name for path in tmp_path.iterdir()} == before
    student = Student.load(tmp_path / "bundle")
    for ask in (lambda: list(student.scores([odd])), lambda: student.log_likelihoods(odd)):
        with pytest.raises(UserError, match=rf"(?s){odd.id}.*{says}"):
            ask()


@pytest.mark.parametrize("kind", GOOD)
def test_utterances_are_taken_by_every_command(kind: str, corpus: Any, commands: dict[str, list[str]], tmp_path: Path) -> None:
    first, *others = corpus.cuts
    good = fastcopy(GOOD[kind](first), id=first.id)
    bare = fastcopy(good, features=None, custom=None)
    CutSet.from_cuts([bare, *(fastcopy(cut, features=None, custom=None) for cut in others)]).to_file(
        tmp_path / "cuts_x.jsonl.gz"
    )
    assert main([*commands["features"], "--cuts", str(tmp_path / "cuts_x.jsonl.gz"), "--quiet"]) == 0
    (stored, *_) = CutSet.from_file(tmp_path / "fbank" / "cuts_x.jsonl.gz")
    alignments = {stored.id: FrameAlignment(np.array([2]), *np.zeros((2, stored.features.num_frames), int))}
    write_alignments(tmp_path / "ali.jsonl.gz", alignments)
    CutSet.from_cuts([stored]).to_file(tmp_path / "one.jsonl.gz")
    assert main([*commands["label"], "--cuts", str(tmp_path / "one.jsonl.gz"), "--quiet"]) == 0
    assert main([*commands["frames"], "--cuts", str(tmp_path / "labels.jsonl.gz"), "--quiet"]) == 0
    assert read_json(tmp_path / "frames" / "meta.json")["num_labelled"] == stored.features.num_frames
    for manifest in ("labels.jsonl.gz", "cuts_x.jsonl.gz"):  # stored features, and those of its audio
        assert main([*commands["decode"], "--cuts", str(tmp_path / manifest), "--quiet"]) == 0
        row = next(row for row in read_jsonl(tmp_path / "decoded" / "hypotheses.jsonl") if row["id"] == first.id)
        assert row["frames"] == stored.features.num_frames
        assert row["reference"] == ("A" if good.supervisions else None)
        assert (row["correct_frames"] is None) == (manifest == "cuts_x.jsonl.gz")

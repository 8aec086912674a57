"""``asr-distill ensemble`` and the subcommands that take an ensemble where they take a bundle, end to end on noise."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_distill.base import read_json, read_jsonl, write_json
from asr_distill.cli.main import main
from asr_distill.data import FrameStore
from asr_distill.data.utterance_share import frames_of_share
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.hclg import write_graph
from asr_distill.student import Ensemble, load_model
from asr_distill.student.accuracy import frame_accuracy


@pytest.fixture(scope="module")
def members(corpus: Any) -> list[str]:
    first = corpus.train("--seeds", "0-2", name="members")
    return [str(first.parent / f"seed{seed}") for seed in range(3)]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a subcommand with --json and returns what it printed, or its error."""

    def run(*words: str) -> Any:
        capsys.readouterr()
        status = main([*words, "--json", "--quiet"])
        printed = capsys.readouterr()
        return json.loads(printed.out) if status == 0 else printed.err

    return run


def test_combine_writes_what_opens_as_one_model(corpus: Any, members: list[str], command: Any, tmp_path: Path) -> None:
    made = command("ensemble", "--members", *members, "--output", str(tmp_path / "plain"))
    assert made == command("ensemble", "combine", "--members", *members, "--output", str(tmp_path / "plain"))
    written = read_json(tmp_path / "plain" / "ensemble.json")
    assert (written["kind"], written["mode"], written["weights"]) == ("ensemble", "arithmetic", None)
    assert made["hash"] == written["hash"] == load_model(tmp_path / "plain").hash
    assert made["members"] == members
    assert made["hashes"] == written["hashes"] == [load_model(member).hash for member in members]
    dev = ["--dev", str(corpus.store("speaker"))]
    for mode in ("weighted", "best"):
        output = str(tmp_path / mode)
        made = command("ensemble", "--members", *members, "--mode", mode, *dev, "--output", output)
        opened = load_model(output)
        assert isinstance(opened, Ensemble)
        assert (opened.mode, opened.weights) == (mode, made["weights"])
        assert len(made["weights"]) == 3
    output = str(tmp_path / "given")
    words = ["ensemble", "--members", *members, "--output", output]
    assert command(*words, "--mode", "weighted", "--weights", "1", "0", "3")["weights"] == [1.0, 0.0, 3.0]
    write_json(tmp_path / "folds.json", {"ann": [0], "*": [1, 2]})
    assert command(*words, "--folds", str(tmp_path / "folds.json"))["folds"] == 2
    assert load_model(output).folds == {"ann": [0], "*": [1, 2]}  # type: ignore[attr-defined]
    write_json(tmp_path / "folds.json", [1])
    assert "expected an object" in command(*words, "--folds", str(tmp_path / "folds.json"))
    assert "takes no --weights" in command(*words, "--weights", "1", "1", "1")
    assert "needs --dev STORE" in command(*words, "--mode", "best")
    for place in (["--autocast", "bf16"], ["--device", "auto"]):
        assert f"{place[0]}: without --dev no network is asked" in command(*words, *place)
        assert "error" not in command(*words, "--mode", "best", *dev, *place)
    assert "holds a model bundle" in command("ensemble", "--members", *members, "--output", members[0])


def test_the_curve_is_written_and_drawn(corpus: Any, members: list[str], command: Any, tmp_path: Path) -> None:
    store = str(corpus.store("speaker"))
    plot = ["--plot", str(tmp_path / "curve.png")] if importlib.util.find_spec("matplotlib") else []
    words = ["ensemble", "curve", "--members", *members, "--frames", store, "--output", str(tmp_path / "curve.json")]
    printed = command(*words, "--orders", "1", *plot)
    assert printed == read_json(tmp_path / "curve.json")
    curve = printed["splits"]["speaker"]
    assert [row["mode"] for row in curve["full_size"]] == ["arithmetic", "geometric"]
    with_dev = command(*words, "--orders", "0", "--dev", store)
    assert set(with_dev["weights"]) == {"weighted", "best"}
    assert sum(with_dev["weights"]["weighted"]) == pytest.approx(1)
    by_mode = {row["mode"]: row for row in with_dev["splits"]["speaker"]["full_size"]}
    assert by_mode["best"]["accuracy"] == pytest.approx(max(row["accuracy"] for row in curve["members"]))
    assert by_mode["weighted"]["cross_entropy"] <= by_mode["arithmetic"]["cross_entropy"] + 1e-6
    whole = frame_accuracy(Ensemble.of_bundles(members), FrameStore.open(store))
    assert curve["arithmetic"][2]["accuracy"] == pytest.approx(whole.accuracy)
    if plot:
        assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--modes", "geometric", "--orders", "0", "--quiet"]) == 0
    assert "--frames is missing" in command(*words[:-4], "--output", str(tmp_path / "curve.json"))
    assert "same name" in command(*words, "--frames", store, store)
    assert "expected 0 or more" in command(*words, "--orders", "-1")


def test_accuracy_counts_each_utterance(corpus: Any, members: list[str], command: Any, tmp_path: Path) -> None:
    store, output = str(corpus.store("speaker")), str(tmp_path / "ensemble")
    command("ensemble", "--members", *members, "--output", output)
    lines = ["--per-utterance", str(tmp_path / "frames.jsonl")]
    figures = command("accuracy", "--model", output, "--frames", store, *lines, "--system", "ensemble", "--seed", "4")
    rows = list(read_jsonl(tmp_path / "frames.jsonl"))
    assert list(rows[0]) == [
        *("id", "speaker", "split", "system", "seed", "frames", "correct_frames"),
        *("frames_speech", "correct_frames_speech", "cross_entropy_sum"),
    ]
    assert {(row["split"], row["system"], row["seed"]) for row in rows} == {("speaker", "ensemble", 4)}
    total = figures["speaker"]
    assert sum(row["frames"] for row in rows) == total["frames"]
    assert 100 * sum(row["correct_frames"] for row in rows) / total["frames"] == pytest.approx(total["accuracy"])
    command("accuracy", "--model", members[2], "--frames", store, *lines, "--system", "single")
    assert {row["seed"] for row in read_jsonl(tmp_path / "frames.jsonl")} == {2}
    assert "needs --system" in command("accuracy", "--model", members[2], "--frames", store, *lines)


def test_accuracy_on_the_share_that_was_trained_on(corpus: Any, members: list[str], command: Any, tmp_path: Path) -> None:
    store, lines = str(corpus.store("speaker")), str(tmp_path / "cuts.jsonl")
    words = ["accuracy", "--model", members[0], "--frames", store, "--per-utterance", lines, "--system", "single"]
    command(*words)
    whole = {row["id"]: row for row in read_jsonl(tmp_path / "cuts.jsonl")}
    figures = command(*words, "--share", "0.5")
    rows = list(read_jsonl(tmp_path / "cuts.jsonl"))
    frames = FrameStore.open(store)
    chosen = frames_of_share(frames, 0.5)
    assert {row["id"] for row in rows} == {cut.id for cut in frames if cut.start in chosen}
    assert len(rows) == 2
    assert figures["speaker"]["frames"] == len(chosen)
    for row in rows:  # the sums but for rounding: products of matrices are rounded by the frames that share a batch
        expected = {**whole[row["id"]], "cross_entropy_sum": pytest.approx(whole[row["id"]]["cross_entropy_sum"], rel=1e-5)}
        assert row == expected
    assert "at most 1" in command(*words, "--share", "2")


def test_combining_the_same_members_again_changes_no_file(
    corpus: Any, members: list[str], command: Any, tmp_path: Path
) -> None:
    words = ["ensemble", "--members", *members, "--output", str(tmp_path / "ensemble")]
    file = tmp_path / "ensemble" / "ensemble.json"
    command(*words)
    os.utime(file, (1, 1))
    command(*words)
    assert file.stat().st_mtime == 1
    command(*words, "--mode", "geometric")
    assert file.stat().st_mtime > 1
    assert json.loads(file.read_text())["mode"] == "geometric"
    file.write_text("{")
    command(*words)
    assert json.loads(file.read_text())["mode"] == "arithmetic"


def test_decode_searches_with_an_ensemble(corpus: Any, members: list[str], command: Any, tmp_path: Path) -> None:
    """A graph that accepts any senones; the search sees the ensemble's scores."""
    senones = corpus.inventory.num_senones
    labels = np.arange(1, senones + 1, dtype=np.int32)
    arcs = [np.zeros(senones, np.int32), np.zeros(senones, np.int32), labels, np.ones(senones, np.int32)]
    fst = FstArrays(0, *arcs, np.zeros(senones, np.float32), np.zeros(1, np.float32))
    write_graph(fst, corpus.inventory, {"<eps>": 0, "a": 1}, tmp_path / "graph", {"units": "words"})
    corpus.cuts.to_file(tmp_path / "cuts.jsonl.gz")
    output = tmp_path / "model"
    command("ensemble", "--members", *members, "--mode", "geometric", "--output", str(output))
    words = ["decode", "--graph", str(tmp_path / "graph"), "--model", str(output), "--engine", "kaldi", "--acoustic-scale", "1"]
    words += ["--cuts", str(tmp_path / "cuts.jsonl.gz"), "--system", "geometric", "--output", str(tmp_path / "decode")]
    summary = command(*words)
    written = read_json(tmp_path / "decode" / "decode.json")
    assert written["ensemble"] == summary["ensemble"]
    assert (written["ensemble"]["mode"], len(written["ensemble"]["members"])) == ("geometric", 3)
    scores = {cut.id: rows.double().max(1).values.sum() for cut, rows, _ in load_model(output).scores(corpus.cuts)}
    rows = list(read_jsonl(tmp_path / "decode" / "hypotheses.jsonl"))
    assert {row["id"]: row["score"] for row in rows} == pytest.approx({key: float(v) for key, v in scores.items()}, rel=1e-3)
    single = command(*words[:4], members[0], *words[5:])
    assert "ensemble" not in single
    assert "neither a model bundle (config.json), an ensemble" in command(*words[:4], str(tmp_path), *words[5:])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dev", "."], "--dev decides the weights of weighted and best, found --mode arithmetic"),
        (["--mode", "geometric", "--dev", "."], "found --mode geometric"),
        (["--mode", "best", "--weights", "1", "2", "3", "--dev", "."], "--dev beside --weights, which say it"),
        (["--frames", "."], "--frames belongs to `asr-distill ensemble curve`"),
        (["--plot", "p.png", "--orders", "2"], "--orders, --plot belong to `asr-distill ensemble curve`"),
        (["curve", "--frames", ".", "--mode", "best"], "--mode belongs to `asr-distill ensemble combine`"),
        (["curve", "--frames", ".", "--weights", "1", "--folds", "."], "--weights, --folds belong to"),
    ],
)
def test_options_without_an_effect_are_refused(
    members: list[str], command: Any, tmp_path: Path, words: list[str], message: str
) -> None:
    assert message in command("ensemble", *words, "--members", *members, "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()

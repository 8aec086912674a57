"""``asr-distill decode`` from end to end, with a stand-in for the model: what is written, tuned, refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from asr_distill.base import read_json, read_jsonl
from asr_distill.cli.main import main
from asr_distill.decoding.evaluation import frame_counts
from asr_distill.decoding.nbest import nbest_of_arcs
from asr_distill.experiments.decoding.models import ScoredPiece
from asr_distill.scoring.errors import count_errors
from asr_distill.student import Timings

TEXTS = {"u1": "one two", "u2": "three", "u0": "two", "u3": ""}


class StandIn:
    """Scores that make no sense but are always the same."""

    acoustic_scale = None
    seed = 3

    def __init__(self, inventory) -> None:
        self.inventory = inventory

    def signs(self):
        return {"silent": [], "narrow": []}

    def scores(self, cuts, on_bad, longest=None):
        for number, cut in enumerate(cuts):
            generator = torch.Generator().manual_seed(number)
            frames = 1 if cut.id == "u3" else 8 + number
            log_likelihoods = torch.randn(frames, self.inventory.num_senones, generator=generator)
            timings = Timings(0.1, 0.2, cut.duration)
            yield ScoredPiece(cut, log_likelihoods, log_likelihoods.argmax(1).numpy(), timings, 0, frames)


@pytest.fixture
def world(reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two graphs, a manifest and the stand-in; returns the arguments that every call shares."""
    graphs = [reference.write_case(reference.random_fst(seed), tmp_path / f"graph{seed}").graph for seed in (2, 4)]
    monkeypatch.setattr("asr_distill.experiments.decoding.models.open_model", lambda *_, **__: StandIn(graphs[0].inventory))
    recording = Recording("r", [AudioSource("file", [0], "nowhere.wav")], 16000, 16000, 1.0)
    cuts = [
        MonoCut(
            id,
            0,
            1,
            0,
            recording=recording,
            supervisions=[SupervisionSegment(id, "r", 0, 1, 0, text, speaker="s")],
        )
        for id, text in TEXTS.items()
    ]
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    found = ["--model", str(tmp_path), "--cuts", str(tmp_path / "cuts.jsonl.gz")]
    common = ["--quiet", *found, "--system", "x", "--engine", "kaldi"]
    return tmp_path, ["decode", *common]


def test_decode_directory(world, capsys) -> None:
    folder, command = world
    out = folder / "decode" / "x" / "test"
    status = main([*command, "--graph", str(folder / "graph2"), "--output", str(out), "--nbest", "3", "--json"])
    assert status == 0
    printed = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in out.iterdir()) == [
        "asr-distill.sha256", "decode.json", "hyp.ctm", "hyp.trn", "hypotheses.jsonl", "nbest.jsonl", "ref.trn",
    ]  # fmt: skip
    rows = list(read_jsonl(out / "hypotheses.jsonl"))
    assert [row["id"] for row in rows] == list(TEXTS)
    assert [row["reference"] for row in rows] == list(TEXTS.values())
    assert {row["split"] for row in rows} == {"test"}
    assert (out / "ref.trn").read_text().splitlines() == ["one two (u1)", "three (u2)", "two (u0)", "(u3)"]
    summary = read_json(out / "decode.json")
    assert summary["rtf"]["features"] == pytest.approx(0.1)
    assert summary["rtf"]["network"] == pytest.approx(0.2)
    assert summary["rtf"]["search"] > 0
    assert summary["seed"] == 3
    assert summary["not_final"] == len([row for row in rows if not row["reached_final"]])
    assert printed["error_rate"] == summary["error_rate"]
    assert "max_active" not in summary  # kaldi's search for n best has no such bound
    words = [word for row in rows for word in row["hypothesis"].split()]
    assert [line.split()[4] for line in (out / "hyp.ctm").read_text().splitlines()] == words
    for row, best in zip(rows, read_jsonl(out / "nbest.jsonl"), strict=True):
        if row["reached_final"]:
            assert best["nbest"][0]["hypothesis"] == row["hypothesis"]


def test_a_cut_without_a_transcript_is_not_scored(world) -> None:
    folder, command = world
    graph = ["--graph", str(folder / "graph2")]
    cuts = CutSet.from_file(folder / "cuts.jsonl.gz")
    some = [cut if cut.id == "u1" else cut.drop_supervisions() for cut in cuts]
    CutSet.from_cuts(some).to_file(folder / "some.jsonl.gz")
    assert main([*command, *graph, "--cuts", str(folder / "some.jsonl.gz"), "--output", str(folder / "some")]) == 0
    rows = list(read_jsonl(folder / "some" / "hypotheses.jsonl"))
    assert [row["reference"] for row in rows] == ["one two", None, None, None]
    assert (folder / "some" / "ref.trn").read_text() == "one two (u1)\n"
    errors = count_errors(("one", "two"), rows[0]["hypothesis"].split())
    assert read_json(folder / "some" / "decode.json")["error_rate"] == errors.rate
    assert any(row["hypothesis"] for row in rows[1:])  # words that would have counted as insertions


def test_scales_are_chosen_on_one_set_and_used_on_another(world) -> None:
    folder, command = world
    graphs = [str(folder / "graph2"), str(folder / "graph4")]
    dev, test = folder / "dev", folder / "test"
    assert main([*command, "--graph", *graphs, "--scale-grid", "0.01,1,3", "--output", str(dev)]) == 0
    tuned = read_json(dev / "tuned.json")
    assert len(tuned["grid"]) == 6
    assert tuned["error_rate"] == min(row["error_rate"] for row in tuned["grid"])
    assert read_json(dev / "decode.json")["acoustic_scale"] == tuned["acoustic_scale"]
    assert main([*command, "--scales-from", str(dev / "tuned.json"), "--output", str(test)]) == 0
    found = read_json(test / "decode.json")
    assert found["max_active"] == 7000
    assert (found["graph"], found["acoustic_scale"]) == (tuned["graph"], tuned["acoustic_scale"])
    assert found["error_rate"] == tuned["error_rate"]


needs_k2 = pytest.mark.skipif(importlib.util.find_spec("k2") is None, reason="k2 is not installed")


@pytest.mark.parametrize("engine", ["kaldi", pytest.param("k2", marks=needs_k2)])
def test_a_search_with_few_active_states(world, engine) -> None:
    folder, command = world
    out = folder / "few" / engine
    few = ["--graph", str(folder / "graph2"), "--engine", engine, "--max-active", "20", "--output", str(out)]
    assert main([*command, *few]) == 0
    assert read_json(out / "decode.json")["max_active"] == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--graph", "{}/nowhere"], "nowhere does not exist"),
        ([], "no graph was given"),
        (["--graph", "{}/graph2", "{}/graph4"], "several are for --scale-grid"),
        (["--graph", "{}/graph2", "--acoustic-scale", "-1"], "must be above 0"),
        (["--graph", "{}/graph2", "--scale-grid", "0.1;0.2"], "expected numbers between commas"),
        (["--graph", "{}/graph2", "--beam", "-1"], "beam -1, lattice beam"),
        (
            ["--graph", "{}/graph2", "--nbest", "2", "--max-active", "9"],
            "kaldi's search for --nbest above 1 knows no such bound",
        ),
        (["--graph", "{}/graph2", "--nbest", "0"], "n best 0: all must be above 0"),
    ],
)
def test_mistakes_are_explained_and_nothing_is_written(world, capsys, options, message) -> None:
    folder, command = world
    assert main([*command, *(option.format(folder) for option in options), "--output", str(folder / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_help_says_which_search_has_no_bound_of_states(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # in narrow ones options are broken at their hyphens
    with pytest.raises(SystemExit):
        main(["decode", "--help"])
    text = capsys.readouterr().out
    assert "refused where kaldi searches for --nbest above 1" in text
    assert "its lattices know no --max-active" in text


def test_a_cut_that_comes_twice_is_refused(world, capsys) -> None:
    folder, command = world
    cuts = list(CutSet.from_file(folder / "cuts.jsonl.gz"))
    CutSet.from_cuts([*cuts, cuts[1]]).to_file(folder / "twice.jsonl.gz")
    graph = ["--graph", str(folder / "graph2"), "--output", str(folder / "out")]
    assert main([*command, *graph, "--cuts", str(folder / "twice.jsonl.gz")]) == 1
    assert "cut id 'u2' comes twice" in capsys.readouterr().err


def test_frame_counts_by_hand() -> None:
    silence = np.array([True, False, False])
    labels, predicted, path = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), np.array([0, 0, 2, 2])
    assert frame_counts(predicted, path, labels, silence) == {
        "frames": 4, "correct_frames": 2, "frames_speech": 2, "correct_frames_speech": 1,
        "k2_path_correct_frames": 3, "k2_path_correct_frames_speech": 1,
    }  # fmt: skip
    lost = frame_counts(predicted, np.zeros(0, np.int32), labels, silence)
    assert lost["correct_frames"] == 2
    assert lost["k2_path_correct_frames"] == 0
    assert frame_counts(predicted, path, None, silence)["correct_frames"] is None


def test_nbest_of_a_lattice_by_hand() -> None:
    # words 1 or 2, in two alignments each; then an arc that writes two words, or nothing
    arcs = [(0, 1, (1,), 1.0), (0, 2, (1,), 0.5), (0, 1, (2,), 2.0), (2, 1, (), 0.25), (1, 3, (3, 4), 1.0), (1, 3, (), 1.5)]
    assert nbest_of_arcs(arcs, 0, {3: 0.5}, 10) == [((1, 3, 4), 2.25), ((1,), 2.75), ((2, 3, 4), 3.5), ((2,), 4.0)]
    assert nbest_of_arcs(arcs, 0, {3: 0.5}, 1) == [((1, 3, 4), 2.25)]
    assert nbest_of_arcs(arcs, 0, {}, 5) == []

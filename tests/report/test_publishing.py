"""What is published of a made-up run: recomputed, merged with what was there, with its pictures, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from made_up_run import CONFIG, REFERENCE, configuration, decode

from asr_distill.base import UserError, load_config, read_json, read_jsonl, write_json
from asr_distill.cli.main import main
from asr_distill.report import (
    ReportConfig,
    build_report,
    publish,
    recompute,
)


def test_published_figures_are_recomputed_and_a_false_one_is_seen(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "recipes" / "an4"
    options = ["--run", str(run), "--config", str(configuration(run))]
    assert main(["report", *options, "--publish", str(target), "--quiet"]) == 0
    assert sorted(path.name for path in target.iterdir()) == ["RESULTS.md", "per_utterance.jsonl", "results.json"]
    rows = list(read_jsonl(target / "per_utterance.jsonl"))
    assert len(rows) == 12 * 4
    assert list(rows[0])[:9] == "id speaker split system seed reference hypothesis frames correct_frames".split()
    command = ["score", "--per-utterance", str(target / "per_utterance.jsonl"), "--quiet"]
    assert main(command) == 0
    capsys.readouterr()
    results = read_json(target / "results.json")
    results["systems"][1]["wer"]["test"] += 0.01
    write_json(target / "results.json", results)
    assert main([*command, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [(row["system"], row["figure"]) for row in answer["figures"] if not row["same"]] == [("ensemble", "wer.test")]


def test_compare_reads_published_utterances(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--run", str(run), "--config", str(configuration(run)), "--quiet"]) == 0
    capsys.readouterr()
    sides = [f"{run / 'per_utterance.jsonl'}:{name}" for name in ("distilled", "baseline")]
    assert main(["compare", *sides, "--metric", "frame_accuracy", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["difference"], answer["seeds_b"]) == (8.0, 2)
    assert main(["compare", sides[1], sides[1], "--metric", "per", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["a_value"] == pytest.approx(100.0)


def test_a_figure_follows_from_its_line(run: Path, tmp_path: Path) -> None:
    config = load_config(ReportConfig, configuration(run))
    publish(build_report(run, config), run, tmp_path / "out")
    path = tmp_path / "out" / "per_utterance.jsonl"
    rows = list(read_jsonl(path))
    rows[-1]["correct_frames"] = 8  # of the distilled system: 60 fewer
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    different = [row for row in recompute(path, tmp_path / "out" / "results.json") if not row["same"]]
    assert ("distilled", "frame_accuracy.test") in {(row["system"], row["figure"]) for row in different}
    assert ("distilled - baseline", "frame_accuracy") in {(row["system"], row["figure"]) for row in different}


def test_merging_keeps_what_this_run_lacks(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "published"
    write_json(run / "sweep.json", {"points": [{"temperature": 2.0}]})
    lists = {"sweep": {"title": "Sweep", "rows": "sweep.json#points", "columns": ["temperature"]}}
    full = build_report(run, load_config(ReportConfig, configuration(run, lists=lists)))
    publish(full, run, target)
    later = tmp_path / "later"
    decode(later / "decode/ensemble/test", errors=0, correct=75)
    write_json(later / "manifests/corpus.json", read_json(run / "manifests/corpus.json"))
    systems = [{**row, "label": f"{row['name']}, {{engine}}"} for row in CONFIG["systems"]]
    config = load_config(ReportConfig, configuration(later, training_text=None, words=None, lists=lists, systems=systems))
    earlier = json.loads((target / "results.json").read_text())
    earlier["systems"][0]["engine"] = "kaldi"
    (target / "results.json").write_text(json.dumps(earlier))
    merged = build_report(later, config, published=target)
    assert merged.results["environment"]["engine"] == "k2, kaldi"
    assert [entry["name"] for entry in merged.results["systems"]] == ["baseline", "ensemble", "distilled"]
    assert merged.results["systems"][1]["wer"]["test"] == 0.0
    assert [entry["label"] for entry in merged.results["systems"]] == ["one network", "ensemble, k2", "distilled"]
    assert merged.results["systems"][0] == {**full.results["systems"][0], "engine": "kaldi"}
    assert merged.results["headline"]["gain_transferred"] == pytest.approx(8 / 15, abs=1e-6)
    assert merged.results["headline"]["alignment_boundary_median_ms"] == 12.5
    assert merged.results["values"] == {"perplexity_dev": 9.0}
    assert merged.results["lists"] == full.results["lists"] != {}
    assert merged.results["comparisons"][0]["difference"] == pytest.approx(-100 * 7 / 36, abs=1e-6)
    publish(merged, later, target)
    assert all(row["same"] for row in recompute(target / "per_utterance.jsonl", target / "results.json"))


def test_the_engines_of_a_row_whose_seeds_differ_are_named_one_by_one(run: Path, tmp_path: Path) -> None:
    detail = read_json(run / "decode/baseline/seed1/test/decode.json")
    write_json(run / "decode/baseline/seed1/test/decode.json", {**detail, "engine": "kaldi"})
    config = load_config(ReportConfig, configuration(run))
    full = build_report(run, config)
    assert full.results["systems"][0]["engine"] == ["k2", "kaldi"]
    publish(full, run, tmp_path / "published")
    merged = build_report(run, config, published=tmp_path / "published")
    assert merged.results["environment"]["engine"] == full.results["environment"]["engine"] == "k2, kaldi"


def test_published_seeds_are_not_lost_unasked(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "published"
    options = ["report", "--run", str(run), "--config", str(configuration(run)), "--publish", str(target), "--quiet"]
    assert main([*options, "--merge"]) == 0
    assert main([*options, "--merge"]) == 0  # the same seeds
    before = (target / "results.json").read_text(encoding="utf-8")
    shutil.rmtree(run / "decode/baseline/seed1")
    assert main([*options, "--merge"]) == 1
    told = capsys.readouterr().err
    assert "baseline is published with seeds [0, 1], this run has [0]; decode seed 1 too, or add --merge-fewer-seeds" in told
    assert (target / "results.json").read_text(encoding="utf-8") == before
    assert main([*options, "--merge-fewer-seeds"]) == 1
    assert "give --merge too" in capsys.readouterr().err
    assert main([*options, "--merge", "--merge-fewer-seeds"]) == 0
    assert read_json(target / "results.json")["systems"][0]["seeds"] == [0]


def test_pictures_are_published_beside_the_page_and_stay_when_a_later_run_has_none(run: Path, tmp_path: Path) -> None:
    target, pictures = tmp_path / "published", {"ensemble/curve.png": "Gain by size.", "nowhere.png": "Not drawn."}
    (run / "ensemble").mkdir()
    (run / "ensemble/curve.png").write_bytes(b"\x89PNG of a curve")
    given = configuration(run, pictures=pictures, training_text=None, words=None)
    options = ["report", "--run", str(run), "--config", str(given), "--publish", str(target), "--quiet"]
    assert main(options) == 0
    assert (target / "plots/curve.png").read_bytes() == b"\x89PNG of a curve"
    page = (target / "RESULTS.md").read_text(encoding="utf-8")
    assert "Gain by size.\n\n![curve](plots/curve.png)" in page
    assert "nowhere" not in page
    assert read_json(target / "results.json")["pictures"] == [{"file": "plots/curve.png", "caption": "Gain by size."}]
    (run / "ensemble/curve.png").unlink()
    assert main([*options, "--merge"]) == 0
    assert (target / "RESULTS.md").read_text(encoding="utf-8") == page
    assert main(["report", "--results", str(target / "results.json"), "--out", str(tmp_path / "again.md"), "--quiet"]) == 0
    assert (tmp_path / "again.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("what", ["counts", "references", "source"])
def test_different_data_are_not_merged(run: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "published"
    publish(build_report(run, load_config(ReportConfig, configuration(run))), run, target)
    before = (target / "results.json").read_text(encoding="utf-8")
    later = tmp_path / "later"
    decode(later / "decode/ensemble/test", errors=0, correct=75, text="go to york" if what == "references" else REFERENCE)
    corpus = read_json(run / "manifests/corpus.json")
    corpus |= {"counts": {"counts": {"test": {"utterances": 13}}}, "source": {"source": "synthesised"}}.get(what, {})
    write_json(later / "manifests/corpus.json", corpus)
    options = ["--run", str(later), "--config", str(configuration(later, training_text=None, words=None))]
    assert main(["report", *options, "--publish", str(target), "--merge", "--quiet"]) == 1
    assert "not mixed" in capsys.readouterr().err
    assert (target / "results.json").read_text(encoding="utf-8") == before


def test_nothing_is_published_of_broken_results(run: Path, tmp_path: Path) -> None:
    report = build_report(run, load_config(ReportConfig, configuration(run)))
    report.results["systems"][0]["rtf"] = float("inf")
    with pytest.raises(UserError, match="rtf"):
        publish(report, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()

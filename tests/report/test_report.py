"""A made-up run of three systems to results.json and back: contract, tables, mistakes, pages."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from made_up_run import CONFIG, build, configuration, decode

from asr_distill.base import UserError, load_config, read_json, write_json
from asr_distill.cli.main import main
from asr_distill.report import (
    HEADLINE_NAMES,
    ReportConfig,
    build_report,
    check_results,
    empty_results,
    empty_system,
    markdown_page,
    results_page,
)
from asr_distill.report.collect import safetensors_elements


def test_a_run_by_hand(run: Path) -> None:
    results = build(run)
    baseline, ensemble, distilled = results["systems"]
    assert baseline["wer"]["test"] == pytest.approx(100 * 7 / 36, abs=1e-6)
    assert (baseline["wer"]["ins"], baseline["wer"]["del"], baseline["wer"]["sub"]) == (0, 7, 0)
    assert baseline["wer"]["dev"] == pytest.approx(100 * 3 / 36, abs=1e-6)
    assert baseline["frame_accuracy"] == {"train": 70.5, "dev": 62.0, "test": 60.0}
    assert (baseline["frame_accuracy_speech"], baseline["frame_accuracy_silence"], baseline["k2_path_accuracy"]) == (60, 60, 61)
    assert baseline["per"] == pytest.approx(100.0)  # "go boston" against G OW B
    assert baseline["rtf"] == pytest.approx(0.031)
    assert [row["seed"] for row in baseline["per_seed"]] == [0, 1]
    assert (baseline["parameters"], ensemble["parameters"], ensemble["models"]) == (1000, 2000, 2)
    assert (distilled["temperature"], distilled["soft_weight"], distilled["hard_weight"]) == (2.0, 0.5, None)
    assert ensemble["frame_accuracy"] == {"train": None, "dev": None, "test": 70.0}
    assert ensemble["per"] is None
    headline = results["headline"]
    assert tuple(headline) == HEADLINE_NAMES["an4"]
    assert headline["baseline_wer"] == baseline["wer"]["test"]
    assert headline["alignment_boundary_median_ms"] == 12.5
    assert headline["gain_transferred"] == pytest.approx(0.8)
    assert headline["p_distilled_beats_baseline"] == 1.0
    assert headline["student_seeds"] == 1
    assert headline["distilled_wer"] is None
    assert results["values"] == {"perplexity_dev": 9.0}
    assert results["data"]["out_of_vocabulary"] == {"words": 12, "share": pytest.approx(1 / 3, abs=1e-6)}
    assert results["comparisons"][0]["difference"] == pytest.approx(-100 * 4 / 36, abs=1e-6)
    assert results["comparisons"][1]["difference"] == 8.0
    assert [row["system"] for row in results["tables"]["table1"]] == ["baseline", "ensemble", "distilled"]
    check_results(results)


def test_what_is_not_decoded_is_named_or_left_out(run: Path, tmp_path: Path) -> None:
    config = load_config(
        ReportConfig, configuration(run, systems=[*CONFIG["systems"], {"name": "later", "decode": "decode/no"}])
    )
    with pytest.raises(UserError, match=r"later.*allow-missing"):
        build_report(run, config)
    assert len(build_report(run, config, allow_missing=True).results["systems"]) == 3


def test_a_table_without_a_row_of_its_own_is_left_out(run: Path) -> None:
    rows, ensemble = ["baseline", "ensemble", "later"], {**CONFIG["systems"][1], "name": "later"}
    tables = {"sizes": {"title": "By size", "rows": rows, "beside": ["baseline", "ensemble"]}}

    def found(systems: list[dict[str, Any]]) -> Any:
        results = build_report(
            run, load_config(ReportConfig, configuration(run, systems=systems, tables=tables)), allow_missing=True
        ).results
        return results["tables"]["sizes"], "By size" in markdown_page(results_page(results))

    assert found(CONFIG["systems"]) == ([], False)
    table, shown = found([*CONFIG["systems"], ensemble])
    assert ([row["system"] for row in table], shown) == (rows, True)


@pytest.mark.parametrize(
    ("key", "where", "told"),
    [
        ("per", "decode/baseline_phones/seed{seed}/test", "baseline_phones/seed1/test"),
        ("dev", "decode/baseline/seed{seed}/dev", "baseline/seed1/dev"),
        ("dev", "accuracy/seed{seed}.json#dev.accuracy", "no 'dev'; found test"),
        ("train", "accuracy/seed{seed}.json#train.accuracy", "no 'train'; found test"),
        ("dev_wer", "decode/baseline/seed{first}/dev/decode.json#error_rate", "no 'error_rate'"),
        ("dev_wer", "decode/baseline/seed7/dev/decode.json#error_rate", "seed7/dev/decode.json"),
    ],
)
def test_what_an_option_leaves_out_is_not_measured(
    run: Path, key: str, where: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("decode/baseline_phones/seed1/test", "decode/baseline/seed1/dev"):
        shutil.rmtree(run / folder)
    write_json(run / "accuracy/seed0.json", {"test": {"accuracy": 60.0}})
    kept = {name: value for name, value in CONFIG["systems"][0].items() if name not in ("per", "dev", "train")}
    systems = [{**kept, key: where}, *CONFIG["systems"][1:]]
    config = load_config(ReportConfig, configuration(run, systems=systems))
    with pytest.raises(UserError):
        build_report(run, config)
    with caplog.at_level("WARNING", "asr_distill"):
        baseline = build_report(run, config, allow_missing=True).results["systems"][0]
    assert f"system baseline: {key} is not measured" in caplog.text
    assert told in caplog.text
    assert baseline["wer"]["test"] is not None
    assert (baseline["per"], baseline["wer"]["dev"], baseline["frame_accuracy"]["dev"]) == (None, None, None)
    assert baseline["frame_accuracy"]["train"] is None


def test_the_dev_error_rate_is_of_the_first_seed_that_is_decoded(run: Path) -> None:
    for seed in (0, 1):
        write_json(run / f"decode/baseline/seed{seed}/dev/decode.json", {"error_rate": 10.0 + seed})
    row = {**CONFIG["systems"][0], "dev_wer": "decode/baseline/seed{first}/dev/decode.json#error_rate"}

    def dev_wer(allow_missing: bool) -> Any:
        config = load_config(ReportConfig, configuration(run, systems=[row, *CONFIG["systems"][1:]]))
        return build_report(run, config, allow_missing).results["systems"][0]["wer"]["dev"]

    assert dev_wer(allow_missing=False) == 10.0
    shutil.rmtree(run / "decode/baseline/seed0")
    assert dev_wer(allow_missing=True) == 11.0


def test_a_list_of_the_run_becomes_a_table(run: Path) -> None:
    write_json(
        run / "sweep.json", {"points": [{"temperature": 2.0, "dev": 70.125, "seeds": [0]}, {"temperature": 5, "dev": None}]}
    )
    lists = {"sweep": {"title": "Sweep", "rows": "sweep.json#points", "columns": ["temperature", "dev"], "digits": 1}}
    results = build(run, lists=lists)
    assert results["lists"]["sweep"]["rows"] == [[2.0, 70.125], [5, None]]
    page = markdown_page(results_page(results))
    assert "## Sweep" in page
    assert "| 2.0 | 70.1 |" in page
    later = {"later": {**lists["sweep"], "rows": "sweep.json#chosen"}}
    assert (
        build_report(run, load_config(ReportConfig, configuration(run, lists=later)), allow_missing=True).results["lists"] == {}
    )
    with pytest.raises(UserError, match=r"no 'chosen'"):
        build(run, lists=later)
    with pytest.raises(UserError, match=r"no 'seeds'.*found temperature, dev"):
        build(run, lists={"sweep": {**lists["sweep"], "columns": ["seeds"]}})


def test_the_share_of_a_loss_that_is_won_back(run: Path) -> None:
    decode(run / "decode/hard/test", errors=9, correct=40)  # the full set has 60: 20 lost,
    decode(run / "decode/soft/test", errors=7, correct=55)  # 15 of them won back
    small = [{"name": name, "decode": f"decode/{name}/test"} for name in ("hard", "soft")]
    table = {
        "title": "Table 5",
        "rows": ["baseline", "hard", "soft"],
        "regained": {"full": "baseline", "pairs": {"soft": "hard"}},
    }
    results = build(run, systems=[*CONFIG["systems"], *small], tables={"table5": table})
    rows = {row["system"]: row for row in results["tables"]["table5"]}
    assert rows["soft"]["regained"] == 0.75
    assert rows["soft"]["regained_ci95"] == [0.75, 0.75]
    assert rows["hard"]["regained"] is None
    page = markdown_page(results_page(results))
    assert "regained [95 %]" in page
    assert "0.750 [0.750, 0.750]" in page
    with pytest.raises(UserError, match="no system 'gone'"):
        build(run, tables={"t": {"rows": ["baseline"], "regained": {"full": "baseline", "pairs": {"baseline": "gone"}}}})


def test_the_share_of_a_loss_that_may_be_none_is_not_quoted(run: Path) -> None:
    decode(run / "decode/hard/test", errors=9, correct=40)
    path = run / "decode/hard/test/hypotheses.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:  # the full set has 60 right of each: four speakers lose something, the fifth wins more than one of them
        row["correct_frames"] = 80 if row["speaker"] == "spk0" else 50
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    decode(run / "decode/soft/test", errors=7, correct=59)
    small = [{"name": name, "decode": f"decode/{name}/test"} for name in ("hard", "soft")]
    table = {"rows": ["baseline", "soft"], "regained": {"full": "baseline", "pairs": {"soft": "hard"}}}
    results = build(run, systems=[*CONFIG["systems"], *small], tables={"table5": table})
    assert results["tables"]["table5"][1]["regained"] is None
    assert results["tables"]["table5"][1]["regained_ci95"] is None


def test_cross_entropy_is_a_mean_over_seeds_or_not_measured(run: Path) -> None:
    def measured(figure: str) -> Any:
        systems = [{**CONFIG["systems"][0], "cross_entropy": figure}, *CONFIG["systems"][1:]]
        results = build(run, systems=systems)
        assert results["tables"]["table1"][0]["cross_entropy_test"] == results["systems"][0]["cross_entropy"]
        assert ("cross-entropy |" in markdown_page(results_page(results))) == (
            results["systems"][0]["cross_entropy"] is not None
        )
        return results["systems"][0]["cross_entropy"]

    where = "accuracy/seed{seed}.json#test.cross_entropy"
    write_json(run / "accuracy/seed0.json", {"dev": {}, "test": {"cross_entropy": 0.5}})
    assert measured(where) is None  # seed 1 is not there
    write_json(run / "accuracy/seed1.json", {"test": {"cross_entropy": 1.0}})
    assert measured(where) == 0.75
    assert measured("accuracy/seed{seed}.json#train.cross_entropy") is None
    with pytest.raises(UserError, match=r"no 'test.cross_entropie'"):
        measured("accuracy/seed{seed}.json#test.cross_entropie")


@pytest.mark.parametrize(
    ("dev", "best"),
    [
        ({"baseline": 9.0, "ensemble": 8.0, "distilled": 7.0}, "distilled"),
        ({"baseline": 9.0, "ensemble": 8.0, "distilled": None}, "ensemble"),
        ({"baseline": 7.0, "ensemble": 8.0, "distilled": 7.0}, "baseline"),  # the first of equals
        ({"baseline": None, "ensemble": None, "distilled": None}, None),
    ],
)
def test_the_best_system_is_chosen_on_dev(run: Path, dev: dict[str, float | None], best: str | None) -> None:
    write_json(run / "dev.json", dev)
    decode(run / "decode/distilled_again/test", errors=4, correct=68)  # its WER on test is no other system's
    kept = [{key: value for key, value in row.items() if key != "dev"} for row in CONFIG["systems"]]
    kept[2]["decode"] = "decode/distilled_again/test"
    systems = [{**row, "dev_wer": f"dev.json#{row['name']}"} for row in kept]
    systems.append({"name": "transfer", "decode": "decode/not_run"})
    headline = {"best_wer": {"best_on_dev": ["baseline", "ensemble", "distilled", "transfer"]}}
    config = load_config(ReportConfig, configuration(run, systems=systems, headline=headline))
    results = build_report(run, config, allow_missing=True).results
    test = {entry["name"]: entry["wer"]["test"] for entry in results["systems"]}
    assert len(set(test.values())) == 3
    assert results["headline"]["best_wer"] == (test[best] if best else None)


@pytest.mark.parametrize(
    ("engines", "label"),
    [
        (("k2", "k2"), "4x512, k2"),
        (("kaldi", "kaldi"), "4x512, kaldi-decoder"),
        (("kaldi", "k2"), "4x512, k2, kaldi-decoder"),
        ((None, None), "4x512, engine not recorded"),
    ],
)
def test_a_label_names_the_engine_that_searched(run: Path, engines: tuple[str | None, str | None], label: str) -> None:
    for seed, engine in enumerate(engines):
        path = run / f"decode/baseline/seed{seed}/test/decode.json"
        write_json(path, {**read_json(path), "engine": engine})
    row = {**CONFIG["systems"][0], "label": "4x512, {engine}"}
    assert build(run, systems=[row, *CONFIG["systems"][1:]])["systems"][0]["label"] == label


def test_an_ensemble_says_itself_how_many_models_it_has(run: Path) -> None:
    write_json(run / "models/ensemble/ensemble.json", {"members": ["a", "b", "c"], "size": 3, "mode": "arithmetic"})
    ensemble = {**CONFIG["systems"][1], "label": "ensemble of {models}", "models": "models/ensemble/ensemble.json#members"}
    results = build(run, systems=[CONFIG["systems"][0], ensemble, CONFIG["systems"][2]])
    entry = results["systems"][1]
    assert (entry["models"], entry["parameters"], entry["label"]) == (3, 3000, "ensemble of 3")
    systems = [CONFIG["systems"][0], {**ensemble, "models": "models/ensemble/ensemble.json#mode"}, CONFIG["systems"][2]]
    with pytest.raises(UserError, match="'arithmetic'; expected a number of networks"):
        build(run, systems=systems)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"headline": {"baseline_wr": 1}}, "did you mean 'baseline_wer'"),
        ({"headline": {"baseline_wer": "nobody.wer.test"}}, "nobody"),
        ({"headline": {"baseline_wer": "baseline.wer.tset"}}, "tset"),
        (
            {"headline": {"best_wer": {"best_on_dev": ["baseline", "nobody"]}}},
            "best_wer: no system 'nobody'.*baseline, ensemble",
        ),
        ({"headline": {"best_wer": {"best_on_test": ["baseline"]}}}, "unknown key 'best_on_test'"),
        ({"values": {"x": "lang/ppl.json#pplx"}}, "pplx.*found ppl"),
        ({"values": {"x": "lang/ppl.json"}}, "FILE#key"),
        ({"comparisons": [{"a": "x", "b": "baseline"}]}, "no system 'x'"),
        ({"tables": {"t": {"rows": ["x"]}}}, "no system 'x'"),
        ({"lists": {"t": {"rows": "lang/ppl.json#ppl", "columns": ["a"]}}}, "no list of objects"),
        ({"systems": [{"name": "a b", "decode": "d"}]}, "a b"),
        ({"systems": [{"name": "a", "decode": "d", "seeds": [0, 1]}]}, "no {seed}"),
        ({"systems": [{"name": "a", "decoed": "d"}]}, "decode"),
    ],
)
def test_mistakes_in_report_yaml_are_named(run: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        build(run, **changes)


def test_frame_accuracies_over_different_senones_are_not_compared(run: Path) -> None:
    decode(run / "decode/gmm/test", errors=2, correct=50, senones="other")
    systems = [*CONFIG["systems"], {"name": "gmm", "decode": "decode/gmm/test"}]
    pair = {"a": "gmm", "b": "baseline"}
    assert build(run, systems=systems, comparisons=[pair])["comparisons"]
    with pytest.raises(UserError, match="different senones"):
        build(run, systems=systems, comparisons=[{**pair, "metric": "frame_accuracy"}])


def test_systems_tested_on_different_utterances_are_refused(run: Path) -> None:
    path = run / "decode/distilled/test/hypotheses.jsonl"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
    with pytest.raises(UserError, match="u0"):
        build(run)


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda r: r["systems"][0]["wer"].update(test=float("nan")), "never NaN"),
        (lambda r: r["systems"][0]["frame_accuracy"].update(dev=0.6e3), "outside 0 to 100"),
        (lambda r: r["systems"][0]["wer"].update(ci95=[3, 2]), "interval"),
        (lambda r: r["systems"][0].pop("rtf"), "'rtf' is missing"),
        (lambda r: r["data"].update(source="found"), "synthesised"),
        (lambda r: r["systems"].append(r["systems"][0]), "twice"),
        (lambda r: r.pop("commit"), "commit"),
    ],
)
def test_broken_results_are_refused(break_it, named) -> None:  # type: ignore[no-untyped-def]
    results = empty_results("an4")
    results["data"]["source"] = "real"
    results["systems"].append(empty_system("baseline"))
    check_results(results)
    break_it(results)
    with pytest.raises(UserError, match=named):
        check_results(results)


def test_pages_show_figures_commands_source_and_no_absolute_path(run: Path, tmp_path: Path) -> None:
    detail = read_json(run / "decode/ensemble/test/decode.json")
    write_json(run / "decode/ensemble/test/decode.json", {**detail, "command": f"asr-distill decode --output {run}/decode/e"})
    html, plots = tmp_path / "report.html", tmp_path / "plots"
    options = ["--run", str(run), "--config", str(configuration(run)), "--html", str(html), "--plots", str(plots), "--quiet"]
    pytest.importorskip("matplotlib")
    assert main(["report", *options]) == 0
    text = (run / "RESULTS.md").read_text(encoding="utf-8")
    for expected in (
        "19.44 [",
        "The data are recorded: real.",
        "asr-distill decode --output exp/an4/decode/e",
        "10.61",
        "Table 1",
    ):
        assert expected in text
    assert str(tmp_path) not in text + (run / "results.json").read_text(encoding="utf-8")
    assert "data:image/png;base64" in html.read_text(encoding="utf-8")
    assert (plots / "wer.png").read_bytes().startswith(b"\x89PNG")
    shown = tmp_path / "shown.md"
    assert main(["report", "--results", str(run / "results.json"), "--out", str(shown), "--quiet"]) == 0
    assert shown.read_text(encoding="utf-8") == text
    assert main(["report", *options, "--command", "bash recipes/an4/run.sh --num-leaves 90"]) == 0
    assert "everything:\n\n```\nbash recipes/an4/run.sh --num-leaves 90\n```" in (run / "RESULTS.md").read_text(
        encoding="utf-8"
    )
    assert main(["report", "--results", str(run / "results.json"), "--command", "mine", "--quiet"]) == 1


def test_synthesised_speech_says_so() -> None:
    results = empty_results("demo")
    results["data"]["source"] = "synthesised"
    text = markdown_page(results_page(results))
    assert "synthesised" in text
    assert "None" not in text
    assert "nan" not in text.lower().split()


def test_a_table_cell_cannot_break_the_table() -> None:
    results = empty_results("demo")
    results["data"]["source"] = "real"
    results["systems"] = [empty_system("a") | {"label": "p|q"}]
    assert "p\\|q" in markdown_page(results_page(results))


def test_parameters_are_counted_from_the_header(tmp_path: Path) -> None:
    header = json.dumps({"w": {"shape": [3, 4]}, "b": {"shape": [4]}, "__metadata__": {"a": "b"}}).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert safetensors_elements(tmp_path / "m.safetensors") == 16
    (tmp_path / "short.safetensors").write_bytes(b"123")
    with pytest.raises(UserError, match="short"):
        safetensors_elements(tmp_path / "short.safetensors")


def test_a_single_speaker_is_no_certainty_anywhere(run: Path) -> None:
    for path in run.rglob("hypotheses.jsonl"):
        rows = [{**json.loads(line), "speaker": "global"} for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    results = build(run)
    assert results["bootstrap"]["unit"] == "utterance within speaker"
    intervals = [system["wer"]["ci95"] for system in results["systems"] if (system["wer"]["test"] or 0) > 0]
    assert intervals
    assert all(low < high for low, high in intervals)
    assert {row["unit"] for row in results["comparisons"]} == {"utterance within speaker"}
    text = json.dumps([dataclasses.asdict(section) for section in results_page(results)])
    assert "over utterances within speakers (too few speakers to draw)" in text


def test_shared_speakers_are_said_beside_the_figures(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = read_json(run / "manifests/corpus.json")
    write_json(run / "manifests/corpus.json", {**corpus, "shared_speakers": {"train and test": ["global"]}})
    results = build(run)
    assert results["data"]["shared_speakers"] == {"train and test": ["global"]}
    said = "Speakers are shared (1 in both train and test): no figure here says anything about new speakers."
    page = markdown_page(results_page(results))
    assert page.count(said) >= 3  # at the head, above the systems, above the comparisons
    check_results(results)
